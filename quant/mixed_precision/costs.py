"""The cost table: instructions per operator on each core, and what a whole file comes to.

The counts are checked in, so that a choice by them is the same on every machine. They were taken by
`python -m targets.emulation.costs`, which runs each operator by itself on emulated cores.
"""

import functools
import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_se.engines.generated import prefix, same_arithmetic
from edge_se.errors import UserError
from edge_se.manifest import Manifest
from edge_se.model_file import attached_weights, manifest_of, split
from quant.mixed_precision.operators import FileOperator, describe_operators, parse

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TABLE_FILE = Path(__file__).parent / "instructions.toml"
ENGINES_FILE = Path(__file__).parent / "engines.toml"
DEFAULT_BOARD = "pi4"


@dataclass(frozen=True)
class Board:
    """A board with a counted core.

    Attributes:
        key: name on the command line.
        name: for people.
        core: key of its core.
        instructions_per_second: assumed range of one core, lowest and highest.
    """

    key: str
    name: str
    core: str
    instructions_per_second: tuple[float, float]


@dataclass(frozen=True)
class LoopCost:
    """Instructions of a frame that are not an operator's.

    Attributes:
        frame: analysis, invocation and synthesis, by types of features and mask (`frame_key`).
        state: each state carried.
        state_byte: each byte of it.
        partition: each run of operators that the delegate takes together.
        border: each tensor that enters or leaves such a run.
    """

    frame: Mapping[str, float]
    state: float
    state_byte: float
    partition: float
    border: float


@dataclass(frozen=True)
class Counted:
    """An operator that was counted.

    Attributes:
        kind, type, work: as of `FileOperator`.
        delegated: the delegate (XNNPACK) takes it; TFLite's own kernels run the others.
        instructions: by core.
    """

    kind: str
    type: str
    work: int
    delegated: bool
    instructions: Mapping[str, float]


@dataclass(frozen=True)
class Table:
    """All counts: boards by key, the loop by core, operators by key, C engines by name and core."""

    boards: Mapping[str, Board]
    loops: Mapping[str, LoopCost]
    operators: Mapping[str, Counted]
    engines: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """What a file costs on a core.

    Attributes:
        instructions: per frame, whole loop.
        by_kind: of the operators, by kind and type: their number and instructions.
        loop: of the rest: signals, states, and what the delegate's partitions add.
        estimated: number of operators that were not counted with these shapes.
        engine: "c" where the C engine runs the file, which is counted as a whole.
    """

    instructions: float
    by_kind: Mapping[tuple[str, str], tuple[int, float]]
    loop: float
    estimated: int
    engine: str = "tflite"


@functools.cache
def load_table() -> Table:
    """The checked-in table."""
    content = tomllib.loads(TABLE_FILE.read_text(encoding="utf-8"))
    cores = content["cores"]
    boards = {
        key: Board(key, entry["name"], entry["core"], tuple(entry["instructions_per_second"]))
        for key, entry in content["boards"].items()
    }
    operators = {
        key: Counted(
            key.split()[0], row[0], row[1], delegated, dict(zip(cores, row[2:], strict=True))
        )
        for section, delegated in (("delegated", True), ("interpreted", False))
        for key, row in content[section].items()
    }
    loops = {core: LoopCost(**content["loop"][core]) for core in cores}
    engines = tomllib.loads(ENGINES_FILE.read_text(encoding="utf-8"))
    return Table(boards, loops, operators, engines)


def frame_key(manifest: Manifest) -> str:
    """Key of `LoopCost.frame`: types of features and mask, and whether features are of bands."""
    tensors = manifest.tensors
    bands = "" if manifest.bands is None else "_bands"
    # Masks beside features of bands were counted in 8 bits and float; 16 bits cost as 8 (0.1 %).
    mask = "int8" if bands and tensors.mask.dtype == "int16" else tensors.mask.dtype
    return f"{tensors.features.dtype}{bands}_{mask}"


def find_board(key: str) -> Board:
    """The counted board of that name.

    Raises:
        UserError: there is none.
    """
    boards = load_table().boards
    if key not in boards:
        raise UserError(
            f"no instructions were counted for the board {key!r}; choose one of: "
            f"{', '.join(boards)}"
        )
    return boards[key]


