"""Counting what operators cost: `python -m targets.emulation.costs` writes quant's cost table.

Every operator that a recipe puts into a file is run by itself on each emulated core, once and
several times in one model; the difference is its cost. What is left of a frame (analysis,
synthesis, states, the delegate's partitions) is told apart by the frame loop of tiny models.
`python -m benchmarks.frame_loop` compares the sums with counts of whole files.

C engines are counted as a whole, one number for a network and an arithmetic: `--engines` counts
them alone.
"""

import argparse
import itertools
import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm import tqdm

from edge_se.benchmark import bursts
from edge_se.engines.generated import prefix
from edge_se.errors import UserError, run_script
from edge_se.files import write_whole
from edge_se.model_file import read_manifest, split
from quant.c.engines import float_engine, int8_engine, with_weights
from quant.checkpoints import default_checkpoint_path
from quant.graph import operators as ops
from quant.graph.encoding import Precision, assign_encodings
from quant.graph.graph import Graph, Value
from quant.graph.recipes import RECIPES, Override, Recipe
from quant.graph.scopes import find_scopes
from quant.graph.specimen import made_up_ranges, specimen
from quant.graph.tflite import write_tflite
from quant.mixed_precision.costs import (
    ENGINES_FILE,
    TABLE_FILE,
    Counted,
    LoopCost,
    Table,
    frame_key,
    predict,
)
from quant.mixed_precision.operators import FileOperator, describe_operators, parse, repeated
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.networks.gtcrn.model import ERB, SIGNAL
from quant.networks.gtcrn.step import band_merging
from quant.networks.network import Network
from quant.networks.registry import DEFAULT, NETWORKS, find_network
from quant.ptq.calibration import Statistics
from quant.ptq.pipeline import (
    CalibratedGraph,
    build_float,
    build_quantized,
    calibrate_checkpoint,
    find_ranges,
)
from targets.boards import Board, load_boards
from targets.emulation.emulator import EmulatedBoard, build_counter, emulated
from targets.engines import ONLY_FRAMES, silent

COPIES = 5
FAN = 9  # sums of a fan graph
PYTHON = "3.11"
PROBE_SECONDS = 0.3
# States of the tiny models: their number and the elements of each.
PROBES = {"few": (2, 64), "many": (12, 64), "large": (12, 1024)}
TYPES = {"float32": Precision.FLOAT, "int8": Precision.INT8, "int16": Precision.INT16}
# Types of features and mask that the tiny models have, and whether the features are of bands.
SIGNALS = [
    *((features, mask, False) for features, mask in itertools.product(TYPES, TYPES)),
    ("int8", "int8", True),
    ("int8", "float32", True),
]
# Those that tell what states cost.
WITH_STATES = [("float32", "float32", False), ("int8", "int8", False)]
HEADER = """\
# Instructions of operators on emulated cores. Written by `python -m targets.emulation.costs`.
# A row: type, work (multiplications, or elements moved), then one count per core.
"""


ENGINES_HEADER = """\
# Instructions a frame of C engines, whole loop, by core. Written by
# `python -m targets.emulation.costs --engines`.
"""


# What there is to count -----------------------------------------------------------------------


def reference_recipes(network: Network, graph: Graph) -> Iterator[Recipe]:
    """All named recipes, and INT8 with each scope in another precision."""
    yield from (*RECIPES.values(), *network.recipes)
    for scope in find_scopes(graph, network.scopes):
        for precision in (Precision.FLOAT, Precision.INT16):
            yield Recipe("int8", Precision.INT8, (Override(scope.pattern, precision),))


