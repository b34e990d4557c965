"""One installation at a time."""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator
from pathlib import Path

from .errors import RefusedError


@contextlib.contextmanager
def locked(root: Path) -> Iterator[None]:
    """Keep other installations on this board out."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RefusedError("another installation is running there; try again later") from None
        yield
