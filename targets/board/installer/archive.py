"""A bundle's archive, read without trust in it."""

from __future__ import annotations

import contextlib
import gzip
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO

from .bundle import BUNDLE, BUNDLE_LIMIT, BUNDLE_NAME
from .errors import RefusedError, shortened

TAR_BLOCK = 512


def read_archive(archive: IO[bytes]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Names of the files in a bundle's archive, and their contents in blocks, in turn.

    A bundle is a plain tar of plain files, whose names are checked here.

    Raises:
        RefusedError: It is anything else.
    """
    names, total = set(), 0
    with gzip.GzipFile(fileobj=archive) as stream:
        while True:
            header = b"".join(blocks(stream, TAR_BLOCK))
            if not any(header):
                break
            with refusing_damage():
                member = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
            folder, _, name = member.name.partition("/")
            if member.type != tarfile.REGTYPE:
                raise RefusedError(f"{shortened(member.name)} in it is no plain file")
            if folder != BUNDLE or BUNDLE_NAME.match(name) is None:
                raise RefusedError(f"{shortened(member.name)} is no name that a bundle holds")
            if name in names:
                raise RefusedError(f"it holds {name} twice")
            names.add(name)
            total += max(member.size, 0)
            if member.size < 0 or total > BUNDLE_LIMIT:
                raise RefusedError(f"it says that {name} is larger than any bundle")
            yield name, blocks(stream, member.size)
            for _ in blocks(stream, -member.size % TAR_BLOCK):
                pass
        with refusing_damage():
            rest = stream.read(1 << 16).strip(b"\0") or stream.read(1)
        if rest:
            raise RefusedError("something follows its end")


def blocks(stream: gzip.GzipFile, size: int) -> Iterator[bytes]:
    """So many bytes of a stream, in blocks; RefusedError when it holds less."""
    while size > 0:
        with refusing_damage():
            block = stream.read(min(1 << 18, size))
        if not block:
            raise RefusedError("it is cut")
        size -= len(block)
        yield block


@contextlib.contextmanager
def refusing_damage() -> Iterator[None]:
    """Say it in one way when an archive can't be read."""
    try:
        yield
    except (tarfile.TarError, EOFError, OSError, zlib.error):  # gzip raises any of the last three
        raise RefusedError("it is cut or damaged") from None
