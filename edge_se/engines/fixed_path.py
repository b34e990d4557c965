"""The signal path in integers: int16 samples to the step's quantized input, and back.

`FixedPath` is the definition, built on `edge_se.fixed`; docs/fixed-point.md explains it.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.errors import UserError
from edge_se.fixed import (
    BINS,
    GUARD_BITS,
    HALF_SINE,
    HOP,
    LONGEST_SHIFT,
    MASK_UNIT_LIMIT,
    OCTAVE_BITS,
    SCALE_BITS,
    SEGMENT_LIMIT,
    STRENGTH_BITS,
    TABLE_BITS,
    WINDOW,
    Integers,
    analyse,
    has_transform,
    limited,
    logarithms,
    magnitude,
    mantissa,
    overlapped,
    round_shift,
    saturate,
    windows,
)
from edge_se.level import IntegerDc, make_normalizer
from edge_se.manifest import (
    BAND_WEIGHT_BITS,
    LARGEST_BAND_WEIGHT,
    BandMerging,
    Manifest,
    TensorSpec,
)
from edge_se.quantized import limits
from edge_se.signal import Signal
from edge_se.speech import soft_energy, speech_probability
from edge_se.strength import Strength

INT16 = limits(np.int16)
# Bits by which sums of bins may exceed bins.
BAND_HEADROOM = LARGEST_BAND_WEIGHT.bit_length() - 1
# Of logarithms to the base 2, as features to the base 10 have them.
LOGARITHM_UNIT, LOGARITHM_EXPONENT = math.log10(2), OCTAVE_BITS - SCALE_BITS
# Binary exponents of a model's scales that no shift can serve: steps of the features finer than
# 2**-42, masks that amplify 128-fold and more.
_FINEST_FEATURES, _COARSEST_MASK = 42, {"int8": 0, "int16": -8}


class FeatureScale:
    """Integers with a common exponent to the step's quantized input, by multiply and shift."""

    def __init__(self, spec: TensorSpec, unit: float = 1.0) -> None:
        """To a tensor as `spec` says, of values that are multiples of `unit`."""
        self.multiplier, self.exponent = mantissa(unit / spec.scale, SCALE_BITS)
        self.zero_point, self.limits = spec.zero_point, limits(spec.dtype)

    def shift(self, exponent: int) -> int:
        """Bits to shift products to the right, for values that stand for 2**-(exponent + 31)."""
        return min(2 * SCALE_BITS + exponent - self.exponent, LONGEST_SHIFT)

    def __call__(self, values: Integers, exponent: int) -> Integers:
        """Quantized values, saturated, of values that stand for 2**-(exponent + 31) each."""
        wide = round_shift(values * self.multiplier, self.shift(exponent)) + self.zero_point
        return saturate(wide, *self.limits)


def feature_scale(signal: Signal, spec: TensorSpec) -> FeatureScale:
    """Of what the features of a signal are made of: a spectrum, or its logarithms."""
    return FeatureScale(spec, LOGARITHM_UNIT if signal.is_logarithmic else 1.0)


class FixedBands:
    """Features of bins to those of bands in two parts; see `edge_se.manifest.BandMerging`."""

    def __init__(self, bands: BandMerging) -> None:
        self._alike = bands.alike
        self._matrix = (bands.matrix(BINS) * 2**BAND_WEIGHT_BITS).astype(np.int64)
        # Powers of two.
        self.bound_exponent = math.frexp(bands.bound)[1] - 1
        self.excess_shift = bands.ratio.bit_length() - 1

    def limit(self, exponent: int) -> int:
        """The bound, for values that stand for 2**-(exponent + 31) each."""
        bits = exponent + SCALE_BITS + self.bound_exponent
        return 2 ** max(bits, 0) if bits < SCALE_BITS else 2**SCALE_BITS - 1

    def __call__(self, values: Integers, exponent: int) -> tuple[Integers, Integers]:
        """Both parts [3, bands] of values [3, bins], in steps of 2**-(exponent + 27) each.

        The second is not divided yet.
        """
        limit = self.limit(exponent)
        fine = saturate(values, -limit, limit)
        return self._merged(fine), self._merged(values - fine)

    def _merged(self, values: Integers) -> Integers:
        alike, others = values[:, : self._alike], values[:, self._alike :]
        sums = np.concatenate([alike << BAND_WEIGHT_BITS, others @ self._matrix], axis=1)
        return round_shift(sums, BAND_WEIGHT_BITS + BAND_HEADROOM)


