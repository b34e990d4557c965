"""The one kind of error that a user can cause and put right, and how it is shown."""

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

LONGEST_SENTENCE = 1000


class UserError(Exception):
    """Something the user gave is wrong; the message is one sentence that says what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def reason(error: OSError) -> str:
    """What the system said, as in "No space left on device"."""
    return error.strerror or str(error) or type(error).__name__


def some(names: Sequence[str], at_most: int = 3) -> str:
    """The first of the names, and how many more there are, as in "a, b, c and 2 more"."""
    rest = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {rest} more" if rest > 0 else "")


def printable(text: str) -> str:
    """Text of others for a terminal: what it would not print is escaped."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )


def sentence(text: str) -> str:
    """A message as one line of bearable length.

    Files, names and other libraries' messages are quoted in it, whatever they hold.
    """
    text = printable(text)
    if len(text) <= LONGEST_SENTENCE:
        return text
    half = LONGEST_SENTENCE // 2 - len(" ... ")
    return f"{text[:half]} ... {text[-half:]}"


def run_script(main: Callable[[], int | None]) -> NoReturn:
    """Run what `python -m` names and exit; a `UserError` is its sentence and status 1."""
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"edge-se: error: {error}")
