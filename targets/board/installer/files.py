"""Files: on the disk before anything refers to them, and read only when they are plain."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path

from .errors import RefusedError

TEXT_LIMIT = 1_000_000


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Wait until all that is in a folder is on the disk: files first, then their names."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            path = Path(place, name)
            if not path.is_symlink():
                sync(path)
        sync(Path(place))


def write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all; it is on the disk afterwards."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    sync(temporary)
    temporary.replace(path)
    sync(path.parent)


def require_file(path: Path, limit: int) -> None:
    """Refuse what is no plain file, which reading could wait for, and what is too large."""
    if not path.exists():
        raise RefusedError(f"{path.name} is missing")
    found = path.lstat()
    if not stat.S_ISREG(found.st_mode) or found.st_size > limit:
        raise RefusedError(f"{path.name} is damaged")


def remove(path: Path) -> None:
    """Remove a file, a link or a whole folder."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif os.path.lexists(path):
        path.unlink()


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    paths = (Path(place, name) for place, _, names in os.walk(folder) for name in names)
    return sum(path.lstat().st_size for path in paths)
