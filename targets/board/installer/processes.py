"""Other programs, and telling what happens meanwhile."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from .errors import RefusedError

PATIENCE_S = 600


def say(text: str) -> None:
    """Tell what happens now."""
    with contextlib.suppress(OSError):  # the connection to whoever listened may be lost
        print(f"  {text}", file=sys.stderr, flush=True)


def run(command: Sequence[Any], what: str, check: bool = True, **options: Any) -> bytes:
    """Run a command and give its output; RefusedError with its last words when it fails.

    Without `check`, what it prints is the answer, whatever its status.
    """
    options.setdefault("timeout", PATIENCE_S)
    pipe = subprocess.PIPE
    if "input" not in options:
        options["stdin"] = subprocess.DEVNULL
    try:
        result = subprocess.run(
            [str(part) for part in command], stdout=pipe, stderr=pipe, **options
        )
    except subprocess.TimeoutExpired:
        limit = options["timeout"] / 60
        raise RefusedError(f"{what} took longer than {limit:g} minutes") from None
    except OSError as error:
        raise RefusedError(f"{what} failed ({error.strerror or error})") from None
    if check and result.returncode != 0:
        lines = (result.stderr or result.stdout).decode(errors="replace").strip().splitlines()
        words = [line for line in lines if not line.startswith("See ")]  # systemctl's advice
        reason = (words or ["no message"])[-1].replace("edge-se: error: ", "").rstrip(".")
        raise RefusedError(f"{what} failed ({reason})")
    return result.stdout
