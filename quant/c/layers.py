"""What a frame consists of for a generated engine: layers, each a loop over rows.

A row is one frequency position with its channels. Weights are float32 NumPy arrays; `Value`s are
those of the graph, so that calibrated ranges find them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from quant.graph.graph import Value

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """Some neighbouring channels of a value."""

    value: Value
    first: int
    channels: int


@dataclass(frozen=True)
class Merge:
    """Bins to bands, for all rows of the features alike.

    Attributes:
        matrix: [bands, bins].
        alike: how many of the lowest bands are a bin each.
    """

    features: Value
    matrix: Floats
    alike: int
    result: Value


@dataclass(frozen=True)
class Convolution:
    """Convolution over the rows, zero-padded, and its activation.

    Attributes:
        weight: [phases, groups, outputs, taps, inputs], of one group.
        bias: [phases, groups, outputs].
        before: rows of padding before the first.
        phases: rows that each position gives; they lie one after the other.
        slope: of the leaky ReLU; None where there is none.
        bounded: tanh follows.
    """

    x: View
    weight: Floats
    bias: Floats
    stride: int
    before: int
    slope: float | None
    bounded: bool
    result: Value
    positions: int

    @property
    def phases(self) -> int:
        """Rows that each position gives."""
        return self.weight.shape[0]


@dataclass(frozen=True)
class BandConvolution:
    """The first convolution: over bands, each with its neighbours, three rows of features.

    Attributes:
        weight: [outputs, taps, 3], the neighbours' taps summed into one another.
        edge: [2, outputs, 3]: what that counts too much at the first output for the first band,
            and at the last for the last band, where a neighbour lies in the padding.
    """

    x: Value
    weight: Floats
    edge: Floats
    bias: Floats
    stride: int
    before: int
    slope: float
    result: Value
    positions: int


@dataclass(frozen=True)
class Temporal:
    """Depthwise convolution over three rows and three frames, and its leaky ReLU.

    Attributes:
        weight: [3 frames, 3 rows, channels], oldest first.
        frames: past frames that are kept.
    """

    x: Value
    state: str
    frames: int
    weight: Floats
    bias: Floats
    slope: float
    result: Value


@dataclass(frozen=True)
class Spread:
    """Convolution over frames and neighbouring bands, zero-padded, without an activation.

    Attributes:
        state: of the past frames; None where there are none.
        depthwise: each channel for itself; then there is one input for each output.
        weight: [phases, frames, taps, inputs, outputs], oldest frame first.
        bias: [phases, outputs].
        before: rows of padding before the first.
        positions: each gives a row of each phase, one after the other, but the last one only the
            first of them.
    """

    x: Value
    state: str | None
    depthwise: bool
    weight: Floats
    bias: Floats
    stride: int
    before: int
    positions: int
    result: Value

    @property
    def rows(self) -> int:
        """Of the result."""
        phases = len(self.weight)
        return phases * self.positions - (phases - 1)

    @property
    def margins(self) -> tuple[int, int]:
        """Rows of padding before the input's first and after its last."""
        reached = (self.positions - 1) * self.stride - self.before + self.weight.shape[2]
        return self.before, max(reached - rows_of(self.x), 0)


@dataclass(frozen=True)
class AffineRectifier:
    """What UL-UNAS calls affine PReLU: positive values, negative ones' size, and a shift.

    Attributes:
        negative: what holds the size of x's negative values, as x holds the positive ones.
        ratio: [phases, channels], how many times larger `negative` is than they are in x.
        above, below, shift: [rows, channels].
    """

    x: Value
    negative: Value
    ratio: Floats
    above: Floats
    below: Floats
    shift: Floats
    result: Value


@dataclass(frozen=True)
class Sigmoid:
    """Of each value."""

    x: Value
    result: Value


@dataclass(frozen=True)
class Cell:
    """Gated recurrent units, C equal groups of H units side by side, none seeing another's.

    Attributes:
        firsts: first input channel of each group.
        backward: whether each group runs from the last row to the first.
        input_weight: [C, 3, H, I], gates in the order reset, update, candidate.
        input_bias: [C, 3, H].
        hidden_weight: [C, 3, H, H].
        candidate_bias: [C, H], added to the candidate's hidden projection.
    """

    firsts: tuple[int, ...]
    backward: tuple[bool, ...]
    input_weight: Floats
    input_bias: Floats
    hidden_weight: Floats
    candidate_bias: Floats

    @property
    def units(self) -> int:
        """Hidden units of all groups."""
        return self.candidate_bias.size


@dataclass(frozen=True)
class GateValues:
    """Values of a recurrent unit whose ranges matter: sums before the gates, and the new state."""

    gates_sum: Value
    candidate_state: Value
    candidate_sum: Value
    state: Value


@dataclass(frozen=True)
class Scan:
    """A recurrent unit over the rows of one frame, from zero, both ways."""

    x: Value
    cell: Cell
    values: GateValues
    result: Value


@dataclass(frozen=True)
class Recurrence:
    """A recurrent unit over frames, each row for itself, with its state carried."""

    x: Value
    cell: Cell
    values: GateValues
    state: str
    result: Value


@dataclass(frozen=True)
class Normalization:
    """A linear layer, normalized over the whole frame, added to what was before.

    Attributes:
        weight: [outputs, inputs].
        scale, shift: [rows, outputs].
    """

    x: Value
    linear: Value
    residual: Value
    weight: Floats
    bias: Floats
    scale: Floats
    shift: Floats
    epsilon: float
    result: Value


@dataclass(frozen=True)
class Attention:
    """Channels times gates from their energies so far, shuffled with channels passed along.

    result[row, 2 c] = x[row, c] * gate[c]; result[row, 2 c + 1] = passed[row, c].
    """

    x: Value
    energy: Value
    cell: Cell
    values: GateValues
    state: str
    gate_weight: Floats
    gate_bias: Floats
    gate_input: Value
    gated: Value
    passed: View
    result: Value


@dataclass(frozen=True)
class AttentionBothWays:
    """Rows and channels times gates from their energies: channels over time, rows over each other.

    Attributes:
        energy, band_energy: mean squares of channels and of rows.
        cell, state: of the unit over frames, which sees the channels' energies.
        gate_weight: [channels, units]; with gate_bias [channels].
        band_cell: over groups of neighbouring rows, both ways.
        band_weight: [rows of a group, 2 units]; with band_bias [rows of a group].
    """

    x: Value
    energy: Value
    band_energy: Value
    cell: Cell
    state: str
    gate_weight: Floats
    gate_bias: Floats
    band_cell: Cell
    band_weight: Floats
    band_bias: Floats
    result: Value


@dataclass(frozen=True)
class Sum:
    """Two values added."""

    a: Value
    b: Value
    result: Value


@dataclass(frozen=True)
class Split:
    """Bands of the mask to bins.

    Attributes:
        matrix: [bins, bands], for both parts alike.
        alike: how many of the lowest bins are a band each.
    """

    x: Value
    matrix: Floats
    alike: int
    result: Value


Layer = (
    Merge
    | BandConvolution
    | Convolution
    | Temporal
    | Spread
    | AffineRectifier
    | Sigmoid
    | Scan
    | Recurrence
    | Normalization
    | Attention
    | AttentionBothWays
    | Sum
    | Split
)


def rows_of(value: Value) -> int:
    """Rows of an image [1, 1, rows, channels] or a matrix [rows, channels]."""
    return value.shape[-2]
