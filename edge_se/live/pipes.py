"""Standard input and output as a live stream's ends: what waits in them is seen."""

import array
import fcntl
import os
import select
import stat
import sys
import termios

from edge_se.files import naming, write_all

BLOCK = 1 << 16


class InputPipe:
    """A descriptor that bytes come from, whether it blocks or not."""

    def __init__(self, descriptor: int, name: str = "standard input") -> None:
        """Read from an open descriptor, which errors call by that name."""
        self._descriptor, self._name = descriptor, name
        self.is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)

    def read(self, patience_s: float | None) -> bytes | None:
        """What has come, at most `BLOCK` bytes; nothing at the end, None if all patience was vain.

        Raises:
            UserError: It can't be read.
        """
        with naming(self._name, "read"):
            while True:
                ready, _, _ = select.select([self._descriptor], [], [], patience_s)
                if not ready:
                    return None
                try:
                    return os.read(self._descriptor, BLOCK)
                except BlockingIOError:  # somebody else took it
                    continue


class OutputPipe:
    """A descriptor that bytes go to, whether it blocks or not."""

    def __init__(self, descriptor: int, name: str = "standard output") -> None:
        """Write to an open descriptor, which errors call by that name."""
        self._descriptor, self._name = descriptor, name
        self.is_file = stat.S_ISREG(os.fstat(descriptor).st_mode)
        self._is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)

    def write(self, data: bytes) -> None:
        """Write all; UserError where it can't be written, BrokenPipeError where nobody reads."""
        with naming(self._name):
            write_all(self._descriptor, data)

    @property
    def waiting(self) -> int:
        """Bytes that were written and not taken yet, as far as the system tells."""
        if not self._is_pipe or sys.platform != "linux":
            return 0
        count = array.array("i", [0])
        fcntl.ioctl(self._descriptor, termios.FIONREAD, count)
        return count[0]
