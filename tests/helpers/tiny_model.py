"""A model small enough to know its answer: written operator by operator, float and int8.

next  = 0.5 * state + 0.5 * magnitude         (one state, [1, 257], reset to 0.25)
mask  = [sigmoid(next), 0.25 * next]          (real row, imaginary row)
"""

from dataclasses import dataclass, replace
from pathlib import Path

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_se.manifest import Manifest, StateSpec, Tensors, TensorSpec
from edge_se.model_file import write_model
from edge_se.quantized import quantize
from edge_se.signal import Signal

SIGNAL = Signal(16000, 512, 256)
BINS = SIGNAL.bins
RESET_VALUE = 0.25
TYPES = {"float32": schema.TensorType.FLOAT32, "int8": schema.TensorType.INT8}


@dataclass(frozen=True)
class Quantization:
    scale: float = 0.0
    zero_point: int = 0


FLOAT = Quantization()
# Scales are powers of two, so that the integer arithmetic is exact up to its roundings.
INT8 = {
    "features": Quantization(2.0**-4, 0),
    "state": Quantization(2.0**-6, -128),
    "unit": Quantization(2.0**-8, -128),
    "half": Quantization(2.0**-8, 0),
}


class Graph:
    """Just enough of a flatbuffer writer."""

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.tensors: list = []
        self.operators: list = []
        self.codes: list = []
        self.buffers = [schema.BufferT()]

    def tensor(self, shape, quantization="", dtype=None, data=None) -> int:
        tensor = schema.TensorT()
        tensor.shape = np.array(shape, np.int32)
        tensor.type = TYPES[dtype or self.dtype] if dtype != "int32" else schema.TensorType.INT32
        tensor.name = f"t{len(self.tensors)}"
        if self.dtype == "int8" and quantization:
            parameters = schema.QuantizationParametersT()
            parameters.scale = np.array([INT8[quantization].scale], np.float32)
            parameters.zeroPoint = np.array([INT8[quantization].zero_point], np.int64)
            tensor.quantization = parameters
        if data is not None:
            tensor.buffer = len(self.buffers)
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self.buffers.append(buffer)
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def constant(self, value: float, quantization: str) -> int:
        data: np.ndarray = np.array([[value]], np.float32)
        if self.dtype == "int8":
            data = quantize(data, **vars(INT8[quantization]), dtype="int8")
        return self.tensor((1, 1), quantization, data=data)

    def integers(self, values) -> int:
        data = np.array(values, np.int32)
        return self.tensor(data.shape, dtype="int32", data=data)

    def operator(self, name: str, inputs, outputs, options=None) -> int:
        code = getattr(schema.BuiltinOperator, name)
        if code not in self.codes:
            self.codes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = self.codes.index(code)
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        if options is not None:
            operator.builtinOptions = options
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
        self.operators.append(operator)
        return outputs[0]

    def to_bytes(self, inputs, outputs) -> bytes:
        subgraph = schema.SubGraphT()
        subgraph.tensors, subgraph.operators = self.tensors, self.operators
        subgraph.inputs = np.array(inputs, np.int32)
        subgraph.outputs = np.array(outputs, np.int32)
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [subgraph], self.buffers
        model.operatorCodes = []
        for code in self.codes:
            operator_code = schema.OperatorCodeT()
            operator_code.builtinCode = operator_code.deprecatedBuiltinCode = code
            operator_code.version = 2 if self.dtype == "int8" else 1
            model.operatorCodes.append(operator_code)
        builder = flatbuffers.Builder(4096)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())


def tiny_flatbuffer(dtype: str) -> tuple[bytes, Manifest]:
    graph = Graph(dtype)
    row = (1, BINS)
    features = graph.tensor((3, BINS), "features")
    state = graph.tensor(row, "state")
    magnitude = graph.operator(
        "SLICE",
        [features, graph.integers([0, 0]), graph.integers([1, BINS])],
        [graph.tensor(row, "features")],
        schema.SliceOptionsT(),
    )
    half = graph.constant(0.5, "half") if dtype == "int8" else graph.constant(0.5, "")
    halves = [
        graph.operator("MUL", [x, half], [graph.tensor(row, "state")], schema.MulOptionsT())
        for x in (magnitude, state)
    ]
    following = graph.operator("ADD", halves, [graph.tensor(row, "state")], schema.AddOptionsT())
    real = graph.operator("LOGISTIC", [following], [graph.tensor(row, "unit")])
    quarter = graph.constant(0.25, "half") if dtype == "int8" else graph.constant(0.25, "")
    imaginary = graph.operator(
        "MUL", [following, quarter], [graph.tensor(row, "unit")], schema.MulOptionsT()
    )
    concatenation = schema.ConcatenationOptionsT()
    concatenation.axis = 0
    mask = graph.operator(
        "CONCATENATION", [real, imaginary], [graph.tensor((2, BINS), "unit")], concatenation
    )
    of = {name: vars(INT8[name] if dtype == "int8" else FLOAT) for name in INT8}
    manifest = Manifest(
        architecture="tiny",
        precision="int8" if dtype == "int8" else "float",
        signal=SIGNAL,
        tensors=Tensors(
            TensorSpec(features, (3, BINS), dtype, **of["features"]),
            TensorSpec(mask, (2, BINS), dtype, **of["unit"]),
        ),
        states=(
            StateSpec(
                "smoother.cache",
                row,
                dtype,
                **of["state"],
                reset_value=RESET_VALUE,
                input=state,
                output=following,
            ),
        ),
    )
    return graph.to_bytes([features, state], [mask, following]), manifest


def write_tiny(path: Path, dtype: str = "float32", **changes) -> Path:
    """Write the tiny model; `changes` replace fields of its manifest."""
    data, manifest = tiny_flatbuffer(dtype)
    write_model(path, data, replace(manifest, **changes))
    return path


def expected_output(samples: np.ndarray, lookahead: int = 0) -> np.ndarray:
    """What the float tiny model makes of a signal, computed offline in float64, aligned."""
    window = np.sqrt(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(512) / 512))
    hops = -(-(len(samples) + 256) // 256) + lookahead
    padded = np.concatenate([np.zeros(256), samples, np.zeros(hops * 256 - len(samples))])
    segments = np.stack([padded[256 * t : 256 * t + 512] * window for t in range(hops)])
    spectra = np.fft.rfft(segments)
    state = np.full(BINS, RESET_VALUE)
    enhanced = np.zeros_like(spectra)
    for t, spectrum in enumerate(spectra):
        state = 0.5 * state + 0.5 * np.abs(spectrum)
        if t >= lookahead:
            enhanced[t - lookahead] = spectra[t - lookahead] * (
                1 / (1 + np.exp(-state)) + 0.25j * state
            )
    output = np.zeros(256 * (hops + 1))
    for t, segment in enumerate(np.fft.irfft(enhanced) * window):
        output[256 * t : 256 * t + 512] += segment
    return output[256 : 256 + len(samples)]
