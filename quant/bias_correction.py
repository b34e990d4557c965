"""Bias correction: take back what rounding weights does to an operator's mean output.

M. Nagel et al., ICCV 2019, section 4.2, with means from calibration. In quiet frames most of
GTCRN's inner values are large constants with small changes; rounded weights shift their sums by
more than the changes.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from quant.graph.encoding import Chooser, Precision
from quant.graph.graph import Graph, Operator, Value
from quant.graph.simulate import round_weight


def correct_biases(graph: Graph, choose: Chooser, means: Mapping[Value, Tensor]) -> None:
    """Correct, in place, the biases of operators whose weights will be rounded.

    Args:
        graph: the frame, in float.
        choose: precision of each operator.
        means: mean of each input channel of weighted operators.
    """
    for operator in graph.operators:
        if operator.rule.weighted and choose(operator) is not Precision.FLOAT:
            bias = operator.inputs[2]
            assert bias.constant is not None
            bias.constant = bias.constant - _mean_shift(operator, means[operator.inputs[0]])


@contextmanager
def corrected_biases(
    graph: Graph, choose: Chooser, means: Mapping[Value, Tensor]
) -> Iterator[None]:
    """Biases corrected within the block, as they were after it; arguments of `correct_biases`."""
    biases = [operator.inputs[2] for operator in graph.operators if operator.rule.weighted]
    before = [bias.constant for bias in biases]
    correct_biases(graph, choose, means)
    try:
        yield
    finally:
        for bias, constant in zip(biases, before, strict=True):
            bias.constant = constant


def _mean_shift(operator: Operator, mean: Tensor) -> Tensor:
    """Mean change of each output channel by rounding the weights, padding left aside."""
    weight = operator.inputs[1].constant
    assert weight is not None
    change = (round_weight(weight, operator) - weight).detach()
    if operator.rule.output_axis == weight.dim() - 1:  # depthwise
        return change.flatten(0, -2).sum(dim=0) * mean
    per_tap = change.flatten(1, -2).sum(dim=1) if change.dim() > 2 else change
    groups = len(mean) // per_tap.shape[1]
    inputs = mean.view(groups, -1).repeat_interleave(len(per_tap) // groups, dim=0)
    return torch.sum(per_tap * inputs, dim=1)