def probe_graph(states: int, size: int, bands: bool) -> Graph:
    """Hardly a network: its mask is the tanh of its features, its states are of theirs."""
    graph = Graph()
    features = graph.input("features", (3, SIGNAL.bins))
    if bands:
        merged = ops.bands_in_parts(graph, features, band_merging(ERB()), "features_in_bands")
        halves = [
            ops.slice(graph, merged, (2 * row, 0), (2, 129), f"half{row}") for row in range(2)
        ]
        features = ops.concat(graph, halves, 1, "halves")
    for index in range(states):
        before = graph.recurrent_state(f"state{index}", (1, size))
        graph.carry(before, ops.tanh(graph, before, f"state{index}.next"))
    graph.output(
        ops.tanh(graph, ops.slice(graph, features, (0, 0), (2, SIGNAL.bins), "rows"), "mask")
    )
    return graph


def fan_graph(chained: bool) -> Graph:
    """Sums one after the other, of which the last comes out, or side by side, where all do."""
    graph = Graph()
    x = graph.input("x", (1, 64))
    sums: list[Value] = []
    for index in range(FAN):
        sums.append(ops.add(graph, sums[-1] if chained and sums else x, x, f"sum{index}"))
    for value in sums[-1:] if chained else sums:
        graph.output(value)
    return graph


@dataclass(frozen=True)
class Probe:
    """A tiny model: where its file is, and its states' number and bytes."""

    path: Path
    frame: str
    states: int
    state_bytes: int


def write_probes(folder: Path) -> list[Probe]:
    """Model files of probe graphs."""
    checkpoint = Checkpoint(nn.Identity(), DEFAULT, "probe", 64 * "0")
    found = []
    for signals in SIGNALS:
        features, mask, bands = signals
        override = Override("^features", TYPES[features])
        recipe = Recipe(TYPES[mask].value, TYPES[mask], (override,))
        probes = PROBES if signals in WITH_STATES else {"few": PROBES["few"]}
        for probe, (states, size) in probes.items():
            graph = probe_graph(states, size, bands)
            calibrated = CalibratedGraph(checkpoint, graph, Statistics(), SIGNAL)
            path = folder / f"probe_{features}_{mask}_{bands}_{probe}.tflite"
            path.write_bytes(build_quantized(calibrated, recipe, made_up_ranges(graph), {}))
            width = np.dtype(mask).itemsize
            key = frame_key(read_manifest(path))
            found.append(Probe(path, key, states, states * size * width))
    return found


Found = dict[str, tuple[FileOperator, Any, int]]


def add_operators(found: Found, content: bytes) -> None:
    """Add those operators of a file that are not found yet: its description, file and place."""
    file = parse(content)
    for position, operator in enumerate(describe_operators(file)):
        found.setdefault(operator.key, (operator, file, position))


def collect_operators() -> Found:
    """Every operator of every architecture in every recipe, by key."""
    found: Found = {}
    for network in NETWORKS.values():
        if network.separates:
            continue
        model = (
            load_checkpoint(default_checkpoint_path()).model
            if network is DEFAULT
            else network.create().eval()
        )
        for recipe in reference_recipes(network, network.step(model)):
            graph = network.step(model, recipe.splits)
            add_operators(found, specimen(graph, recipe))
    return found


# Counting -------------------------------------------------------------------------------------


def count_models(machine: EmulatedBoard, paths: list[Path]) -> tuple[np.ndarray, list[bool]]:
    """Instructions of one invocation of each model, and whether XNNPACK took anything of it."""
    listed, counts = machine.scratch / "models.json", machine.scratch / "counts.txt"
    listed.write_text(json.dumps([str(path) for path in paths]))
    guest = Path(__file__).with_name("guest_operators.py")
    machine.run(
        [str(guest), str(listed)],
        plugin=f"{build_counter(machine.emulator)},out={counts}",
        check=True,
        stderr=subprocess.DEVNULL,
    )
    marks = np.loadtxt(counts, dtype=np.int64).sum(axis=1)
    marking = marks[1] - marks[0]
    delegated = json.loads(listed.with_name("delegated.json").read_text())
    return marks[3::2] - marks[2::2] - marking, delegated


