"""What holds for every operator of a kind: its rules, and how it is run, written and rescaled.

Each kind is described in its own file of `quant.graph.operators`, which registers it here.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

if TYPE_CHECKING:
    from quant.graph.graph import Operator, Value
    from quant.graph.onnx import ONNXWriter
    from quant.graph.scale_classes import ScaleClasses, Scaling
    from quant.graph.tflite import TFLiteWriter


@dataclass(frozen=True)
class Kind:
    """Rules and behaviour of one kind of operator.

    Whatever its kind, an operator with the attribute `rectified` makes zeros of what is below zero:
    those who run and write operators see to that.

    Attributes:
        name: what `Operator.kind` calls it.
        builtin: TFLite's name of the operator.
        run: its results in torch; all tensors have one more leading axis than their values.
        options: TFLite's name of its options table, if it has one.
        fields: contents of the options table, by TFLite's names.
        inputs: indices of the tensors that TFLite takes, if others than those of its inputs; it may
            write operators that prepare them (`TFLiteWriter.prepare`).
        parameters: integers that TFLite takes as further inputs.
        onnx: writes it as ONNX nodes.
        scale: scalings of its outputs, of those of its inputs (see `quant.graph.scale_classes`).
            Left out, moved elements take theirs along, and of any other kind all are pinned.
        rescale: multiplies its constants in place, so that every value, whose scales the second
            argument tells, shrinks by them.
        move: what it does to arrays of its inputs' shapes, if it only moves elements.
        weighted: its second and third inputs are a weight and a bias.
        output_axis: axis of the weight along which output channels lie.
        passes_through: it moves values, or mixes neighbours, without computing new ones, so that
            its output has its input's range and quantization.
        fixed_range: range that TFLite prescribes for its output.
        reach: inputs beyond it give in 8 bits what those at its ends give.
        dynamic: LiteRT runs it with 8-bit weights and float activations from this version on.
        float_only: it stays float, whatever precision is chosen for it.
        outside: whoever feeds the model does it: the file begins with its output.
        version: least version of the operator that does what the graph asks for.
    """

    name: str
    builtin: str
    run: "Callable[[Operator, list[Tensor]], list[Tensor]]"
    options: str | None = None
    fields: "Callable[[TFLiteWriter, Operator], Mapping[str, Any]] | None" = None
    inputs: "Callable[[TFLiteWriter, Operator], list[int]] | None" = None
    parameters: "Callable[[Operator], Sequence[Sequence[Any]]] | None" = None
    onnx: "Callable[[ONNXWriter, Operator], None] | None" = None
    scale: "Callable[[ScaleClasses, Operator, list[Scaling]], list[Scaling]] | None" = None
    rescale: "Callable[[Operator, Callable[[Value], np.ndarray]], None] | None" = None
    move: "Callable[[Operator, list[np.ndarray]], list[np.ndarray]] | None" = None
    weighted: bool = False
    output_axis: int = 0
    passes_through: bool = False
    fixed_range: tuple[float, float] | None = None
    reach: tuple[float, float] = (-math.inf, math.inf)
    dynamic: int | None = None
    float_only: bool = False
    outside: bool = False
    version: int = 1


KINDS: dict[str, Kind] = {}


def register(kind: Kind) -> None:
    """Make a kind known to all graphs; raises ValueError where its name is taken."""
    if kind.name in KINDS:
        raise ValueError(f"there is a kind {kind.name} already")
    KINDS[kind.name] = kind
