"""Bias correction: take back what rounding does to an operator's usual output.

Rounded weights: M. Nagel et al., ICCV 2019, section 4.2, with means from calibration. In quiet
frames most of GTCRN's inner values are large constants with small changes; rounded weights shift
their sums by more than the changes. Rounded inputs: such a constant is off by up to half a step in
every frame, which no later frame makes up for.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from quant.graph.encoding import Chooser, Precision
from quant.graph.execute import Hook, Values, recurrent_operators, sequence_values
from quant.graph.graph import Graph, Operator, Value
from quant.graph.simulate import round_weight

NONE: Mapping[Value, Tensor] = {}


@torch.no_grad()
def rounding_shifts(graph: Graph, hook: Hook, features: Iterable[Tensor]) -> dict[Value, Tensor]:
    """By how much rounding shifts each channel of weighted operators' inputs, in the median.

    Every weighted operator gives what float gives, so that only what is rounded between it and the
    next one counts. A median, since the few values that saturate are far off. Inputs within
    recurrences over time, where errors are carried on, are left aside.

    Args:
        graph: the frame.
        hook: rounds its values, a `FakeQuantizer`.
        features: its input, batch by batch: [clips, frames, *shape] each.

    Returns:
        The shift of each channel by input.
    """
    carried = [state for state in graph.states if state.source is None]
    recurrent = {op for state in carried for op in recurrent_operators(graph, state)}
    weighted = [op for op in graph.operators if op.rule.weighted and op not in recurrent]
    results = {operator.outputs[0] for operator in weighted}
    found: dict[Value, list[Tensor]] = {operator.inputs[0]: [] for operator in weighted}
    rows = []
    for batch in features:
        exact = sequence_values(graph, {graph.inputs[0].name: batch})

        def rounded(value: Value, tensor: Tensor, exact: Values = exact) -> Tensor:
            return hook(value, exact[value] if value in results else tensor)

        values = sequence_values(graph, {graph.inputs[0].name: batch}, rounded)
        rows.append(batch.shape[0] * batch.shape[1])
        for value, medians in found.items():
            error = (values[value] - exact[value]).flatten(0, -2)
            medians.append(error.median(dim=0).values)
    weights = torch.tensor(rows, dtype=torch.float32)[:, None] / sum(rows)
    return {value: (torch.stack(parts) * weights).sum(0) for value, parts in found.items()}


def correct_biases(graph: Graph, choose: Chooser, means: Mapping[Value, Tensor]) -> None:
    """Correct, in place, the biases of operators whose weights will be rounded.

    Args:
        graph: the frame, in float.
        choose: precision of each operator.
        means: mean of each input channel of weighted operators.
    """
    for operator, rounded in _rounded_weights(graph, choose):
        x, weight, bias = operator.inputs
        assert weight.constant is not None and bias.constant is not None
        change = rounded - weight.constant.detach()
        bias.constant = bias.constant - _response(operator, change, means[x])


def take_back_shifts(graph: Graph, choose: Chooser, shifts: Mapping[Value, Tensor]) -> None:
    """Correct, in place, the biases of operators whose inputs are shifted by rounding.

    Args:
        graph: the frame.
        choose: precision of each operator; float ones stay as they are.
        shifts: by input, as `rounding_shifts` gives them.
    """
    for operator, rounded in _rounded_weights(graph, choose):
        x, _, bias = operator.inputs
        assert bias.constant is not None
        if x in shifts:
            bias.constant = bias.constant - _response(operator, rounded, shifts[x])


@contextmanager
def corrected_biases(
    graph: Graph,
    choose: Chooser,
    means: Mapping[Value, Tensor],
    shifts: Mapping[Value, Tensor] = NONE,
) -> Iterator[None]:
    """Biases corrected within the block for weights and shifts, as they were after it."""
    biases = [operator.inputs[2] for operator in graph.operators if operator.rule.weighted]
    before = [bias.constant for bias in biases]
    correct_biases(graph, choose, means)
    take_back_shifts(graph, choose, shifts)
    try:
        yield
    finally:
        for bias, constant in zip(biases, before, strict=True):
            bias.constant = constant


def _rounded_weights(graph: Graph, choose: Chooser) -> Iterator[tuple[Operator, Tensor]]:
    """Operators whose weights will be rounded, and those weights."""
    for operator in graph.operators:
        if operator.rule.weighted and choose(operator) is not Precision.FLOAT:
            weight = operator.inputs[1].constant
            assert weight is not None
            yield operator, round_weight(weight, operator).detach()


def _response(operator: Operator, weight: Tensor, channels: Tensor) -> Tensor:
    """What a weight makes of inputs that are alike but for their channels, padding left aside."""
    if operator.rule.output_axis == weight.dim() - 1:  # depthwise
        return weight.flatten(0, -2).sum(dim=0) * channels
    per_tap = weight.flatten(1, -2).sum(dim=1) if weight.dim() > 2 else weight
    groups = len(channels) // per_tap.shape[1]
    inputs = channels.view(groups, -1).repeat_interleave(len(per_tap) // groups, dim=0)
    return torch.sum(per_tap * inputs, dim=1)