def count_loop(
    machine: EmulatedBoard, path: Path, samples: NDArray[np.float32], engine: str | None = None
) -> float:
    """Instructions of the whole loop for a frame, in the engine that is chosen or named.

    Raises:
        UserError: the STFT does not run in the compiled core, as on boards it does.
    """
    counted = machine.count(path, samples, engine)
    if "compiled" not in counted.engine["stft"]:
        raise UserError("counting needs the compiled core on the emulated board; install ziglang")
    return sum(counted.per_frame.values())


def write_models(found: Found, folder: Path) -> list[Path]:
    """Two small models for each operator, then the two fans."""
    paths = []
    for index, (_, file, position) in enumerate(found.values()):
        for copies in (1, COPIES):
            paths.append(folder / f"{index}_{copies}.tflite")
            paths[-1].write_bytes(repeated(file, position, copies))
    for chained in (False, True):
        graph = fan_graph(chained)
        encodings = assign_encodings(graph, lambda _: Precision.FLOAT, {}, Precision.FLOAT)
        written = write_tflite(graph, encodings, lambda _: Precision.FLOAT)
        paths.append(folder / f"fan_{chained}.tflite")
        paths[-1].write_bytes(written.content)
    return paths


def noise() -> NDArray[np.float32]:
    """What is counted with, float32 [n]."""
    rate = SIGNAL.sample_rate
    return np.resize(bursts(rate), int(rate * PROBE_SECONDS)).astype(np.float32)


def count_core(
    board: Board, found: Found, paths: list[Path], probes: list[Probe]
) -> tuple[dict[str, Counted], LoopCost]:
    """What every operator and the rest of the loop cost on a board's core."""
    assert board.core is not None
    core = board.core.key
    samples = noise()
    with emulated(board, PYTHON) as machine:
        counts, delegated = count_models(machine, paths)
        loops = [count_loop(machine, probe.path, samples) for probe in probes]
    *singles, side_by_side, chained = counts
    border = (side_by_side - chained) / (FAN - 1)
    single, several = np.array(singles[::2]), np.array(singles[1::2])
    slopes, taken = (several - single) / (COPIES - 1), np.array(delegated[1:-2:2])
    written = np.array([len(operator.outputs) for operator, _, _ in found.values()])
    read = np.array([len(set(operator.inputs)) for operator, _, _ in found.values()])
    own = slopes - border * written * taken
    invocation = float(np.median((single - slopes)[~taken]))
    partition = np.median((single - slopes - border * read)[taken]) - invocation
    operators = {
        key: Counted(
            operator.kind, operator.type, operator.work, bool(is_taken), {core: round(cost, 1)}
        )
        for (key, (operator, _, _)), cost, is_taken in zip(found.items(), own, taken, strict=True)
    }
    kinds = list(dict.fromkeys(probe.frame for probe in probes))
    free = dict.fromkeys(kinds, 0.0)
    known = LoopCost(free, 0.0, 0.0, float(partition), float(border))
    table = Table({}, {core: known}, operators)
    rows, rest = [], []
    for probe, counted in zip(probes, loops, strict=True):
        rows.append([*(float(kind == probe.frame) for kind in kinds), probe.states])
        rows[-1].append(probe.state_bytes)
        rest.append(counted - predict(probe.path.read_bytes(), core, table).instructions)
    solved = np.linalg.lstsq(np.array(rows), np.array(rest), rcond=None)[0]
    *frames, state, state_byte = map(float, solved)
    loop = LoopCost(
        frame={kind: round(frame, 1) for kind, frame in zip(kinds, frames, strict=True)},
        state=round(state, 1),
        state_byte=round(state_byte, 3),
        partition=round(float(partition), 1),
        border=round(float(border), 1),
    )
    return operators, loop