class MaskScale:
    """The mask's scale, as a window that carries its mantissa and a shift that has its exponent."""

    def __init__(self, spec: TensorSpec, window: Integers = HALF_SINE) -> None:
        """Of a mask as `spec` says, its signal multiplied by `window`."""
        self.multiplier, self.exponent = mantissa(spec.scale, TABLE_BITS)
        self.zero_point = spec.zero_point
        self.window = round_shift(window * self.multiplier, TABLE_BITS)
        finest = math.ldexp(self.multiplier, self.exponent - TABLE_BITS - STRENGTH_BITS)
        self.unit = min(round(1 / finest), MASK_UNIT_LIMIT)

    def shift(self, analysis: int, synthesis: int) -> int:
        """Bits to shift windowed values to the right, for the exponents of both transforms."""
        # 9 bits of the transform, 31 of its input, 15 of the window; samples have 15, guards 8.
        fractional = analysis + synthesis - self.exponent + 9 + 31 + TABLE_BITS
        return min(fractional - 15 - GUARD_BITS, LONGEST_SHIFT)

    def __call__(self, signal: Integers, analysis: int, synthesis: int) -> Integers:
        """Windowed segment [512] in steps of 2**-8 of a sample's, saturated."""
        segment = round_shift(signal * self.window, self.shift(analysis, synthesis))
        return saturate(segment, -SEGMENT_LIMIT, SEGMENT_LIMIT)


def check_served(manifest: Manifest) -> None:
    """Raise UserError when the fixed-point path can't serve a model."""
    features, mask = manifest.tensors.features, manifest.tensors.mask
    if "float32" in (features.dtype, mask.dtype):
        raise UserError(
            f"the fixed-point STFT needs integer features and masks, which a model of precision "
            f"{manifest.precision} has not; quantize with --precision int8 or take the float STFT"
        )
    signal = manifest.signal
    if not has_transform(signal):
        raise UserError(
            f"the fixed-point STFT has a window of {WINDOW} samples in as many points and hops of "
            f"{HOP}, the model a window of {signal.window} in {signal.points} and hops of "
            f"{signal.hop}; take the float STFT"
        )
    finest = feature_scale(signal, features).exponent > _FINEST_FEATURES
    if finest or MaskScale(mask).exponent > _COARSEST_MASK[mask.dtype]:
        raise UserError(
            f"the scales {features.scale:g} of the features and {mask.scale:g} of the mask are out "
            f"of the fixed-point STFT's reach; take the float STFT"
        )


def serves(manifest: Manifest) -> bool:
    """Whether the fixed-point path can serve a model."""
    try:
        check_served(manifest)
    except UserError:
        return False
    return True


