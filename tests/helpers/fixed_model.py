"""The fixed engine's arithmetic in NumPy: docs/c-engine.md as code, one function per rule.

Everything is int64, so that nothing here can overflow; what the engine holds in 16 or 32 bits is
checked to fit. The STFT is that of `edge_se.fixed`.
"""

from collections.abc import Sequence

import numpy as np

from edge_se.engines.fixed_path import LOGARITHM_EXPONENT
from edge_se.fixed import (
    analyse,
    logarithms,
    magnitude,
    overlapped,
    round_shift,
    saturate,
)
from edge_se.fixed import windows as windows_of
from edge_se.signal import Signal
from quant.c.fixed_layers import (
    SQUARE_BITS,
    FixedAttention,
    FixedBothWays,
    FixedMerge,
    FixedRectifier,
    FixedSplit,
)
from quant.c.fixed_point import Affine, FixedCell, FixedNormalization, tanh_table
from quant.c.layers import (
    AffineRectifier,
    Attention,
    AttentionBothWays,
    BandConvolution,
    Cell,
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
from quant.graph.graph import Value

TANH = tanh_table()
INT16, INT32 = (-(2**15), 2**15 - 1), (-(2**31), 2**31 - 1)


def fits(x: np.ndarray, bounds: tuple[int, int]) -> np.ndarray:
    """`x`, which has to lie within bounds."""
    assert bounds[0] <= x.min() and x.max() <= bounds[1]
    return x


def scale(x: np.ndarray, multiplier: np.ndarray | int) -> np.ndarray:
    """(x * multiplier + 2**30) / 2**31, rounded down."""
    return (x * multiplier + 2**30) >> 31


def rescale(sums: np.ndarray, affine: Affine) -> np.ndarray:
    """Sums [..., outputs] to results, by another multiplier where they are negative."""
    wide = saturate(fits(sums, INT32) << affine.shift, *INT32)
    return np.where(sums < 0, scale(wide, affine.below), scale(wide, affine.multiplier))


def weigh(x: np.ndarray, affine: Affine) -> np.ndarray:
    """Rescaled sums of x [..., inputs]: [..., outputs]."""
    return rescale(x @ affine.weight.reshape(len(affine.bias), -1).T + affine.bias, affine)


def tanh(x: np.ndarray) -> np.ndarray:
    """Sums to 15 fractional bits of tanh, by cubics over 32 spans."""
    x = saturate(x, *INT16)
    span, part = (x >> 11) & 31, ((x & 2047) - 1024) << 5
    result = TANH[3][span]
    for power in TANH[2::-1]:
        result = fits(power[span] + round_shift(result * part, 15), INT16)
    return result


def sigmoid(half: np.ndarray) -> np.ndarray:
    """Half of a sum to 15 fractional bits of its sigmoid."""
    return (tanh(half) + 32767) >> 1


def new_state(
    projected: np.ndarray, before: np.ndarray, affine: Affine, groups: range
) -> np.ndarray:
    """Projections [..., group, 3, unit] and states [..., group, unit] to the new states."""
    units = before.shape[-1]
    weight = affine.weight.reshape(-1, 3 * units, units)[groups]
    sums = np.einsum("...gi,goi->...go", before, weight)
    flat = [part.reshape(-1, 3 * units)[groups] for part in (affine.bias, affine.multiplier)]
    wide = saturate(fits(sums + flat[0], INT32) << affine.shift, *INT32)
    reset, update, remembered = np.moveaxis(scale(wide, flat[1]).reshape(projected.shape), -2, 0)
    opened = sigmoid(projected[..., 0, :] + reset)
    kept = round_shift(saturate(remembered, *INT16) * opened, 15)
    proposal = tanh(projected[..., 2, :] + kept)
    change = round_shift(((before - proposal) >> 1) * tanh(projected[..., 1, :] + update), 15)
    return saturate(((before + proposal + 1) >> 1) + change, *INT16)


def project(x: np.ndarray, cell: Cell, affine: Affine) -> np.ndarray:
    """[rows, channels] to the gates' projections [rows, group, 3, unit]."""
    groups, _, units, inputs = cell.input_weight.shape
    given = np.stack([x[:, first : first + inputs] for first in cell.firsts], axis=1)
    weight = affine.weight.reshape(groups, 3 * units, inputs)
    sums = np.einsum("rgi,goi->rgo", given, weight) + affine.bias.reshape(groups, -1)
    return rescale(sums.reshape(len(x), -1), affine).reshape(len(x), groups, 3, units)


def normalize(x: np.ndarray, residual: np.ndarray, n: FixedNormalization) -> np.ndarray:
    """Layer normalization over all elements, added to the residual."""
    count, total = x.size, int(x.sum())
    variance = max(count * int((x * x).sum()) - total**2 + n.epsilon, 1)
    even = (62 - variance.bit_length()) & ~1
    root = int(np.floor(np.sqrt(float(variance << even))))
    while root * root > variance << even:
        root -= 1
    while (root + 1) ** 2 <= variance << even:
        root += 1
    inverse = min(2**61 // root, INT32[1])
    centred = fits(32 * count * x - 32 * total, INT32)
    normal = fits(round_shift(scale(centred, inverse), 25 - even // 2), INT16)
    sums = fits(n.scale * normal + n.step * n.shift + n.residual * residual, INT32)
    return saturate(round_shift(sums, n.bits), *INT16)


def pair(a: np.ndarray, b: np.ndarray, bits: int) -> np.ndarray:
    """Products to results."""
    return saturate(round_shift(fits(a + b, INT32), bits), *INT16)


def merge(features: np.ndarray, fixed: FixedMerge) -> np.ndarray:
    """Features [rows, bins] to bands [bands, rows]."""
    spans = zip(fixed.first, fixed.weights, strict=True)
    sums = np.stack([features[:, f : f + len(w)] @ w for f, w in spans])
    wide = saturate(sums << fixed.shift, *INT32)
    return saturate(scale(wide, fixed.multiplier[:, None]), *INT16)


def rectify(x: np.ndarray, fixed: FixedRectifier) -> np.ndarray:
    """Values times the gain of their sign, and a shift."""
    gain = np.where(x < 0, fixed.below, fixed.above)
    return pair(x * gain, fixed.step * fixed.shift, fixed.bits)


def windows(x: np.ndarray, before: int, taps: int, stride: int, positions: int) -> np.ndarray:
    """[rows, channels] to [positions, taps, channels], zeros beyond the ends."""
    padded = np.pad(x, ((before, positions * stride + taps), (0, 0)))
    return np.stack([padded[p * stride : p * stride + taps] for p in range(positions)])


class FixedModel:
    """The engine: int16 [256] samples in, int16 [256] enhanced samples out."""

    def __init__(self, layers: Sequence[Layer], fixed: Sequence, signal: Signal) -> None:
        self._layers = list(zip(layers, fixed, strict=True))
        self._logarithmic, self._window = signal.is_logarithmic, windows_of(signal)[0]
        self._samples = np.zeros(512, np.int64)
        self._tail: np.ndarray = np.zeros(256, np.int64)
        self._states: dict[str, np.ndarray] = {}

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Take in one hop and give one enhanced hop."""
        self._samples = np.concatenate([self._samples[256:], samples.astype(np.int64)])
        spectrum, exponent = analyse(self._samples, self._window)
        values: dict[Value, np.ndarray] = {}
        for layer, fixed in self._layers:
            if isinstance(layer, Merge):
                rows = magnitude(spectrum)[None]
                values[layer.features] = (
                    fixed.features(logarithms(rows, exponent), LOGARITHM_EXPONENT)
                    if self._logarithmic
                    else fixed.features(np.concatenate([rows, spectrum]), exponent)
                )
            values[layer.result] = self._run(layer, fixed, values)
        mask = values[layer.result]
        mask = np.concatenate([mask, np.zeros_like(mask)])[:2]
        assert isinstance(fixed, FixedSplit)
        signal, masked_exponent = overlapped(mask, spectrum)
        segment = fixed.mask(signal, exponent, masked_exponent)
        out = saturate(round_shift(self._tail + segment[:256], 8), *INT16)
        self._tail = segment[256:]
        return out.astype(np.int16)

    def _run(self, layer: Layer, fixed, values: dict[Value, np.ndarray]) -> np.ndarray:
        match layer:
            case Merge():
                return merge(values[layer.features], fixed)
            case BandConvolution():
                return self._bands(layer, fixed, values[layer.x])
            case Convolution():
                return self._convolve(layer, fixed, values[layer.x.value])
            case Temporal():
                return self._over_frames(layer, fixed, values[layer.x])
            case Spread():
                return self._spread(layer, fixed, values[layer.x])
            case AffineRectifier():
                return rectify(values[layer.x], fixed)
            case Sigmoid():
                return sigmoid(values[layer.x])
            case AttentionBothWays():
                return self._attend_both_ways(layer, fixed, values[layer.x])
            case Scan():
                return self._scan(layer.cell, fixed, values[layer.x])
            case Recurrence():
                return self._recur(layer.state, layer.cell, fixed, values[layer.x])
            case Normalization():
                linear = saturate(weigh(values[layer.x], fixed.affine), *INT16)
                return normalize(linear, values[layer.residual], fixed.normalization)
            case Attention():
                passed = values[layer.passed.value][:, layer.passed.first :]
                return self._attend(layer, fixed, values[layer.x], passed)
            case Sum():
                return pair(values[layer.a] * fixed.a, values[layer.b] * fixed.b, fixed.bits)
            case Split():
                return self._split(fixed, values[layer.x])

    def _bands(self, layer: BandConvolution, fixed, x: np.ndarray) -> np.ndarray:
        taps = layer.weight.shape[1]
        given = windows(x, layer.before, taps, layer.stride, layer.positions)
        outputs = len(fixed.affine.bias)
        sums = given.reshape(layer.positions, -1) @ fixed.affine.weight.reshape(outputs, -1).T
        sums += fixed.affine.bias
        sums[0] += fixed.edges[0] @ x[0]
        sums[-1] += fixed.edges[1] @ x[-1]
        return saturate(rescale(sums, fixed.affine), *INT16)

    def _convolve(self, layer: Convolution, fixed: Affine, x: np.ndarray) -> np.ndarray:
        phases, groups, outputs, taps, inputs = layer.weight.shape
        x = x[:, layer.x.first : layer.x.first + groups * inputs]
        given = windows(x, layer.before, taps, layer.stride, layer.positions)
        given = given.reshape(layer.positions, taps, groups, inputs)
        weight = fixed.weight.reshape(groups, phases, outputs, taps, inputs)
        sums = np.einsum("ptgi,gfoti->pgfo", given, weight)
        results = rescale(sums.reshape(layer.positions, -1) + fixed.bias, fixed)
        results = results.reshape(layer.positions, groups, phases, outputs).swapaxes(1, 2)
        results = results.reshape(layer.positions * phases, groups * outputs)
        if layer.bounded:
            return tanh(results)
        return saturate(results, *INT16)[: rows_of(layer.result)]

    def _over_frames(self, layer: Temporal, fixed: Affine, x: np.ndarray) -> np.ndarray:
        past = self._states.setdefault(layer.state, np.zeros((layer.frames, *x.shape), np.int64))
        frames = np.stack([past[0], past[layer.frames // 2], x])
        self._states[layer.state] = np.concatenate([past[1:], x[None]])
        given = np.stack([windows(frame, 1, 3, 1, len(x)) for frame in frames], axis=1)
        sums = np.einsum("pfrc,cfr->pc", given, fixed.weight) + fixed.bias
        return saturate(rescale(sums, fixed), *INT16)

    def _spread(self, layer: Spread, fixed: Affine, x: np.ndarray) -> np.ndarray:
        phases, past, taps, inputs, outputs = layer.weight.shape
        x = x.reshape(rows_of(layer.x), -1)
        frames = x[None]
        if layer.state is not None:
            before = self._states.get(layer.state, np.zeros((past - 1, *x.shape), np.int64))
            frames = np.concatenate([before, frames])
            self._states[layer.state] = frames[1:]
        given = np.stack(
            [windows(f, layer.before, taps, layer.stride, layer.positions) for f in frames], axis=1
        )
        weight = fixed.weight.reshape(phases, outputs, past, taps, inputs)
        if layer.depthwise:
            sums = np.einsum("pfto,qoft->pqo", given, weight[..., 0])
        else:
            sums = np.einsum("pfti,qofti->pqo", given, weight)
        results = rescale(sums.reshape(layer.positions, -1) + fixed.bias, fixed)
        return saturate(results, *INT16).reshape(-1, outputs)[: layer.rows]

    def _attend_both_ways(
        self, layer: AttentionBothWays, fixed: FixedBothWays, x: np.ndarray
    ) -> np.ndarray:
        squares = round_shift(x * x, SQUARE_BITS)
        assert squares.sum(axis=0).max() < 2**32
        of_channels, of_rows = (
            saturate(round_shift(squares.sum(axis=axis) * multiplier, shift), *INT16)
            for axis, multiplier, shift in (
                (0, fixed.energy, fixed.energy_shift),
                (1, fixed.band_energy, fixed.band_energy_shift),
            )
        )
        state = self._recur(layer.state, layer.cell, fixed.cell, of_channels[None])
        opened = sigmoid(saturate(weigh(state, fixed.gate)[0], *INT16))
        gain = round_shift(opened * fixed.gain, 15)
        groups = np.pad(of_rows, (0, -len(of_rows) % 4)).reshape(-1, 4)
        both = self._scan(layer.band_cell, fixed.band_cell, groups)
        gates = sigmoid(saturate(weigh(both, fixed.band_gate), *INT16)).ravel()[: len(x)]
        gains = round_shift(gain * gates[:, None], 15)
        return pair(x * gains, np.zeros_like(x), fixed.bits)

    @staticmethod
    def _scan(cell: Cell, fixed: FixedCell, x: np.ndarray) -> np.ndarray:
        projected = project(x, cell, fixed.input)
        rows, groups, _, units = projected.shape
        states = np.zeros((rows, groups, units), np.int64)
        for group, backward in enumerate(cell.backward):
            state = np.zeros((1, units), np.int64)
            for row in range(rows)[:: -1 if backward else 1]:
                only = range(group, group + 1)
                state = new_state(projected[row, only], state, fixed.hidden, only)
                states[row, group] = state[0]
        return states.reshape(rows, -1)

    def _recur(self, name: str, cell: Cell, fixed: FixedCell, x: np.ndarray) -> np.ndarray:
        projected = project(x, cell, fixed.input)
        rows, groups, _, units = projected.shape
        before = self._states.get(name, np.zeros((rows, groups, units), np.int64))
        after = new_state(projected, before, fixed.hidden, range(groups))
        self._states[name] = after
        return after.reshape(rows, -1)

    def _attend(
        self, layer: Attention, fixed: FixedAttention, x: np.ndarray, passed: np.ndarray
    ) -> np.ndarray:
        squares = (x * x).sum(axis=0)
        energy = saturate(round_shift(squares * fixed.energy, fixed.energy_shift), *INT16)
        state = self._recur(layer.state, layer.cell, fixed.cell, energy[None])
        opened = sigmoid(weigh(state, fixed.gate)[0])
        gain = saturate(scale(opened << 16, fixed.gain), *INT16)
        gated = pair(x * gain, np.zeros_like(x), fixed.bits)
        other = pair(passed * fixed.passed, np.zeros_like(passed), fixed.bits)
        return np.stack([gated, other], axis=-1).reshape(len(x), -1)

    @staticmethod
    def _split(fixed: FixedSplit, bands: np.ndarray) -> np.ndarray:
        low, high = bands[fixed.first], bands[fixed.first + 1]
        weighted = fixed.weight[:, :1] * low + fixed.weight[:, 1:] * high
        return np.concatenate([bands[: fixed.alike], saturate(round_shift(weighted, 7), *INT16)]).T