def write_engine_files(folder: Path) -> dict[str, Path]:
    """Model files that run in C, by network and arithmetic; the weights make no difference."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(SIGNAL.sample_rate).astype(np.float32)
    files = {}
    for network in (DEFAULT, *(find_network(name) for name in ONLY_FRAMES)):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            checkpoint = Checkpoint(network.create().eval(), network, "untrained", 64 * "0")
        rounded, in_float = RECIPES["int8"], partial(float_engine, checkpoint, RECIPES["float"])
        calibrated = calibrate_checkpoint(checkpoint, [noise], rounded, silent)
        content = build_quantized(calibrated, rounded, find_ranges(calibrated, rounded), {})
        contents = {
            "int8": with_weights(content, partial(int8_engine, content)),
            "float": with_weights(build_float(checkpoint), in_float),
        }
        for arithmetic, content in contents.items():
            name = prefix(network.name, arithmetic)
            files[name] = folder / f"{name}.tflite"
            files[name].write_bytes(content)
    return files


def count_engines() -> str:
    """What C engines cost on all cores; the table as TOML."""
    lines = [ENGINES_HEADER]
    with tempfile.TemporaryDirectory() as name:
        files = write_engine_files(Path(name))
        counts: dict[str, dict[str, int]] = {engine: {} for engine in files}
        samples = noise()
        for core, board in tqdm(cores().items()):
            with emulated(board, PYTHON) as machine:
                for engine, path in files.items():
                    counts[engine][core] = round(count_loop(machine, path, samples, "c"))
    for engine, by_core in counts.items():
        lines += [f"[{engine}]", *(f"{core} = {count}" for core, count in by_core.items()), ""]
    return "\n".join(lines)


# Writing ----------------------------------------------------------------------------------------


def cores() -> dict[str, Board]:
    """One board of each core that can be emulated, by the core's key."""
    return {board.core.key: board for board in load_boards().values() if board.core is not None}


def count_all() -> str:
    """Count on all cores; the table as TOML."""
    found = collect_operators()
    lines = [HEADER, f"cores = {json.dumps(list(cores()))}\n"]
    for key, board in load_boards().items():
        if board.core is not None and board.instructions_per_second is not None:
            speeds = [round(speed) for speed in board.instructions_per_second]
            lines.append(
                f"[boards.{key}]\nname = {json.dumps(board.name)}\n"
                f"core = {json.dumps(board.core.key)}\ninstructions_per_second = {speeds}\n"
            )
    counted: dict[str, dict[str, Counted]] = {}
    with tempfile.TemporaryDirectory() as folder:
        probes = write_probes(Path(folder))
        for probe in probes:
            add_operators(found, split(probe.path.read_bytes())[0])
        paths = write_models(found, Path(folder))
        for core, board in tqdm(cores().items(), desc="cores"):
            counted[core], loop = count_core(board, found, paths, probes)
            lines.append(f"[loop.{core}]")
            lines += [f"{name} = {_toml(value)}" for name, value in asdict(loop).items()]
            lines.append("")
    for section, delegated in (("delegated", True), ("interpreted", False)):
        lines.append(f"[{section}]")
        for key in sorted(found):
            entries = [counted[core][key] for core in counted]
            if entries[0].delegated is delegated:
                numbers = [round(counted[core][key].instructions[core]) for core in counted]
                row = [entries[0].type, entries[0].work, *numbers]
                lines.append(f"{json.dumps(key)} = {json.dumps(row)}")
        lines.append("")
    return "\n".join(lines)


def _toml(value: float | Mapping[str, float]) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{name} = {entry}" for name, entry in value.items()) + " }"
    return str(value)


def main() -> None:
    """Write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--engines", action="store_true", help="count C engines alone")
    arguments = parser.parse_args()
    counting = {ENGINES_FILE: count_engines}
    if not arguments.engines:
        counting[TABLE_FILE] = count_all
    for file, count in counting.items():
        write_whole(file, count())
        print(f"wrote {file}")


if __name__ == "__main__":
    with torch.no_grad():
        run_script(main)
