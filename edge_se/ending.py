"""Signals that ask for an end: what runs is unwound by an exception."""

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
AT_ONCE_S = 1.0  # signals closer together ask for one end


class Ended(BaseException):
    """A signal asked for an end.

    Not SystemExit, which somebody else's code raises as well.

    Attributes:
        code: What a process exits with that a signal has ended.
    """

    def __init__(self, number: int) -> None:
        self.code = 128 + number
        super().__init__(number)


class _Put:
    off = 0  # blocks that are not to be disturbed
    number: int | None = None  # of the signal that came in one


@contextmanager
def ending_on_signals() -> Iterator[None]:
    """Let a signal that asks for an end raise `Ended`; others at once are the same wish.

    One that comes later than that, when all is unwound, ends the process at once.
    """
    came, unwound = -math.inf, False

    def end(number: int, frame: Any) -> None:
        nonlocal came
        again, came = time.monotonic() - came < AT_ONCE_S, time.monotonic()
        if again:
            return
        if unwound:  # nobody would catch it
            os._exit(128 + number)
        if not _Put.off:
            raise Ended(number)
        _Put.number = number

    heard = [n for n in ENDING_SIGNALS if signal.getsignal(n) is not signal.SIG_IGN]
    previous = {number: signal.signal(number, end) for number in heard}
    try:
        yield
    finally:
        unwound = True
        if came < 0:
            for number, handler in previous.items():
                signal.signal(number, handler)


@contextmanager
def ending_put_off() -> Iterator[None]:
    """Raise `Ended` after the block, for calls from C, through which no exception gets."""
    if threading.current_thread() is not threading.main_thread():  # which alone hears of signals
        yield
        return
    _Put.off += 1
    try:
        yield
    finally:
        _Put.off -= 1
        if not _Put.off and _Put.number is not None:
            number, _Put.number = _Put.number, None
            raise Ended(number)
