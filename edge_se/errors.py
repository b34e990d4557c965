"""The one kind of error that a user can cause and put right."""


class UserError(Exception):
    """Something the user gave is wrong; the message is one sentence that says what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def reason(error: OSError) -> str:
    """What the system said, as in "No space left on device"."""
    return error.strerror or str(error) or type(error).__name__
