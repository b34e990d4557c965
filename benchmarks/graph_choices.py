"""What each choice in graph and loop is worth: the float file with one of them undone.

`python -m benchmarks.graph_choices FOLDER` writes the files and times them by turns with the file
as it is. docs/results.md holds the table; instructions are counted by `edge-se boards emulate`.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from edge_se.benchmark import bursts
from edge_se.comparison import compare
from edge_se.engines.tflite import create_interpreter, find_runtime
from edge_se.enhancer import Enhancer
from edge_se.errors import run_script
from edge_se.inspection import inspect_model
from edge_se.model_file import read_manifest
from edge_se.peers import Ours, Peer
from edge_se.signal import square_root_hann
from edge_se.stft import Samples
from quant.checkpoints import default_checkpoint_path
from quant.graph import operators as ops
from quant.graph import tflite
from quant.graph.graph import UNIT_RANGE, Graph, Value
from quant.graph.kinds import KINDS, Kind, register
from quant.graph.recipes import find_recipe
from quant.networks import recurrent
from quant.networks.checkpoint import load_checkpoint
from quant.networks.folding import GRUWeights
from quant.networks.gtcrn import step as gtcrn
from quant.ptq.pipeline import build_float


@contextmanager
def as_it_is() -> Iterator[None]:
    """Change nothing."""
    yield


@contextmanager
def leaky_relu_by_two() -> Iterator[None]:
    """Leaky ReLU as the larger one of x and slope times x."""

    def maximum(graph: Graph, x: Value, slope: Tensor, name: str) -> Value:
        scaled = ops.multiply(
            graph, x, graph.constant(slope.reshape(1), f"{name}.slope"), f"{name}.scaled"
        )
        return graph.append("maximum", [x, scaled], [x.shape], name)[0]

    with patch.dict(KINDS), patch.object(ops, "leaky_relu", maximum):
        register(
            Kind(
                "maximum",
                "MAXIMUM",
                run=lambda _, inputs: [torch.maximum(*inputs)],
                options="MaximumMinimumOptions",
            )
        )
        yield


@contextmanager
def bands_at_once() -> Iterator[None]:
    """Both band matrices whole, with all their zeros."""
    with patch.object(gtcrn, "BAND_BLOCKS", 1):
        yield


@contextmanager
def grus_apart() -> Iterator[None]:
    """The GRU over frequency as its four GRUs, one scan for each group and direction."""
    merged = recurrent.gru_over_rows

    def apart(graph: Graph, x: Value, weights: GRUWeights, name: str) -> Value:
        size = weights.hidden // 4
        states = []
        for quarter in range(4):
            units = torch.arange(size) + quarter * size
            rows = torch.cat([units + gate * weights.hidden for gate in range(3)])
            part = GRUWeights(
                weights.input_weight[rows],
                weights.input_bias[rows],
                weights.hidden_weight[rows][:, units],
                weights.candidate_bias[units],
                weights.parts[quarter : quarter + 1],
            )
            states.append(merged(graph, x, part, f"{name}.{quarter}"))
        return ops.concat(graph, states, recurrent.FEATURES, "states")

    with patch.object(recurrent, "gru_over_rows", apart):
        yield


@contextmanager
def projections_apart() -> Iterator[None]:
    """The hidden state's projection to the gates and to the candidate as two linears."""

    def step(
        graph: Graph,
        projected: Value,
        row: int,
        weights: GRUWeights,
        states: list[Value],
        size: int,
    ) -> Value:
        if not states:
            return first(graph, projected, row, weights, states, size)
        gates, rest = slice(None, 2 * size), slice(2 * size, None)
        gates_input = recurrent.part_of_row(graph, projected, (row, 0), 2 * size, "gates_input")
        candidate_input = recurrent.part_of_row(
            graph, projected, (row, 2 * size), size, "candidate_input"
        )
        gates_state = ops.linear(
            graph, states[-1], weights.hidden_weight[gates], None, "gates_state"
        )
        candidate_state = ops.linear(
            graph,
            states[-1],
            weights.hidden_weight[rest],
            weights.candidate_bias,
            "candidate_state",
        )
        gates_sum = ops.add(graph, gates_input, gates_state, "gates_sum")
        return recurrent.new_state(graph, gates_sum, candidate_input, candidate_state, states[-1])

    first = recurrent._row_step
    with patch.object(recurrent, "_row_step", step):
        yield


