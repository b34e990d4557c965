"""What systemd is told of a service: that it is ready, that it is alive, and what it does.

The protocol is a datagram of `NAME=value` lines to the socket that NOTIFY_SOCKET names.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable

BEAT_S = 1.0
FLOWS = "sound flows"


class Notifier:
    """Speaks to the service manager; says nothing where there is none.

    Attributes:
        ready: Whether it was said that the service is ready.
        status: What the service does, as was said last.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take the socket from the environment."""
        self._address = os.environ.get("NOTIFY_SOCKET", "")
        self._clock, self._last = clock, -BEAT_S
        self.ready, self.status = False, ""

    def flowing(self) -> None:
        """Sound flows: ready, and alive; told once a second, and at once after a wait."""
        now, news = self._clock(), self.status != FLOWS
        if not news and now - self._last < BEAT_S:
            return
        self._last = now
        lines = ["READY=1"] * (not self.ready) + ["WATCHDOG=1"] + [f"STATUS={FLOWS}"] * news
        self._send("\n".join(lines))
        self.ready, self.status = True, FLOWS

    def waiting(self, why: str, seconds: float) -> None:
        """A device is waited for, for so long at least, which is no reason to be ended."""
        reprieve = "WATCHDOG=1" if self.ready else f"EXTEND_TIMEOUT_USEC={round(seconds * 1e6)}"
        self._send(f"{reprieve}\nSTATUS={why}")
        self.status = why

    def _send(self, text: str) -> None:
        if not self._address:
            return
        # An @ stands for the zero byte that abstract addresses begin with.
        address = self._address.replace("@", "\0", 1) if self._address[0] == "@" else self._address
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(text.encode(), address)
