"""Writing a graph as a TFLite flatbuffer, in any mixture of precisions.

The file is written directly, without a converter: one TFLite operator per operator of the graph,
plus the conversions where precisions or encodings meet, and what prepares the inputs of operators
that some runtime would not take as they are. Nothing that a runtime does not need is
stored (names of inner tensors, recorded ranges), and equal buffers, shapes and quantization
tables are stored once.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_se.quantized import quantize
from quant.graph.encoding import DTYPES, Chooser, Encoding, Precision, encoding_at
from quant.graph.graph import Graph, Operator, Value

_TENSOR_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "int8": schema.TensorType.INT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
}
_BUFFER_ALIGNMENT = 16


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


def pack(model: Any) -> bytes:
    """The flatbuffer of a ModelT, equal vectors stored once."""
    builder = _SharingBuilder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@cache
def _shared(name: str) -> type:
    """The generated class of a table, packed once per file for equal contents."""
    return type(f"{name}T", (_Shared, getattr(schema, f"{name}T")), {})


def write_tflite(
    graph: Graph, encodings: Mapping[Value, Encoding], choose: Chooser
) -> WrittenModel:
    """Write the graph as TFLite; `encodings` as `assign_encodings` gives them for `choose`."""
    return TFLiteWriter(graph, encodings, choose).write()


class TFLiteWriter:
    """A file in the making; operators are written by what their kinds say, with its help.

    Attributes:
        encodings: of every value that is not a constant.
        choose: precision of each operator.
    """

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
        """Write the whole file."""
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
        kept = {value: self.indices[value] for value in [*signals, *results]}
        return WrittenModel(pack(model), kept)

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

    def variable(self, shape: tuple[int, ...]) -> int:
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

    def constant(
        self,
        content: np.ndarray,
        scales: np.ndarray | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        """A tensor that holds `content`, of its type; equal ones are stored once."""
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

    # Inputs of operators --------------------------------------------------------------------

    def read_inputs(self, operator: Operator) -> list[int]:
        """Tensors that hold the operator's inputs in the precision of its output.

        Where values only pass through, in its encoding.
        """
        result = self.encodings[operator.outputs[0]]
        if operator.rule.passes_through:
            return [self.read(value, result) for value in operator.inputs]
        return [
            self.read(value, self.encoding_at(value, result.precision)) for value in operator.inputs
        ]

    def encoding_at(self, value: Value, precision: Precision) -> Encoding:
        """As `quant.graph.encoding.encoding_at`."""
        return encoding_at(value, self.encodings, precision)

    def read(self, value: Value, encoding: Encoding) -> int:
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
        content = value.content
        if encoding.precision is Precision.FLOAT:
            return self.constant(content)
        stored = quantize(content, encoding.scale, encoding.zero_point, DTYPES[encoding.precision])
        return self.constant(stored, np.array([encoding.scale], np.float32), encoding.zero_point)

    # Operators -----------------------------------------------------------------------------

    def prepare(
        self,
        builtin: str,
        inputs: Sequence[int],
        shape: tuple[int, ...],
        options: str | None = None,
        **fields: Any,
    ) -> int:
        """Write an operator of TFLite that prepares an input of the graph's next one.

        Args:
            builtin: TFLite's name of it.
            inputs: indices of the tensors that it takes.
            shape: of its result.
            options: TFLite's name of its options table.
            fields: contents of that table.

        Returns:
            Index of its result, a tensor encoded as the first input.
        """
        result = copy.copy(self.tensors[inputs[0]])
        result.shape, result.buffer, result.name = np.array(shape, np.int32), 0, None
        self.tensors.append(result)
        index = len(self.tensors) - 1
        self._emit(builtin, inputs, [index], _options_table(options, fields))
        return index

    def _emit(
        self,
        builtin: str,
        inputs: Sequence[int],
        outputs: Sequence[int],
        options: Any,
        version: int = 1,
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

    def _write_operator(self, operator: Operator) -> None:
        rule = operator.rule
        special = rule.inputs
        inputs = self.read_inputs(operator) if special is None else special(self, operator)
        if rule.parameters is not None:
            inputs += [self.constant(np.array(p, np.int32)) for p in rule.parameters(operator)]
        outputs = [self._define(value) for value in operator.outputs]
        dynamic = self.choose(operator) is Precision.DYNAMIC and rule.dynamic
        version = dynamic or rule.version
        self._emit(rule.builtin, inputs, outputs, self._options(operator), version)

    def _options(self, operator: Operator) -> Any:
        rule = operator.rule
        fields = {} if rule.fields is None else dict(rule.fields(self, operator))
        if operator.attributes.get("rectified"):
            fields["fusedActivationFunction"] = schema.ActivationFunctionType.RELU
        return _options_table(rule.options, fields)


def _options_table(name: str | None, fields: Mapping[str, Any]) -> Any:
    if name is None:
        return None
    table = _shared(name)()
    for field, content in fields.items():
        setattr(table, field, content)
    return table


def _operator_code(name: str, version: int) -> Any:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)
    code.version = version
    return code
