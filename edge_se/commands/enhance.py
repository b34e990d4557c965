"""Enhance an audio file, or every audio file of a folder.

The output is as long as the input and aligned with it. With the extra `audio`, any sample rate,
channel count and common format is handled; without it, 16-bit WAV at the model's rate.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from edge_se.errors import UserError
from edge_se.options import add_model_arguments

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", type=Path, help="audio file, or folder of audio files")
    parser.add_argument(
        "output", type=Path, help="file to write, or folder to mirror the input folder into"
    )
    add_model_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    jobs = list(_jobs(arguments.input, arguments.output))
    from edge_se.enhancer import Enhancer

    enhancer = Enhancer(arguments.model, arguments.engine, arguments.runtime, arguments.stft)
    failures = []
    for number, (source, target) in enumerate(jobs, start=1):
        progress = f"[{number}/{len(jobs)}] " if len(jobs) > 1 else ""
        try:
            summary = _enhance_file(enhancer, source, target)
        except UserError as error:
            if len(jobs) == 1:
                raise
            failures.append(source)
            summary = f"skipped: {error}"
        print(f"{progress}{target}: {summary}", file=sys.stderr)
    if failures:
        names = ", ".join(map(str, failures))
        raise UserError(f"{len(failures)} of {len(jobs)} files could not be enhanced: {names}")
    return 0


def _jobs(source: Path, target: Path) -> Iterator[tuple[Path, Path]]:
    """Pairs of file to read and file to write; all are checked before the first is written."""
    from edge_se.audio import suffixes

    if not source.exists():
        raise UserError(f"there is no file or folder {source}")
    if source.is_file():
        if target.is_dir():
            target = target / source.name
        if target.exists() and target.samefile(source):
            raise UserError(f"{target} is the input itself; give another name for the output")
        yield source, target
        return
    if target.is_file():
        raise UserError(f"{source} is a folder, so the output has to be one; {target} is a file")
    inside, readable = target.resolve(), suffixes()
    if inside == source.resolve():
        raise UserError(f"{target} is the input folder itself; give another one for the output")
    found = [
        path
        for path in sorted(source.rglob("*"))
        if path.is_file()
        and path.suffix.lower() in readable
        and not path.resolve().is_relative_to(inside)
    ]
    if not found:
        raise UserError(f"{source} has no audio files ({', '.join(sorted(readable))})")
    for path in found:
        yield path, target / path.relative_to(source)


def _enhance_file(enhancer: "Enhancer", source: Path, target: Path) -> str:
    from edge_se.audio import enhance_recording, read, write

    recording = read(source)
    start = time.perf_counter()
    enhanced = enhance_recording(enhancer, recording)
    elapsed = time.perf_counter() - start
    target.parent.mkdir(parents=True, exist_ok=True)
    write(target, enhanced)
    seconds = len(recording.samples) / recording.rate
    return f"{seconds:.1f} s of audio in {elapsed:.2f} s"
