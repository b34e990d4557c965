"""Separate the vocals of a recording from their accompaniment.

Writes NAME_vocals.wav and NAME_accompaniment.wav, as long as the input and at its rate; they add up
to it. Recordings of any length need the same memory.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge_se.engines import RUNTIMES
from edge_se.errors import UserError
from edge_se.options import Number, count, input_path, output_folder

if TYPE_CHECKING:
    from edge_se.audio_blocks import StereoFile
    from edge_se.separator import Aggressiveness, Separator

STEMS = ("vocals", "accompaniment")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("input", type=input_path, help="stereo (or mono) audio file")
    parser.add_argument(
        "--model", type=input_path, required=True, help="separator, made by edge-se quantize"
    )
    parser.add_argument(
        "--out-dir",
        type=output_folder,
        required=True,
        metavar="DIR",
        help="folder for both stems",
    )
    parser.add_argument(
        "--aggressiveness",
        type=Number(float, 0, 100),
        metavar="VALUE",
        help="take more of what could be vocals out of the accompaniment, by raising the mask to "
        "the power 1 + VALUE (default: 0)",
    )
    parser.add_argument(
        "--split-bin",
        type=count(),
        metavar="BIN",
        help="below this frequency bin by a third of VALUE only (default: a third of all bins)",
    )
    parser.add_argument(
        "--runtime",
        choices=RUNTIMES,
        help="TFLite interpreter (default: the first of these that is installed)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.audio_blocks import StereoFile
    from edge_se.separator import Separator

    source = StereoFile(arguments.input)
    separator = Separator(arguments.model, arguments.runtime)
    if arguments.aggressiveness is not None:
        separator.aggressiveness = _aggressiveness(arguments, separator.manifest.signal.bins)
    elif arguments.split_bin is not None:
        raise UserError("--split-bin belongs to --aggressiveness; give that too")
    arguments.out_dir.mkdir(parents=True, exist_ok=True)
    targets = [arguments.out_dir / f"{arguments.input.stem}_{stem}.wav" for stem in STEMS]
    if any(target.exists() and target.samefile(source.path) for target in targets):
        raise UserError(f"{source.path} is one of the outputs itself; choose another --out-dir")
    report = separate_file(separator, source, targets)
    print(f"{' and '.join(map(str, targets))}: {report}", file=sys.stderr)
    return 0


def separate_file(separator: "Separator", source: "StereoFile", targets: list[Path]) -> str:
    """Write both stems of a file; returns what it took, for people."""
    from edge_se.audio_blocks import Resampler, StereoWriter
    from edge_se.machine import peak_resident_mb

    length = sum(len(block) for block in source.blocks(source.rate))
    if not length:
        raise UserError(f"{source.path} holds no samples")
    start = time.perf_counter()
    with (
        StereoWriter(targets[0], source.rate, source.subtype, length) as vocals,
        StereoWriter(targets[1], source.rate, source.subtype, length) as accompaniment,
    ):
        writers = (vocals, accompaniment)
        resamplers = [Resampler(separator.sample_rate, source.rate) for _ in writers]
        written = 0
        for stems in separator.separate_blocks(lambda: source.blocks(separator.sample_rate)):
            for writer, resampler, stem in zip(writers, resamplers, stems, strict=True):
                writer.write(resampler.push(stem))
            written += len(stems[0])
            _show_progress(written / separator.sample_rate, length / source.rate)
        for writer, resampler in zip(writers, resamplers, strict=True):
            writer.write(resampler.finish())
    elapsed, seconds = time.perf_counter() - start, length / source.rate
    times = separator.window_seconds
    return (
        f"{seconds:.1f} s of audio in {elapsed:.2f} s (RTF {elapsed / seconds:.3f}), "
        f"{len(times)} windows of {1000 * statistics.median(times):.0f} ms (median, model only), "
        f"peak memory {peak_resident_mb():.0f} MB"
    )


def _aggressiveness(arguments: argparse.Namespace, bins: int) -> "Aggressiveness":
    from edge_se.separator import Aggressiveness

    split = bins // 3 if arguments.split_bin is None else arguments.split_bin
    if not 0 <= split <= bins:
        raise UserError(f"--split-bin {split} is not between 0 and the model's {bins} bins")
    return Aggressiveness(split, arguments.aggressiveness)


def _show_progress(done: float, total: float) -> None:
    """One line that is written over, where somebody watches."""
    if sys.stderr.isatty():
        end = "\n" if done >= total else ""
        print(f"\r{min(done, total):.0f} of {total:.0f} s", end=end, file=sys.stderr, flush=True)
