"""The operators of a written .tflite in 8 bits, and the constants by which TFLite computes them.

Read from the file and not from the graph that it was written from: what the engine has to give are
the file's bits. Multipliers and shifts are those which TFLite's kernels prepare from scales.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from numpy.typing import NDArray

from edge_se.engines.tflite import find_runtime

Bytes = NDArray[np.int8]

_BUILTINS = {code: name for name, code in vars(schema.BuiltinOperator).items() if name.isupper()}
_INT8 = schema.TensorType.INT8
_CONSTANTS = {_INT8: np.int8, schema.TensorType.INT32: np.int32}
# Operators of one input whose every value depends on one value of it.
_UNARY = ("LOGISTIC", "TANH", "LEAKY_RELU", "RSQRT", "QUANTIZE")
# Bits by which TFLite shifts the terms of an 8-bit sum to the left.
SUM_SHIFT = 20


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the file.

    Attributes:
        index: in the file.
        shape: of it.
        scales: of its channels, or of all; empty where it is no quantized one.
        zero_point: of all.
        content: of a constant.
    """

    index: int
    shape: tuple[int, ...]
    scales: NDArray[np.float32]
    zero_point: int
    content: NDArray[Any] | None

    @property
    def scale(self) -> float:
        """Of a tensor that has one for all."""
        (scale,) = self.scales
        return float(scale)


@dataclass(frozen=True, eq=False)
class Operation:
    """An operator of the file; `kind` is TFLite's name of it."""

    kind: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]
    written: Any

    def input(self, position: int) -> Tensor:
        """An input that is not left out."""
        found = self.inputs[position]
        assert found is not None
        return found

    @property
    def is_unary(self) -> bool:
        """Whether every value of the result depends on one value alone."""
        return self.kind in _UNARY or (
            self.kind in ("ADD", "SUB", "MUL") and self.inputs[0] is self.inputs[1]
        )

    @property
    def is_rectified(self) -> bool:
        """Whether what is below zero becomes zero."""
        return bool(
            self.options.get("fusedActivationFunction") == schema.ActivationFunctionType.RELU
        )


@dataclass(frozen=True)
class Program:
    """Operators in their order, and the tensors that a frame takes in and gives."""

    operations: tuple[Operation, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]


def read_program(content: bytes) -> Program:
    """Read a .tflite.

    Raises:
        ValueError: It does not compute in 8-bit integers alone.
    """
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (graph,) = model.subgraphs
    codes = [_BUILTINS[max(c.builtinCode, c.deprecatedBuiltinCode)] for c in model.operatorCodes]
    tensors = [_tensor(index, t, model.buffers) for index, t in enumerate(graph.tensors)]

    def given(indices: Iterable[int]) -> tuple[Tensor | None, ...]:
        return tuple(None if index < 0 else tensors[index] for index in indices)

    operations = []
    for written in graph.operators:
        kind = codes[written.opcodeIndex]
        values = {int(index) for index in (*written.inputs, *written.outputs) if index >= 0}
        types = {graph.tensors[index].type for index in values}
        if not types <= set(_CONSTANTS):
            raise ValueError(f"it has a {kind} that is not in 8 bits")
        options = {} if written.builtinOptions is None else vars(written.builtinOptions)
        outputs = tuple(tensors[index] for index in written.outputs)
        operations.append(Operation(kind, given(written.inputs), outputs, options, written))
    ends = ([tensors[index] for index in side] for side in (graph.inputs, graph.outputs))
    inputs, results = map(tuple, ends)
    return Program(tuple(operations), inputs, results)


def content_of(tensor: Tensor) -> Any:
    """What a constant holds.

    Raises:
        ValueError: It is none.
    """
    if tensor.content is None:
        raise ValueError(f"its tensor {tensor.index} is no constant")
    return tensor.content


def numbers_of(tensor: Tensor) -> list[int]:
    """All numbers of a constant."""
    return [int(number) for number in content_of(tensor).ravel()]


def _tensor(index: int, tensor: Any, buffers: list[Any]) -> Tensor:
    data, quantization = buffers[tensor.buffer].data, tensor.quantization
    shape = tuple(int(size) for size in tensor.shape)
    known = quantization is not None and quantization.scale is not None
    content = None
    if data is not None and tensor.type in _CONSTANTS:
        content = np.frombuffer(bytes(data), _CONSTANTS[tensor.type]).reshape(shape)
    return Tensor(
        index,
        shape,
        np.array(quantization.scale if known else [], np.float32),
        int(quantization.zeroPoint[0]) if known else 0,
        content,
    )


