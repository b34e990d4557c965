"""Removing what nothing uses any more."""

from __future__ import annotations

import shutil
from pathlib import Path

from .files import remove
from .processes import say
from .releases import by_last_use, current, examine, release_folders
from .shapes import is_id

KEPT_RELEASES = 3


def leftovers(root: Path) -> list[Path]:
    """What interrupted installations and damage have left, and nothing uses."""
    damaged = [
        folder
        for folder in release_folders(root)
        if folder.name != current(root) and examine(folder)["damage"] is not None
    ]
    unpacked = root / "incoming" / "unpacked"
    return [*damaged, *([unpacked] if unpacked.is_dir() else [])]


def clean(root: Path) -> None:
    """Remove what nothing uses, as interrupted installations leave it."""
    for aside in (root / "releases").glob(".*"):  # see `build`
        folder = aside.with_name(aside.name[1:])
        if examine(folder)["damage"] is None:
            remove(aside)
        elif is_id(folder.name):
            remove(folder)
            aside.rename(folder)
    for folder in leftovers(root):
        say(f"removing {folder.name}, which is damaged or was interrupted")
        remove(folder)


def clean_arrivals(root: Path, arriving: str | None) -> None:
    """Remove bundles that arrived, but for the one that is arriving."""
    for archive in (root / "incoming").glob("*.tar.gz"):
        if archive.name != arriving:
            archive.unlink()


def prune(root: Path) -> None:
    """Remove all whole releases but those that were in use last."""
    for release in by_last_use(root)[KEPT_RELEASES:]:
        say(f"removing release {release}")
        shutil.rmtree(root / "releases" / release)
