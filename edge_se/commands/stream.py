"""Enhance a live stream: raw 16-bit PCM from standard input to standard output, frame by frame.

Samples are little-endian, one channel, at the model's rate, as in:
arecord -t raw -f S16_LE -r 16000 -c 1 | edge-se stream | aplay -t raw -f S16_LE -r 16000 -c 1

Output lags input by the model's latency in samples (256 for a 16 ms hop), and what is still inside
comes out when the input ends. A summary of times and missed deadlines then goes to standard error,
as it does on SIGINT, SIGTERM and SIGHUP.
"""

import argparse
import os
import select
import stat
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_se.errors import UserError
from edge_se.files import STANDARD, naming, status_of, write_all
from edge_se.options import (
    add_model_arguments,
    add_strength_arguments,
    asked_enhancer,
    output_file,
)

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer

STDIN, STDOUT = 0, 1
BIN_US = 5  # width of a bin in which frame times are counted


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    add_strength_arguments(parser)
    parser.add_argument(
        "--json", type=output_file, metavar="FILE", help="write the summary as JSON at the end"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    _require_pipes()
    if arguments.json is not None and _takes_the_audio(arguments.json):
        raise UserError("standard output is taken by the audio; give --json a file")
    from edge_se.benchmark import undisturbed
    from edge_se.files import write_json

    stream = None
    try:
        stream = Stream(asked_enhancer(arguments))
        with undisturbed():
            stream.pump()
    except SystemExit:
        pass  # a signal is as good an end as the end of the input
    finally:
        if stream is not None:
            summary = stream.summary()
            if arguments.json is not None:
                write_json(arguments.json, summary)
            print(format_summary(summary), file=sys.stderr)
    return 0


def _require_pipes() -> None:
    """Raise UserError where audio would come from or go to a terminal, or nowhere."""
    ends = (
        (sys.stdin, STDIN, "from standard input"),
        (sys.stdout, STDOUT, "to standard output"),
    )
    for stream, descriptor, what in ends:
        where = "is closed" if stream is None else "would be the terminal"
        if stream is None or os.isatty(descriptor):
            raise UserError(
                f"raw audio {what} {where}; use pipes: "
                "arecord -t raw -f S16_LE -r 16000 -c 1 | edge-se stream | aplay ..."
            )


def _takes_the_audio(path: Path) -> bool:
    """Whether what is written to a path goes where the audio goes; a device is no such place."""
    if str(path) == STANDARD:
        return True
    status, output = status_of(path, "written"), os.fstat(STDOUT)
    return (
        status is not None and os.path.samestat(status, output) and not stat.S_ISCHR(output.st_mode)
    )


def format_summary(summary: dict[str, Any]) -> str:
    """One line for people."""
    if not summary["frames"]:
        return "edge-se: the stream ended before its first frame"
    times = ", ".join(f"{name} {value:g}" for name, value in summary["frame_us"].items())
    return (
        f"edge-se: {summary['frames']} frames ({summary['seconds']:.1f} s), {times} µs per frame, "
        f"real-time factor {summary['rtf']:.4f}, "
        f"{summary['deadline_misses']} of {summary['frames']} deadlines missed, "
        f"{summary['latency_ms']:g} ms algorithmic latency"
    )


class Stream:
    """Pumps samples through an enhancer and keeps count of the time it takes.

    The time of a frame goes from its last sample read to its last sample written. It misses its
    deadline when that takes longer than a hop. Times are counted in bins, so that a stream may run
    for months.
    """

    def __init__(self, enhancer: "Enhancer") -> None:
        import numpy as np

        from edge_se.engines.samples import FloatProcess

        self._enhancer = enhancer
        hop = enhancer.hop_size
        self._hop_us = 1e6 * hop / enhancer.sample_rate
        self._pcm = np.zeros(hop, "<i2")
        self._bytes = memoryview(self._pcm.view(np.uint8))  # type: ignore[arg-type]
        self._process: Callable[[Any, Any], object] = enhancer.process
        if enhancer.sample_dtype != self._pcm.dtype:
            self._process = FloatProcess(enhancer.process, hop).process
        self._bins = np.zeros(round(4 * self._hop_us / BIN_US) + 1, np.int64)
        self._frames = self._misses = 0
        self._total_us = self._max_us = 0.0

    def pump(self) -> None:
        """Read, enhance and write until the input ends."""
        size, latency = len(self._bytes), self._enhancer.latency_samples
        while (got := self._fill()) == size:
            start = time.perf_counter()
            self._enhance()
            self._write(size)
            self._count(1e6 * (time.perf_counter() - start))
        # What came of a last frame, and what is still inside, pushed out by zeros.
        if got % 2:
            got -= 1
            warnings.warn("the input ended inside a sample, which is left out", stacklevel=1)
        left = got + 2 * latency
        while left > 0:
            self._bytes[got:] = bytes(size - got)
            got = 0
            self._enhance()
            self._write(min(left, size))
            left -= size

    def summary(self) -> dict[str, Any]:
        """What was counted so far, ready for JSON; percentiles are upper ends of bins."""
        percentiles = {}
        if self._frames:
            reached = self._bins.cumsum()
            for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99)):
                bin_index = int(reached.searchsorted(share * self._frames))
                percentiles[name] = round(min((bin_index + 1) * BIN_US, self._max_us), 1)
            percentiles["max"] = round(self._max_us, 1)
        seconds = self._frames * self._hop_us * 1e-6
        return {
            "frames": self._frames,
            "seconds": round(seconds, 3),
            "frame_us": percentiles,
            "rtf": round(self._total_us * 1e-6 / seconds, 6) if seconds else None,
            "deadline_misses": self._misses,
            "latency_ms": round(self._enhancer.manifest.algorithmic_latency_ms, 3),
        }

    def _fill(self) -> int:
        """Read one frame; return how many bytes came before the input ended."""
        filled = 0
        with naming("standard input", "read"):
            while filled < len(self._bytes):
                try:
                    got = os.readv(STDIN, [self._bytes[filled:]])
                except BlockingIOError:  # the other end's choice; nothing is there yet
                    select.select([STDIN], [], [])
                    continue
                if not got:
                    break
                filled += got
        return filled

    def _enhance(self) -> None:
        self._process(self._pcm, self._pcm)

    def _write(self, size: int) -> None:
        with naming("standard output"):
            write_all(STDOUT, self._bytes[:size])

    def _count(self, elapsed_us: float) -> None:
        self._frames += 1
        self._total_us += elapsed_us
        self._max_us = max(self._max_us, elapsed_us)
        self._misses += elapsed_us > self._hop_us
        self._bins[min(int(elapsed_us / BIN_US), len(self._bins) - 1)] += 1
