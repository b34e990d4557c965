"""Writing a graph as a TFLite flatbuffer, in any mixture of precisions.

The file is written directly, without a converter: one TFLite operator per operator of the graph,
plus the conversions where precisions or encodings meet. Nothing that a runtime does not need is
stored (names of inner tensors, recorded ranges), and equal buffers, shapes and quantization
tables are stored once.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_se.quantized import quantize
from quant.graph.encoding import DTYPES, Chooser, Encoding, Precision, encode_range
from quant.graph.graph import Graph, Operator, Value

_TENSOR_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
}
_SAME_PADDING, _VALID_PADDING = 0, 1
_ABSENT = -1  # an optional input that an operator is not given
WEIGHT_LIMIT = 127  # symmetric 8-bit weights
_BIAS_LIMIT = 2**30
_BUFFER_ALIGNMENT = 16
# First version of FULLY_CONNECTED whose dynamic kernel knows one scale per channel.
_DYNAMIC_PER_CHANNEL_LINEAR = 12
_SMALLEST_WEIGHT_SCALE = 1e-12
# XNNPACK leaves a leaky ReLU alone that multiplies steps below zero by less than 1/256.
_FLATTEST_RATIO = 1.001 / 256


@dataclass(frozen=True)
class WrittenModel:
    """A flatbuffer and where the graph's values are in it, by tensor index."""

    content: bytes
    tensors: Mapping[Value, int]


