"""Enhance audio files, or every audio file of folders.

The output is as long as the input and aligned with it. With the extra `audio`, any sample rate,
channel count and common format is handled; without it, 16-bit WAV. `-` is standard input or output,
as WAV. Files of any length need the same memory.
"""

import argparse
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_se.console import Console
from edge_se.errors import UserError, some
from edge_se.files import STANDARD
from edge_se.options import (
    MOST_PROCESSES,
    add_full_band,
    add_model_arguments,
    add_strength_arguments,
    asked_enhancer,
    audio_path,
    check_output,
    output_file,
    positive_int,
)

if TYPE_CHECKING:
    from edge_se.audio.inputs import Job
    from edge_se.enhancer import Enhancer

NAMED_AT_MOST = 10  # files that the last line names


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument(
        "input", nargs="+", type=audio_path, help="audio file, folder of audio files, or -"
    )
    parser.add_argument(
        "output",
        type=audio_path,
        help="file to write, -, or a folder, which mirrors input folders",
    )
    parser.add_argument(
        "--jobs",
        type=positive_int(MOST_PROCESSES),
        metavar="N",
        help="files to work on at the same time (default: as many as there are cores)",
    )
    parser.add_argument(
        "--vad",
        type=output_file,
        metavar="FILE",
        help="write the probability of speech there as CSV, a row a frame: the time of its middle "
        "in seconds, and a number between 0 and 1 a channel",
    )
    add_model_arguments(parser)
    add_strength_arguments(parser)
    add_full_band(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.audio.inputs import find_jobs

    jobs = find_jobs(arguments.input, arguments.output)
    prepare = functools.partial(prepare_work, arguments)
    if arguments.vad is not None:
        if str(arguments.vad) == STANDARD:
            raise UserError("--vad writes a file; give it a name, as in --vad speech.csv")
        if len(jobs) != 1 or jobs[0].in_folder:
            raise UserError("--vad writes of one recording; name one, and no folder")
        check_output(arguments.vad, [jobs[0].source, jobs[0].target])
    console = Console()
    try:
        if len(jobs) == 1 and jobs[0].complaint is None and not jobs[0].in_folder:
            return _run_one(prepare, jobs[0], console)
        return _run_all(prepare, jobs, arguments.jobs, console)
    finally:
        console.close()


def prepare_work(
    arguments: argparse.Namespace,
) -> Callable[["Job", Callable[[float], None]], str]:
    """Load a model, and give what enhances a file with it."""
    make = functools.partial(asked_enhancer, arguments)
    enhancers = [make()]

    def enough(count: int) -> "Sequence[Enhancer]":
        """One for each channel; they are kept for the next file."""
        while len(enhancers) < count:
            enhancers.append(make())
        return enhancers[:count]

    def work(job: "Job", report: Callable[[float], None]) -> str:
        from edge_se.audio.enhancing import enhance_file
        from edge_se.files import make_folder

        if job.complaint is not None:
            raise UserError(job.complaint)
        if job.in_folder:
            make_folder(job.target.parent)
        return enhance_file(
            *(enough, job.source, job.target, report), arguments.full_band, arguments.vad
        )

    return work


def _run_one(prepare: Callable[[], Callable], job: "Job", console: Console) -> int:
    from edge_se.parallel import do

    outcome = do(prepare(), job, lambda share: console.progress(share, f"of {job.source}"))
    for warning in outcome.warnings:
        console.say(f"edge-se: warning: {warning}")
    if outcome.summary is None:
        raise UserError(outcome.error)
    console.say(f"{job.target}: {outcome.summary}")
    return 0


def _run_all(
    prepare: Callable[[], Callable], jobs: Sequence["Job"], count: int | None, console: Console
) -> int:
    from edge_se.machine import usable_cores
    from edge_se.parallel import do_all

    failures: list[Path] = []
    outcomes = do_all(
        prepare,
        jobs,
        count or usable_cores(),
        lambda share: console.progress(share, f"of {len(jobs)} files"),
    )
    for number, (job, outcome) in enumerate(zip(jobs, outcomes, strict=True), start=1):
        for warning in outcome.warnings:
            console.say(f"edge-se: warning: {warning}")
        if outcome.summary is None:
            failures.append(job.source)
            name = "" if str(job.source) in outcome.error else f"{job.source}: "
            text = f"skipped: {name}{outcome.error}"
        else:
            text = f"{job.target}: {outcome.summary}"
        console.say(f"[{number}/{len(jobs)}] {text}")
    if failures:
        names = some([str(source) for source in failures], NAMED_AT_MOST)
        raise UserError(f"{len(failures)} of {len(jobs)} files could not be enhanced: {names}")
    return 0
