"""The signal path in float32: what lies between samples and the one-frame step.

Nothing is allocated per frame: every array is made once, views are held, calls write into them.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edge_se.core import load_core
from edge_se.level import hop_energy, make_normalizer
from edge_se.manifest import Manifest, TensorSpec
from edge_se.quantized import Dequantizer, Quantizer, limits
from edge_se.stft import Samples, Spectrum, Stft

if TYPE_CHECKING:
    from edge_se.engines.compiled_stft import CompiledStft


class FeatureWriter:
    """Writes magnitude, real and imaginary part of a spectrum into the step's input.

    That is [3, bins], or [6, bins] for features in two parts.
    """

    def __init__(
        self, spectrum: Spectrum, target: NDArray[Any], spec: TensorSpec, excess_ratio: int = 1
    ) -> None:
        """Read from the buffer `spectrum` (complex64 [bins]), write to `target` as `spec` says."""
        self._spectrum, self._real_part, self._imaginary_part = (
            spectrum,
            spectrum.real,
            spectrum.imag,
        )
        self._target = target
        self._quantize: Quantizer | None = None
        self._rows = target
        self._divide: Divider | None = None
        if spec.dtype != "float32":
            self._quantize = Quantizer(spec.shape, spec.scale, spec.zero_point, spec.dtype)
            self._rows = np.empty(spec.shape, np.float32)
        if excess_ratio > 1:
            low, high = ((n - spec.zero_point) * spec.scale for n in limits(spec.dtype))
            self._divide = Divider(self._rows, low, high, excess_ratio)
        self._magnitude, self._real, self._imaginary = self._rows[:3]

    def __call__(self, exponent: int = 0) -> None:
        """Write the features, times 2**exponent, of the spectrum that the buffer holds now."""
        np.abs(self._spectrum, self._magnitude)
        self._real[...] = self._real_part
        self._imaginary[...] = self._imaginary_part
        if exponent:
            np.multiply(self._rows[:3], np.float32(2.0**exponent), self._rows[:3])
        if self._divide is not None:
            self._divide()
        if self._quantize is not None:
            self._quantize(self._rows, self._target)


class Divider:
    """Divides features, in place, into what one range holds and a fraction of what exceeds it."""

    def __init__(self, rows: Samples, low: float, high: float, ratio: int) -> None:
        """Read rows [6, bins], of which the first three hold features, and write to all."""
        half = len(rows) // 2
        self._limited, self._excess = rows[:half], rows[half:]
        self._low, self._high = np.float32(low), np.float32(high)
        self._share = np.float32(1 / ratio)

    def __call__(self) -> None:
        """Divide the features that the first rows hold now."""
        np.copyto(self._excess, self._limited)
        np.clip(self._limited, self._low, self._high, out=self._limited)
        np.subtract(self._excess, self._limited, out=self._excess)
        np.multiply(self._excess, self._share, out=self._excess)


class MaskApplier:
    """Multiplies a spectrum by the step's output [2, bins], real and imaginary row of the mask."""

    def __init__(self, source: NDArray[Any], spec: TensorSpec) -> None:
        bins = spec.shape[1]
        self._source = source
        self._dequantize: Dequantizer | None = None
        self._rows = source
        if spec.dtype != "float32":
            self._dequantize = Dequantizer(spec.scale, spec.zero_point)
            self._rows = np.empty(spec.shape, np.float32)
        self._real, self._imaginary = self._rows
        self._mask = np.empty(bins, np.complex64)
        self._mask_real, self._mask_imaginary = self._mask.real, self._mask.imag
        self._enhanced = np.empty(bins, np.complex64)

    def __call__(self, spectrum: Spectrum) -> Spectrum:
        """Give the enhanced spectrum (complex64 [bins]), the same buffer at each call."""
        if self._dequantize is not None:
            self._dequantize(self._source, self._rows)
        self._mask_real[...] = self._real
        self._mask_imaginary[...] = self._imaginary
        return np.multiply(spectrum, self._mask, self._enhanced)


class SpectrumDelay:
    """Holds spectra back for as many frames as the mask lags the features."""

    def __init__(self, frames: int, bins: int) -> None:
        self._ring = np.zeros((frames + 1, bins), np.complex64)
        self._newest = 0

    def __call__(self, spectrum: Spectrum) -> Spectrum:
        """Take in the newest spectrum and give the one that the newest mask belongs to."""
        self._ring[self._newest] = spectrum
        self._newest = (self._newest + 1) % len(self._ring)
        return self._ring[self._newest]

    def reset(self) -> None:
        """Forget all spectra."""
        self._ring.fill(0)


def make_stft(window: int, hop: int) -> "Stft | CompiledStft":
    """The STFT, in the compiled core where that is and has the window."""
    core = load_core()
    if core is None or window != 512:
        return Stft(window, hop)
    from edge_se.engines.compiled_stft import CompiledStft

    return CompiledStft(core)


class FloatPath:
    """STFT, features and mask in float32; see `edge_se.engines.loop.SignalPath`."""

    sample_dtype = np.dtype(np.float32)

    def __init__(self, manifest: Manifest, features: NDArray[Any], mask: NDArray[Any]) -> None:
        """Write features into, and read masks from, the step's buffers, of any dtype."""
        self._stft = make_stft(manifest.window, manifest.hop)
        signals = manifest.signals
        self._write_features = FeatureWriter(
            self._stft.spectrum, features, signals.features, manifest.excess_ratio
        )
        self._normalize = make_normalizer(manifest)
        self._apply_mask = MaskApplier(mask, signals.mask)
        self._delay: SpectrumDelay | None = None
        if manifest.lookahead_frames:
            self._delay = SpectrumDelay(manifest.lookahead_frames, manifest.bins)
        self._masked = self._stft.spectrum  # the spectrum that the newest mask belongs to

    def analyse(self, samples: Samples) -> None:
        """Analysis: one hop of samples to the step's features."""
        self._stft.analyse(samples)
        self._write_features(self._normalize(hop_energy(samples)) if self._normalize else 0)
        if self._delay is not None:
            self._masked = self._delay(self._stft.spectrum)

    def synthesise(self, out: Samples) -> None:
        """Synthesis: the mask applied, and one enhanced hop written to `out`."""
        self._stft.synthesise(self._apply_mask(self._masked), out)

    def reset(self) -> None:
        """Forget all samples."""
        self._stft.reset()
        if self._normalize is not None:
            self._normalize.reset()
        if self._delay is not None:
            self._delay.reset()

    def describe(self) -> dict[str, Any]:
        """What runs, for reports."""
        return {"stft": f"float ({'numpy' if isinstance(self._stft, Stft) else 'compiled'})"}
