"""Separation of vocals from their accompaniment, in windows, in bounded memory.

As upstream does it (github.com/tsurumeso/vocal-remover): magnitudes of the whole recording are
divided by their largest; windows of fixed size, each cropped by the offset on both sides, lie side
by side; the mask gives the accompaniment, the rest is vocals.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.engines.window import TfliteWindow
from edge_se.manifest import Chunk
from edge_se.offline_stft import Analysis, Synthesis
from edge_se.stft import Samples, Spectrum

CHANNELS = 2
# Given twice the same samples in the same order: once for their peak, once to be separated.
Blocks = Callable[[], Iterable[Samples]]


@dataclass(frozen=True)
class Aggressiveness:
    """How much further down small mask values are pushed: mask ** (1 + value).

    Below `split_bin` by a third of `value` only.
    """

    split_bin: int
    value: float

    def exponents(self, bins: int) -> NDArray[np.float32]:
        """Exponent of the mask in each bin, float32 [bins]."""
        exponents = np.full(bins, 1 + self.value, np.float32)
        exponents[: self.split_bin] = 1 + self.value / 3
        return exponents


class Separator:
    """A separator model, ready to run.

    Attributes:
        model_path: Of the model file.
        manifest: Of the model.
        sample_rate: In Hz.
        aggressiveness: Sharpens the mask; None leaves it as it is.
        window_seconds: How long each of the model's invocations took so far.
    """

    aggressiveness: Aggressiveness | None = None

    def __init__(self, model_path: str | Path, runtime: str | None = None) -> None:
        """Load a model.

        Args:
            model_path: A .tflite made by `edge-se quantize` from a separator.
            runtime: "ai_edge_litert", "tflite_runtime" or "tensorflow"; None for the first one
                installed.

        Raises:
            UserError: The model can't be loaded, or is no separator.
        """
        self.model_path = Path(model_path)
        self._window = TfliteWindow(self.model_path, runtime)
        self.manifest = self._window.manifest
        self.sample_rate = self.manifest.signal.sample_rate
        self.window_seconds: list[float] = []

    def mask(self, magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
        """Mask of one window: float32 [frames, bins, 2] to [frames - 2 * offset, bins, 2]."""
        start = time.perf_counter()
        mask = self._window.run(magnitude)
        self.window_seconds.append(time.perf_counter() - start)
        if self.aggressiveness is None:
            return mask
        return mask ** self.aggressiveness.exponents(mask.shape[1])[:, None]

    def separate_blocks(self, blocks: Blocks) -> Iterator[tuple[Samples, Samples]]:
        """Separate a recording of any length; memory depends on the blocks and the window only.

        Args:
            blocks: Gives the recording from its start, at each of two calls: float32 [n, 2] each,
                at `sample_rate`.

        Yields:
            Vocals and accompaniment, float32 [n, 2] each, aligned with the recording and up to one
            hop longer in all.
        """
        peak = max((np.abs(s).max(initial=0.0) for s in self._spectra(blocks())), default=0.0)
        gain = np.float32(1 / peak if peak >= np.finfo(np.float32).tiny else 0)
        vocals, accompaniment = (Synthesis(self.manifest.signal, CHANNELS) for _ in range(2))
        for mixture, middle in cut_windows(self._spectra(blocks()), self._window.chunk):
            mask = self.mask(np.abs(mixture) * gain)[: middle.stop - middle.start]
            spectra = mixture[middle]
            masked = spectra * mask
            yield vocals.push(spectra - masked), accompaniment.push(masked)
        yield vocals.finish(), accompaniment.finish()

    def separate(self, samples: Samples) -> tuple[Samples, Samples]:
        """Separate a recording in memory: float32 [n, 2] to vocals and accompaniment [n, 2]."""
        blocks = [samples[start : start + (1 << 16)] for start in range(0, len(samples), 1 << 16)]
        parts = list(zip(*self.separate_blocks(lambda: blocks), strict=True))
        vocals, accompaniment = (np.concatenate(part)[: len(samples)] for part in parts)
        return vocals, accompaniment

    def describe(self) -> dict[str, Any]:
        """What runs: model file, architecture, precision, size, engine and runtime."""
        return {
            "file": str(self.model_path),
            "size_kb": round(self.model_path.stat().st_size / 1000, 1),
            "architecture": self.manifest.architecture,
            "precision": self.manifest.precision,
            **self._window.describe(),
        }

    def _spectra(self, blocks: Iterable[Samples]) -> Iterator[Spectrum]:
        analysis = Analysis(self.manifest.signal, CHANNELS)
        for block in blocks:
            yield analysis.push(block)
        yield analysis.finish()


def cut_windows(spectra: Iterable[Spectrum], chunk: Chunk) -> Iterator[tuple[Spectrum, slice]]:
    """Cut frames into windows whose middles lie side by side, with zeros around the recording.

    Args:
        spectra: Blocks of frames, [n, bins, 2] each.
        chunk: Size of the windows.

    Yields:
        Windows [chunk.frames, bins, 2], and which of their frames are the recording's next ones.
    """
    pending: Spectrum | None = None
    waiting = 0  # frames of the recording that no middle has had yet
    for block in spectra:
        before = [pad_frames(block, chunk.offset)] if pending is None else [pending]
        pending = np.concatenate([*before, block])
        waiting += len(block)
        while len(pending) >= chunk.frames:
            yield pending[: chunk.frames], slice(chunk.offset, chunk.offset + chunk.kept)
            pending, waiting = pending[chunk.kept :], waiting - chunk.kept
    while pending is not None and waiting > 0:
        missing = max(chunk.frames - len(pending), 0)
        pending = np.concatenate([pending, pad_frames(pending, missing)])
        yield pending[: chunk.frames], slice(chunk.offset, chunk.offset + min(waiting, chunk.kept))
        pending, waiting = pending[chunk.kept :], waiting - chunk.kept


def pad_frames(like: Spectrum, frames: int) -> Spectrum:
    """Silent frames of the shape and dtype of `like`."""
    return np.zeros((frames, *like.shape[1:]), like.dtype)
