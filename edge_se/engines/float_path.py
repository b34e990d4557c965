"""The signal path in float32: what lies between samples and the one-frame step.

Nothing is allocated per frame: every array is made once, views are held, calls write into them.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.engines.choice import make_front_end, make_stft
from edge_se.manifest import BandMerging, Manifest, TensorSpec
from edge_se.quantized import Dequantizer, Quantizer
from edge_se.signal import FEATURE_ROWS, LEAST_MAGNITUDE
from edge_se.speech import soft_energy, speech_probability
from edge_se.stft import Samples, Spectrum, Stft
from edge_se.strength import FULL, ONE, Strength


class MagnitudeRealImaginary:
    """Writes magnitude, real and imaginary part of a spectrum into rows [3, bins]."""

    def __init__(self, spectrum: Spectrum, rows: Samples) -> None:
        """Read from the buffer `spectrum` (complex64 [bins])."""
        self._spectrum, self._real_part, self._imaginary_part = (
            spectrum,
            spectrum.real,
            spectrum.imag,
        )
        self._rows = rows
        self._magnitude, self._real, self._imaginary = rows

    def __call__(self, exponent: int) -> None:
        """Write them of the spectrum that the buffer holds now, times 2**exponent."""
        np.abs(self._spectrum, self._magnitude)
        self._real[...] = self._real_part
        self._imaginary[...] = self._imaginary_part
        if exponent:
            np.multiply(self._rows, np.float32(2.0**exponent), self._rows)


class LogMagnitude:
    """Writes the logarithm of a spectrum's magnitude, to the base 10, into rows [1, bins]."""

    def __init__(self, spectrum: Spectrum, rows: Samples) -> None:
        """Read from the buffer `spectrum` (complex64 [bins])."""
        self._spectrum, self._rows, (self._row,) = spectrum, rows, rows

    def __call__(self, exponent: int) -> None:
        """Write it of the spectrum that the buffer holds now, times 2**exponent."""
        np.abs(self._spectrum, self._row)
        if exponent:
            np.multiply(self._row, np.float32(2.0**exponent), self._row)
        np.maximum(self._row, np.float32(LEAST_MAGNITUDE), out=self._row)
        np.log10(self._row, out=self._row)


# A mask so much below its floor has no phase.
NO_PHASE = np.float32(1e-6)

# By the words of `edge_se.signal.FEATURES`.
FEATURES: Mapping[str, Callable[[Spectrum, Samples], Callable[[int], None]]] = {
    "magnitude_real_imaginary": MagnitudeRealImaginary,
    "log_magnitude": LogMagnitude,
}


class FeatureWriter:
    """Writes the features of a spectrum into the step's input.

    That is [rows, bins], or [6, bands] for features merged to bands in two parts.
    """

    def __init__(
        self,
        kind: str,
        spectrum: Spectrum,
        target: NDArray[Any],
        spec: TensorSpec,
        bands: BandMerging | None = None,
    ) -> None:
        """Read from the buffer `spectrum` (complex64 [bins]), write to `target` as `spec` says."""
        self._target = target
        self._quantize: Quantizer | None = None
        rows = target
        self._merge: BandMerger | None = None
        if spec.dtype != "float32":
            self._quantize = Quantizer(spec.shape, spec.scale, spec.zero_point, spec.dtype)
            rows = np.empty((FEATURE_ROWS[kind], len(spectrum)), np.float32)
        if bands is not None:
            self._merge = BandMerger(rows, bands)
        self._written = rows if self._merge is None else self._merge.bands
        self._compute = FEATURES[kind](spectrum, rows)

    def __call__(self, exponent: int = 0) -> None:
        """Write the features of the spectrum that the buffer holds now, times 2**exponent."""
        self._compute(exponent)
        if self._merge is not None:
            self._merge()
        if self._quantize is not None:
            self._quantize(self._written, self._target)


class BandMerger:
    """Features of bins to those of bands in two parts; see `edge_se.manifest.BandMerging`."""

    def __init__(self, rows: Samples, bands: BandMerging) -> None:
        """Read rows [3, bins], write `bands`, float32 [6, bands]."""
        count, bins = rows.shape
        self.bands = np.zeros((2 * count, bands.count), np.float32)
        self._rows = rows
        self._parts = np.zeros((2 * count, bins), np.float32)
        self._fine, self._excess = self._parts[:count], self._parts[count:]
        self._bound, self._share = np.float32(bands.bound), np.float32(1 / bands.ratio)
        alike = bands.alike
        self._alike, self._others = self._parts[:, :alike], self._parts[:, alike:]
        self._unmerged, self._merged = self.bands[:, :alike], self.bands[:, alike:]
        self._matrix = bands.matrix(bins)

    def __call__(self) -> None:
        """Merge the features that the rows hold now."""
        np.clip(self._rows, -self._bound, self._bound, out=self._fine)
        np.subtract(self._rows, self._fine, out=self._excess)
        np.multiply(self._excess, self._share, out=self._excess)
        self._unmerged[...] = self._alike
        np.matmul(self._others, self._matrix, out=self._merged)


