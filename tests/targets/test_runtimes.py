"""The table of what runtimes can't do, held against the real tools."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_se.engines.tflite import create_interpreter, find_runtime
from edge_se.runtimes import RUNTIMES, file_operators, runs_in
from quant.graph import operators as ops
from quant.graph.encoding import Precision, assign_encodings
from quant.graph.graph import Graph
from quant.graph.kinds import KINDS
from quant.graph.tflite import write_tflite
from tests.helpers.small_graphs import BUILDERS, constant, one_operator

INTEGERS = [Precision.INT8, Precision.INT16]


def written(path: Path, graph: Graph, precision: Precision) -> Path:
    values = [*graph.inputs, *(value for op in graph.operators for value in op.outputs)]
    ranges = {value.range_key: (-3.0, 3.0) for value in values}
    encodings = assign_encodings(graph, lambda _: precision, ranges, precision)
    path.write_bytes(write_tflite(graph, encodings, lambda _: precision).content)
    return path


def verdicts(path: Path) -> dict[str, str]:
    return runs_in(file_operators(create_interpreter(find_runtime(), path, delegate=False)))


def runs_in_micro(path: Path) -> bool:
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    try:
        interpreter = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=1 << 20)
        reader = create_interpreter(find_runtime(), path, delegate=False)
        for place, details in enumerate(reader.get_input_details()):
            # Roots and logarithms refuse what is not positive, and memory may hold anything.
            interpreter.set_input(np.full(details["shape"], 100, details["dtype"]), place)
        interpreter.invoke()
    except RuntimeError:
        return False
    return True


def left_to_cpu(path: Path, accelerator: str) -> int:
    pytest.importorskip("ethosu", reason="ethos-u-vela is not installed")
    command = [sys.executable, "-m", "ethosu.vela", str(path), "--output-dir", str(path.parent)]
    result = subprocess.run(
        [*command, "--accelerator-config", accelerator], capture_output=True, text=True, check=True
    )
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("CPU operators"))
    return int(line.split()[3])


def wide_concatenation(monkeypatch) -> Graph:
    # The package has a function of the module's name.
    monkeypatch.setattr(sys.modules["quant.graph.operators.concat"], "MOST_INPUTS", 99)
    graph = Graph()
    parts = [graph.input(f"x{index}", (1, 4)) for index in range(11)]
    graph.output(ops.concat(graph, parts, 0, "joined"))
    return graph


def long_stride(monkeypatch) -> Graph:
    monkeypatch.setattr("quant.graph.operators.depthwise.LONGEST_STRIDE", 99)
    graph = Graph()
    window = graph.input("x", (1, 11, 9, 4))
    weight, bias = constant(1, 3, 3, 4), constant(4)
    graph.output(ops.depthwise_over_history(graph, window, weight, bias, 5, "y"))
    return graph


@pytest.mark.parametrize("precision", Precision)
@pytest.mark.parametrize("kind", BUILDERS)
def test_tflite_micro_runs_what_the_table_says(tmp_path, kind, precision):
    path = written(tmp_path / "model.tflite", one_operator(kind), precision)

    assert (verdicts(path)["TFLite Micro"] == "yes") is runs_in_micro(path)


def test_tflite_micro_joins_ten_at_most(tmp_path, monkeypatch):
    path = written(tmp_path / "model.tflite", wide_concatenation(monkeypatch), Precision.INT8)

    assert not runs_in_micro(path)
    assert verdicts(path)["TFLite Micro"] == (
        "no: CONCATENATION has 11 inputs, at most 10 are taken"
    )


@pytest.mark.parametrize("variant", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-128"])
def test_ethos_u_strides_as_far_as_the_table_says(tmp_path, monkeypatch, variant):
    path = written(tmp_path / "model.tflite", long_stride(monkeypatch), Precision.INT8)
    name = variant.replace("ethos-u", "Ethos-U").rpartition("-")[0]

    assert (verdicts(path)[name] == "yes") is (left_to_cpu(path, variant) == 0)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [Precision.FLOAT, *INTEGERS])
@pytest.mark.parametrize("variant", ["ethos-u55-128", "ethos-u65-256", "ethos-u85-128"])
def test_ethos_u_runs_what_the_table_says(tmp_path, variant, precision):
    """All kinds in one file, as Vela takes seconds to start."""
    graph = Graph()
    for kind in BUILDERS:
        if not (KINDS[kind].float_only or kind == "resize"):
            with graph.scope(kind):
                graph.output(BUILDERS[kind](graph))
    path = written(tmp_path / "model.tflite", graph, precision)
    name = variant.replace("ethos-u", "Ethos-U").rpartition("-")[0]

    assert (verdicts(path)[name] == "yes") is (left_to_cpu(path, variant) == 0)
    resized = written(tmp_path / "resized.tflite", one_operator("resize"), precision)
    assert verdicts(resized)[name].startswith("no: ") and left_to_cpu(resized, variant) == 1


def test_every_runtime_has_a_verdict_with_its_reason(tmp_path):
    path = written(tmp_path / "model.tflite", one_operator("linear"), Precision.DYNAMIC)

    assert verdicts(path) == {
        **dict.fromkeys(RUNTIMES, "no: FULLY_CONNECTED has floats and integer weights"),
        "LiteRT": "yes",
        "tflite-runtime": "yes",
    }


@pytest.mark.parametrize("kind", [k for k in BUILDERS if not KINDS[k].float_only])
def test_tflite_micro_computes_litert_s_integers(tmp_path, kind):
    """To the integer; but fully connected layers of matrices, rounded twice, may be a step off."""
    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime")
    path = written(tmp_path / "model.tflite", one_operator(kind), Precision.INT8)
    micro = runtime.Interpreter.from_bytes(path.read_bytes(), arena_size=1 << 20)
    resolver = find_runtime().module.OpResolverType.BUILTIN_REF
    litert = find_runtime().module.Interpreter(
        model_path=str(path), num_threads=1, experimental_op_resolver_type=resolver
    )
    litert.allocate_tensors()
    random = np.random.default_rng(0)

    for _ in range(20):
        for place, detail in enumerate(litert.get_input_details()):
            lowest = 1 if kind == "reciprocal_root" else -128  # a root of what is above zero
            values = random.integers(lowest, 128, detail["shape"]).astype(np.int8)
            micro.set_input(values, place)
            litert.set_tensor(detail["index"], values)
        micro.invoke()
        litert.invoke()
        for place, detail in enumerate(litert.get_output_details()):
            off = micro.get_output(place).astype(int) - litert.get_tensor(detail["index"])
            assert np.abs(off).max() <= (kind == "linear")
