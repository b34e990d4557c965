"""Gated recurrent units and layer normalization, described as graph operators.

Rows of features are images [1, 1, rows, features]: of layers on images all runtimes of integers
round alike.
"""

import torch
from torch import Tensor, nn

from quant.graph import operators as ops
from quant.graph.graph import UNIT_RANGE, Graph, Value
from quant.networks.folding import GRUWeights

ROWS, FEATURES = 2, 3  # axes


def _blend(graph: Graph, candidate: Value, update: Value, before: Value) -> Value:
    """Candidate + update * (before - candidate): the new hidden state."""
    change = ops.subtract(graph, before, candidate, "change")
    state = ops.add(graph, candidate, ops.multiply(graph, update, change, "kept"), "state")
    state.fixed_range = UNIT_RANGE
    return state


def new_state(
    graph: Graph, gates_sum: Value, candidate_input: Value, candidate_state: Value, before: Value
) -> Value:
    """A gated recurrent unit's state from the sums of its gates and the parts of its candidate."""
    reset, update = ops.split(graph, ops.sigmoid(graph, gates_sum, "gates"), FEATURES, 2, "gate")
    remembered = ops.multiply(graph, reset, candidate_state, "reset_state")
    candidate_sum = ops.add(graph, candidate_input, remembered, "candidate_sum")
    candidate = ops.tanh(graph, candidate_sum, "candidate")
    state = _blend(graph, candidate, update, before)
    graph.mark(
        gates_sum=gates_sum,
        candidate_state=candidate_state,
        candidate_sum=candidate_sum,
        state=state,
    )
    return state


def gru_over_time(
    graph: Graph, x: Value, weights: GRUWeights, name: str, present: Value | None = None
) -> Value:
    """One step of a GRU whose state is carried over frames: [1, 1, rows, I] to [1, 1, rows, H].

    The projections of x and of the state stay apart until they are added: their ranges differ.
    With `present` ([1, 1, 1, 1], 0 or 1) the state stays zero until that is 1.
    """
    size = weights.hidden
    gates, candidate = slice(None, 2 * size), slice(2 * size, None)
    with graph.scope(name), graph.region("recurrence", {"parts": weights.parts}, x=x):
        before = graph.recurrent_state("memory", (1, 1, x.shape[ROWS], size))
        from_input = ops.linear(
            graph, x, weights.input_weight[gates], weights.input_bias[gates], "gates_input"
        )
        candidate_input = ops.linear(
            graph,
            x,
            weights.input_weight[candidate],
            weights.input_bias[candidate],
            "candidate_input",
        )
        from_state = ops.linear(graph, before, weights.hidden_weight[gates], None, "gates_state")
        candidate_state = ops.linear(
            graph,
            before,
            weights.hidden_weight[candidate],
            weights.candidate_bias,
            "candidate_state",
        )
        gates_sum = ops.add(graph, from_input, from_state, "gates_sum")
        after = new_state(graph, gates_sum, candidate_input, candidate_state, before)
        graph.mark(
            memory=before,
            gates_input=from_input,
            candidate_input=candidate_input,
            gates_state=from_state,
        )
        if present is not None:
            after = ops.multiply(graph, after, present, "present_state")
        graph.carry(before, after)
    return after


def gru_over_rows(graph: Graph, x: Value, weights: GRUWeights, name: str) -> Value:
    """A GRU that runs over the rows of x within one frame, from zero: as `gru_over_time`.

    All rows are projected at once; only the hidden projection is serial.
    """
    size = weights.hidden
    with graph.scope(name), graph.region("scan", {"parts": weights.parts}, x=x):
        projected = ops.linear(graph, x, weights.input_weight, weights.input_bias, "input")
        states: list[Value] = []
        for row in range(x.shape[ROWS]):
            with graph.scope("row", repeated=row):
                states.append(_row_step(graph, projected, row, weights, states, size))
        result = ops.concat(graph, states, ROWS, "states")
        graph.mark(projected=projected, result=result)
        return result


def gru_both_ways(
    graph: Graph,
    x: Value,
    weights: GRUWeights,
    forward_weight: Tensor,
    backward_weight: Tensor,
    bias: Tensor | None,
    name: str,
) -> Value:
    """A GRU over the rows of x in both directions, and a linear layer on its states.

    Args:
        graph: the frame.
        x: [1, 1, rows, I].
        weights: of the GRU over [x, x reversed], forward hidden units before backward ones.
        forward_weight: of the linear layer, [outputs, H / 2], for the forward units.
        backward_weight: the same for the backward units.
        bias: of the linear layer, [outputs].
        name: of the GRU's scope.

    Returns:
        [1, 1, rows, outputs].
    """
    with graph.region("scan_both_ways", x=x):
        backwards = ops.reverse(graph, x, ROWS, "reversed")
        both_ways = ops.concat(graph, [x, backwards], FEATURES, "both_ways")
        states = gru_over_rows(graph, both_ways, weights, name)
    # The backward units lie in reversed rows; of each half only one direction is read.
    with graph.region("linear_both_ways", x=states):
        backwards = ops.reverse(graph, states, ROWS, "states_reversed")
        aligned = ops.concat(graph, [states, backwards], FEATURES, "states_both_ways")
        unused = torch.zeros_like(forward_weight)
        weight = torch.cat([forward_weight, unused, unused, backward_weight], dim=1)
        result = ops.linear(graph, aligned, weight, bias, f"{name}_linear")
        graph.mark(result=result)
    return result


