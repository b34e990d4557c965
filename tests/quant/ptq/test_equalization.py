"""Channels that must be scaled alike are found, and rescaling changes nothing in float."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.execute import run_sequence
from quant.graph.graph import Graph, Value
from quant.graph.scale_classes import PINNED, ScaleClasses
from quant.networks.registry import find_network
from quant.ptq.equalization import choose_scales, equalize
from tests.helpers.running import assert_near, run_frames
from tests.helpers.small_graphs import constant, constant_of

SLOPE = torch.tensor(0.25)


def image(graph: Graph, name: str = "x") -> Value:
    return graph.input(name, (1, 1, 6, 4))


def point(graph: Graph, x: Value, name: str, seed: int = 0) -> Value:
    return ops.convolution(graph, x, constant(4, 1, 1, 4, seed=seed), constant(4, seed=seed), name)


def channels(graph: Graph, value: Value) -> list[int]:
    """Class of each channel, which all its positions must share."""
    classes = ScaleClasses(graph).of(value).classes
    by_position = classes.reshape(-1, classes.shape[-1])
    assert (by_position == by_position[0]).all()
    return by_position[0].tolist()


def random_scales(classes: ScaleClasses, seed: int = 0) -> dict[int, float]:
    random = np.random.default_rng(seed)
    return {member: float(2 ** random.uniform(-3, 0)) for member in sorted(classes.free())}


def test_channels_of_a_convolution_have_a_class_each():
    graph = Graph()
    y = point(graph, image(graph), "y")
    graph.output(point(graph, y, "z"))

    assert len(set(channels(graph, y))) == 4
    assert PINNED not in channels(graph, y)


def test_inputs_and_outputs_are_pinned():
    graph = Graph()
    x = image(graph)
    y = point(graph, x, "y")
    graph.output(y)

    assert channels(graph, x) == channels(graph, y) == [PINNED] * 4


def test_leaky_relu_history_and_moves_carry_classes_on():
    graph = Graph()
    y = point(graph, image(graph), "y")
    active = ops.leaky_relu(graph, y, SLOPE, "active")
    window = histories.history(graph, active, 2, "cache")
    turned = ops.transpose(graph, window, (0, 1, 3, 2), "turned")
    graph.output(
        ops.depthwise_over_history(graph, window, constant(1, 3, 3, 4), constant(4), 1, "depth")
    )

    expected = channels(graph, y)
    assert channels(graph, active) == channels(graph, window) == expected
    assert ScaleClasses(graph).of(turned).classes[0, 0, :, 0].tolist() == expected


def test_terms_of_a_sum_share_classes():
    graph = Graph()
    x = image(graph)
    first, second = point(graph, x, "first"), point(graph, x, "second", seed=1)
    total = ops.add(graph, first, second, "total")
    graph.output(point(graph, total, "z"))

    assert channels(graph, first) == channels(graph, second) == channels(graph, total)


@pytest.mark.parametrize("function", [ops.sigmoid, ops.tanh, ops.reciprocal_root])
def test_what_is_not_homogeneous_pins_its_input(function):
    graph = Graph()
    y = point(graph, image(graph), "y")
    graph.output(function(graph, y, "z"))

    assert channels(graph, y) == [PINNED] * 4


def test_a_square_scales_by_the_square():
    graph = Graph()
    y = point(graph, image(graph), "y")
    square = ops.multiply(graph, y, y, "square")
    graph.output(point(graph, ops.mean(graph, square, (2,), "energy"), "z"))

    scaling = ScaleClasses(graph).of(square)
    assert channels(graph, square) == channels(graph, y)
    assert (scaling.exponents == 2).all()


def test_a_sum_of_a_value_and_its_square_is_pinned():
    graph = Graph()
    y = point(graph, image(graph), "y")
    total = ops.add(graph, y, ops.multiply(graph, y, y, "square"), "total")
    graph.output(point(graph, total, "z"))

    assert channels(graph, y) == [PINNED] * 4


def test_a_gate_leaves_the_classes_of_what_it_gates():
    graph = Graph()
    x = image(graph)
    y = point(graph, x, "y")
    gated = ops.multiply(graph, y, ops.sigmoid(graph, x, "gate"), "gated")
    graph.output(point(graph, gated, "z"))

    assert channels(graph, gated) == channels(graph, y)


def test_an_average_over_channels_unites_them():
    graph = Graph()
    y = point(graph, image(graph), "y")
    level = ops.mean(graph, y, (2, 3), "level")
    graph.output(
        ops.linear(graph, ops.reshape(graph, level, (1, 1), "row"), constant(3, 1), None, "z")
    )

    (member,) = set(channels(graph, y))
    assert member != PINNED


def _plain(graph: Graph, x: Value) -> Value:
    y = ops.leaky_relu(graph, point(graph, x, "first"), SLOPE, "active")
    window = histories.history(graph, y, 2, "cache")
    depth = ops.depthwise_over_history(graph, window, constant(1, 3, 3, 4), constant(4), 1, "depth")
    return ops.add(graph, y, ops.leaky_relu(graph, depth, SLOPE, "depth_active"), "skip")


def _grouped(graph: Graph, x: Value) -> Value:
    y = point(graph, x, "first")
    weight = constant(4, 1, 3, 2, seed=3)
    return ops.convolution(graph, y, weight, constant(4, seed=4), "grouped")


def _shuffled(graph: Graph, x: Value) -> Value:
    y = point(graph, x, "first")
    halves = ops.reshape(graph, y, (6, 2, 2), "halves")
    return ops.reshape(
        graph, ops.transpose(graph, halves, (0, 2, 1), "swapped"), (1, 1, 6, 4), "shuffled"
    )


def _normalized(graph: Graph, x: Value) -> Value:
    """Constants in sums and products, above and below."""
    y = point(graph, x, "first")
    scaled = ops.multiply(graph, y, graph.constant(constant(6, 4), "gain"), "scaled")
    shifted = ops.add(graph, graph.constant(constant(1, 4), "shift"), scaled, "shifted")
    return ops.subtract(graph, shifted, graph.constant(constant(1, 1), "offset"), "centred")


def _attended(graph: Graph, x: Value) -> Value:
    y = ops.reshape(graph, point(graph, x, "first"), (6, 4), "rows")
    energy = ops.mean(graph, ops.multiply(graph, y, y, "square"), (0,), "energy")
    gate = ops.sigmoid(
        graph, ops.linear(graph, energy, constant(4, 4), constant(4), "opened"), "gate"
    )
    return ops.reshape(graph, ops.multiply(graph, y, gate, "gated"), (1, 1, 6, 4), "image")


def _recurrent(graph: Graph, x: Value) -> Value:
    y = ops.reshape(graph, point(graph, x, "first"), (6, 4), "rows")
    memory = graph.recurrent_state("memory", (6, 4))
    after = ops.tanh(
        graph,
        ops.add(graph, ops.linear(graph, y, constant(4, 4), None, "seen"), memory, "sum"),
        "after",
    )
    graph.carry(memory, after)
    joined = ops.concat(graph, [y, after], 1, "joined")
    mixed = ops.linear(graph, joined, constant(4, 8), None, "mixed")
    return ops.reshape(graph, mixed, (1, 1, 6, 4), "image")


NETWORKS: list[Callable[[Graph, Value], Value]] = [
    _plain,
    _grouped,
    _shuffled,
    _normalized,
    _attended,
    _recurrent,
]


@pytest.mark.parametrize("body", NETWORKS)
@torch.no_grad()
def test_any_scales_of_the_free_classes_leave_the_output_as_it_was(body):
    graph = Graph()
    graph.output(point(graph, body(graph, image(graph)), "last", seed=7))
    inputs = torch.randn(2, 12, 1, 1, 6, 4, generator=torch.Generator().manual_seed(0))
    expected = run_frames(graph, inputs)
    classes = ScaleClasses(graph)

    equalize(graph, classes, random_scales(classes))

    assert len(classes.free()) >= 4
    assert_near(run_frames(graph, inputs), expected)


@torch.no_grad()
def test_values_shrink_by_their_scales():
    graph = Graph()
    y = point(graph, image(graph), "y")
    graph.output(point(graph, y, "z"))
    classes = ScaleClasses(graph)
    members = channels(graph, y)
    weight = graph.operators[0].inputs[1]
    before = constant_of(weight).clone()

    equalize(graph, classes, dict(zip(members, (1.0, 0.5, 0.25, 0.125), strict=True)))

    gains = (constant_of(weight) / before).reshape(4, 4).mean(dim=1)
    torch.testing.assert_close(gains, torch.tensor([1.0, 2.0, 4.0, 8.0]))


def test_scales_are_the_channels_beside_the_largest_of_their_tensor():
    graph = Graph()
    y = point(graph, image(graph), "y")
    graph.output(point(graph, y, "z"))
    classes = ScaleClasses(graph)

    scales = choose_scales(classes, {y: np.array([4.0, 2.0, 1.0, 0.01])}, 8.0)

    assert [scales[member] for member in channels(graph, y)] == [1.0, 0.5, 0.25, 0.125]


def test_a_class_is_scaled_by_the_tensor_that_needs_it_largest():
    graph = Graph()
    x = image(graph)
    first, second = point(graph, x, "first"), point(graph, x, "second")
    graph.output(point(graph, ops.add(graph, first, second, "total"), "z"))
    classes = ScaleClasses(graph)

    magnitudes = {first: np.array([8.0, 4.0, 2.0, 1.0]), second: np.array([1.0, 1.0, 4.0, 2.0])}
    scales = choose_scales(classes, magnitudes)

    assert [scales[member] for member in channels(graph, first)] == [1.0, 0.5, 1.0, 0.5]


@torch.no_grad()
def test_gtcrn_stays_as_it_was(random_network, frames):
    graph = find_network("gtcrn").step(random_network)
    (expected,) = run_sequence(graph, {"features": frames})
    classes = ScaleClasses(graph)

    equalize(graph, classes, random_scales(classes))

    assert len(classes.free()) > 100
    assert_near(run_sequence(graph, {"features": frames})[0], expected)
