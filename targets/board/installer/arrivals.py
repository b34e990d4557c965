"""Bundles on their way here, in ROOT/incoming."""

from __future__ import annotations

import contextlib
import io
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from .archive import read_archive
from .bundle import BUNDLE, BUNDLE_LIMIT
from .errors import RefusedError
from .files import remove, sha256, sync

ARCHIVE = re.compile(r"edge-se-([0-9a-f]{12})\.tar\.gz\Z")
SILENT_S = 75  # of a sender; its ssh gives a connection up after 60


def arrivals(root: Path) -> dict[str, Any]:
    """How much has arrived of which bundle, by the archive's name."""
    return {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in (root / "incoming").glob("*")
        if ARCHIVE.match(path.name) and path.is_file() and not path.is_symlink()
    }


@contextlib.contextmanager
def time_limit(seconds: int) -> Iterator[None]:
    """Raise RefusedError where what comes from the host takes longer."""

    def give_up(*_: object) -> None:
        raise RefusedError(f"nothing came for {seconds} s; deploy it again")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def receive(archive: Path, start: int, total: int) -> None:
    """Put what comes by standard input behind the first bytes of a bundle, which arrived before."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    if archive.is_symlink() or not archive.is_file():
        remove(archive)
    arrived = archive.stat().st_size if archive.exists() else 0
    if not 0 <= start <= min(arrived, total) or total > BUNDLE_LIMIT:
        raise RefusedError("what had arrived of the bundle is there no more; deploy it again")
    incoming = cast(io.BufferedReader, sys.stdin.buffer)
    with archive.open("r+b" if start else "wb") as file:
        file.truncate(start)
        file.seek(start)
        while start < total:
            with time_limit(SILENT_S):  # who is cut off would keep others out for hours
                block = incoming.read1(min(1 << 18, total - start))
            if not block:
                raise RefusedError("the bundle did not arrive whole; deploy it again")
            file.write(block)
            start += len(block)
    sync(archive)


def unpack(archive: Path) -> Path:
    """Unpack a bundle that has arrived into a folder beside it, and nowhere else."""
    target = archive.with_name("unpacked")
    remove(target)
    bundle = target / BUNDLE
    (bundle / "wheels").mkdir(parents=True)
    if not archive.is_file():
        raise RefusedError("the bundle is not there any more; deploy it again")
    try:
        with archive.open("rb") as file:
            for name, content in read_archive(file):
                with (bundle / name).open("xb") as out:
                    out.writelines(content)
    except RefusedError as error:
        raise RefusedError(
            f"{archive.name} is no whole edge-se bundle ({error}); send it again"
        ) from None
    return bundle
