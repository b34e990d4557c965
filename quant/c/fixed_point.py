"""Layers in integers: what docs/c-engine.md calls tables and multipliers, from floats and steps.

A value has 16 bits and a step, what one unit stands for. Weights have 8 bits and one step for each
output. Sums have 32 bits; everything that could take a sum out of them is refused here, so that
the engine need not look.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant.c.layers import Cell, Floats

WEIGHT_LIMIT = 127
SUM_LIMIT = 2**31 - 1
# Fractional bits of gates and states, of normalized values, of the multipliers of sums of two
# values, and of weights between bands of the mask.
UNIT_BITS, NORMAL_BITS, PAIR_BITS, BAND_BITS = 15, 10, 14, 7
# 16 bits of a sum before a gate reach as far as tanh differs from 1 in UNIT_BITS, and no further.
TANH_REACH = 5.5
SUM_STEP, UNIT_STEP = TANH_REACH * 2.0**-15, 2.0**-UNIT_BITS
TANH_SPANS, TANH_DEGREE = 32, 3
# Of sums before reset and update gates, which are tanh of half of them, and before the candidate.
GATE_SHARES = np.array([0.5, 0.5, 1], np.float32)
# Of SUM_STEP, the largest unit of a sum of energies: below half, where no kernel shifts sums.
HEARD_SHARE = 0.499
ENERGY_BITS = 24

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Affine:
    """Weighted sums of a layer's inputs, and what turns them into results.

    result = (saturate32(sum * 2**shift) * m + 2**30) >> 31, where m is `multiplier` for sums from
    zero on and `below` for others.

    Attributes:
        weight: integers of 8 bits, shaped as the real weight; outputs first.
        bias, multiplier, below: by output, flat.
        shift: to the left.
    """

    weight: Integers
    bias: Integers
    multiplier: Integers
    below: Integers
    shift: int


def quantize_affine(
    weight: NDArray[Any], bias: NDArray[Any], step: float, result_step: float, slope: float = 1.0
) -> Affine:
    """Weights [outputs, ...] and biases [outputs] for inputs and results of these steps.

    Raises:
        ValueError: Sums could leave 32 bits.
    """
    outputs = len(weight)
    flat = weight.reshape(outputs, -1).astype(np.float64)
    scale = np.maximum(np.abs(flat).max(axis=1) / WEIGHT_LIMIT, 1e-12)
    rounded = np.rint(flat / scale[:, None])
    offset = np.rint(bias.astype(np.float64) / (scale * step))
    offset = np.clip(offset, -(2.0**30), 2.0**30)
    reach = np.abs(rounded).sum(axis=1) * 32768 + np.abs(offset)
    if reach.max() > SUM_LIMIT:
        raise ValueError("sums of products leave 32 bits")
    ratio = scale * step / result_step
    steepest = float(ratio.max()) * max(1.0, abs(slope))
    shift = max(0, math.floor(math.log2(steepest)) + 1)
    unit = 2.0 ** (31 - shift)
    return Affine(
        rounded.astype(np.int64).reshape(weight.shape),
        offset.astype(np.int64),
        np.minimum(np.rint(ratio * unit), SUM_LIMIT).astype(np.int64),
        np.clip(np.rint(ratio * slope * unit), -SUM_LIMIT, SUM_LIMIT).astype(np.int64),
        shift,
    )


@dataclass(frozen=True)
class FixedCell:
    """A recurrent unit: sums before its gates have SUM_STEP, those of two are halved."""

    input: Affine  # weight [groups * 3 * units, inputs]
    hidden: Affine  # weight [groups * 3 * units, units]


def quantize_cell(cell: Cell, step: float) -> FixedCell:
    """A recurrent unit whose input has this step; raises ValueError if sums could leave 32 bits."""
    groups, _, units, inputs = cell.input_weight.shape
    half = GATE_SHARES[:, None]
    bias = np.zeros((groups, 3, units), np.float32)
    bias[:, 2] = cell.candidate_bias
    given = quantize_affine(
        (cell.input_weight * half[..., None]).reshape(-1, inputs),
        (cell.input_bias * half).ravel(),
        step,
        SUM_STEP,
    )
    hidden = quantize_affine(
        (cell.hidden_weight * half[..., None]).reshape(-1, units), bias.ravel(), UNIT_STEP, SUM_STEP
    )
    return FixedCell(given, hidden)


@dataclass(frozen=True)
class FixedNormalization:
    """The normalization's tables and multipliers, all with `bits` fractional bits of the result.

    Shifts count in units of `step`.
    """

    scale: Integers
    shift: Integers
    step: int
    epsilon: int
    residual: int
    bits: int


def quantize_normalization(
    scale: Floats,
    shift: Floats,
    epsilon: float,
    step: float,
    residual_step: float,
    result_step: float,
) -> FixedNormalization:
    """Scale and shift [rows, channels] of values that have `step`.

    Raises:
        ValueError: The result's steps are so fine that its sums leave 32 bits.
    """
    largest_normal = math.ceil(math.sqrt(scale.size) * 2**NORMAL_BITS)
    for bits in range(PAIR_BITS, 0, -1):
        unit = result_step * 2.0**-bits
        scales = np.rint(scale.astype(np.float64) / unit * 2.0**-NORMAL_BITS).astype(np.int64)
        shifts = np.rint(shift.astype(np.float64) / unit).astype(np.int64)
        residual = round(residual_step / unit)
        reach = np.abs(scales).max() * largest_normal + np.abs(shifts).max() + residual * 32768
        if reach + 2**15 <= SUM_LIMIT and max(int(np.abs(scales).max()), residual) <= 32767:
            step = 1
            while np.abs(shifts).max() > 32767 * step:
                step *= 2
            rounding = min(round(scale.size**2 * epsilon / step**2), 2**50)
            shifts = np.rint(shifts / step).astype(np.int64)
            return FixedNormalization(scales, shifts, step, rounding, residual, bits)
    raise ValueError("a normalization's result is far finer than what is added")


@dataclass(frozen=True)
class FixedRectifier:
    """An affine PReLU's multipliers, `below` of negative values; as of `FixedNormalization`."""

    above: Integers
    below: Integers
    shift: Integers
    step: int
    bits: int


