"""What power cuts and others do to a file."""

import os
from pathlib import Path


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def gone(path: Path) -> None:
    path.unlink()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    path.rename(path.with_suffix(".other"))
    path.symlink_to(path.with_suffix(".other"))


def nonsense(path: Path) -> None:
    path.write_bytes(b"\xff" * 10)


def deep(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


DAMAGES = [empty, zeros, cut, gone, pipe, folder, link, nonsense, deep]