class _SharingBuilder(flatbuffers.Builder):
    """Stores equal vectors and equal tables once; FlatBuffers may refer to them from many places.

    A model of tiny operators is mostly shapes, options and quantization tables.
    """

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self._vectors: dict[tuple, int] = {}
        self.tables: dict[tuple, int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802 - flatbuffers' name
        key = (x.dtype.str, x.tobytes())
        if key not in self._vectors:
            if x.dtype == np.uint8:
                # Contents of buffers: kernels may read them as any type where they lie.
                self.Prep(_BUFFER_ALIGNMENT, x.size)
            self._vectors[key] = super().CreateNumpyVector(x)
        return self._vectors[key]


class _Shared:
    """Mixin: pack an equal table once per file."""

    def Pack(self, builder: _SharingBuilder) -> int:  # noqa: N802 - the generated classes' name
        fields = (
            (k, v.tobytes() if isinstance(v, np.ndarray) else v) for k, v in vars(self).items()
        )
        key = (type(self).__name__, *sorted(fields))
        if key not in builder.tables:
            builder.tables[key] = super().Pack(builder)  # type: ignore[misc]
        return builder.tables[key]


@cache
def _shared(name: str) -> type:
    """The generated class of a table, packed once per file for equal contents."""
    return type(f"{name}T", (_Shared, getattr(schema, f"{name}T")), {})


def write_tflite(
    graph: Graph, encodings: Mapping[Value, Encoding], choose: Chooser
) -> WrittenModel:
    """Write the graph as TFLite; `encodings` as `assign_encodings` gives them for `choose`."""
    return _Writer(graph, encodings, choose).write()


class _Writer:
    def __init__(self, graph: Graph, encodings: Mapping[Value, Encoding], choose: Chooser) -> None:
        self.graph = graph
        self.encodings = encodings
        self.choose = choose
        self.buffers = [schema.BufferT()]
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: dict[tuple[str, int], int] = {}
        self.indices: dict[Value, int] = {}
        self._buffer_of: dict[bytes, int] = {}
        self._constant_of: dict[tuple, int] = {}
        self._quantizations: dict[tuple, Any] = {}
        self._converted: dict[tuple[Value, Encoding], int] = {}

    def write(self) -> WrittenModel:
        signals = [*self.graph.fed, *(state.input for state in self.graph.states)]
        for value in signals:
            self._define(value, named=True)
        for operator in self.graph.operators:
            if not operator.rule.outside:
                self._write_operator(operator)
        results = [*self.graph.outputs, *(state.output for state in self.graph.states)]
        for value in results:
            self.tensors[self.indices[value]].name = value.name
        subgraph = schema.SubGraphT()
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs = [self.indices[value] for value in signals]
        subgraph.outputs = [self.indices[value] for value in results]
        model = schema.ModelT()
        model.version = 3
        model.subgraphs = [subgraph]
        model.buffers = self.buffers
        model.operatorCodes = [_operator_code(*code) for code in self.codes]
        builder = _SharingBuilder()
        builder.Finish(model.Pack(builder), b"TFL3")
        kept = {value: self.indices[value] for value in [*signals, *results]}
        return WrittenModel(bytes(builder.Output()), kept)

    # Tensors -------------------------------------------------------------------------------

    def _tensor(
        self,
        shape: tuple[int, ...],
        dtype: str,
        buffer: int = 0,
        scales: np.ndarray | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        tensor = _shared("Tensor")()
        tensor.shape = np.array(shape, np.int32)
        tensor.type = _TENSOR_TYPES[dtype]
        tensor.buffer = buffer
        tensor.name = None
        if scales is not None:
            tensor.quantization = self._quantization(scales, zero_point, axis)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def _quantization(self, scales: np.ndarray, zero_point: int, axis: int) -> Any:
        key = (scales.tobytes(), zero_point, axis)
        if key not in self._quantizations:  # one object, so that tensors with it are equal
            table = _shared("QuantizationParameters")()
            table.scale = scales.astype(np.float32)
            table.zeroPoint = np.full(len(scales), zero_point, np.int64)
            table.quantizedDimension = axis
            self._quantizations[key] = table
        return self._quantizations[key]

    def _variable(self, shape: tuple[int, ...]) -> int:
        """A float tensor that its operator keeps between invocations, zero at first."""
        index = self._tensor(shape, "float32")
        self.tensors[index].isVariable = True
        return index

    def _define(self, value: Value, named: bool = False) -> int:
        encoding = self.encodings[value]
        self.indices[value] = self._encoded_tensor(value.shape, encoding)
        if named:
            self.tensors[-1].name = value.name
        return self.indices[value]

    def _encoded_tensor(self, shape: tuple[int, ...], encoding: Encoding) -> int:
        scales = (
            None
            if encoding.precision is Precision.FLOAT
            else np.array([encoding.scale], np.float32)
        )
        dtype = DTYPES[encoding.precision]
        return self._tensor(shape, dtype, scales=scales, zero_point=encoding.zero_point)

    def _constant(
        self,
        content: np.ndarray,
        scales: np.ndarray | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        content = np.ascontiguousarray(content)
        raw = content.tobytes()
        marks = None if scales is None else (scales.tobytes(), zero_point, axis)
        key = (raw, content.shape, content.dtype.name, marks)
        if key not in self._constant_of:
            if raw not in self._buffer_of:
                buffer = schema.BufferT()
                buffer.data = np.frombuffer(raw, np.uint8)
                self.buffers.append(buffer)
                self._buffer_of[raw] = len(self.buffers) - 1
            self._constant_of[key] = self._tensor(
                content.shape, content.dtype.name, self._buffer_of[raw], scales, zero_point, axis
            )
        return self._constant_of[key]

    # Operators -----------------------------------------------------------------------------

    def _emit(
        self, builtin: str, inputs: list[int], outputs: list[int], options: Any, version: int = 1
    ) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.setdefault((builtin, version), len(self.codes))
        operator.inputs = np.array(inputs, np.int32)
        operator.outputs = np.array(outputs, np.int32)
        if options is not None:
            name = type(options).__name__.removesuffix("T")
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, name)
        self.operators.append(operator)

    def _read(self, value: Value, encoding: Encoding) -> int:
        """Index of a tensor that holds `value` in `encoding`, converted if need be."""
        if value.constant is not None:
            return self._encoded_constant(value, encoding)
        own = self.encodings[value]
        if own == encoding:
            return self.indices[value]
        key = (value, encoding)
        if key not in self._converted:
            index = self._encoded_tensor(value.shape, encoding)
            builtin = "DEQUANTIZE" if encoding.precision is Precision.FLOAT else "QUANTIZE"
            self._emit(builtin, [self.indices[value]], [index], None)
            self._converted[key] = index
        return self._converted[key]

    def _encoded_constant(self, value: Value, encoding: Encoding) -> int:
        content = _array(value)
        if encoding.precision is Precision.FLOAT:
            return self._constant(content)
        stored = quantize(content, encoding.scale, encoding.zero_point, DTYPES[encoding.precision])
        return self._constant(stored, np.array([encoding.scale], np.float32), encoding.zero_point)

    def _write_operator(self, operator: Operator) -> None:
        result = self.encodings[operator.outputs[0]]
        rule = operator.rule
        if rule.weighted:
            inputs = self._weighted_inputs(operator, result.precision)
        elif operator.kind == "lstm":
            inputs = self._lstm_inputs(operator)
        elif rule.passes_through:
            inputs = [self._read(value, result) for value in operator.inputs]
        else:
            inputs = [
                self._read(value, self._encoding_at(value, result.precision))
                for value in operator.inputs
            ]
        inputs = self._with_parameters(operator, inputs)
        outputs = [self._define(value) for value in operator.outputs]
        self._emit(rule.builtin, inputs, outputs, self._options(operator), self._version(operator))

    def _version(self, operator: Operator) -> int:
        if operator.kind == "linear" and self.choose(operator) is Precision.DYNAMIC:
            # Older kernels accept such weights and silently use one scale for all channels.
            return _DYNAMIC_PER_CHANNEL_LINEAR
        return operator.rule.version

    def _encoding_at(self, value: Value, precision: Precision) -> Encoding:
        """The value's encoding if it has this precision, else its range at this precision."""
        if value.constant is not None:
            content = _array(value)
            return encode_range(content.min(), content.max(), precision)
        own = self.encodings[value]
        if own.precision is precision or precision is Precision.FLOAT:
            return own if own.precision is precision else Encoding(Precision.FLOAT)
        if own.precision is Precision.FLOAT and own.float_range is None:
            raise ValueError(f"{value.name} is float and has no range to quantize it by")
        return encode_range(*own.range, precision)

    def _weighted_inputs(self, operator: Operator, precision: Precision) -> list[int]:
        source, weight, bias = operator.inputs
        encoding = self._encoding_at(source, precision)
        x = self._read(source, encoding)
        chosen = self.choose(operator)
        if precision is Precision.FLOAT and chosen is not Precision.DYNAMIC:
            return [x, self._constant(_array(weight)), self._constant(_array(bias))]
        axis = operator.rule.output_axis
        kernel, offsets = _array(weight), _array(bias)
        scales = weight_scales(kernel, axis)
        if precision is not Precision.FLOAT:
            # A channel of tiny weights still needs its bias to fit 32 bits.
            scales = np.maximum(
                scales, (np.abs(offsets) / (encoding.scale * _BIAS_LIMIT)).astype(np.float32)
            )
        broadcast = scales.reshape([-1 if d == axis else 1 for d in range(kernel.ndim)])
        stored = np.clip(np.rint(kernel / broadcast), -WEIGHT_LIMIT, WEIGHT_LIMIT)
        kernel_index = self._constant(stored.astype(np.int8), scales, 0, axis)
        if precision is Precision.FLOAT:
            return [x, kernel_index, self._constant(offsets)]
        bias_scales = (scales * np.float32(encoding.scale)).astype(np.float32)
        bias_type = np.int64 if precision is Precision.INT16 else np.int32
        stored_bias = np.rint(offsets / bias_scales.astype(np.float64)).astype(bias_type)
        return [x, kernel_index, self._constant(stored_bias, bias_scales, 0, 0)]

    def _lstm_inputs(self, operator: Operator) -> list[int]:
        """The 48 inputs of a bidirectional LSTM; peepholes, projections and a second input are not.

        Its states are variables: whoever invokes the file for another sequence resets them.
        """
        x, *weights = operator.inputs
        inputs, states = [self._read(x, Encoding(Precision.FLOAT))], []
        for direction in (weights[:3], weights[3:]):
            input_weights, state_weights, biases = (
                [self._constant(gate) for gate in np.split(_array(part), 4)] for part in direction
            )
            inputs += [*input_weights, *state_weights, *[_ABSENT] * 3, *biases, *[_ABSENT] * 2]
            hidden = direction[1].shape[1]
            states += [self._variable((1, hidden)), self._variable((1, hidden))]
        return [*inputs, *states, *[_ABSENT] * 9]

    def _with_parameters(self, operator: Operator, inputs: list[int]) -> list[int]:
        """Add the parameters that TFLite takes as constant tensors."""
        attributes = operator.attributes

        def parameter(*numbers: int) -> int:
            return self._constant(np.array(numbers, np.int32))

        if operator.kind == "slice":
            return [*inputs, parameter(*attributes["begin"]), parameter(*attributes["size"])]
        if operator.kind == "split":
            axis = self._constant(np.array(attributes["axis"], np.int32))
            return [axis, *inputs]
        if operator.kind == "reshape":
            return [*inputs, parameter(*operator.outputs[0].shape)]
        if operator.kind == "transpose":
            return [*inputs, parameter(*attributes["permutation"])]
        if operator.kind == "reverse":
            return [*inputs, parameter(attributes["axis"])]
        if operator.kind == "mean":
            return [*inputs, parameter(*attributes["axes"])]
        if operator.kind == "pad":
            return [*inputs, self._constant(np.array(attributes["amounts"], np.int32))]
        if operator.kind == "resize":
            return [*inputs, parameter(*attributes["size"])]
        return inputs

    def _options(self, operator: Operator) -> Any:
        rule, attributes = operator.rule, operator.attributes
        if rule.options is None:
            return None
        options = _shared(rule.options)()
        if operator.kind in ("convolution", "depthwise"):
            padded = attributes.get("padded", False)
            options.padding = _VALID_PADDING if padded else _SAME_PADDING
            options.strideH, options.strideW = attributes["stride"]
            options.dilationHFactor, options.dilationWFactor = attributes["dilation"]
        if attributes.get("rectified"):
            options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        if operator.kind == "depthwise":
            options.depthMultiplier = 1
        elif operator.kind == "linear":
            options.asymmetricQuantizeInputs = self.choose(operator) is Precision.DYNAMIC
        elif operator.kind == "leaky_relu":
            options.alpha = self._slope(operator)
        elif operator.kind == "mean":
            options.keepDims = True
        elif operator.kind == "resize":
            options.alignCorners = True
        elif operator.kind == "lstm":
            options.fusedActivationFunction = schema.ActivationFunctionType.TANH
            options.mergeOutputs = options.timeMajor = True
        elif operator.kind == "concat":
            options.axis = attributes["axis"]
        elif operator.kind == "split":
            options.numSplits = len(operator.outputs)
        elif operator.kind == "reshape":
            options.newShape = np.array(operator.outputs[0].shape, np.int32)
        elif operator.kind in ("add", "subtract"):
            # 16-bit sums: arbitrary scales instead of powers of two.
            options.potScaleInt16 = False
        return options

    def _slope(self, operator: Operator) -> float:
        """The slope below zero; in 8 bits none so flat that the operator is not accelerated."""
        slope = float(operator.attributes["slope"].detach())
        given, result = (self.encodings[v] for v in (operator.inputs[0], operator.outputs[0]))
        if result.precision is not Precision.INT8 or given.precision is not Precision.INT8:
            return slope
        # Of 128 steps below zero this makes half a step.
        flattest = _FLATTEST_RATIO * result.scale / given.scale
        return slope if abs(slope) >= flattest else math.copysign(flattest, slope)


def _operator_code(name: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    return code


def weight_scales(weight: np.ndarray, axis: int) -> np.ndarray:
    """Scales of symmetric 8-bit weights, one per output channel along `axis`, as float32."""
    per_channel = np.moveaxis(weight, axis, 0).reshape(weight.shape[axis], -1)
    largest = np.abs(per_channel).max(axis=1) / WEIGHT_LIMIT
    return np.maximum(largest, _SMALLEST_WEIGHT_SCALE).astype(np.float32)


def _array(value: Value) -> np.ndarray:
    assert value.constant is not None
    return np.ascontiguousarray(value.constant.detach().numpy().astype(np.float32))
