"""Which files a run over audio files reads and writes."""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_se.audio.formats import advice, suffixes
from edge_se.audio.pipes import is_pipe_to_write, is_standard_input, kind
from edge_se.audio.writing import check_target
from edge_se.errors import UserError, reason


@dataclass(frozen=True)
class Job:
    """A file to read and one to write.

    Attributes:
        source: What to read.
        target: What to write.
        in_folder: Whether the target's folder is to be made, and other files go on if this fails.
        complaint: Why it can't be done, where that is known.
    """

    source: Path
    target: Path
    in_folder: bool = False
    complaint: str | None = None


def find_jobs(inputs: Sequence[Path], output: Path) -> list[Job]:
    """What is to be done; all of it is checked before the first file is written.

    Args:
        inputs: Files, folders, or `-` alone.
        output: A file for one file, otherwise a folder; it mirrors a folder's subfolders.

    Raises:
        UserError: There is nothing to read, or a file would be written twice or over an input.
    """
    folders = [path for path in inputs if kind(path) == stat.S_IFDIR]
    if len(inputs) == 1 and not folders:
        return [_single(inputs[0], output)]
    if is_pipe_to_write(output) or kind(output) not in (0, stat.S_IFDIR):
        what = f"{folders[0]} is a folder" if folders else f"there are {len(inputs)} inputs"
        raise UserError(f"{what}, so the output has to be one; {output} is a file")
    if any(is_standard_input(path) for path in inputs):
        raise UserError("standard input is one recording; give it an output of its own")
    jobs = [job for path in inputs for job in _jobs_of(path, output)]
    if not jobs:
        readable = ", ".join(sorted(suffixes()))
        raise UserError(f"{' and '.join(map(str, inputs))} has no audio files ({readable})")
    _require_distinct(jobs)
    return jobs


def _single(source: Path, target: Path) -> Job:
    if not is_standard_input(source):
        try:
            source.stat()
        except OSError as error:
            raise UserError(_why(source, error)) from None
        if kind(target) == stat.S_IFDIR:
            target = target / source.name
        if _real(target) == _real(source):
            raise UserError(f"{target} is the input itself; give another name for the output")
    if complaint := None if is_standard_input(source) else advice(source):
        raise UserError(f"{source}: {complaint}")
    check_target(target)
    return Job(source, target)


def _jobs_of(source: Path, target: Path) -> Iterator[Job]:
    if kind(source) != stat.S_IFDIR:
        yield _job(source, target / source.name)
        return
    inside = _real(target)
    if inside == _real(source):
        raise UserError(f"{target} is the input folder itself; give another one for the output")
    for path, complaint in _walk(source, inside):
        yield _job(path, target / path.relative_to(source), complaint)


def _walk(source: Path, without: str) -> Iterator[tuple[Path, str | None]]:
    """What in a folder may be audio, sorted, and what is wrong with it; hidden files are not.

    Those are what an interrupted run left, and what macOS writes beside files (`._a.wav`).
    """
    found: list[tuple[Path, str | None]] = []

    def fail(error: OSError) -> None:
        folder = Path(error.filename)
        found.append((folder, f"the folder can't be read ({reason(error)})"))

    for folder, subfolders, names in os.walk(source, onerror=fail):
        subfolders[:] = [
            name
            for name in subfolders
            if not name.startswith(".") and _real(Path(folder, name)) != without
        ]
        for name in names:
            path = Path(folder, name)
            if not name.startswith(".") and (
                path.suffix.lower() in suffixes() or advice(path) is not None
            ):
                found.append((path, None))
    yield from sorted(found)


def _job(source: Path, target: Path, complaint: str | None = None) -> Job:
    if complaint is None:
        complaint = advice(source)
    if complaint is None:
        try:
            if not stat.S_ISREG(source.stat().st_mode):
                complaint = "it is no file"
        except OSError as error:
            complaint = _why(source, error)
    return Job(source, target, in_folder=True, complaint=complaint)


def _why(path: Path, error: OSError) -> str:
    if not isinstance(error, FileNotFoundError):
        return f"{path} can't be read ({reason(error)})"
    if path.is_symlink():
        return f"{path} is a link to a file that is not there"
    return f"there is no file or folder {path}"


def _require_distinct(jobs: Sequence[Job]) -> None:
    sources = {_real(job.source): job.source for job in jobs}
    writers: dict[Path, Path] = {}
    for job in jobs:
        if (read := sources.get(_real(job.target))) is not None:
            raise UserError(f"{job.target} is an input itself ({read}); give another output")
        other = writers.setdefault(job.target, job.source)
        if other != job.source:
            raise UserError(
                f"{other} and {job.source} would both be written to {job.target}; enhance them "
                "into different folders"
            )


def _real(path: Path) -> str:
    """The path without links; unlike pathlib's, it does not fail where links go in circles."""
    return os.path.realpath(path)
