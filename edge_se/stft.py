"""Short-time Fourier transform, one hop at a time: analysis, and synthesis by overlap-add.

Synthesis uses the dual of the analysis window, so that their products sum to one and synthesis
gives the analysed samples back, `window - hop` samples later.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_se.signal import Signal

Samples: TypeAlias = NDArray[np.float32]
Spectrum: TypeAlias = NDArray[np.complex64]
Transform: TypeAlias = Callable[[NDArray[Any], Any, NDArray[Any]], object]


def _rfft(samples: NDArray[Any], factor: Any, out: NDArray[Any]) -> None:
    np.multiply(np.fft.rfft(samples), factor, out=out, casting="same_kind")


def _irfft(spectrum: NDArray[Any], factor: Any, out: NDArray[Any]) -> None:
    # np.fft.irfft divides by the length already; the factor asks for the same.
    np.multiply(np.fft.irfft(spectrum), factor * len(out), out=out, casting="same_kind")


def _fastest_transforms() -> tuple[Transform, Transform]:
    """Real FFT of even length and its inverse, as `f(input, factor, out)`.

    NumPy 2 computes them in single precision by two ufuncs; calling these directly halves the time
    of `np.fft.rfft(..., out=...)`, whose Python wrapper costs as much as the transform. NumPy 1 has
    neither these ufuncs nor `out=`.
    """
    try:
        from numpy.fft._pocketfft_umath import irfft, rfft_n_even
    except ImportError:
        return _rfft, _irfft
    return rfft_n_even, irfft


class Stft:
    """Streaming STFT of float32 samples with preallocated buffers; starts from zeros.

    The window at frame t ends with the newest hop; the output of frame t is complete for the
    window's first hop, so output lags input by `window - hop` samples.

    Attributes:
        spectrum: complex64 [bins] of the newest window; `analyse` writes into it.
    """

    def __init__(self, signal: Signal) -> None:
        """Transform as a signal says."""
        window, hop = signal.window, signal.hop
        self._forward, self._inverse = _fastest_transforms()
        self._unit, self._inverse_length = np.float32(1), np.float32(1 / signal.points)
        # A float's, whatever is computed in: networks are trained with one.
        window_function = signal.analysis_window().astype(np.float32)
        self._analysis_window = window_function.astype(signal.transform_dtype)
        self._synthesis_window = signal.synthesis_window().astype(np.float32)
        self._history = np.zeros(window, np.float32)
        self._points = np.zeros(signal.points, signal.transform_dtype)
        self._windowed = self._points[signal.windowed]
        self.spectrum = np.empty(signal.bins, np.complex64)
        self._inverted = np.empty(signal.points, np.float32)
        self._segment = self._inverted[signal.windowed]
        self._tail = np.zeros(window - hop, np.float32)
        # Slices are views made once; making one per frame would cost as much as using it.
        self._older, self._kept = self._history[:-hop], self._history[hop:]
        self._newest = self._history[-hop:]
        self._overlap, self._done = self._segment[: window - hop], self._segment[:hop]
        self._segment_tail = self._segment[hop:]

    def analyse(self, samples: Samples) -> Spectrum:
        """Take in one hop of samples (float32 [hop]) and return the spectrum of the newest window.

        Returns:
            complex64 [bins], the same buffer at each call.
        """
        self._older[...] = self._kept
        self._newest[...] = samples
        np.multiply(self._history, self._analysis_window, out=self._windowed)
        self._forward(self._points, self._unit, self.spectrum)
        return self.spectrum

    def synthesise(self, spectrum: Spectrum, out: Samples) -> None:
        """Overlap-add one frame's spectrum (complex64 [bins]) and write the finished hop to `out`.

        Args:
            spectrum: Spectrum of the newest window; not changed.
            out: float32 [hop].
        """
        self._inverse(spectrum, self._inverse_length, self._inverted)
        np.multiply(self._segment, self._synthesis_window, out=self._segment)
        np.add(self._overlap, self._tail, out=self._overlap)
        out[...] = self._done
        self._tail[...] = self._segment_tail

    def reset(self) -> None:
        """Forget all samples."""
        self._history.fill(0)
        self._tail.fill(0)
