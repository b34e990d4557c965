"""Operators of a TFLite file as the cost table knows them, and small models to count them with."""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_OPERATORS = {
    number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)
}
_TYPES = {
    number: name.lower()
    for name, number in vars(schema.TensorType).items()
    if isinstance(number, int)
}
# Options that change which kernel runs, or how often its inner loop does.
_OPTIONS = ("strideW", "strideH", "dilationWFactor", "dilationHFactor", "axis")
_NONE = -1  # the place of an input that an operator does without


@dataclass(frozen=True)
class FileOperator:
    """One operator of a file.

    Attributes:
        key: what its cost depends on, readable: kind, types and shapes ("c" marks constants).
        kind: its builtin name.
        type: of its result, with that of its weights where they differ: "int8", "float32/int8".
        work: multiplications of a weighted operator, else elements read and written.
        inputs: indices of the tensors that it reads and that are not constants.
        outputs: indices of the tensors it writes.
    """

    key: str
    kind: str
    type: str
    work: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def parse(content: bytes) -> Any:
    """The flatbuffer of a model file as the schema's ModelT."""
    return schema.ModelT.InitFromPackedBuf(content, 0)


def describe_operators(model: Any) -> Iterator[FileOperator]:
    """Every operator of a parsed file, in order of execution."""
    for operator in model.subgraphs[0].operators:
        yield _describe(model, operator)


def _describe(model: Any, operator: Any) -> FileOperator:
    tensors = model.subgraphs[0].tensors
    kind = _OPERATORS[model.operatorCodes[operator.opcodeIndex].builtinCode]
    read = [int(index) for index in operator.inputs if index != _NONE]
    written = [int(index) for index in operator.outputs]
    constant = {index: model.buffers[tensors[index].buffer].data is not None for index in read}

    def shown(index: int) -> str:
        tensor = tensors[index]
        shape, data = "x".join(map(str, tensor.shape)), model.buffers[tensor.buffer].data
        type_name = _TYPES[tensor.type]
        if data is not None and type_name == "int32" and len(data) <= 16 and _is_parameter(kind):
            return str(np.frombuffer(bytes(data), np.int32).tolist()).replace(" ", "")
        return f"{type_name}{'c' * constant.get(index, False)}[{shape}]"

    options = vars(operator.builtinOptions) if operator.builtinOptions is not None else {}
    marks = [f"{name}={options[name]}" for name in _OPTIONS if options.get(name, 1) != 1]
    inputs = " ".join(shown(index) for index in read)
    outputs = " ".join(shown(index) for index in written)
    sizes = [int(np.prod(tensors[index].shape)) for index in (*read, *written)]
    weighted = kind in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    result = tensors[written[0]]
    per_output = sizes[1] // int(result.shape[-1]) if weighted else 0
    narrow = weighted and tensors[read[1]].type != result.type
    narrow &= _TYPES[result.type] == "float32"
    return FileOperator(
        key=" ".join([kind, inputs, "->", outputs, *marks]),
        kind=kind,
        type=_TYPES[result.type] + ("/int8" if narrow else ""),
        work=int(np.prod(result.shape)) * per_output if weighted else sum(sizes),
        inputs=tuple(index for index in read if not constant[index]),
        outputs=tuple(written),
    )


def _is_parameter(kind: str) -> bool:
    return kind in ("TRANSPOSE", "REVERSE_V2", "MEAN", "SPLIT")


def repeated(model: Any, position: int, copies: int) -> bytes:
    """A small model that holds one operator of a parsed file several times.

    All copies read the same inputs, and all their results are the model's outputs: what nobody
    reads is not computed.
    """
    source = model.subgraphs[0]
    operator = source.operators[position]
    small, graph = schema.ModelT(), schema.SubGraphT()
    small.version = 3
    small.operatorCodes = [model.operatorCodes[operator.opcodeIndex]]
    small.buffers, small.subgraphs = [schema.BufferT()], [graph]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []

    def add(index: int, name: str) -> int:
        tensor = copy.copy(source.tensors[index])
        data = model.buffers[tensor.buffer].data
        tensor.buffer, tensor.name = 0, name
        if data is not None:
            small.buffers.append(schema.BufferT())
            small.buffers[-1].data = data
            tensor.buffer = len(small.buffers) - 1
        graph.tensors.append(tensor)
        return len(graph.tensors) - 1

    given = (int(index) for index in operator.inputs if index != _NONE)
    own = {index: add(index, f"in{index}") for index in dict.fromkeys(given)}
    graph.inputs = [index for index in own.values() if graph.tensors[index].buffer == 0]
    for number in range(copies):
        again = copy.copy(operator)
        again.opcodeIndex = 0
        again.inputs = [own.get(int(index), _NONE) for index in operator.inputs]
        again.outputs = [add(int(index), f"out{number}_{index}") for index in operator.outputs]
        graph.operators.append(again)
        graph.outputs += again.outputs
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(small.Pack(builder), b"TFL3")
    return bytes(builder.Output())
