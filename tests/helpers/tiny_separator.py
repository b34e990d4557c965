"""A separator small enough to know its answer: mask = sigmoid(magnitude), float and int8.

Windows of 8 frames, 2 of them cropped at each end; 33 bins.
"""

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from edge_se.manifest import Chunk, Manifest, Tensors, TensorSpec
from edge_se.model_file import write_model
from edge_se.signal import Signal
from tests.helpers.tiny_model import FLOAT, INT8, Graph

CHUNK = Chunk(frames=8, offset=2)
SIGNAL = Signal(8000, 64, 32, "hann", "stereo_magnitude", "stereo_magnitude")
N_FFT, HOP, BINS = SIGNAL.window, SIGNAL.hop, SIGNAL.bins
SHAPE, KEPT = (1, CHUNK.frames, BINS, 2), (1, CHUNK.kept, BINS, 2)


def separator_flatbuffer(dtype: str = "float32") -> tuple[bytes, Manifest]:
    graph = Graph(dtype)
    features = graph.tensor(SHAPE, "features")
    middle = graph.operator(
        "SLICE",
        [features, graph.integers([0, CHUNK.offset, 0, 0]), graph.integers(KEPT)],
        [graph.tensor(KEPT, "features")],
        schema.SliceOptionsT(),
    )
    mask = graph.operator("LOGISTIC", [middle], [graph.tensor(KEPT, "unit")])
    of = {name: vars(INT8[name] if dtype == "int8" else FLOAT) for name in INT8}
    manifest = Manifest(
        architecture="tiny_separator",
        precision="int8" if dtype == "int8" else "float",
        signal=SIGNAL,
        chunk=CHUNK,
        tensors=Tensors(
            TensorSpec(features, SHAPE, dtype, **of["features"]),
            TensorSpec(mask, KEPT, dtype, **of["unit"]),
        ),
        states=(),
    )
    return graph.to_bytes([features], [mask]), manifest


def write_separator(path: Path, dtype: str = "float32") -> Path:
    write_model(path, *separator_flatbuffer(dtype))
    return path


def expected_mask(magnitude: np.ndarray) -> np.ndarray:
    """Mask of a recording's magnitudes, the largest being 1."""
    return 1 / (1 + np.exp(-magnitude))