def quantize_rectifier(
    above: Floats, below: Floats, shift: Floats, step: float, result_step: float
) -> FixedRectifier:
    """Gains of positive values and of negative ones' size, and shifts: [rows, channels].

    Raises:
        ValueError: The result's steps are so fine that its sums leave 32 bits.
    """
    gains = np.stack([above, -below]).astype(np.float64) * (step / result_step)
    for bits in range(PAIR_BITS, 0, -1):
        multipliers = np.rint(gains * 2.0**bits).astype(np.int64)
        shifts = np.rint(shift.astype(np.float64) / result_step * 2.0**bits)
        reach = np.abs(multipliers).max() * 32768 + np.abs(shifts).max()
        if np.abs(multipliers).max() <= 32767 and reach + 2**15 <= SUM_LIMIT:
            unit = 1
            while np.abs(shifts).max() > 32767 * unit:
                unit *= 2
            shifts = np.rint(shifts / unit).astype(np.int64)
            return FixedRectifier(multipliers[0], multipliers[1], shifts, unit, bits)
    raise ValueError("a rectifier's result is far finer than what it is of")


def energy_step(cell: Cell, step: float) -> float:
    """The step of an energy that a recurrent unit hears: this one, or a finer one.

    One loud frame may set the range of energies; a unit whose gates are decided by a hundredth of
    it would hear the others in steps that are coarse even in its sums. Beyond the finer step's
    range an energy is cut off.
    """
    of_gates = cell.input_weight * GATE_SHARES[:, None, None]
    finest = SUM_STEP * WEIGHT_LIMIT / max(float(np.abs(of_gates).max()), 1e-12)
    return min(step, HEARD_SHARE * finest)


def energy_scale(rows: int, step: float, result_step: float) -> tuple[int, int]:
    """Multiplier and right shift from sums of squares over the rows to their mean's steps."""
    ratio = step**2 / rows / result_step
    fraction, exponent = math.frexp(ratio)
    return round(fraction * 2**ENERGY_BITS), ENERGY_BITS - exponent


def pair_multipliers(a: float, b: float, result: float) -> tuple[int, int, int]:
    """Multipliers of 15 bits at most for values of two steps, and their fractional bits.

    Raises:
        ValueError: The result's steps are too fine for that.
    """
    largest = max(a, b) / result
    bits = min(PAIR_BITS, PAIR_BITS - math.floor(math.log2(largest)))
    if bits < 1:
        raise ValueError("a sum's steps are far finer than what is added")
    first, second = (min(round(step / result * 2**bits), 32767) for step in (a, b))
    return first, second, bits


def tanh_table() -> Integers:
    """[4, spans]: powers from 0 to 3 that give tanh, with UNIT_BITS, over spans of 16-bit sums.

    Spans are in the order of the sums' upper bits, those of negative sums last; in each the
    variable goes from -1 to 1. The cubics agree with tanh at Chebyshev's nodes.
    """
    count = TANH_DEGREE + 1
    angles = (np.arange(count) + 0.5) * np.pi / count
    spans = (np.arange(TANH_SPANS) + TANH_SPANS // 2) % TANH_SPANS - TANH_SPANS // 2
    half = TANH_REACH / TANH_SPANS
    at = (2 * spans[:, None] + 1 + np.cos(angles)) * half
    series = np.cos(np.outer(np.arange(count), angles)) @ np.tanh(at).T * (2 / count)
    series[0] /= 2
    powers = np.stack(
        [series[0] - series[2], series[1] - 3 * series[3], 2 * series[2], 4 * series[3]]
    )
    return np.rint(powers * 2**UNIT_BITS).astype(np.int64)


def band_weights(matrix: Floats) -> Integers:
    """Weights between bands with BAND_BITS fractional bits; every bin's keep their sum."""
    rounded = np.rint(matrix.astype(np.float64) * 2**BAND_BITS).astype(np.int64)
    if rounded.min() < 0 or rounded.sum(axis=1).max() > 2**BAND_BITS + 1:
        raise ValueError("bins of the mask are no weighted means of bands")
    return rounded
