"""Where a model file runs: what each runtime of TFLite models can't do, as a table.

The tests hold the table against the real tools. It covers what files of edge-se may hold.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_WEIGHTED = frozenset({"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"})


@dataclass(frozen=True)
class FileOperator:
    """An operator of a file.

    Attributes:
        kind: TFLite's name of it.
        shapes: of its inputs that are present.
        result: type of its result, such as "int8".
        hybrid: it computes floats by integer weights.
        stride: over rows, as far as shapes tell.
    """

    kind: str
    shapes: tuple[tuple[int, ...], ...]
    result: str
    hybrid: bool
    stride: int


@dataclass(frozen=True)
class Limits:
    """What a runtime can't do.

    Attributes:
        floats: it computes floats.
        hybrids: it computes floats by integer weights.
        refused: operators that it does not have.
        refused_in_16_bits: operators that it does not have for 16-bit values.
        most_joined: inputs of a concatenation.
        longest_stride: of a convolution.
    """

    floats: bool = True
    hybrids: bool = True
    refused: frozenset[str] = frozenset()
    refused_in_16_bits: frozenset[str] = frozenset()
    most_joined: int | None = None
    longest_stride: int | None = None

    def obstacle(self, operator: FileOperator) -> str | None:
        """Why the operator does not run, None where it does."""
        kind, joined = operator.kind, len(operator.shapes)
        if operator.hybrid and not self.hybrids:
            return f"{kind} has floats and integer weights"
        if operator.result == "float32" and not self.floats:
            return f"{kind} computes floats"
        if kind in self.refused or (operator.result == "int16" and kind in self.refused_in_16_bits):
            return f"there is no {kind}" + (" in 16 bits" if kind not in self.refused else "")
        if kind == "CONCATENATION" and joined > (self.most_joined or joined):
            return f"{kind} has {joined} inputs, at most {self.most_joined} are taken"
        if kind in _WEIGHTED and operator.stride > (self.longest_stride or operator.stride):
            return (
                f"{kind} has a stride of {operator.stride}, at most {self.longest_stride} is taken"
            )
        return None


_NPU = Limits(floats=False, hybrids=False, refused=frozenset({"RESIZE_BILINEAR"}))
_OLD_NPU = Limits(
    floats=False,
    hybrids=False,
    refused=frozenset({"RESIZE_BILINEAR", "REVERSE_V2"}),
    longest_stride=3,
)
RUNTIMES: Mapping[str, Limits] = {
    "LiteRT": Limits(),
    "tflite-runtime": Limits(refused_in_16_bits=frozenset({"RSQRT"})),
    "TFLite Micro": Limits(
        hybrids=False,
        refused=frozenset({"BIDIRECTIONAL_SEQUENCE_LSTM"}),
        refused_in_16_bits=frozenset({"RESIZE_BILINEAR"}),
        most_joined=10,
    ),
    "Ethos-U55": _OLD_NPU,
    "Ethos-U65": _OLD_NPU,
    "Ethos-U85": _NPU,
}


def runs_in(operators: Sequence[FileOperator]) -> dict[str, str]:
    """By runtime "yes", or "no: " and the first operator in the way."""
    return {name: _verdict(limits, operators) for name, limits in RUNTIMES.items()}


def _verdict(limits: Limits, operators: Iterable[FileOperator]) -> str:
    obstacles = (limits.obstacle(operator) for operator in operators)
    first = next((obstacle for obstacle in obstacles if obstacle), None)
    return "yes" if first is None else f"no: {first}"


def file_operators(interpreter: Any) -> list[FileOperator]:
    """The operators of an interpreter's file, in order; it must run without a delegate."""
    details = {detail["index"]: detail for detail in interpreter.get_tensor_details()}

    def shape(index: int) -> tuple[int, ...]:
        return tuple(int(size) for size in details[index]["shape"])

    found = []
    for operator in interpreter._get_ops_details():
        read = [int(index) for index in operator["inputs"] if index >= 0]
        result = details[int(operator["outputs"][0])]
        kind, dtype = operator["op_name"], np.dtype(result["dtype"]).name
        shapes = tuple(shape(index) for index in read)
        weights = kind in _WEIGHTED and np.dtype(details[read[1]]["dtype"]).name == "int8"
        found.append(
            FileOperator(
                kind,
                shapes,
                dtype,
                weights and dtype == "float32",
                _stride(kind, shapes, shape(int(operator["outputs"][0]))),
            )
        )
    return found


def _stride(kind: str, shapes: Sequence[tuple[int, ...]], result: tuple[int, ...]) -> int:
    """Over rows, of a convolution that pads; 1 for others."""
    if kind not in ("CONV_2D", "DEPTHWISE_CONV_2D"):
        return 1
    (_, height, width, _), (_, _, taps, _) = shapes[0], shapes[1]
    pads = taps == 1 or result[2] == width
    return -(-height // result[1]) if pads else 1
