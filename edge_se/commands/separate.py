"""Separate the vocals of a recording from their accompaniment.

Writes NAME_vocals.wav and NAME_accompaniment.wav, as long as the input and at its rate; they add up
to it. Recordings of any length need the same memory.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from edge_se.console import Console
from edge_se.engines import RUNTIMES
from edge_se.errors import UserError
from edge_se.options import Number, count, input_path, output_folder

if TYPE_CHECKING:
    from edge_se.audio import AudioWriter, StereoFile
    from edge_se.resampling import Resampler
    from edge_se.separator import Aggressiveness, Separator
    from edge_se.stft import Samples

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
    from edge_se.audio import StereoFile
    from edge_se.audio.pipes import is_standard_input
    from edge_se.audio.writing import check_target
    from edge_se.files import make_folder
    from edge_se.separator import Separator

    with StereoFile(arguments.input) as source:
        separator = Separator(arguments.model, arguments.runtime)
        if arguments.aggressiveness is not None:
            separator.aggressiveness = _aggressiveness(arguments, separator.manifest.signal.bins)
        elif arguments.split_bin is not None:
            raise UserError("--split-bin belongs to --aggressiveness; give that too")
        make_folder(arguments.out_dir)
        piped = is_standard_input(arguments.input)
        stem = "stdin" if piped else arguments.input.stem
        targets = [arguments.out_dir / f"{stem}_{name}.wav" for name in STEMS]
        for target in targets:
            if not piped and target.exists() and target.samefile(arguments.input):
                raise UserError(f"{target} is the input itself; choose another --out-dir")
            check_target(target)
        console = Console()
        try:
            report = separate_file(
                separator,
                source,
                targets,
                lambda share: console.progress(share, f"of {source.name}"),
            )
        finally:
            console.close()
    console.say(f"{' and '.join(map(str, targets))}: {report}")
    return 0


def separate_file(
    separator: "Separator",
    source: "StereoFile",
    targets: list[Path],
    report: Callable[[float], object] = lambda share: None,
) -> str:
    """Write both stems of a file; returns what it took, for people."""
    from edge_se.audio import writing
    from edge_se.machine import peak_resident_mb
    from edge_se.resampling import Resampler

    length = sum(len(block) for block in source.blocks())
    if not length:
        raise UserError(f"{source.name} holds no samples")
    start = time.perf_counter()
    with ExitStack() as stack:
        stems = [
            _Stem(
                stack.enter_context(writing(target, source.rate, 2, source.subtype, length)),
                Resampler(separator.sample_rate, source.rate, 2),
                length,
            )
            for target in targets
        ]
        for parts in separator.separate_blocks(lambda: source.blocks(separator.sample_rate)):
            for stem, part in zip(stems, parts, strict=True):
                stem.write(part)
            report(stems[0].written / length)
        for stem in stems:
            stem.finish()
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


class _Stem:
    """One of the outputs, which gets as long as the input."""

    def __init__(self, writer: "AudioWriter", resampler: "Resampler", length: int) -> None:
        self.written = 0
        self._writer, self._resampler, self._length = writer, resampler, length

    def write(self, samples: "Samples") -> None:
        self._append(self._resampler.push(samples))

    def finish(self) -> None:
        self._append(self._resampler.finish())

    def _append(self, samples: "Samples") -> None:
        samples = samples[: self._length - self.written]
        self._writer.write(samples)
        self.written += len(samples)
