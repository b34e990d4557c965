"""Writing a file whole or not at all, and reading one without waiting.

What is written lies beside its place, under a name that nothing takes for audio or a model, until
it is complete and on the disk; then it is renamed. A file that is replaced hands on its permissions
and, as far as the system allows, its owner. A link is written through: what it points to is
replaced, also where that does not exist yet. Devices and pipes are never replaced: they are given
the complete content, and so are standard output and error under any of their names.
"""

import contextlib
import errno
import json
import math
import os
import select
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edge_se.errors import UserError, reason

STANDARD = "-"  # as the name of an output: standard output
STANDARD_STREAMS = (1, 2)
TEMPORARY_SUFFIX = ".tmp"
BLOCK = 1 << 16


def require_writable(path: Path) -> None:
    """Raise UserError where no file of that name can be written."""
    status = status_of(path, "written")
    if status is not None and not stat.S_ISREG(status.st_mode):
        _require_sink(path, status)
    elif _standard_stream(status) is None:
        _require_replaceable(path, status)


def require_folder(path: Path) -> None:
    """Raise UserError where no folder of that name is or can be made to write into."""
    status = status_of(path, "written")
    while status is None and path.parent != path:
        path = path.parent
        status = status_of(path, "written")
    if status is not None and not stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path} is no folder; give the name of a folder to write into")
    _require_writable_folder(path)


def status_of(path: Path, done: str) -> os.stat_result | None:
    """What is at a path, through links; None where there is nothing yet.

    Args:
        path: Of a file or folder.
        done: What was to be done to it, as "read" or "written", for the error.

    Raises:
        UserError: The system can't say: the name is too long, a loop of links, out of reach.
    """
    with naming(path, done):
        try:
            return path.stat()
        except FileNotFoundError:
            return None


@contextmanager
def naming(what: object, done: str = "written") -> Iterator[None]:
    """Say what it was that the system refused to read or write; raises UserError."""
    try:
        yield
    except BrokenPipeError:
        raise  # whoever read it has left, which is not ours to complain of
    except OSError as error:
        raise UserError(f"{what} can't be {done} ({reason(error)})") from None


@contextmanager
def written_beside(path: Path, lasting: bool = True) -> Iterator[Path]:
    """Give a temporary path whose content takes the place of `path` when the block succeeds.

    It has no suffix to go by, and is removed when the block fails. What need not outlast a power
    cut (not `lasting`) does not wait for the disk.

    Raises:
        UserError: The folder does not exist, or the file or its folder can't be written to.
    """
    status = status_of(path, "written")
    if status is None or (stat.S_ISREG(status.st_mode) and _standard_stream(status) is None):
        place = _replacing(path, status, lasting)
    else:
        place = _poured_into(path, status)
    with place as temporary:
        yield temporary


def read_text(path: Path) -> str:
    """Read a file of UTF-8; what is no file, as a pipe, could keep its reader waiting for ever.

    Raises:
        OSError: It can't be read, or is no file.
        UnicodeDecodeError: It is not UTF-8.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # a folder says so itself
        raise OSError(errno.EINVAL, "It is a pipe or a device", str(path))
    return path.read_text(encoding="utf-8")


def write_whole(path: Path, content: bytes | str, lasting: bool = True) -> None:
    """Write a file, text as UTF-8, whole or not at all; `lasting` as of `written_beside`.

    Raises:
        UserError: It can't be written.
    """
    # What is not UTF-8 in a file's name is written as its escape, which JSON reads back.
    data = content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content
    with written_beside(path, lasting) as temporary, naming(path):
        temporary.write_bytes(data)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Write all of some bytes, also into a pipe whose other end made it not block.

    Raises:
        OSError: It can't be written.
    """
    left = memoryview(data)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:  # it is full for now
            select.select([], [descriptor], [])


def write_json(path: Path, content: Any, lasting: bool = True) -> None:
    """Write JSON for people and machines, whole or not at all; `-` is standard output.

    `lasting` is as of `written_beside`.

    Raises:
        UserError: It can't be written.
    """
    text = json.dumps(_finite(content), indent=2, ensure_ascii=False) + "\n"
    if str(path) != STANDARD:
        write_whole(path, text, lasting)
        return
    if sys.stdout is None:
        raise UserError("standard output is closed; give the JSON a file")
    with naming("standard output"):
        sys.stdout.flush()
        # JSON is UTF-8, whatever the terminal's encoding is.
        sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
        sys.stdout.buffer.flush()


