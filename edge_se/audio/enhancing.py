"""Enhancing a file of any length, rate and number of channels in constant memory."""

import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from edge_se.audio.formats import load_soundfile
from edge_se.audio.reading import AudioFile, AudioWarning
from edge_se.audio.resampling import Resampler
from edge_se.audio.speech_log import SpeechLog, speech_log
from edge_se.audio.writing import AudioWriter, writing
from edge_se.chunks import AlignedStream, nothing
from edge_se.enhancer import Enhancer
from edge_se.full_band import FullBand
from edge_se.stft import Samples


def enhance_blocks(
    enhancers: Sequence[Enhancer],
    blocks: Iterable[Samples],
    rate: int,
    full_band: bool = True,
    log: SpeechLog | None = None,
) -> Iterator[Samples]:
    """Enhance a recording block by block, each channel by itself from a fresh start.

    What lies above half the model's rate follows what the model does just below; see
    `edge_se.full_band`.

    Args:
        enhancers: One a channel.
        blocks: float32 [n, channels] each, at `rate`.
        rate: In Hz.
        full_band: Whether what lies above the model's band is in the output.
        log: Told the probability of speech.

    Yields:
        float32 [n, channels] each; all together as long as the input and aligned with it.

    Raises:
        UserError: The model has another rate and soxr is not installed.
    """
    channels, model_rate = len(enhancers), enhancers[0].sample_rate
    down = Resampler(rate, model_rate, channels)
    up = Resampler(model_rate, rate, channels)
    hearers = [nothing] * channels if log is None else log.hearers
    streams = [AlignedStream(*pair) for pair in zip(enhancers, hearers, strict=True)]
    length = 0
    bands: list[FullBand] = []
    if full_band and rate > model_rate:
        hop = enhancers[0].hop_size
        bands = [FullBand(hop, model_rate, rate) for _ in enhancers]
    left = 0  # samples that came in and have not gone out

    def enhance(heard: Samples) -> Samples:
        parts = [stream.push(heard[:, c]) for c, stream in enumerate(streams)]
        parts = [b.split(heard[:, c], parts[c]) for c, b in enumerate(bands)] or parts
        return np.stack(parts, axis=1)

    def finish() -> Samples:
        parts = [stream.finish() for stream in streams]
        none = np.empty(0, np.float32)
        if bands:
            parts = [np.r_[b.split(none, parts[c]), b.finish()] for c, b in enumerate(bands)]
        return np.stack(parts, axis=1)

    def join(samples: Samples, original: Samples) -> Samples:
        parts = [b.join(samples[:, c], original[:, c]) for c, b in enumerate(bands)]
        return np.stack(parts, axis=1) if bands else samples

    for block in blocks:
        enhanced = join(up.push(enhance(down.push(block))), block)
        left += len(block) - len(enhanced)
        length += len(block)
        if log is not None:
            log.write(length / rate)
        yield enhanced
    parts = [up.push(enhance(down.finish())), up.push(finish()), up.finish()]
    if log is not None:
        log.write(length / rate)
    # Resampling there and back may round the length up or down.
    tail = np.concatenate([*parts, np.zeros((left, channels), np.float32)])[:left]
    yield join(tail, np.empty((0, channels), np.float32))


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
    soundfile = load_soundfile()
    if soundfile is None or writer.subtype == file.subtype:
        return
    if soundfile.check_format(writer.format, file.subtype):
        warnings.warn(
            f"{file.name} is {file.subtype}, which libsndfile would make longer or damage; the "
            f"output is {writer.subtype}",
            AudioWarning,
            stacklevel=3,
        )