class FixedPath:
    """STFT, features and mask in integers; see `edge_se.engines.loop.SignalPath`."""

    sample_dtype = np.dtype(np.int16)

    def __init__(self, manifest: Manifest, features: NDArray[Any], mask: NDArray[Any]) -> None:
        """Write features into, and read masks from, the step's integer buffers.

        Raises:
            UserError: The model has float features or masks, another window, or scales out of
                reach.
        """
        check_served(manifest)
        self._features, self._mask = features, mask
        self._logarithmic = manifest.signal.is_logarithmic
        self._feature_scale = feature_scale(manifest.signal, manifest.tensors.features)
        self._analysis_window, synthesis_window = windows(manifest.signal)
        self._bands = None if manifest.bands is None else FixedBands(manifest.bands)
        self._mask_scale = MaskScale(manifest.tensors.mask, synthesis_window)
        self._normalize = make_normalizer(manifest.signal)
        self._dc = IntegerDc()
        self._samples = np.zeros(WINDOW, np.int64)
        # Spectra and their exponents, the newest last; the mask belongs to the first.
        delay = manifest.lookahead_frames
        self._spectra = np.zeros((delay + 1, 2, BINS), np.int64)
        self._exponents = np.zeros(delay + 1, np.int64)
        self._tail = np.zeros(HOP, np.int64)
        self._least_gain = self._dry = 0
        self._soft, self._mask_step = soft_energy(manifest.signal), manifest.tensors.mask.scale

    def set_strength(self, strength: Strength) -> None:
        """Limit what the mask does, from the next hop on."""
        self._least_gain, self._dry = strength.least_gain, strength.dry

    def analyse(self, samples: NDArray[np.int16]) -> None:
        """Analysis: one hop of samples (int16 [256]) to the step's features."""
        self._samples[:HOP] = self._samples[HOP:]
        self._samples[HOP:] = samples
        gain = 0
        if self._normalize is not None:
            newest = self._samples[HOP:]
            if self._normalize.removes_dc:
                constant = self._dc(newest, self._normalize.exponent)
                newest[...] = saturate(newest - constant, *INT16)
            squares = np.square(newest)
            gain = self._normalize(int(squares.sum()), int(squares.max()) * len(squares))
        spectrum, exponent = analyse(self._samples, self._analysis_window)
        rows = magnitude(spectrum)[None]
        if self._logarithmic:
            found = logarithms(rows, exponent - gain)
            self._features[...] = self._feature_scale(found, LOGARITHM_EXPONENT)
        else:
            rows = np.concatenate([rows, spectrum])
            self._features[...] = self._quantized(rows, exponent - gain)
        self._spectra[:-1], self._spectra[-1] = self._spectra[1:], spectrum
        self._exponents[:-1], self._exponents[-1] = self._exponents[1:], exponent

    def _quantized(self, rows: Integers, exponent: int) -> Integers:
        if self._bands is None:
            return self._feature_scale(rows, exponent)
        fine, excess = self._bands(rows, exponent)
        coarser = exponent - BAND_HEADROOM
        parts = (fine, coarser), (excess, coarser + self._bands.excess_shift)
        return np.concatenate([self._feature_scale(*part) for part in parts])

    def knock(self) -> int:
        """What happens with the newest frame; see `edge_se.level.LevelNormalizer.event`."""
        return 0 if self._normalize is None else self._normalize.event

    def synthesise(self, out: NDArray[np.int16]) -> None:
        """Synthesis: the mask applied, and one enhanced hop (int16 [256]) written to `out`."""
        mask = self._read_mask()
        analysis = int(self._exponents[0])
        if self._least_gain or self._dry:
            mask = limited(mask, self._mask_scale.unit, self._least_gain, self._dry)
            analysis += STRENGTH_BITS
        signal, exponent = overlapped(mask, self._spectra[0])
        segment = self._mask_scale(signal, analysis, exponent)
        out[...] = saturate(round_shift(self._tail + segment[:HOP], GUARD_BITS), *INT16)
        self._tail[...] = segment[HOP:]

    def _read_mask(self) -> Integers:
        """Real and imaginary parts [2, 257], the zero point taken off."""
        mask: Integers = self._mask.astype(np.int64) - self._mask_scale.zero_point
        return mask if len(mask) == 2 else np.concatenate([mask, np.zeros_like(mask)])

    def speech_probability(self) -> float:
        """Probability, 0 to 1, that the newest frame out holds speech; see `edge_se.speech`."""
        spectrum, mask = self._spectra[0].astype(np.float64), self._read_mask().astype(np.float64)
        step = math.ldexp(1, -int(self._exponents[0]) - SCALE_BITS)
        return speech_probability(
            (spectrum[0] + 1j * spectrum[1]) * step,
            (mask[0] + 1j * mask[1]) * self._mask_step,
            self._soft,
        )

    def reset(self) -> None:
        """Forget all samples."""
        if self._normalize is not None:
            self._normalize.reset()
            self._dc.reset()
        for array in (self._samples, self._spectra, self._exponents, self._tail):
            array.fill(0)

    def describe(self) -> dict[str, Any]:
        """What runs, for reports."""
        return {"stft": "fixed (numpy)"}
