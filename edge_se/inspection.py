"""What is inside a model file: manifest, states, operators by precision, size, latency."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from edge_se.core import load_core
from edge_se.engines import ENGINES
from edge_se.errors import UserError
from edge_se.manifest import Manifest


def inspect_model(path: Path, runtime: str | None = None) -> dict[str, Any]:
    """Describe a model file; the result is ready for JSON.

    Args:
        path: .tflite or .onnx.
        runtime: TFLite runtime that reads the graph; None takes the first one installed.

    Returns:
        `file`, `size_kb`, `latency_ms` and `latency_samples` (None of a separator, which hears the
        whole recording first), `operators` (a list of `operator`,
        `precision`, `count`, most frequent first), `state_bytes`, `stft_core` (what
        runs the STFT here, "compiled" or "numpy"), `manifest`, and for .tflite `xnnpack_share`.

    Raises:
        UserError: The file can't be read as a model.
    """
    if path.suffix not in ENGINES.values():
        raise UserError(f"{path} is no model file; its name has to end in .tflite or .onnx")
    describe = _describe_onnx if path.suffix == ENGINES["onnxruntime"] else _describe_tflite
    manifest, operators, further = describe(path, runtime)
    return {
        "file": str(path),
        "size_kb": round(path.stat().st_size / 1000, 1),
        "latency_ms": manifest.algorithmic_latency_ms if manifest.chunk is None else None,
        "latency_samples": manifest.latency_samples if manifest.chunk is None else None,
        "state_bytes": sum(
            int(np.prod(state.shape)) * np.dtype(state.dtype).itemsize for state in manifest.states
        ),
        "stft_core": "numpy" if manifest.chunk or load_core() is None else "compiled",
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
    from edge_se.engines.tflite import create_interpreter, delegated_share, find_runtime
    from edge_se.model_file import read_manifest

    manifest = read_manifest(path)
    chosen = find_runtime(runtime)
    share = delegated_share(create_interpreter(chosen, path))
    plain = create_interpreter(chosen, path, delegate=False)
    operators = Counter(
        (operator["op_name"], _precision(operator)) for operator in plain._get_ops_details()
    )
    return manifest, operators, {"xnnpack_share": round(share, 4)}


def _precision(operator: dict[str, Any]) -> str:
    """Dtype of an operator's result, and of its weights where these are narrower."""
    result = np.dtype(operator["result_types"][0]).name
    operands = {np.dtype(kind).name for kind in operator["operand_types"]}
    # Dynamic-range quantization: float in, float out, integer weights. Dequantize only converts.
    hybrid = result == "float32" and "float32" in operands
    narrow = sorted(operands & {"int8", "int4"}) if hybrid else []
    return f"{result}, {narrow[0]} weights" if narrow else result


def _describe_onnx(path: Path, runtime: str | None) -> Description:
    from edge_se.engines.onnx import create_session, session_manifest

    if runtime is not None:
        raise UserError(f"a runtime can be chosen for .tflite files only, which {path} is not")
    manifest = session_manifest(create_session(path), path)
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