def make_folder(path: Path) -> None:
    """Make a folder and those it lies in, if they are missing.

    Raises:
        UserError: It can't be made, or nothing can be written into it.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"the folder {path} can't be made ({reason(error)}); choose another one"
        ) from None
    _require_writable_folder(path)


@contextmanager
def folder_written_beside(path: Path, mark: str) -> Iterator[Path]:
    """Give a temporary folder whose content becomes `path` when the block succeeds.

    Args:
        path: Of the folder. What is there already is replaced if it is empty, or has `mark`.
        mark: Name of a file that only such a folder has.

    Raises:
        UserError: Something else is there, or nothing can be written there.
    """
    require_folder(path)
    make_folder(path.parent)
    with naming(path):
        if path.is_dir() and any(path.iterdir()) and not (path / mark).is_file():
            raise UserError(f"{path} holds other files; name a new folder")
        temporary = path.with_name(f".edge-se-{os.urandom(8).hex()}{TEMPORARY_SUFFIX}")
        temporary.mkdir()
    try:
        yield temporary
        with naming(path):
            old = temporary.with_suffix(".old")
            if path.is_dir():
                path.rename(old)
            try:
                temporary.rename(path)
            except BaseException:
                if old.is_dir():
                    old.rename(path)
                raise
            shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def at_home(path: Path) -> Path:
    """A path that begins with `~` or `~user`, with that home folder in place of it.

    Raises:
        UserError: There is no such user, or the system does not know where home is.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UserError(f"{path} names no folder ({error}); set HOME, or give a path") from None


def find_named(given: str | Path, named: Mapping[str, Path]) -> Path:
    """Path of what goes by a name, or what the path is of.

    A `Path` is never a name: "./gtcrn" would be one as soon as it is a `Path`.
    """
    return (named.get(given) if isinstance(given, str) else None) or Path(given)


def _finite(content: Any) -> Any:
    """JSON has no NaN and no infinity: numbers without a value become null."""
    if isinstance(content, dict):
        return {name: _finite(entry) for name, entry in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(entry) for entry in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def _require_replaceable(path: Path, status: os.stat_result | None) -> None:
    folder = _behind_links(path).parent
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder} to write {path.name} into; create it")
    _require_writable_folder(folder)
    if status is not None and not os.access(path, os.W_OK):
        raise UserError(f"{path} is write-protected; choose another name or allow writing")


def _require_writable_folder(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(f"the folder {folder} can't be written to; choose another one")


def _require_sink(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise UserError(f"{path} is a folder; give the name of a file to write")
    if not (stat.S_ISCHR(status.st_mode) or stat.S_ISFIFO(status.st_mode)):
        raise UserError(f"{path} is a disk or a socket; give the name of a file to write")


def _standard_stream(status: os.stat_result | None) -> int | None:
    """Standard output or error, if a file is where it goes, as /dev/stdout and /dev/fd/1 are."""
    for descriptor in STANDARD_STREAMS:
        with contextlib.suppress(OSError):  # it is closed
            if status is not None and os.path.samestat(status, os.fstat(descriptor)):
                return descriptor
    return None


@contextmanager
def _poured_into(path: Path, status: os.stat_result) -> Iterator[Path]:
    """Write a device, a pipe or standard output, once all is there."""
    import tempfile  # seldom needed, and it takes a while on a small board

    stream = _standard_stream(status)
    if stream is None:
        _require_sink(path, status)
    descriptor = _open_sink(path) if stream is None else os.dup(stream)
    try:
        with tempfile.NamedTemporaryFile(prefix="edge-se-", suffix=TEMPORARY_SUFFIX) as file:
            yield Path(file.name)
            if sys.stdout is not None:
                sys.stdout.flush()  # what was printed before comes before
            with naming(path):
                for block in iter(lambda: file.read(BLOCK), b""):
                    write_all(descriptor, block)
    finally:
        os.close(descriptor)


def _open_sink(path: Path) -> int:
    """Open a device or a pipe, which has to have its reader: waiting for one could take for ever.

    Raises:
        UserError: Nobody reads the pipe, or it can't be opened.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except OSError as error:
        wanted = "start its reader first" if path.is_fifo() else "choose another name"
        raise UserError(f"{path} can't be written to ({reason(error)}); {wanted}") from None
    os.set_blocking(descriptor, True)
    return descriptor


@contextmanager
def _replacing(path: Path, status: os.stat_result | None, lasting: bool) -> Iterator[Path]:
    """Write a new file, or one in the place of an old one."""
    _require_replaceable(path, status)
    target = _behind_links(path)
    temporary = target.with_name(f".edge-se-{os.urandom(8).hex()}{TEMPORARY_SUFFIX}")
    ours = True  # even if a signal ends us as soon as it is there
    try:
        with naming(path):
            try:
                # A new file gets the umask's permissions; the copy of an old one is nobody's yet.
                mode = 0o666 if status is None else 0o600
                os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            except OSError:
                ours = False
                raise
        yield temporary
        with naming(path):
            if status is not None:
                _hand_on(status, temporary)
            if lasting:
                _sync(temporary)
            temporary.replace(target)
            if lasting:
                with contextlib.suppress(OSError):  # some file systems have no such thing
                    _sync(target.parent)
    finally:
        if ours:
            temporary.unlink(missing_ok=True)


def _behind_links(path: Path) -> Path:
    """The file that a path names, which need not exist.

    `path.stat()` was asked before, and a loop of links found.
    """
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _hand_on(status: os.stat_result, path: Path) -> None:
    """Give a file the owner, as far as it is allowed, and the permissions of another."""
    for owner in (status.st_uid, -1):  # who may not give a file away may still set its group
        with contextlib.suppress(PermissionError):
            os.chown(path, owner, status.st_gid)
            break
    path.chmod(status.st_mode & 0o777)


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
