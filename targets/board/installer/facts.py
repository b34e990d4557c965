"""What the board is, and whether a bundle fits it."""

from __future__ import annotations

import contextlib
import importlib.util
import platform
import re
import shutil
import struct
from pathlib import Path
from typing import Any

from .arrivals import arrivals
from .cleaning import leftovers
from .errors import RefusedError
from .files import size_of
from .processes import run
from .releases import status

DISK_RESERVE = 20_000_000
# Bits of a Raspberry Pi's throttling flags.
THROTTLING = {
    0: "under-voltage",
    1: "clock capped",
    2: "throttled",
    3: "soft temperature limit",
    16: "under-voltage has occurred",
    17: "clock cap has occurred",
    18: "throttling has occurred",
    19: "soft temperature limit has occurred",
}


def probe(root: Path) -> dict[str, Any]:
    """Facts about the board, what is installed there and what has arrived."""
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    return {
        "machine": platform.machine(),
        "bits": 8 * struct.calcsize("P"),
        "model": read_text("/proc/device-tree/model"),
        "python": ".".join(platform.python_version_tuple()[:2]),
        "has_venv": importlib.util.find_spec("venv") is not None,
        "numpy": numpy_version(),
        "free_bytes": shutil.disk_usage(existing).free,
        "leftover_bytes": sum(map(size_of, leftovers(root))),
        "root": str(root),
        "incoming": arrivals(root),
        **status(root),
    }


def read_text(path: str) -> str | None:
    """Content of a file of the kernel's, None where there is none."""
    try:
        return Path(path).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return None


def numpy_version() -> str | None:
    """Version of the numpy that this Python sees, None without one."""
    try:
        import numpy
    except ImportError:
        return None
    return str(numpy.__version__)


def throttling() -> dict[str, Any] | None:
    """What a Raspberry Pi's firmware says about voltage and temperature; None elsewhere."""
    text = read_text("/sys/devices/platform/soc/soc:firmware/get_throttled")
    if text is None and shutil.which("vcgencmd"):
        with contextlib.suppress(RefusedError):  # not every user may ask the firmware
            answer = run(["vcgencmd", "get_throttled"], "vcgencmd").decode("ascii", "replace")
            text = answer.strip().partition("=")[2]
    if text is None or re.fullmatch("(0x)?[0-9a-fA-F]{1,8}", text) is None:
        return None
    flags = int(text, 16)
    return {"flags": hex(flags), "set": [THROTTLING[bit] for bit in THROTTLING if flags >> bit & 1]}


def check_board(
    facts: dict[str, Any], description: dict[str, Any], bytes_on_the_way: int = 0
) -> None:
    """Refuse a bundle that was made for another board, and a board that lacks something.

    Both sides call this: the host before it sends anything, with what sending will take.
    """
    platform_, python = description["platform"], description["python"]
    if facts["machine"] not in platform_["machines"] or facts["bits"] != platform_["bits"]:
        raise RefusedError(
            f"the bundle is for {platform_['name']}, but the board is a {facts['machine']} with "
            f"{facts['bits']}-bit Python; make one for it"
        )
    if facts["python"] != python:
        raise RefusedError(
            f"the bundle is for Python {python}, but the board's is {facts['python']}; make one "
            f"with --python {facts['python']}"
        )
    if not facts["has_venv"]:
        raise RefusedError(
            "the board's Python has no venv module; install it: sudo apt install python3-venv"
        )
    numpy = facts["numpy"]
    if description["system_numpy"] and (numpy is None or int(numpy.split(".")[0]) >= 2):
        raise RefusedError(
            f"the board's own numpy has to be of version 1, but is {numpy or 'missing'}; "
            "install it: sudo apt install python3-numpy"
        )
    needed = description["installed_bytes"] + bytes_on_the_way + DISK_RESERVE
    free = facts["free_bytes"] + facts["leftover_bytes"]
    if free < needed:
        raise RefusedError(
            f"the board has {free // 10**6} MB free in {facts['root']}, but the "
            f"release needs {needed // 10**6} MB; make room there"
        )
