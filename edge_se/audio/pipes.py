"""Standard input and output, and named pipes, in place of audio files.

Audio files are not written from start to end, nor read so: headers come last, and lengths are
looked up. So what comes through a pipe is first kept in an unnamed temporary file, and what goes
into one is made in such a file; TMPDIR says where they lie.
"""

import os
import select
import shutil
import stat
import sys
import tempfile
from pathlib import Path
from typing import BinaryIO

from edge_se.errors import UserError
from edge_se.files import write_all

_STANDARD_INPUTS = {"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"}
_STANDARD_OUTPUTS = {"-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"}
_STANDARD_OUTPUT = 1
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
        raise UserError(f"{name} can't be read ({error.strerror})") from None


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


def send(content: BinaryIO, path: Path) -> None:
    """Write a whole file's content into standard output, or into a named pipe.

    Raises:
        OSError: Nobody reads it, or it can't be written.
    """
    content.seek(0)
    if str(path) not in _STANDARD_OUTPUTS:
        with path.open("wb") as pipe:
            shutil.copyfileobj(content, pipe, _BLOCK)
        return
    sys.stdout.flush()
    while block := content.read(_BLOCK):
        write_all(_STANDARD_OUTPUT, block)


def require_output_pipe(path: Path) -> None:
    """Raise UserError where standard output is no place for audio."""
    if str(path) not in _STANDARD_OUTPUTS:
        return
    try:
        terminal = os.isatty(1)
        os.fstat(1)
    except OSError as error:
        raise UserError(f"standard output can't be written to ({error.strerror})") from None
    if terminal:
        raise UserError("standard output is the terminal; give a file name, or a pipe")