# What TFLite's kernels prepare --------------------------------------------------------------


def multiplier_of(real: float) -> tuple[int, int]:
    """A factor as a multiplier of 31 fractional bits and an exponent of two, as TFLite has it."""
    if real == 0:
        return 0, 0
    fraction, exponent = math.frexp(real)
    multiplier = math.floor(fraction * 2**31 + 0.5)
    if multiplier == 2**31:
        multiplier, exponent = multiplier // 2, exponent + 1
    return (0, 0) if exponent < -31 else (multiplier, exponent)


def sum_multipliers(a: Tensor, b: Tensor, result: Tensor) -> list[tuple[int, int]]:
    """Of both terms of a sum or a difference, and of the result."""
    twice = 2 * max(a.scale, b.scale)
    factors = (a.scale / twice, b.scale / twice, twice / (2**SUM_SHIFT * result.scale))
    return [multiplier_of(factor) for factor in factors]


def product_multiplier(a: Tensor, b: Tensor, result: Tensor) -> tuple[int, int]:
    """Of a product, whose scales TFLite multiplies as floats."""
    (first,), (second,), (third,) = a.scales, b.scales, result.scales
    return multiplier_of(float(first * second / third))


def weighted_multipliers(x: Tensor, weight: Tensor, result: Tensor) -> list[tuple[int, int]]:
    """Of each channel of a convolution."""
    return [multiplier_of(x.scale * float(s) / result.scale) for s in weight.scales]


def mean_multiplier(x: Tensor, result: Tensor, count: int) -> tuple[int, int]:
    """Of the sum of so many values, to be their mean."""
    multiplier, exponent = multiplier_of(x.scale / result.scale)
    shift = min(count.bit_length() - 1, 32, 31 + exponent)
    return (multiplier << shift) // count, exponent - shift


# Tables ------------------------------------------------------------------------------------


def reference_tables(operations: Iterable[Operation]) -> dict[Operation, Bytes]:
    """What TFLite's reference kernels give for each of the 256 values, from -128 on.

    For values that a kernel refuses, what it gives for the next one that it takes.
    """
    kept = list(operations)
    model, graph, builder = schema.ModelT(), schema.SubGraphT(), flatbuffers.Builder(1 << 16)
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    graph.tensors, graph.operators, graph.inputs, graph.outputs = [], [], [], []
    model.operatorCodes = []
    for position, operation in enumerate(kept):
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, operation.kind)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), 1
        model.operatorCodes.append(code)
        written = schema.OperatorT()
        written.opcodeIndex = position
        written.builtinOptions = operation.written.builtinOptions
        written.builtinOptionsType = operation.written.builtinOptionsType
        written.inputs = [2 * position] * len(operation.inputs)
        written.outputs = [2 * position + 1]
        graph.operators.append(written)
        graph.tensors += [_of_all_values(operation.input(0)), _of_all_values(operation.outputs[0])]
        graph.inputs.append(2 * position)
        graph.outputs.append(2 * position + 1)
    builder.Finish(model.Pack(builder), b"TFL3")
    runtime = find_runtime("ai_edge_litert").module
    interpreter = runtime.Interpreter(
        model_content=bytes(builder.Output()),
        num_threads=1,
        experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_REF,
    )
    interpreter.allocate_tensors()
    places = [detail["index"] for detail in interpreter.get_input_details()]
    for operation, place in zip(kept, places, strict=True):
        values = np.arange(-128, 128)
        if operation.kind == "RSQRT":  # refuses what is not above zero
            values = np.maximum(values, operation.input(0).zero_point)
        interpreter.set_tensor(place, values.astype(np.int8))
    interpreter.invoke()
    results = [detail["index"] for detail in interpreter.get_output_details()]
    return {
        operation: interpreter.get_tensor(place)
        for operation, place in zip(kept, results, strict=True)
    }


def _of_all_values(tensor: Tensor) -> Any:
    """A tensor of 256 values in the encoding of another."""
    written = schema.TensorT()
    written.shape, written.type = np.array([256], np.int32), _INT8
    quantization = schema.QuantizationParametersT()
    quantization.scale = tensor.scales
    quantization.zeroPoint = np.array([tensor.zero_point], np.int64)
    written.quantization = quantization
    return written