@contextmanager
def tables_apart() -> Iterator[None]:
    """Every table and vector of the flatbuffer stored as often as it is used."""
    builder, generated = tflite.flatbuffers.Builder, tflite.schema

    class Plain(builder):  # type: ignore[misc, valid-type]
        def __init__(self) -> None:
            super().__init__(1 << 20)

    with (
        patch.object(tflite, "_SharingBuilder", Plain),
        patch.object(tflite, "_shared", lambda name: getattr(generated, f"{name}T")),
    ):
        yield


@contextmanager
def blend_by_three() -> Iterator[None]:
    """The new state as update * before + (1 - update) * candidate."""

    def blend(graph: Graph, candidate: Value, update: Value, before: Value) -> Value:
        one = graph.constant(torch.ones(1, 1, 1, 1), "one")
        kept = ops.multiply(graph, update, before, "kept")
        taken = ops.multiply(graph, ops.subtract(graph, one, update, "share"), candidate, "taken")
        state = ops.add(graph, kept, taken, "state")
        state.fixed_range = UNIT_RANGE
        return state

    with patch.object(recurrent, "_blend", blend):
        yield


class PlainLoop:
    """The file as it is, in a frame loop through the runtime's public calls; see `Peer`.

    Every tensor is copied in and out by name of its index, every array made anew.
    """

    name, size_kb, hop_size, sample_rate = "plain loop", 0.0, 256, 16000
    sample_dtype = np.dtype(np.float32)

    def __init__(self, path: Path) -> None:
        """Load a float model file."""
        self._manifest = read_manifest(path)
        self._interpreter = create_interpreter(find_runtime(), path)
        self._states = [np.zeros(state.shape, np.float32) for state in self._manifest.states]
        self._window = square_root_hann(512).astype(np.float32)
        self._history: NDArray[Any] = np.zeros(512, np.float32)
        self._tail: NDArray[Any] = np.zeros(256, np.float32)

    def process(self, frame: Samples, out: Samples) -> None:
        """Take in one hop (float32 [256]) and write one enhanced hop to `out`."""
        signals, states = self._manifest.tensors, self._manifest.states
        self._history = np.concatenate([self._history[256:], frame])
        spectrum = np.fft.rfft(self._history * self._window)
        rows = np.sqrt(spectrum.real**2 + spectrum.imag**2), spectrum.real, spectrum.imag
        features = np.stack(rows).astype(np.float32)
        self._interpreter.set_tensor(signals.features.tensor, features)
        for spec, value in zip(states, self._states, strict=True):
            self._interpreter.set_tensor(spec.input, value)
        self._interpreter.invoke()
        self._states = [self._interpreter.get_tensor(spec.output) for spec in states]
        mask = self._interpreter.get_tensor(signals.mask.tensor)
        segment = np.fft.irfft(spectrum * (mask[0] + 1j * mask[1])) * self._window
        out[...] = segment[:256] + self._tail
        self._tail = segment[256:]


CHOICES = {
    "as it is": as_it_is,
    "leaky ReLU as MUL and MAXIMUM": leaky_relu_by_two,
    "band matrices whole": bands_at_once,
    "four GRUs over frequency": grus_apart,
    "hidden projection in two": projections_apart,
    "blend of the states by three": blend_by_three,
    "tables not shared": tables_apart,
}


def main() -> None:
    """Write the files and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=30, help="of audio for each")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    checkpoint = load_checkpoint(default_checkpoint_path())
    paths = {name: arguments.folder / f"{name.replace(' ', '_')}.tflite" for name in CHOICES}
    for name, change in CHOICES.items():
        with change():
            paths[name].write_bytes(build_float(checkpoint, find_recipe("float")))
    plain = PlainLoop(paths["as it is"])
    peers: list[Peer] = [*(Ours(Enhancer(path)) for path in paths.values()), plain]
    paths[plain.name] = paths["as it is"]
    print("| undone | operators | kB | µs p5 | µs p50 | ratio p5 | ratio p50 |")
    print("|---|---|---|---|---|---|---|")
    report = compare(peers, bursts(16000), arguments.seconds)
    for (name, path), row in zip(paths.items(), report, strict=True):
        operators = sum(entry["count"] for entry in inspect_model(path)["operators"])
        cells = [name, operators, round(path.stat().st_size / 1000, 1)]
        cells += [*row["frame_us"].values(), *row["ratio"].values()]
        print("| " + " | ".join(map(str, cells)) + " |")


if __name__ == "__main__":
    with torch.no_grad():
        run_script(main)