def _row_step(
    graph: Graph,
    projected: Value,
    row: int,
    weights: GRUWeights,
    states: list[Value],
    size: int,
) -> Value:
    gates_input = part_of_row(graph, projected, (row, 0), 2 * size, "gates_input")
    candidate_input = part_of_row(graph, projected, (row, 2 * size), size, "candidate_input")
    if not states:
        reset, update = ops.split(
            graph, ops.sigmoid(graph, gates_input, "gates"), FEATURES, 2, "gate"
        )
        bias = graph.constant(weights.candidate_bias[None, None, None], "candidate_bias")
        remembered = ops.multiply(graph, reset, bias, "reset_state")
        proposal = ops.tanh(
            graph, ops.add(graph, candidate_input, remembered, "candidate_sum"), "candidate"
        )
        state = ops.subtract(
            graph, proposal, ops.multiply(graph, update, proposal, "kept"), "state"
        )
        state.fixed_range = UNIT_RANGE
        return state
    hidden_bias = torch.cat([torch.zeros(2 * size), weights.candidate_bias])
    hidden = ops.linear(graph, states[-1], weights.hidden_weight, hidden_bias, "hidden")
    gates_state = part_of_row(graph, hidden, (0, 0), 2 * size, "gates_state")
    candidate_state = part_of_row(graph, hidden, (0, 2 * size), size, "candidate_state")
    graph.mark(hidden=hidden)
    gates_sum = ops.add(graph, gates_input, gates_state, "gates_sum")
    return new_state(graph, gates_sum, candidate_input, candidate_state, states[-1])


def part_of_row(graph: Graph, x: Value, begin: tuple[int, int], size: int, name: str) -> Value:
    """So many features of one row from `begin`, a row and a feature, on."""
    return ops.slice(graph, x, (0, 0, *begin), (1, 1, 1, size), name)


def layer_norm(graph: Graph, x: Value, norm: nn.LayerNorm, axes: tuple[int, ...]) -> Value:
    """LayerNorm(x) of [1, 1, rows, features] over `axes`, in a region of the caller's."""
    centred = ops.subtract(graph, x, ops.mean(graph, x, axes, "mean"), "centred")
    variance = ops.mean(graph, ops.multiply(graph, centred, centred, "squared"), axes, "variance")
    epsilon = graph.constant(torch.full((1, 1, 1, 1), norm.eps), "epsilon")
    floored = ops.add(graph, variance, epsilon, "floored")
    inverse = ops.reciprocal_root(graph, floored, "inverse")
    normalized = ops.multiply(graph, centred, inverse, "normalized")
    shape = [1] * (len(x.shape) - norm.weight.dim()) + list(norm.weight.shape)
    scaled = ops.multiply(
        graph, normalized, graph.constant(norm.weight.view(shape), "weight"), "scaled"
    )
    shifted = ops.add(graph, scaled, graph.constant(norm.bias.view(shape), "bias"), "shifted")
    graph.mark(floored=floored, scaled=scaled, shifted=shifted)
    return shifted


def layer_norm_residual(
    graph: Graph, x: Value, residual: Value, norm: nn.LayerNorm, name: str
) -> Value:
    """Residual + LayerNorm(x) over all of [1, 1, rows, features]."""
    with graph.scope(name), graph.region("layer_norm", x=x, residual=residual):
        result = ops.add(graph, residual, layer_norm(graph, x, norm, (ROWS, FEATURES)), "sum")
        graph.mark(result=result)
        return result


def recurrent_attention(
    graph: Graph, x: Value, weights: GRUWeights, gate: tuple[Tensor, Tensor], name: str
) -> Value:
    """Temporal recurrent attention on [1, 1, rows, C]: each channel times a gate in (0, 1)."""
    with graph.scope(name), graph.region("attention", x=x):
        energy = ops.mean(graph, ops.multiply(graph, x, x, "squared"), (ROWS,), "energy")
        state = gru_over_time(graph, energy, weights, "gru")
        gate_input = ops.linear(graph, state, *gate, "gate_input")
        result = ops.multiply(graph, x, ops.sigmoid(graph, gate_input, "gate"), "gated")
        graph.mark(energy=energy, gate_input=gate_input, result=result)
        return result