def predict(content: bytes, core: str, table: Table | None = None) -> Cost:
    """What a model file costs per frame on a core.

    A file that runs in C costs what its network's engine does. Of others, an operator that was not
    counted with its shapes is estimated by a line through those of its kind and type.

    Args:
        content: of the model file, manifest included.
        core: key of a counted core.
        table: the counts; the checked-in ones by default.
    """
    table = table or load_table()
    manifest = manifest_of(content, "the model file")
    arithmetic = same_arithmetic(manifest, attached_weights(content))
    if arithmetic is not None:
        counts = table.engines.get(prefix(manifest.architecture, arithmetic))
        if counts is not None:
            return Cost(counts[core], {}, counts[core], 0, "c")
    model = parse(split(content)[0])
    operators = list(describe_operators(model))
    counted = [table.operators.get(operator.key) for operator in operators]
    found = [
        entry or _estimate(operator, core, table)
        for operator, entry in zip(operators, counted, strict=True)
    ]
    fused = fused_pads(operators, [entry.delegated for entry in found])
    by_kind: dict[tuple[str, str], tuple[int, float]] = {}
    for position, entry in enumerate(found):
        count, sum_so_far = by_kind.get((entry.kind, entry.type), (0, 0.0))
        total = sum_so_far + (0 if position in fused else entry.instructions[core])
        by_kind[entry.kind, entry.type] = count + 1, total
    loop = table.loops[core]
    sizes = [int(np.prod(s.shape)) * np.dtype(s.dtype).itemsize for s in manifest.states]
    rest = loop.frame[frame_key(manifest)]
    rest += loop.state * len(sizes) + loop.state_byte * sum(sizes)
    outputs = {int(index) for index in model.subgraphs[0].outputs}
    borders = partition_borders(operators, [entry.delegated for entry in found], outputs)
    rest += loop.partition * len(borders) + loop.border * sum(borders)
    total = rest + sum(instructions for _, instructions in by_kind.values())
    return Cost(total, by_kind, rest, counted.count(None))


def fused_pads(operators: Sequence[FileOperator], delegated: Sequence[bool]) -> set[int]:
    """Places of pads that cost nothing: XNNPACK lets the convolution pad that alone reads one."""
    readers: dict[int, list[int]] = {}
    for place, operator in enumerate(operators):
        for tensor in operator.inputs:
            readers.setdefault(tensor, []).append(place)

    def pads_itself(place: int) -> bool:
        return delegated[place] and operators[place].kind in ("CONV_2D", "DEPTHWISE_CONV_2D")

    found = set()
    for place, operator in enumerate(operators):
        if operator.kind == "PAD" and delegated[place]:
            reading = readers.get(operator.outputs[0], [])
            if len(reading) == 1 and pads_itself(reading[0]):
                found.add(place)
    return found


def partition_borders(
    operators: Sequence[FileOperator], delegated: Sequence[bool], outputs: Set[int]
) -> list[int]:
    """How many tensors enter or leave each partition that the delegate takes.

    TFLite's way of cutting (`PartitionGraphIntoIndependentNodeSubsets`): all operators of one side
    whose inputs are there make a partition; then the other side's turn comes.

    Args:
        operators: in order of execution.
        delegated: whether the delegate takes each.
        outputs: tensors that the model puts out.
    """
    made = {tensor for operator in operators for tensor in operator.outputs}
    ready: set[int] = set()
    pending, borders = list(range(len(operators))), []
    while pending:
        side, members, waiting = None, [], []
        for index in pending:
            operator = operators[index]
            is_ready = all(tensor in ready or tensor not in made for tensor in operator.inputs)
            if is_ready and side is None:
                side = delegated[index]
            if is_ready and delegated[index] is side:
                members.append(index)
                ready.update(operator.outputs)
            else:
                waiting.append(index)
        if side:
            inside = {tensor for index in members for tensor in operators[index].outputs}
            entering = {t for index in members for t in operators[index].inputs} - inside
            read_later = {t for index in waiting for t in operators[index].inputs}
            borders.append(len(entering) + len(inside & (read_later | outputs)))
        pending = waiting
    return borders


def _estimate(operator: FileOperator, core: str, table: Table) -> Counted:
    """A count by a line through those of the same kind and type, else of the same type."""
    for alike in (
        [c for c in table.operators.values() if (c.kind, c.type) == (operator.kind, operator.type)],
        [c for c in table.operators.values() if c.type == operator.type],
    ):
        if alike:
            break
    else:
        raise UserError(
            f"no instructions were counted for operators of type {operator.type}, as "
            f"{operator.key}; count them with python -m targets.emulation.costs"
        )
    work = np.array([entry.work for entry in alike], float)
    counts = np.array([entry.instructions[core] for entry in alike])
    slope, base = np.polyfit(work, counts, 1) if len(set(work)) > 1 else (0.0, counts.mean())
    instructions = max(base + slope * operator.work, counts.min())
    taken = sum(entry.delegated for entry in alike) * 2 >= len(alike)
    return Counted(operator.kind, operator.type, operator.work, taken, {core: float(instructions)})
