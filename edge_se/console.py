"""What a command tells its user, on standard error; what can't be told never stops the work."""

import sys
import time

_INTERVAL_S = 0.2


class Console:
    """Lines, and below them one that shows progress where somebody watches."""

    def __init__(self) -> None:
        self._shown = False
        self._start = self._last = time.monotonic()

    def say(self, text: str) -> None:
        """Print a line."""
        self._write(f"{text}\n")

    def progress(self, share: float, what: str = "") -> None:
        """Show how much of the work is done, from 0 to 1, on a terminal and not too often."""
        now = time.monotonic()
        if now - self._last < _INTERVAL_S:
            return
        self._last = now
        left = (now - self._start) * (1 - share) / share if share > 0 else 0.0
        remaining = f", {left:.0f} s left" if share > 0 else ""
        self.line(f"{100 * share:3.0f} %{remaining} {what}".rstrip())

    def line(self, text: str) -> None:
        """Show a line on a terminal, in place of the last one."""
        if not _is_terminal():
            return
        self._write(text)
        self._shown = True

    def close(self) -> None:
        """Take the progress off the terminal."""
        self._write("")

    def _write(self, text: str) -> None:
        clear = "\r\x1b[K" if self._shown else ""
        self._shown = False
        try:
            # None where the process was started without standard error.
            if sys.stderr is not None and clear + text:
                encoding = sys.stderr.encoding or "utf-8"
                sys.stderr.write(clear + text.encode(encoding, "backslashreplace").decode(encoding))
                sys.stderr.flush()
        except (OSError, ValueError):
            # Nobody reads it; the files that were made are there, and the exit status tells.
            return


def _is_terminal() -> bool:
    try:
        return sys.stderr is not None and sys.stderr.isatty()
    except ValueError:  # it is closed
        return False
