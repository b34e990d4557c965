"""A network's layers in integers, with all their tables: what the fixed engine computes.

The engine's C and the NumPy model in the tests are both made from these.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_se.engines.fixed_path import FeatureScale, MaskScale, feature_scale
from edge_se.fixed import windows
from edge_se.manifest import TensorSpec
from edge_se.signal import Signal
from quant.c.engine import merge_bands, split_bins
from quant.c.fixed_point import (
    SUM_STEP,
    UNIT_STEP,
    Affine,
    FixedCell,
    FixedNormalization,
    FixedRectifier,
    Integers,
    band_weights,
    energy_scale,
    energy_step,
    pair_multipliers,
    quantize_affine,
    quantize_cell,
    quantize_normalization,
    quantize_rectifier,
)
from quant.c.layers import (
    AffineRectifier,
    Attention,
    AttentionBothWays,
    BandConvolution,
    Convolution,
    Layer,
    Merge,
    Normalization,
    Recurrence,
    Scan,
    Sigmoid,
    Split,
    Spread,
    Sum,
    Temporal,
    rows_of,
)
from quant.graph.encoding import Encoding
from quant.graph.graph import Value

Steps = Callable[[Value], float]

# Squares are taken in steps of 2**SQUARE_BITS where many are added up in 32 bits.
SQUARE_BITS = 6


@dataclass(frozen=True)
class FixedMerge:
    """Bands: for each its first bin, 8-bit weights and multiplier; one shift for all.

    The first `alike` are a bin each, with the same weight and multiplier.
    """

    alike: int
    first: list[int]
    weights: list[Integers]
    multiplier: Integers
    shift: int
    features: FeatureScale


@dataclass(frozen=True)
class FixedBandConvolution:
    """Weight [outputs, taps, 3]; what to add at the ends [2, outputs, 3]."""

    affine: Affine
    edges: Integers


@dataclass(frozen=True)
class FixedAttention:
    """Cell and gate, and the multipliers of both halves of the result, with `bits` bits."""

    cell: FixedCell
    gate: Affine
    energy: int
    energy_shift: int
    gain: int
    passed: int
    bits: int


@dataclass(frozen=True)
class FixedBothWays:
    """Both cells and gates, what makes energies of sums of squares, and the gates' multiplier.

    Sums are of squares in steps of 2**SQUARE_BITS; the multiplier has `bits` fractional bits.
    """

    cell: FixedCell
    gate: Affine
    energy: int
    energy_shift: int
    band_cell: FixedCell
    band_gate: Affine
    band_energy: int
    band_energy_shift: int
    gain: int
    bits: int


@dataclass(frozen=True)
class FixedSigmoid:
    """Of sums that have twice SUM_STEP."""


@dataclass(frozen=True)
class FixedSum:
    """Multipliers of both values, with `bits` fractional bits."""

    a: int
    b: int
    bits: int


@dataclass(frozen=True)
class FixedSplit:
    """Low bins that are bands; of the others, the first of two bands and both weights."""

    alike: int
    first: Integers
    weight: Integers
    mask: MaskScale


@dataclass(frozen=True)
class FixedNormalizedLinear:
    """The linear layer, and the normalization of its result."""

    affine: Affine
    normalization: FixedNormalization


Fixed = (
    FixedMerge
    | FixedBandConvolution
    | Affine
    | FixedCell
    | FixedNormalizedLinear
    | FixedAttention
    | FixedBothWays
    | FixedRectifier
    | FixedSigmoid
    | FixedSum
    | FixedSplit
)


def quantize_layers(
    layers: Sequence[Layer], encodings: Mapping[Value, Encoding], signal: Signal
) -> list[Fixed]:
    """Each layer in integers, values having the 16-bit steps of `encodings`.

    Args:
        layers: of the frame.
        encodings: of their values.
        signal: that the network hears.

    Raises:
        ValueError: A layer's sums could leave 32 bits.
    """
    before_sigmoids = {layer.x for layer in layers if isinstance(layer, Sigmoid)}

    def step(value: Value) -> float:
        return 2 * SUM_STEP if value in before_sigmoids else encodings[value].scale

    def quantize(layer: Layer) -> Fixed:
        match layer:
            case Merge():
                return _merge(layer, step(layer.features), step(layer.result), signal)
            case BandConvolution():
                return _band_convolution(layer, step(layer.x), step(layer.result))
            case Convolution():
                # Groups come one after the other, each with its phases.
                weight = layer.weight.swapaxes(0, 1)
                return quantize_affine(
                    weight.reshape(-1, *weight.shape[3:]),
                    layer.bias.swapaxes(0, 1).ravel(),
                    step(layer.x.value),
                    SUM_STEP if layer.bounded else step(layer.result),
                    1.0 if layer.slope is None else layer.slope,
                )
            case Temporal():
                weight = np.moveaxis(layer.weight, -1, 0)
                return quantize_affine(
                    weight, layer.bias, step(layer.x), step(layer.result), layer.slope
                )
            case Spread():
                phases, frames, taps, inputs, outputs = layer.weight.shape
                weight = np.moveaxis(layer.weight, -1, 1)
                return quantize_affine(
                    weight.reshape(phases * outputs, frames, taps, inputs),
                    layer.bias.ravel(),
                    step(layer.x),
                    step(layer.result),
                )
            case AffineRectifier():
                gains = layer.above, layer.below, layer.shift
                return quantize_rectifier(*gains, step(layer.x), step(layer.result))
            case Sigmoid():
                return FixedSigmoid()
            case Scan() | Recurrence():
                return quantize_cell(layer.cell, step(layer.x))
            case Normalization():
                return _normalized_linear(layer, step)
            case Attention():
                return _attention(layer, step)
            case AttentionBothWays():
                return _attention_both_ways(layer, step)
            case Sum():
                return FixedSum(*pair_multipliers(step(layer.a), step(layer.b), step(layer.result)))
            case Split():
                first, weight = split_bins(layer)
                spec = TensorSpec(0, layer.result.shape, "int16", UNIT_STEP, 0)
                return FixedSplit(
                    *(layer.alike, first.astype(np.int64), band_weights(weight)),
                    MaskScale(spec, windows(signal)[1]),
                )

    return [quantize(layer) for layer in _with_room(layers, encodings)]


def _with_room(layers: Sequence[Layer], encodings: Mapping[Value, Encoding]) -> list[Layer]:
    """The layers, sums before an affine PReLU rescaled so that their steps serve both signs.

    The graph has an operator for each sign, whose channels were equalized apart.
    """
    rectifiers = {layer.x: layer for layer in layers if isinstance(layer, AffineRectifier)}
    shares = {
        x: np.minimum(1, layer.ratio * encodings[x].scale / encodings[layer.negative].scale)
        for x, layer in rectifiers.items()
    }
    result: list[Layer] = []
    for layer in layers:
        if isinstance(layer, AffineRectifier):
            share = shares[layer.x][np.arange(len(layer.above)) % len(layer.ratio)]
            gains = {"above": layer.above / share, "below": layer.below / share}
            layer = replace(layer, **gains)
        elif isinstance(layer, Spread | Convolution) and layer.result in shares:
            share = shares[layer.result]  # [phases, outputs]
            of_bias = share.reshape(layer.bias.shape)
            of_weight = (
                share[:, None, None, None]
                if isinstance(layer, Spread)
                else of_bias[..., None, None]
            )
            layer = replace(layer, weight=layer.weight * of_weight, bias=layer.bias * of_bias)
        result.append(layer)
    return result


def _merge(layer: Merge, step: float, result_step: float, signal: Signal) -> FixedMerge:
    alike, one = layer.alike, np.ones(1, np.float32)
    bands = [(alike + first, weight) for first, weight in merge_bands(layer)]
    spans = [*((bin_, one) for bin_ in range(alike)), *bands]
    widest = max(len(weight) for _, weight in spans)
    padded = np.stack([np.pad(weight, (0, widest - len(weight))) for _, weight in spans])
    affine = quantize_affine(padded, np.zeros(len(spans), np.float32), step, result_step)
    return FixedMerge(
        alike,
        [first for first, _ in spans],
        [row[: len(weight)] for row, (_, weight) in zip(affine.weight, spans, strict=True)],
        affine.multiplier,
        affine.shift,
        feature_scale(signal, TensorSpec(0, layer.features.shape, "int16", step, 0)),
    )


def _band_convolution(
    layer: BandConvolution, step: float, result_step: float
) -> FixedBandConvolution:
    taps = layer.weight.shape[1]
    # The ends' weights share the steps of the others.
    together = np.concatenate([layer.weight, -layer.edge.swapaxes(0, 1)], axis=1)
    affine = quantize_affine(together, layer.bias, step, result_step, layer.slope)
    return FixedBandConvolution(
        Affine(affine.weight[:, :taps], affine.bias, affine.multiplier, affine.below, affine.shift),
        affine.weight[:, taps:].swapaxes(0, 1),
    )


def _normalized_linear(layer: Normalization, step: Steps) -> FixedNormalizedLinear:
    linear = step(layer.linear)
    return FixedNormalizedLinear(
        quantize_affine(layer.weight, layer.bias, step(layer.x), linear),
        quantize_normalization(
            layer.scale,
            layer.shift,
            layer.epsilon,
            linear,
            step(layer.residual),
            step(layer.result),
        ),
    )


def _attention(layer: Attention, step: Steps) -> FixedAttention:
    of_energy = energy_step(layer.cell, step(layer.energy))
    energy, shift = energy_scale(rows_of(layer.x), step(layer.x), of_energy)
    return FixedAttention(
        quantize_cell(layer.cell, of_energy),
        quantize_affine(layer.gate_weight / 2, layer.gate_bias / 2, UNIT_STEP, SUM_STEP),
        energy,
        shift,
        *pair_multipliers(step(layer.x), step(layer.passed.value), step(layer.result)),
    )


def _attention_both_ways(layer: AttentionBothWays, step: Steps) -> FixedBothWays:
    rows, channels = rows_of(layer.x), layer.x.shape[-1]
    of_squares = step(layer.x) * 2 ** (SQUARE_BITS / 2)
    of_energy = energy_step(layer.cell, step(layer.energy))
    of_band_energy = energy_step(layer.band_cell, step(layer.band_energy))
    gain, _, bits = pair_multipliers(step(layer.x), step(layer.x), step(layer.result))
    return FixedBothWays(
        quantize_cell(layer.cell, of_energy),
        quantize_affine(layer.gate_weight / 2, layer.gate_bias / 2, UNIT_STEP, SUM_STEP),
        *energy_scale(rows, of_squares, of_energy),
        quantize_cell(layer.band_cell, of_band_energy),
        quantize_affine(layer.band_weight / 2, layer.band_bias / 2, UNIT_STEP, SUM_STEP),
        *energy_scale(channels, of_squares, of_band_energy),
        gain,
        bits,
    )
