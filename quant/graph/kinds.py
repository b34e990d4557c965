"""What holds for every operator of a kind, as data."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Rules of one kind of operator.

    Attributes:
        builtin: TFLite's name of the operator.
        options: TFLite's name of its options table, if it has one.
        weighted: its second and third inputs are a weight and a bias.
        output_axis: axis of the weight along which output channels lie.
        passes_through: it moves values, or mixes neighbours, without computing new ones, so that
            its output has its input's range and quantization.
        fixed_range: range that TFLite prescribes for its output.
        reach: inputs beyond it give in 8 bits what those at its ends give.
        dynamic: LiteRT runs it with 8-bit weights and float activations.
        float_only: it stays float, whatever precision is chosen for it.
        outside: whoever feeds the model does it: the file begins with its output.
        version: least version of the operator that does what the graph asks for.
    """

    builtin: str
    options: str | None = None
    weighted: bool = False
    output_axis: int = 0
    passes_through: bool = False
    fixed_range: tuple[float, float] | None = None
    reach: tuple[float, float] = (-math.inf, math.inf)
    dynamic: bool = False
    float_only: bool = False
    outside: bool = False
    version: int = 1


KINDS: dict[str, Kind] = {
    "linear": Kind("FULLY_CONNECTED", "FullyConnectedOptions", weighted=True, dynamic=True),
    "convolution": Kind("CONV_2D", "Conv2DOptions", weighted=True, dynamic=True),
    # Version 2 of the depthwise convolution knows dilation.
    "depthwise": Kind(
        "DEPTHWISE_CONV_2D", "DepthwiseConv2DOptions", weighted=True, output_axis=3, version=2
    ),
    "add": Kind("ADD", "AddOptions"),
    "subtract": Kind("SUB", "SubOptions"),
    "multiply": Kind("MUL", "MulOptions"),
    "sigmoid": Kind("LOGISTIC", fixed_range=(0.0, 255 / 256)),
    # A quarter of a step from -1 is rounded to it.
    "tanh": Kind(
        "TANH",
        fixed_range=(-1.0, 127 / 128),
        reach=(-math.atanh(1 - 1 / 512), math.atanh(127 / 128)),
    ),
    "leaky_relu": Kind("LEAKY_RELU", "LeakyReluOptions"),
    "reciprocal_root": Kind("RSQRT"),
    "bands_in_parts": Kind("", outside=True),
    "mean": Kind("MEAN", "ReducerOptions"),
    "concat": Kind("CONCATENATION", "ConcatenationOptions", passes_through=True),
    "slice": Kind("SLICE", "SliceOptions", passes_through=True),
    "split": Kind("SPLIT", "SplitOptions", passes_through=True),
    "reshape": Kind("RESHAPE", "ReshapeOptions", passes_through=True),
    "transpose": Kind("TRANSPOSE", "TransposeOptions", passes_through=True),
    "reverse": Kind("REVERSE_V2", "ReverseV2Options", passes_through=True),
    "pad": Kind("PAD", "PadOptions", passes_through=True),
    "resize": Kind("RESIZE_BILINEAR", "ResizeBilinearOptions", passes_through=True, version=3),
    # Its integer kernel knows one direction, 16-bit cells and five inner scales per gate; every
    # error of a state is carried on to the end of the sequence.
    "lstm": Kind(
        "BIDIRECTIONAL_SEQUENCE_LSTM", "BidirectionalSequenceLSTMOptions", float_only=True
    ),
}
