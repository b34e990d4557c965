"""Cross-layer equalization: rescale channels so that all of a tensor's channels use its range.

M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-free quantization through weight
equalization and bias correction", ICCV 2019. There, pairs of convolutions are rescaled; here the
rule is generalised to a whole graph (`quant.graph.scale_classes`). The float graph computes the
same as before.
"""

from collections.abc import Mapping

import numpy as np

from quant.graph.graph import Graph, Value
from quant.graph.scale_classes import PINNED, ScaleClasses

# A channel is amplified by at most this factor: its rare values must keep their place.
LARGEST_AMPLIFICATION = 8.0


def choose_scales(
    classes: ScaleClasses,
    magnitudes: Mapping[Value, np.ndarray],
    largest_amplification: float = LARGEST_AMPLIFICATION,
) -> dict[int, float]:
    """Scale of each class: how large its elements are beside the largest of their tensors.

    Args:
        classes: of the graph.
        magnitudes: for values worth equalizing, a high percentile of the absolute value of each
            channel (last axis), from calibration.
        largest_amplification: no channel is amplified by more.
    """
    scales: dict[int, float] = {}
    for value, channels in magnitudes.items():
        scaling = classes.of(value)
        relative = channels / max(float(channels.max()), 1e-12)
        by_channel = scaling.classes.reshape(-1, len(channels))
        for members, exponents in zip(
            by_channel, scaling.exponents.reshape(by_channel.shape), strict=True
        ):
            for member, exponent, size in zip(members, exponents, relative, strict=True):
                if member != PINNED and exponent == 1:
                    scales[int(member)] = max(scales.get(int(member), 0.0), float(size))
    return {c: max(scale, 1 / largest_amplification) for c, scale in scales.items()}


def equalize(graph: Graph, classes: ScaleClasses, scales: Mapping[int, float]) -> None:
    """Rescale the graph's constants in place, so that values of a class shrink by its scale.

    Args:
        graph: the frame.
        classes: of this graph.
        scales: scale of each class; those not named keep theirs.
    """
    table = np.ones(max([PINNED, *classes.free()]) + 1)
    for member, scale in scales.items():
        table[member] = scale
    table[PINNED] = 1.0

    def scale_of(value: Value) -> np.ndarray:
        scaling = classes.of(value)
        return table[scaling.classes] ** scaling.exponents

    for operator in graph.operators:
        if operator.rule.rescale is not None:
            operator.rule.rescale(operator, scale_of)
