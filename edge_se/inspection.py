"""What is inside a model file: manifest, states, operators by precision, size, latency."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edge_se.engines import engine_of, load_engine
from edge_se.engines.choice import core_for
from edge_se.errors import UserError
from edge_se.manifest import Manifest
from edge_se.runtimes import file_operators, runs_in


def inspect_model(path: Path, runtime: str | None = None) -> dict[str, Any]:
    """Describe a model file; the result is ready for JSON.

    Args:
        path: .tflite, .onnx or .so.
        runtime: TFLite runtime that reads the graph; None takes the first one installed.

    Returns:
        `file`, `size_kb`, `latency_ms` and `latency_samples` (None of a separator, which hears the
        whole recording first), `operators` (a list of `operator`,
        `precision`, `count`, most frequent first), `state_bytes` (None of a .so), `stft_core` (what
        runs the STFT here, "compiled" or "numpy"), `engines` (words on each that can run it, by
        name), `manifest`, and for .tflite `xnnpack_share` and `runtimes` ("yes", or the first
        operator in the way, by runtime), unless there is no TFLite runtime and C runs it.

    Raises:
        UserError: The file can't be read as a model.
    """
    engine = engine_of(path)
    describe = {"tflite": _describe_tflite, "onnxruntime": _describe_onnx, "c": _describe_compiled}
    manifest, operators, further = describe.get(engine, _describe_other)(path, runtime)
    return {
        "file": str(path),
        "size_kb": round(path.stat().st_size / 1000, 1),
        "latency_ms": manifest.algorithmic_latency_ms if manifest.chunk is None else None,
        "latency_samples": manifest.latency_samples if manifest.chunk is None else None,
        "state_bytes": sum(
            int(np.prod(state.shape)) * np.dtype(state.dtype).itemsize for state in manifest.states
        ),
        "stft_core": "numpy" if core_for(manifest.signal) is None else "compiled",
        "engines": {engine: "by default"},
        **further,
        "operators": [
            {"operator": name, "precision": precision, "count": count}
            for (name, precision), count in sorted(
                operators.items(), key=lambda item: (-item[1], item[0])
            )
        ],
        "manifest": asdict(manifest),
    }


Description = tuple[Manifest, Counter[tuple[str, str]], dict[str, Any]]


def _describe_tflite(path: Path, runtime: str | None) -> Description:
    from edge_se.engines.generated import load_the_same
    from edge_se.engines.tflite import create_interpreter, delegated_share, find_runtime
    from edge_se.model_file import read_manifest

    manifest, same = read_manifest(path), load_the_same(path)
    if same is None:
        engines = {"tflite": "by default", "c": _in_c(path)}
    else:
        exactly = "up to rounding" if same.sample_dtype == np.float32 else "to the bit"
        engines = {
            "c": f"by default, in {same.arithmetic}, {exactly}",
            "tflite": "with --engine tflite",
        }
    try:
        chosen = find_runtime(runtime)
    except UserError as error:
        if runtime is not None or same is None:
            raise
        # A board for what runs in C has none, and its operators are not told.
        return manifest, Counter(), {"engines": engines | {"tflite": f"no: {error}"}}
    share = delegated_share(create_interpreter(chosen, path))
    plain = create_interpreter(chosen, path, delegate=False)
    operators = Counter(
        (operator["op_name"], _precision(operator)) for operator in plain._get_ops_details()
    )
    further = {
        "xnnpack_share": round(share, 4),
        "engines": engines,
        "runtimes": runs_in(file_operators(plain)),
    }
    return manifest, operators, further


def _in_c(path: Path) -> str:
    """Whether the C engine can run a model."""
    from edge_se.engines.generated import arithmetics_of

    arithmetics = arithmetics_of(path)
    if arithmetics:
        return f"with --engine c, in {' or '.join(arithmetics)}"
    return "no: it has no weights that an engine of this installation takes"


def _describe_compiled(path: Path, runtime: str | None) -> Description:
    """What a library says in its manifest: it is a program, which is not loaded to be looked at."""
    from edge_se.engines.generated import read_compiled

    _no_runtime(path, runtime)
    return read_compiled(path), Counter(), {"state_bytes": None}


def _describe_other(path: Path, runtime: str | None) -> Description:
    """What an engine that was registered says of its file."""
    _no_runtime(path, runtime)
    return load_engine(path).manifest, Counter(), {}


def _no_runtime(path: Path, runtime: str | None) -> None:
    if runtime is not None:
        raise UserError(f"a runtime can be chosen for .tflite files only, which {path} is not")


def _precision(operator: dict[str, Any]) -> str:
    """Dtype of an operator's result, and of its weights where these are narrower."""
    result = np.dtype(operator["result_types"][0]).name
    operands = {np.dtype(kind).name for kind in operator["operand_types"]}
    # Dynamic-range quantization: float in, float out, integer weights. Dequantize only converts.
    hybrid = result == "float32" and "float32" in operands
    narrow = sorted(operands & {"int8", "int4"}) if hybrid else []
    return f"{result}, {narrow[0]} weights" if narrow else result


def _describe_onnx(path: Path, runtime: str | None) -> Description:
    from edge_se.engines.onnx import create_session
    from edge_se.model_file import read_manifest

    _no_runtime(path, runtime)
    manifest = read_manifest(path)
    create_session(path)  # what can't be run is not described
    try:
        import onnx
    except ModuleNotFoundError:
        raise UserError(f"inspecting {path} needs onnx; pip install onnx") from None
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    elements = {
        value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.output)
    }
    names = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
    names[onnx.TensorProto.FLOAT] = "float32"
    operators = Counter(
        (node.op_type, names[elements.get(node.output[0], 0)]) for node in graph.node
    )
    return manifest, operators, {}
