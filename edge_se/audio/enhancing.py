"""Enhancing a file of any length, rate and number of channels in constant memory."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edge_se.audio.formats import can_hold
from edge_se.audio.reading import AudioFile, AudioWarning
from edge_se.audio.speech_log import SpeechLog, speech_log
from edge_se.audio.writing import AudioWriter, writing
from edge_se.chunks import AlignedStream, nothing
from edge_se.enhancer import Enhancer
from edge_se.stft import Samples


def enhance_blocks(
    enhancers: Sequence[Enhancer],
    blocks: Iterable[Samples],
    rate: int,
    full_band: bool = True,
    log: SpeechLog | None = None,
) -> Iterator[Samples]:
    """Enhance a recording block by block, each channel by itself from a fresh start.

    Args:
        enhancers: One a channel.
        blocks: float32 [n, channels] each, at `rate`.
        rate: In Hz.
        full_band: Whether what lies above the model's band is in the output, where it follows what
            the model does just below; see `edge_se.full_band`.
        log: Told the probability of speech.

    Yields:
        float32 [n, channels] each; all together as long as the input and aligned with it.
    """
    hearers = [nothing] * len(enhancers) if log is None else log.hearers
    streams = [
        AlignedStream(enhancer, rate, full_band, hearer)
        for enhancer, hearer in zip(enhancers, hearers, strict=True)
    ]
    length = 0
    for block in blocks:
        length += len(block)
        yield np.stack([stream.push(block[:, c]) for c, stream in enumerate(streams)], axis=1)
        if log is not None:
            log.write(length / rate)
    yield np.stack([stream.finish() for stream in streams], axis=1)
    if log is not None:
        log.write(length / rate)


def enhance_file(
    enhancers: Callable[[int], Sequence[Enhancer]],
    source: Path,
    target: Path,
    report: Callable[[float], object] = lambda share: None,
    full_band: bool = True,
    vad: Path | None = None,
) -> str:
    """Enhance an audio file into another, of the same rate, length and number of channels.

    Args:
        enhancers: Gives so many of them, one a channel.
        source: What to read; `-` is standard input.
        target: What to write, by its suffix; `-` is standard output.
        report: Called with the share of the work that is done, 0 to 1.
        full_band: As of `enhance_blocks`.
        vad: CSV file to write the probability of speech to; see `SpeechLog`.

    Returns:
        What it took, for people.

    Raises:
        UserError: The file can't be read, or the other one can't be written.
    """
    with (
        AudioFile(source) as file,
        writing(target, file.rate, file.channels, file.subtype, file.frames) as writer,
    ):
        _tell_subtype(file, writer)
        start = time.perf_counter()
        channels = enhancers(file.channels)
        with speech_log(vad, channels) as log:
            for block in enhance_blocks(channels, file.blocks(), file.rate, full_band, log):
                writer.write(block)
                report(file.share)
    elapsed = time.perf_counter() - start
    return f"{writer.written / file.rate:.1f} s of audio in {elapsed:.2f} s"


def _tell_subtype(file: AudioFile, writer: AudioWriter) -> None:
    if writer.subtype != file.subtype and can_hold(writer.format, file.subtype):
        warnings.warn(
            f"{file.name} is {file.subtype}, which libsndfile would make longer or damage; the "
            f"output is {writer.subtype}",
            AudioWarning,
            stacklevel=3,
        )
