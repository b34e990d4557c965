"""The TFLite file of a module's frame: its signals and states, what stays float, its manifest."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_se.errors import UserError
from edge_se.manifest import Manifest, StateSpec, Tensors, TensorSpec
from edge_se.model_file import attach_manifest
from edge_se.signal import Signal
from quant.graph.tflite import pack
from quant.mixed_precision import operators
from quant.modules.own import FEATURES, MASK, OwnModule
from quant.ptq.pipeline import tool_versions

TOOLS = ("edge-se", "torch", "numpy", "ai-edge-litert", "litert-torch", "litert-quantizer")
NEXT = ".next"
_DTYPES = {
    schema.TensorType.FLOAT32: "float32",
    schema.TensorType.INT8: "int8",
    schema.TensorType.INT16: "int16",
}
_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_NO_LAYER = "(between layers)"


@dataclass(frozen=True)
class Places:
    """Where signals and states are among a graph's inputs and outputs.

    The quantizer keeps the order of both, but not the tensors, nor what the signature says of them.
    """

    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def parse(content: bytes) -> Any:
    """A file as the schema's ModelT, with constants that lie behind the flatbuffer in it."""
    model = operators.parse(content)
    for buffer in model.buffers:
        if buffer.offset > 1:  # 0 and 1 stand for none
            buffer.data = np.frombuffer(content, np.uint8, buffer.size, buffer.offset)
            buffer.offset = buffer.size = 0
    return model


def find_places(content: bytes, own: OwnModule) -> Places:
    """Where litert-torch has put what forward takes and returns: in the order of its arguments.

    Raises:
        UserError: the converter has left one of them out.
    """
    model = parse(content)
    graph, signature = model.subgraphs[0], model.signatureDefs[0]
    named = {
        prefix: {text(entry.name): int(entry.tensorIndex) for entry in entries}
        for prefix, entries in (("args", signature.inputs), ("output", signature.outputs))
    }
    names = (FEATURES, *own.state_names), (MASK, *own.state_names)
    found = []
    for prefix, wanted, tensors in zip(named, names, (graph.inputs, graph.outputs), strict=True):
        order = [int(tensor) for tensor in tensors]
        for number, name in enumerate(wanted):
            if named[prefix].get(f"{prefix}_{number}") not in order:
                what = "takes" if prefix == "args" else "returns"
                raise UserError(
                    f"litert-torch left {name} out of what {own.architecture} {what}; a state has "
                    "to be used and changed by forward, or left out of initial_states()"
                )
        found.append(tuple(order.index(named[prefix][f"{prefix}_{n}"]) for n in range(len(wanted))))
    return Places(*found)


def with_names(content: bytes, places: Places, own: OwnModule) -> bytes:
    """The file with signals and states called by their names."""
    model = parse(content)
    graph = model.subgraphs[0]
    names = [MASK, *(name + NEXT for name in own.state_names)]
    for place, name in zip(places.outputs, names, strict=True):
        graph.tensors[graph.outputs[place]].name = name.encode()
    for place, name in zip(places.inputs, (FEATURES, *own.state_names), strict=True):
        graph.tensors[graph.inputs[place]].name = name.encode()
    return pack(model)


def tied(content: bytes, places: Places) -> bytes:
    """The file, every state of which comes out in the type and by the scale in which it goes in.

    Where the quantizer gave it another, it is requantized at the end.
    """
    model = parse(content)
    graph = model.subgraphs[0]
    graph.outputs = graph.outputs.copy()  # of a parsed file they are a view, read only
    for taken, given in zip(places.inputs[1:], places.outputs[1:], strict=True):
        source = graph.tensors[graph.inputs[taken]]
        result = graph.tensors[graph.outputs[given]]
        if _encoding(source) == _encoding(result):
            continue
        tensor = schema.TensorT()
        tensor.shape, tensor.type = result.shape, source.type
        tensor.quantization, tensor.name = source.quantization, (result.name or b"") + b".tied"
        graph.tensors.append(tensor)
        operator = schema.OperatorT()
        kind = "DEQUANTIZE" if source.type == schema.TensorType.FLOAT32 else "QUANTIZE"
        operator.opcodeIndex = _code(model, getattr(schema.BuiltinOperator, kind))
        operator.inputs = np.array([graph.outputs[given]], np.int32)
        operator.outputs = np.array([len(graph.tensors) - 1], np.int32)
        graph.operators.append(operator)
        graph.outputs[given] = len(graph.tensors) - 1
    return pack(model)


