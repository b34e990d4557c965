"""Binary files as libsndfile is given them."""

import io
import os
from collections.abc import Mapping
from typing import Any, BinaryIO


class GuardedFile:
    """A seekable binary file for calls that come from C, through which no exception gets.

    Attributes:
        error: The first error of the system, for whoever called libsndfile to look at.
        size: In bytes, of a file to be read.
        exhausted: Whether reading has met the end.
    """

    def __init__(self, file: BinaryIO, patches: Mapping[int, bytes] | None = None) -> None:
        """Wrap an open file, unbuffered if it is to be written: seeking must not fail.

        `patches` are bytes to be read in place of its own, by position.
        """
        self.error: OSError | None = None
        self.exhausted = False
        self._file = file
        self._patches = patches or {}
        self.size = file.seek(0, io.SEEK_END)
        self.seek(0)

    @property
    def share(self) -> float:
        """Where in the file it is being read, from 0 to 1."""
        return min(self.tell() / self.size, 1.0) if self.size else 1.0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """As of any file, but a place before its start is its start."""
        bases = {os.SEEK_CUR: self.tell, os.SEEK_END: self._end}
        base = bases[whence]() if whence in bases else 0
        return self._file.seek(max(base + offset, 0))

    def tell(self) -> int:
        """The position in bytes."""
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        """Read into a buffer of bytes; nothing after an error."""
        start = self.tell()
        try:
            count = self._file.readinto(buffer) if self.error is None else 0  # type: ignore[attr-defined]
        except OSError as error:
            self.error, count = error, 0
        self.exhausted |= count < len(buffer)
        with memoryview(buffer) as view:
            for position, patch in self._patches.items():
                first, last = max(position, start), min(position + len(patch), start + count)
                if first < last:
                    view[first - start : last - start] = patch[first - position : last - position]
        return count

    def write(self, data: bytes) -> int:
        """Write all of it; after an error nothing more."""
        rest = memoryview(data)
        while rest and self.error is None:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                self.error = error
        return len(data) - len(rest)

    def flush(self) -> None:
        """Nothing waits here."""

    def check(self) -> None:
        """Raise the system's error, if there was one."""
        if self.error is not None:
            raise self.error

    def _end(self) -> int:
        position = self._file.tell()
        end = self._file.seek(0, io.SEEK_END)
        self._file.seek(position)
        return end
