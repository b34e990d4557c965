"""Standard input and output, and named pipes, in place of audio files.

Audio files are not written from start to end, nor read so: headers come last, and lengths are
looked up. So what comes through a pipe is first kept in an unnamed temporary file, and what goes
into one is made in such a file; TMPDIR says where they lie.
"""

import os
import select
import stat
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from edge_se.errors import UserError, reason

_STANDARD_INPUTS = {"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}
STANDARD_OUTPUT = Path("/dev/stdout")
_STANDARD_OUTPUTS = {"-", str(STANDARD_OUTPUT), "/dev/fd/1", "/proc/self/fd/1"}
_BLOCK = 1 << 16


def is_standard_input(path: Path) -> bool:
    """Whether the name stands for standard input."""
    return str(path) in _STANDARD_INPUTS


def is_pipe_to_write(path: Path) -> bool:
    """Whether the name stands for standard output, or is that of a pipe."""
    return str(path) in _STANDARD_OUTPUTS or kind(path) == stat.S_IFIFO


def kind(path: Path) -> int:
    """What a path is, as in `stat.S_IFDIR`; 0 where nothing can be found, for whatever reason."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return 0


def open_input(path: Path) -> BinaryIO:
    """Open a file, or standard input (`-`) or a pipe, so that it can be read from any place.

    Raises:
        UserError: There is no such file, or it can't be read.
    """
    name = "standard input" if is_standard_input(path) else str(path)
    try:
        file: BinaryIO
        if is_standard_input(path):
            mode = os.fstat(0).st_mode
            if os.isatty(0):
                raise UserError("standard input is the terminal; give it a file or a pipe")
            file = os.fdopen(os.dup(0), "rb", buffering=0)
        else:
            mode = path.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                kind = "a folder" if stat.S_ISDIR(mode) else "no file"
                raise UserError(f"{path} is {kind}; give an audio file")
            file = path.open("rb", buffering=0)
        if stat.S_ISREG(mode):
            return file
        with file:
            return _keep(file)
    except FileNotFoundError:
        if path.is_symlink():
            raise UserError(f"{path} is a link to a file that is not there") from None
        raise UserError(f"there is no audio file {path}") from None
    except OSError as error:
        raise UserError(f"{name} can't be read ({reason(error)})") from None


def _keep(pipe: BinaryIO) -> BinaryIO:
    """What comes through a pipe, in a temporary file."""
    kept = tempfile.TemporaryFile()  # noqa: SIM115 (the caller closes it)
    try:
        while (block := pipe.read(_BLOCK)) != b"":
            if block is None:  # the pipe does not block, and is empty for now
                select.select([pipe], [], [])
            else:
                kept.write(block)
        kept.flush()
    except BaseException:
        kept.close()
        raise
    return kept


def require_output_pipe(path: Path) -> None:
    """Raise UserError where standard output is no place for audio."""
    if str(path) not in _STANDARD_OUTPUTS:
        return
    if sys.stdout is None:
        raise UserError("standard output is closed; give a file name, or a pipe")
    if os.isatty(1):
        raise UserError("standard output is the terminal; give a file name, or a pipe")