class MaskApplier:
    """Multiplies a spectrum by the step's output: real and imaginary row of the mask, or real.

    Rows that are not there are zero. Limits of the strength act on the mask before.
    """

    def __init__(self, source: NDArray[Any], spec: TensorSpec) -> None:
        rows, bins = spec.shape
        self._limit: MaskLimiter | None = None
        self._source = source
        self._dequantize: Dequantizer | None = None
        self._rows = source
        if spec.dtype != "float32":
            self._dequantize = Dequantizer(spec.scale, spec.zero_point)
            self._rows = np.empty(spec.shape, np.float32)
        self._mask = np.zeros(bins, np.complex64)
        self._parts = (self._mask.real, self._mask.imag)[:rows]
        self._enhanced = np.empty(bins, np.complex64)

    def set_strength(self, strength: Strength) -> None:
        """Limit what the mask does, from the next call on."""
        self._limit = MaskLimiter(strength, len(self._mask)) if strength != FULL else None

    def __call__(self, spectrum: Spectrum) -> Spectrum:
        """Give the enhanced spectrum (complex64 [bins]), the same buffer at each call."""
        self.read()
        if self._limit is not None:
            self._limit(self._mask)
        return np.multiply(spectrum, self._mask, self._enhanced)

    def read(self) -> Spectrum:
        """The mask as the step gave it, complex64 [bins], the same buffer at each call."""
        if self._dequantize is not None:
            self._dequantize(self._source, self._rows)
        for part, row in zip(self._parts, self._rows, strict=True):
            part[...] = row
        return self._mask


class MaskLimiter:
    """Holds a mask at a least gain and mixes it with 1; see `edge_se.strength`."""

    def __init__(self, strength: Strength, bins: int) -> None:
        self._floor = np.float32(strength.least_gain / ONE)
        self._dry = np.float32(strength.dry / ONE)
        self._wet = np.float32(1 - strength.dry / ONE)
        self._size, self._low = np.empty(bins, np.float32), np.empty(bins, np.bool_)

    def __call__(self, mask: Spectrum) -> None:
        """Limit a mask (complex64 [bins]) where it is."""
        mask.imag[0] = mask.imag[-1] = 0  # a real signal's
        np.abs(mask, self._size)
        # Below, there is no telling the phase.
        np.less_equal(self._size, NO_PHASE * self._floor, out=self._low)
        mask[self._low], self._size[self._low] = self._floor, self._floor
        np.less(self._size, self._floor, out=self._low)
        np.divide(self._floor, self._size, out=self._size, where=self._low)
        np.multiply(mask, self._size, out=mask, where=self._low)
        np.multiply(mask, self._wet, out=mask)
        np.add(mask, self._dry, out=mask)


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


class FloatPath:
    """STFT, features and mask in float32; see `edge_se.engines.loop.SignalPath`."""

    sample_dtype = np.dtype(np.float32)

    def __init__(self, manifest: Manifest, features: NDArray[Any], mask: NDArray[Any]) -> None:
        """Write features into, and read masks from, the step's buffers, of any dtype."""
        self._stft = make_stft(manifest.signal)
        tensors = manifest.tensors
        self._write_features = FeatureWriter(
            manifest.signal.features,
            self._stft.spectrum,
            features,
            tensors.features,
            manifest.bands,
        )
        self._front_end = make_front_end(manifest.signal)
        self._apply_mask = MaskApplier(mask, tensors.mask)
        self._delay: SpectrumDelay | None = None
        if manifest.lookahead_frames:
            self._delay = SpectrumDelay(manifest.lookahead_frames, manifest.signal.bins)
        self._masked = self._stft.spectrum  # the spectrum that the newest mask belongs to
        self._soft = soft_energy(manifest.signal)

    def set_strength(self, strength: Strength) -> None:
        """Limit what the mask does, from the next hop on."""
        self._apply_mask.set_strength(strength)

    def analyse(self, samples: Samples) -> None:
        """Analysis: one hop of samples to the step's features."""
        exponent = 0
        if self._front_end is not None:
            samples, exponent = self._front_end(samples)
        self._stft.analyse(samples)
        self._write_features(exponent)
        if self._delay is not None:
            self._masked = self._delay(self._stft.spectrum)

    def knock(self) -> int:
        """What happens with the newest frame; see `edge_se.level.LevelNormalizer.event`."""
        return 0 if self._front_end is None else self._front_end.event

    def synthesise(self, out: Samples) -> None:
        """Synthesis: the mask applied, and one enhanced hop written to `out`."""
        self._stft.synthesise(self._apply_mask(self._masked), out)

    def speech_probability(self) -> float:
        """Probability, 0 to 1, that the newest frame out holds speech; see `edge_se.speech`."""
        return speech_probability(self._masked, self._apply_mask.read(), self._soft)

    def reset(self) -> None:
        """Forget all samples."""
        self._stft.reset()
        if self._front_end is not None:
            self._front_end.reset()
        if self._delay is not None:
            self._delay.reset()

    def describe(self) -> dict[str, Any]:
        """What runs, for reports."""
        return {"stft": f"float ({'numpy' if isinstance(self._stft, Stft) else 'compiled'})"}
