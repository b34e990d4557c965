"""Enhance a live stream: raw PCM from standard input to standard output, frame by frame.

Samples are little-endian; without options, 16-bit ones of one channel at the model's rate, as in:
arecord -t raw -f S16_LE -r 16000 -c 1 | edge-se stream | aplay -t raw -f S16_LE -r 16000 -c 1

A WAV file's header says by itself what follows. What goes out is raw, of the same rate, format and
channels, each of which gets the enhanced sound. It lags by the model's latency (256 samples for a
16 ms hop), and what is still inside comes out when the input ends. What a microphone has piled up
is discarded (--max-lag); from a file, and from what comes faster than real time, nothing is lost. A
summary of times and missed deadlines goes to standard error at the end, as it does on SIGINT,
SIGTERM and SIGHUP.
"""

import argparse
import os
import stat
import sys
from pathlib import Path

from edge_se.console import Console
from edge_se.ending import Ended
from edge_se.errors import UserError
from edge_se.files import STANDARD, status_of
from edge_se.live.limits import LIMITS
from edge_se.live.pcm import FORMATS
from edge_se.live.stream import MAX_LAG_HOPS
from edge_se.options import (
    Number,
    add_full_band,
    add_model_arguments,
    add_strength_arguments,
    asked_enhancer,
    output_file,
)

STDIN, STDOUT = 0, 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    add_strength_arguments(parser)
    parser.add_argument(
        "--rate",
        type=Number(int, *LIMITS["rate"]),
        metavar="HZ",
        help="of the samples, in and out (default: the model's)",
    )
    parser.add_argument(
        "--channels",
        type=Number(int, *LIMITS["channels"]),
        metavar="N",
        help="how many there are, interleaved (default: 1)",
    )
    parser.add_argument(
        "--format",
        choices=FORMATS,
        help="of the samples; s24le is packed in 3 bytes, ALSA's S24_3LE (default: s16le)",
    )
    parser.add_argument(
        "--channel",
        type=Number(int, 1, LIMITS["channel"][1]),
        metavar="N",
        help="the one to enhance, from 1 on (default: the mean of all)",
    )
    parser.add_argument(
        "--max-lag",
        type=Number(int, 0, LIMITS["max_lag"][1]),
        metavar="HOPS",
        help="discard samples where more hops than this wait; 0: never (default: "
        f"{MAX_LAG_HOPS} where the source is seen to keep real time, otherwise 0)",
    )
    add_full_band(parser)
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
    from edge_se.live.pipes import InputPipe, OutputPipe
    from edge_se.live.stream import Settings, Stream, format_summary

    settings = Settings(
        arguments.rate,
        arguments.channels,
        arguments.format,
        arguments.channel,
        arguments.max_lag,
        arguments.full_band,
    )
    stream = None
    try:
        enhancer = asked_enhancer(arguments)
        stream = Stream(enhancer, InputPipe(STDIN), OutputPipe(STDOUT), settings, _say)
        with undisturbed():
            stream.pump()
    except Ended:
        pass  # a signal is as good an end as the end of the input
    finally:
        if stream is not None:
            summary = stream.summary()
            if arguments.json is not None:
                write_json(arguments.json, summary)
            _say(format_summary(summary))
    return 0


def _say(text: str) -> None:
    Console().say(f"edge-se: {text}")


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
