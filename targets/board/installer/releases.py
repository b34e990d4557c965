"""Releases in the root: which there are, which is in use, and what is damaged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .bundle import CHECKSUMS, read_checksums, release_id, verify_file
from .errors import RefusedError
from .files import TEXT_LIMIT
from .shapes import is_id, is_number, is_text, read_json

REPORT = "report.json"
SUMMARY_SHAPE = {
    "id": is_id,
    "installed": is_text,
    "model": is_text,
    "edge_se": is_text,
    "rtf": is_number,
}
REPORT_SHAPE = {"release": SUMMARY_SHAPE, "benchmark": {"rtf": is_number}}


def status(root: Path) -> dict[str, Any]:
    """The release in use, and all that are installed, oldest first; `damage` says of what kind."""
    found = [examine(folder) for folder in release_folders(root)]
    return {
        "current": current(root),
        "releases": sorted(found, key=lambda one: (one.get("installed", ""), one["id"])),
        "history": history(root),
    }


def release_folders(root: Path) -> list[Path]:
    """Folders of releases, whole or not."""
    return [folder for folder in (root / "releases").glob("*") if is_id(folder.name)]


def current(root: Path) -> str | None:
    """ID of the release in use; None where the link is missing or leads elsewhere."""
    link = root / "current"
    if not link.is_symlink():
        return None
    release = Path(os.readlink(link))  # noqa: PTH115 (Python 3.9)
    known = release.parent == Path("releases") and is_id(release.name) and (root / release).is_dir()
    return release.name if known else None


def history(root: Path) -> list[str]:
    """IDs in the order in which releases came into use, as far as they can be read."""
    path = root / "history"
    if not path.is_file() or path.stat().st_size > TEXT_LIMIT:
        return []
    words = path.read_text(encoding="utf-8", errors="replace").split()
    return [word for word in words if is_id(word)]


def examine(folder: Path) -> dict[str, Any]:
    """What a release is, or what is damaged in it."""
    try:
        verify_release(folder)
        return {**stored_report(folder)["release"], "damage": None}
    except RefusedError as error:
        return {"id": folder.name, "damage": str(error)}
    except OSError as error:
        return {"id": folder.name, "damage": str(error.strerror or error)}


def stored_report(folder: Path) -> dict[str, Any]:
    """What was measured when a release was installed; written last in each."""
    report = read_json(folder / REPORT, REPORT_SHAPE)
    if report["release"]["id"] != folder.name:
        raise RefusedError(f"{REPORT} is of another release")
    return report


def verify_release(folder: Path) -> None:
    """Compare the files of a release, all but the environment, with their checksums."""
    if not (folder / REPORT).exists():
        raise RefusedError("its installation was interrupted")
    sums = read_checksums(folder)
    if release_id(folder) != folder.name:
        raise RefusedError(f"{CHECKSUMS} is damaged")
    for name, expected in sums.items():
        if "/" not in name:
            verify_file(folder / name, expected)


def by_last_use(root: Path) -> list[str]:
    """IDs of the whole releases, from the one in use to the one used longest ago.

    Those whose use is not recorded come last, the newest first.
    """
    state = status(root)
    whole = [one["id"] for one in state["releases"] if one["damage"] is None]
    used = [state["current"], *reversed(state["history"]), *reversed(whole)]
    return [one for one in dict.fromkeys(used) if one in whole]
