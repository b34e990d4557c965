"""Running a graph in torch: frame by frame and whole clips agree; hooks see and replace tensors."""

import pytest
import torch

from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.execute import initial_states, run_sequence, run_step
from quant.graph.graph import Graph
from tests.helpers.running import run_frames
from tests.helpers.small_graphs import constant


@pytest.fixture
def graph() -> Graph:
    """Histories before, between and after two recurrences, one of which feeds the other."""
    graph = Graph()
    x = graph.input("x", (1, 1, 6, 4))
    window = histories.history(graph, x, 2, "early")
    y = ops.depthwise_over_history(graph, window, constant(1, 3, 3, 4), constant(4), 1, "filtered")
    rows = ops.reshape(graph, y, (6, 4), "rows")
    for name in ("first", "second"):
        memory = graph.recurrent_state(f"{name}_memory", (6, 4))
        mixed = ops.linear(graph, memory, 0.4 * constant(4, 4), None, f"{name}_mixed")
        rows = ops.tanh(graph, ops.add(graph, mixed, rows, f"{name}_sum"), f"{name}_state")
        graph.carry(memory, rows)
    image = ops.reshape(graph, rows, (1, 1, 6, 4), "image")
    window = histories.history(graph, image, 4, "late")
    graph.output(
        ops.depthwise_over_history(
            graph, window, constant(1, 3, 3, 4, seed=1), constant(4), 2, "last"
        )
    )
    return graph


@pytest.fixture
def inputs():
    return torch.randn(3, 20, 1, 1, 6, 4, generator=torch.Generator().manual_seed(2))


def test_whole_clips_equal_frame_by_frame(graph, inputs):
    (sequence,) = run_sequence(graph, {"x": inputs})

    torch.testing.assert_close(sequence, run_frames(graph, inputs))


def test_clips_do_not_mix(graph, inputs):
    (together,) = run_sequence(graph, {"x": inputs})
    (alone,) = run_sequence(graph, {"x": inputs[1:2]})

    torch.testing.assert_close(together[1:2], alone)


def test_states_are_carried(graph, inputs):
    states = initial_states(graph, clips=3)

    _, carried = run_step(graph, {"x": inputs[:, 0]}, states)

    assert all(not tensor.any() for tensor in states.values())
    torch.testing.assert_close(carried["early"][:, 0, -1], inputs[:, 0, 0, 0])
    assert carried.keys() == states.keys()


def test_a_hook_sees_every_value(graph, inputs):
    seen = set()

    def observe(value, tensor):
        seen.add(value)
        return tensor

    run_step(graph, {"x": inputs[:, 0]}, initial_states(graph, 3), observe)

    values = {v for op in graph.operators for v in (*op.inputs, *op.outputs)} | set(graph.inputs)
    assert seen == values


@pytest.mark.parametrize("name", ["x", "rows", "filtered.bias", "first_memory", "late"])
def test_what_a_hook_returns_is_used_instead(graph, inputs, name):
    def silence(value, tensor):
        return torch.zeros_like(tensor) if value.name == name else tensor

    (step,), _ = run_step(graph, {"x": inputs[:, 0]}, initial_states(graph, 3), silence)
    (sequence,) = run_sequence(graph, {"x": inputs}, silence)

    torch.testing.assert_close(sequence[:, 0], step)
    assert not torch.allclose(sequence, run_sequence(graph, {"x": inputs})[0])


def test_gradients_reach_the_constants(inputs):
    graph = Graph()
    weight = torch.ones(2, 24, requires_grad=True)
    x = ops.reshape(graph, graph.input("x", (1, 1, 6, 4)), (1, 24), "row")
    graph.output(ops.linear(graph, x, weight, None, "y"))

    run_sequence(graph, {"x": inputs})[0].sum().backward()

    assert weight.grad is not None
    torch.testing.assert_close(weight.grad[0], inputs.sum(dim=(0, 1)).flatten())


def test_a_cycle_is_named():
    graph = Graph()
    x = graph.input("x", (1, 4))
    lost = Graph().input("lost", (1, 4))
    ops.add(graph, x, lost, "sum")

    with pytest.raises(ValueError, match="cycle through sum"):
        run_sequence(graph, {"x": torch.zeros(1, 2, 1, 4)})
