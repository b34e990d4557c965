"""The ONNX graph: named signals and states, readable inner names, constants stored once."""

import onnx
import onnxruntime
import pytest
import torch

from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.execute import run_step
from quant.graph.graph import Graph
from quant.graph.onnx import OPSET, write_onnx
from tests.helpers.small_graphs import constant


@pytest.fixture
def graph() -> Graph:
    """Two steps of a repeated scope, and a history."""
    graph = Graph()
    x = graph.input("x", (1, 8))
    for row in range(2):
        with graph.scope("row", repeated=row):
            x = ops.linear(graph, x, constant(8, 8), None, "hidden")
    memory = graph.recurrent_state("memory", (1, 8))
    after = ops.tanh(graph, ops.add(graph, x, memory, "sum"), "after")
    graph.carry(memory, after)
    histories.history(graph, ops.reshape(graph, after, (1, 1, 2, 4), "image"), 2, "cache")
    graph.output(ops.leaky_relu(graph, after, torch.tensor(0.5), "y"))
    return graph


def test_signals_and_states_are_named(graph):
    written = write_onnx(graph).graph

    assert [value.name for value in written.input] == ["x", "memory", "cache"]
    assert [value.name for value in written.output] == ["y", "memory.next", "cache.next"]


def test_every_node_is_named_after_its_result(graph):
    nodes = write_onnx(graph).graph.node

    assert all(node.name == node.output[0] for node in nodes)
    assert {"row00.hidden", "sum", "cache.window"} < {node.name for node in nodes}


def test_equal_constants_are_stored_once_under_the_shared_name(graph):
    names = [content.name for content in write_onnx(graph).graph.initializer]

    assert names.count("row.hidden.weight") == 1
    assert not any(name.startswith("row0") for name in names)


def test_constants_that_differ_between_repeated_steps_keep_names_of_their_own():
    graph = Graph()
    x = graph.input("x", (1, 8))
    for row in range(2):
        with graph.scope("row", repeated=row):
            x = ops.linear(graph, x, constant(8, 8, seed=row), None, "hidden")
    graph.output(x)

    names = [content.name for content in write_onnx(graph).graph.initializer]

    assert names == ["row.hidden.weight", "row01.hidden.weight"]


def test_a_bias_of_zeros_is_left_out(graph):
    (first, *_) = write_onnx(graph).graph.node

    assert (first.op_type, list(first.input)) == ("Gemm", ["x", "row.hidden.weight"])


def test_only_the_standard_opset_is_needed(graph):
    model = write_onnx(graph)

    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", OPSET)]


def test_bytes_are_reproducible(graph):
    first, second = (write_onnx(graph).SerializeToString(deterministic=True) for _ in range(2))

    assert first == second


@pytest.mark.parametrize(
    "build",
    [
        lambda graph, x: ops.add(graph, x, x, "y", rectified=True),
        lambda graph, x: ops.linear(graph, x, constant(3, 4), None, "y", rectified=True),
        lambda graph, x: ops.convolution(
            graph,
            ops.reshape(graph, x, (1, 1, 5, 4), "image"),
            constant(3, 1, 1, 4),
            constant(3),
            "y",
            rectified=True,
        ),
    ],
    ids=["add", "linear", "convolution"],
)
def test_what_is_rectified_in_torch_is_so_in_onnx(build):
    graph = Graph()
    graph.output(build(graph, graph.input("x", (5, 4))))
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    session = onnxruntime.InferenceSession(
        write_onnx(graph).SerializeToString(), providers=["CPUExecutionProvider"]
    )

    (result,) = session.run(None, {"x": inputs.numpy()})

    (expected,), _ = run_step(graph, {"x": inputs[None]}, {})
    assert result.min() == 0 < result.max()
    torch.testing.assert_close(torch.from_numpy(result), expected[0])
