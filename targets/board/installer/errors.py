"""How the installer says no."""

from __future__ import annotations

EXIT_REFUSED = 3
EXIT_INTERRUPTED = 130


class RefusedError(Exception):
    """The board can't do what was asked; the message is one sentence."""


def shortened(name: str) -> str:
    """A name from outside, for a message."""
    return ascii(name if len(name) <= 60 else name[:60] + "...")