def _code(model: Any, builtin: int) -> int:
    for index, code in enumerate(model.operatorCodes):
        if code.builtinCode == builtin:
            return index
    code = schema.OperatorCodeT()
    code.builtinCode, code.version = builtin, 2
    code.deprecatedBuiltinCode = min(builtin, 127)
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _encoding(tensor: Any) -> tuple[str, float, int]:
    """Dtype, scale and zero point of a tensor."""
    if tensor.type not in _DTYPES:
        raise UserError("a signal or state has a type that the frame loop does not know")
    quantization = tensor.quantization
    if tensor.type == schema.TensorType.FLOAT32 or quantization is None:
        return "float32", 0.0, 0
    zero_points = quantization.zeroPoint
    zero_point = 0 if zero_points is None or not len(zero_points) else int(zero_points[0])
    return _DTYPES[tensor.type], float(quantization.scale[0]), zero_point


def float_scopes(content: bytes) -> dict[str, dict[str, int]]:
    """Operators that compute in float in a file: how many of each kind, by the module's layer."""
    model = parse(content)
    found: dict[str, Counter[str]] = {}
    for operator in operators.describe_operators(model):
        if operator.type == "float32" and operator.kind not in _CONVERSIONS:
            name = text(model.subgraphs[0].tensors[operator.outputs[0]].name)
            found.setdefault(layer_of(name), Counter())[operator.kind] += 1
    return {layer: dict(sorted(kinds.items())) for layer, kinds in sorted(found.items())}


def layer_of(tensor: str) -> str:
    """The module's layer that a tensor belongs to, from the name that litert-torch gave it.

    It is a path of classes and attributes, as `net.Net/torch.nn.modules.conv.Conv2d_conv;3`.
    """
    path = tensor.partition(";")[0].split("/")[1:]
    found = (re.fullmatch(r"(?:\w+\.)*[A-Z][A-Za-z0-9]*_([\w.]+)", part) for part in path)
    return ".".join(match[1] for match in found if match) or _NO_LAYER


def text(name: Any) -> str:
    """A name of a parsed file."""
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")


def finished(
    content: bytes,
    places: Places,
    own: OwnModule,
    signal: Signal,
    precision: str,
    *,
    recipe: Mapping[str, Any],
    calibration: Mapping[str, Any],
    quality: Mapping[str, Any],
) -> bytes:
    """The model file: the frame without what no runtime reads, and its manifest."""
    model = parse(content)
    graph = model.subgraphs[0]
    inputs = [int(graph.inputs[place]) for place in places.inputs]
    outputs = [int(graph.outputs[place]) for place in places.outputs]
    kept = {*inputs, *outputs}
    for index, tensor in enumerate(graph.tensors):
        if index not in kept:
            tensor.name = None
        if tensor.quantization is not None:
            tensor.quantization.min = tensor.quantization.max = None
    model.signatureDefs, model.metadata, model.description = [], [], None
    encodings = {index: _encoding(graph.tensors[index]) for index in kept}
    manifest = Manifest(
        architecture=own.architecture,
        precision=precision,
        signal=signal,
        tensors=Tensors(
            TensorSpec(inputs[0], own.features_shape, *encodings[inputs[0]]),
            TensorSpec(outputs[0], own.mask_shape, *encodings[outputs[0]]),
        ),
        states=tuple(
            StateSpec(
                name,
                tuple(initial.shape),
                *encodings[taken],
                reset_value=float(initial.flatten()[0]),
                input=taken,
                output=given,
            )
            for name, initial, taken, given in zip(
                own.state_names, own.initial, inputs[1:], outputs[1:], strict=True
            )
        ),
        checkpoint=own.describe(),
        recipe=recipe,
        calibration=calibration,
        quality=quality,
        tools=tool_versions(TOOLS),
    )
    return attach_manifest(pack(model), manifest)
