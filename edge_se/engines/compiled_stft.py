"""The STFT in the compiled core: `edge_se.stft.Stft` in half the time, up to rounding."""

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.core import StftContext
from edge_se.signal import Signal
from edge_se.stft import Samples, Spectrum

_WINDOW, _HOP = 512, 256


def twiddles() -> NDArray[np.float64]:
    """exp(-2 pi i p r / 256) for r = 1, 2, 3 and p < 64, real and imaginary: [2, 3, 64]."""
    angles = 2 * np.pi * np.arange(1, 4)[:, None] * np.arange(64) / 256
    return np.stack([np.cos(angles), -np.sin(angles)])


class CompiledStft:
    """Streaming STFT of windows of 512 samples, as `edge_se.stft.Stft`."""

    def __init__(self, library: Any, signal: Signal) -> None:
        """Use a library of `edge_se.core.load_core` for a signal that it serves."""
        angles, dtype = 2 * np.pi * np.arange(_HOP + 1) / _WINDOW, signal.transform_dtype
        self._samples = np.zeros(_WINDOW, np.float32)
        self._newest = self._samples[_HOP:]
        self.spectrum: Spectrum = np.zeros(_HOP + 1, np.complex64)
        self._masked = np.zeros(_HOP + 1, np.complex64)
        self._tail, self._output = np.zeros(_HOP, np.float32), np.zeros(_HOP, np.float32)
        # The core reads and writes these where they are: they must live as long as this.
        self._arrays: dict[str, NDArray[Any]] = {
            "window": signal.analysis_window().astype(np.float32),
            "synthesis": signal.synthesis_window().astype(np.float32),
            "cosines": np.cos(angles).astype(dtype),
            "sines": np.sin(angles).astype(dtype),
            "twiddles": twiddles().astype(dtype),
            "samples": self._samples,
            "spectrum": self.spectrum,
            "masked": self._masked,
            "tail": self._tail,
            "output": self._output,
        }
        self._context = StftContext(
            **{name: array.ctypes.data for name, array in self._arrays.items()}
        )
        self._address = ctypes.addressof(self._context)
        kind = "_double" if dtype == np.float64 else ""
        self._analyse = getattr(library, f"edge_se_stft_analyse{kind}")
        self._synthesise = getattr(library, f"edge_se_stft_synthesise{kind}")

    def analyse(self, samples: Samples) -> Spectrum:
        """Take in one hop of samples (float32 [256]) and return the newest window's spectrum."""
        self._newest[...] = samples
        self._analyse(self._address)
        return self.spectrum

    def synthesise(self, spectrum: Spectrum, out: Samples) -> None:
        """Overlap-add one frame's spectrum and write the finished hop to `out`."""
        self._masked[...] = spectrum
        self._synthesise(self._address)
        out[...] = self._output

    def reset(self) -> None:
        """Forget all samples."""
        self._samples.fill(0)
        self._tail.fill(0)
