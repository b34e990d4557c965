"""The service's unit, as the user's systemd reads it."""

from __future__ import annotations

import os
from pathlib import Path

from .bundle import UNIT
from .errors import RefusedError
from .files import write_whole
from .processes import run

# Settings of the unit that a user's service can only have where user namespaces are allowed.
NEED_USER_NAMESPACES = (
    "PrivateUsers",
    "CapabilityBoundingSet",
    "ProtectClock",
    "ProtectKernelLogs",
    "ProtectKernelModules",
)


def user_unit() -> Path:
    """Where systemd looks for the user's unit."""
    return Path.home() / ".config" / "systemd" / "user" / UNIT


def installed_unit() -> str | None:
    """The unit that is there now, None without one."""
    path = user_unit()
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else None


def unit_for(release: Path) -> str:
    """The unit that runs a release's live stream, with no setting that this board forbids.

    Raises:
        RefusedError: The release has no such command.
    """
    unit = (release / UNIT).read_text(encoding="utf-8", errors="replace")
    if "@RELEASE@" not in unit:
        raise RefusedError(
            "that release is from an edge-se without the live stream's command, which the service "
            f"runs; remove the service first: systemctl --user disable --now {UNIT} && rm "
            f"{user_unit()}"
        )
    unit = unit.replace("@PYTHON@", quoted(release / "env" / "bin" / "python"))
    unit = unit.replace("@RELEASE@", quoted(release))
    if not has_user_namespaces():
        for setting in NEED_USER_NAMESPACES:
            unit = unit.replace(f"\n{setting}=", f"\n#{setting}=")
    return unit


def write_unit(unit: str) -> None:
    """Give systemd the unit."""
    path = user_unit()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, unit)
    run(["systemctl", "--user", "daemon-reload"], "reloading systemd")


def quoted(path: Path) -> str:
    """A path as one word of a unit, whatever is in it."""
    word = ""
    for byte in os.fsencode(path):
        character = chr(byte)
        if character in "%$":
            word += 2 * character
        elif character in '\\"' or not 32 <= byte < 127:
            word += f"\\x{byte:02x}"
        else:
            word += character
    return f'"{word}"'


def has_user_namespaces() -> bool:
    """Whether a user may have namespaces here, which some kernels and policies forbid."""
    try:
        run(["unshare", "--user", "--map-root-user", "true"], "making a user namespace")
    except RefusedError:
        return False
    return True
