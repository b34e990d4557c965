"""The int8 engine: the operators of an 8-bit .tflite as calls of exact kernels.

Operators that only move elements are index arithmetic (`quant.c.int8_moves`); elementwise ones that
follow each other are one loop; all others are a call each. What depends on the checkpoint is in the
weights: the steps of a recurrence over frequency share theirs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from edge_se.engines.fixed_path import FeatureScale, FixedBands, MaskScale
from edge_se.fixed import (
    BINS,
    MASK_UNIT_LIMIT,
)
from edge_se.level import LevelNormalizer
from edge_se.manifest import Manifest
from edge_se.quantized import limits
from quant.c.engine import Engine
from quant.c.int8_moves import (
    BITS,
    PADDING,
    Block,
    Places,
    blocks,
    buffer_of,
    interleaves,
    lie_side_by_side,
    offset_of,
    strides_of,
)
from quant.c.int8_program import (
    UNARY,
    Operation,
    Program,
    Tensor,
    mean_multiplier,
    product_multiplier,
    read_program,
    reference_tables,
    sum_multipliers,
    weighted_multipliers,
)
from quant.c.integer_path import add_path_memory, close_path, open_path, squared_step
from quant.c.memory import share
from quant.c.source import identifier
from quant.c.weights import Kind
from quant.graph.operators.convolving import same_padding

BLOCK = 16  # elements of a chain at once, of which every buffer holds a multiple
INPUTS = 8  # of which layers have a multiple
# A recurrence over rows has more of them, each of fewer operators.
LEAST_REPEATS, LONGEST_PERIOD = 4, 40

ZERO = Kind("zero", low=-128, high=127)
MULTIPLIER, RIGHT = Kind("multiplier", high=2**31 - 1), Kind("right", high=31)
EXPONENT = Kind("exponent", low=-31, high=30)
FEATURE_EXPONENT, MASK_EXPONENT = (
    Kind("feature_exponent", low=-64, high=42),
    Kind("mask_exponent", low=-32, high=0),
)
BOUND_EXPONENT, EXCESS_SHIFT = Kind("bound_exponent", low=-16, high=16), Kind("excess", high=16)
LEVELLED, LEVEL = Kind("levelled", high=1), Kind("level", low=-(2**22), high=2**22)
FRACTION, HOPS = Kind("fraction", high=2**16), Kind("hops", low=1, high=2**15)
UNIT, SQUARE = Kind("unit", low=1, high=MASK_UNIT_LIMIT), Kind("square", high=2**31 - 1)
LARGEST_BAND_WEIGHT = 2**20
WIDENED_BITS = 7  # that a mask gains where it is told whether there is speech


@dataclass(eq=False)
class Buffer:
    """Elements side by side; `field` names it in C, unless it is one of the frame's values."""

    number: int
    size: int
    field: str = ""
    is_state: bool = False


@dataclass(eq=False)
class Step:
    """A statement of the frame: what it reads and writes, and how it is written in C.

    `write` is given what makes a pointer to a place.
    """

    reads: list[int]
    writes: list[int]
    write: Callable[[Callable[[int], str]], str]


@dataclass(frozen=True)
class Operand:
    """What an operator of a chain reads: a block from `place` on, `row` apart in each row.

    `kind` is "rows", "all" for one element, or "earlier" for the result of the operator `place`.
    """

    kind: str
    place: int
    row: int = 0


@dataclass(eq=False)
class Chain:
    """Elementwise operators in one loop over rows of columns."""

    rows: int
    columns: int
    operators: list[tuple[Operation, list[Operand], int]] = field(default_factory=list)
    results: dict[int, int] = field(default_factory=dict)  # positions by buffer


class Int8Engine(Engine):
    """What an `int8` model file computes, to the bit; see `Engine`."""

    arithmetic = "int8"
    element, samples = "int8_t", "int16_t"
    included = ("fixed_path.h", "int8_kernels.h", "weights.h")
    included_by_these = ("compiler.h", "wide.h", "fft.h", "level.h")

    def __init__(self, content: bytes, manifest: Manifest) -> None:
        """Write the engine of a model file.

        Args:
            content: of the .tflite, without its manifest.
            manifest: of the file.

        Raises:
            ValueError: The kernels don't serve it.
        """
        checkpoint = str(manifest.checkpoint.get("sha256"))
        super().__init__(manifest.signal, manifest.architecture, checkpoint)
        self._program = read_program(content)
        if manifest.lookahead_frames:
            raise ValueError("it looks ahead")
        if manifest.stft != "fixed":
            raise ValueError("its samples do not become features in integers")
        self._manifest = manifest
        self._sites = _sites(self._program)
        self._numbers = {op: number for number, op in enumerate(self._program.operations)}
        self._tables = reference_tables(op for op in self._program.operations if op.kind in UNARY)
        self._buffers: list[Buffer] = []
        self._base: list[int] = []
        self._places: dict[int, Places] = {}
        self._steps: list[Step] = []
        self._chain: Chain | None = None
        self._needed: set[int] = set()
        self._moved: dict[bytes, Places] = {}
        self._constants: list[tuple[Buffer, Any]] = []
        self._known: dict[Any, Any] = {}
        self._split: dict[int, Operation] = {}  # by what splits bands, until it is joined
        self._lower()

    # Places --------------------------------------------------------------------------------

    def _buffer(self, size: int, name: str = "", is_state: bool = False) -> Buffer:
        buffer = Buffer(len(self._buffers), size, name, is_state)
        self._buffers.append(buffer)
        self._base.append(buffer.number << BITS)
        return buffer

    def _of(self, buffer: Buffer) -> Places:
        return (buffer.number << BITS) + np.arange(buffer.size, dtype=np.int64)

    def _home(self, places: Places) -> Places:
        """Places in the buffers that others became parts of."""
        homes = {number: self._home_of(number << BITS) for number in np.unique(places >> BITS)}
        if all(home == number << BITS for number, home in homes.items()):
            return places
        found = places.copy()
        for number, home in homes.items():
            inside = places >> BITS == number
            found[inside] = places[inside] - (int(number) << BITS) + home
        return found

    def _home_of(self, place: int) -> int:
        """The same of one place."""
        while place >= 0 and (base := self._base[buffer_of(place)]) != place - offset_of(place):
            place = base + offset_of(place)
        return place

    def _define(self, tensor: Tensor) -> Buffer:
        buffer = self._buffer(int(np.prod(tensor.shape)))
        self._places[tensor.index] = self._of(buffer).reshape(tensor.shape)
        return buffer

    def _at(self, tensor: Tensor) -> Places:
        if tensor.index not in self._places:
            if tensor.content is None:
                raise ValueError(f"nothing computes its tensor {tensor.index}")
            # Anew for each that reads it: which constants are equal depends on the checkpoint.
            buffer = self._buffer(tensor.content.size, "constants")
            self._constants.append((buffer, tensor.content))
            return self._of(buffer).reshape(tensor.shape)
        return self._places[tensor.index]

    def _read(self, places: Places) -> Places:
        """Places that a step reads, whose buffers somebody has to fill."""
        if places.min() < 0:
            raise ValueError("it reads padding in another place than a convolution")
        self._needed |= set(np.unique(places >> BITS).tolist())
        found: Places = self._home(places)
        return found

    def _side_by_side(self, places: Places) -> Places:
        """Places of the same elements side by side, by making buffers one, or by copying them."""
        places = self._read(places)
        if lie_side_by_side(places):
            return places
        key = places.tobytes()
        if key not in self._moved:
            if self._join(places):
                self._moved[key] = self._home(places).ravel()
            else:
                self._moved[key] = self._copied(places).ravel()
        return self._home(self._moved[key]).reshape(places.shape)

    def _join(self, places: Places) -> bool:
        """Make whole buffers, one after the other, parts of one, where they can be."""
        flat = places.ravel()
        if flat.min() < 0:
            return False
        cuts = np.flatnonzero(np.diff(flat) != 1) + 1
        parts = np.split(flat, cuts)
        found = [self._buffers[buffer_of(part[0])] for part in parts]
        whole = all(
            offset_of(part[0]) == 0 and part.size == buffer.size
            for part, buffer in zip(parts, found, strict=True)
        )
        free = [not b.field or (b.is_state and i == 0) for i, b in enumerate(found)]
        even = all(buffer.size % BLOCK == 0 for buffer in found[:-1])
        if not (whole and all(free) and even and len(set(found)) == len(found)):
            return False
        first = found[0]
        parent = self._buffer(flat.size, first.field, first.is_state)
        begin = 0
        for buffer in found:
            self._base[buffer.number] = (parent.number << BITS) + begin
            begin += buffer.size
        self._needed |= {parent.number, *(buffer.number for buffer in found)}
        return True

    def _copied(self, places: Places, buffer: Buffer | None = None) -> Places:
        buffer = buffer or self._buffer(places.size)
        target = self._of(buffer).reshape(places.shape)
        self._copy(places, target)
        self._needed.add(buffer.number)
        return target

    def _copy(self, places: Places, target: Places) -> None:
        found = list(blocks(places, target))
        while found:
            block = found.pop(0)
            other = next((other for other in found if interleaves(block, other)), None)
            if other is not None:
                found.remove(other)
                self._emit(
                    [block.source, other.source],
                    [block.target],
                    partial(_written_pair, block, other),
                )
            else:
                self._emit([block.source], [block.target], partial(_written_block, block))

    def _rows(self, places: Places) -> tuple[int, int]:
        """Rows [R, C] whose elements lie side by side: place of the first, and how far apart."""
        places = self._read(places)
        steps = strides_of(places)
        if steps is None or not (steps[1] == 1 or places.shape[1] == 1):
            places = self._side_by_side(places)
            return int(places.flat[0]), places.shape[1]
        return int(places.flat[0]), steps[0] if places.shape[0] > 1 else places.shape[1]

    def _emit(
        self,
        reads: Sequence[int],
        writes: Sequence[int],
        write: Callable[[Callable[[int], str]], str],
    ) -> None:
        self._close_chain()
        self._steps.append(Step(list(reads), list(writes), write))

    # Operators -----------------------------------------------------------------------------

    def _lower(self) -> None:
        program, manifest = self._program, self._manifest
        features, *inputs = program.inputs
        mask, *outputs = program.outputs
        states = {state.input: state for state in manifest.states}
        signal = self._buffer(int(np.prod(features.shape)), "features")
        self._places[features.index] = self._of(signal).reshape(features.shape)
        for tensor in inputs:
            name = identifier(states[tensor.index].name)
            buffer = self._buffer(int(np.prod(tensor.shape)), name, is_state=True)
            self._places[tensor.index] = self._of(buffer).reshape(tensor.shape)
        for operation in program.operations:
            self._operator(operation)
        result = self._buffer(int(np.prod(mask.shape)), "mask")
        self._copied(self._read(self._at(mask)), result)
        after = {state.input: state.output for state in manifest.states}
        by_index = {tensor.index: tensor for tensor in outputs}
        carried = [
            (tensor, self._side_by_side(self._at(by_index[int(after[tensor.index])])))
            for tensor in inputs
        ]
        self._close_chain()
        self._write(carried)

    def _operator(self, operation: Operation) -> None:
        if operation.kind in UNARY or operation.kind in ("ADD", "SUB", "MUL"):
            self._elementwise(operation)
            return
        movers: dict[str, Callable[[Operation], list[Places]]] = {
            "RESHAPE": lambda op: [self._at(op.input(0)).reshape(op.outputs[0].shape)],
            "TRANSPOSE": lambda op: [self._at(op.input(0)).transpose(_numbers(op.input(1)))],
            "SLICE": lambda op: [self._at(op.input(0))[_block(op)]],
            "SPLIT": lambda op: np.split(
                self._at(op.input(1)), len(op.outputs), int(_numbers(op.input(0))[0])
            ),
            "PAD": lambda op: [
                np.pad(
                    self._at(op.input(0)),
                    np.array(op.input(1).content),
                    constant_values=PADDING,
                )
            ],
            "CONCATENATION": lambda op: [
                np.concatenate(
                    [self._at(op.input(n)) for n in range(len(op.inputs))], op.options["axis"]
                )
            ],
        }
        if operation.kind in movers:
            moved = operation.inputs[1:] if operation.kind == "SPLIT" else operation.inputs
            for tensor in moved:
                if tensor is not None and tensor.scales.size:
                    _check_alike(operation, tensor, operation.outputs[0])
            if operation.kind == "CONCATENATION" and self._join_bins(operation):
                return
            results = movers[operation.kind](operation)
            if operation.kind == "CONCATENATION":
                self._join(self._home(results[0]))
            for tensor, places in zip(operation.outputs, results, strict=True):
                self._places[tensor.index] = places
            return
        kernels: dict[str, Callable[[Operation], None]] = {
            "FULLY_CONNECTED": self._linear,
            "CONV_2D": self._convolution,
            "DEPTHWISE_CONV_2D": self._depthwise,
            "MEAN": self._mean,
        }
        if operation.kind not in kernels:
            raise ValueError(f"it has a {operation.kind}")
        if operation.is_rectified:
            raise ValueError(f"it has a rectified {operation.kind}")
        kernels[operation.kind](operation)

    # Chains --------------------------------------------------------------------------------

    def _elementwise(self, operation: Operation) -> None:
        (result,) = operation.outputs
        operands = [self._at(tensor) for tensor in operation.inputs if tensor is not None]
        count, last = int(np.prod(result.shape)), result.shape[-1]
        chain = self._chain
        whole = [places for places in operands if places.size == count]
        # In rows where an operand is a row that all share, or lies in rows apart.
        shared = any(1 < places.size < count and places.size != BLOCK // 2 for places in operands)
        apart = any(
            not lie_side_by_side(self._home(places)) and not self._within(chain, places)
            for places in whole
        )
        in_rows = (shared or apart) and last % BLOCK == 0
        rows, columns = (count // last, last) if in_rows else (1, count)
        if chain is not None and chain.rows * chain.columns == count and not in_rows:
            rows, columns = chain.rows, chain.columns
        if chain is None or (chain.rows, chain.columns) != (rows, columns):
            if chain is not None and chain.rows == 1 and chain.columns == rows * columns:
                # What lies side by side lies in rows, too.
                chain.rows, chain.columns = rows, columns
                chain.operators = [
                    (op, [_in_rows(o, columns) for o in given], number)
                    for op, given, number in chain.operators
                ]
            else:
                self._close_chain()
        given = [self._operand(places, count, rows, columns) for places in operands]
        if any(operand is None for operand in given):
            self._close_chain()  # something of the chain is read in another order
            given = [self._operand(places, count, rows, columns) for places in operands]
        known = [operand for operand in given if operand is not None]
        if self._chain is None:
            self._chain = Chain(rows, columns)
            # Closing a chain to copy something makes its results ones that lie in memory.
            known = [
                operand
                for places in operands
                if (operand := self._operand(places, count, rows, columns)) is not None
            ]
        buffer = self._define(result)
        self._chain.results[buffer.number] = len(self._chain.operators)
        self._chain.operators.append((operation, known, buffer.number))

    def _within(self, chain: Chain | None, places: Places) -> bool:
        """Whether places are a result of the chain as it is."""
        if chain is None or places.min() < 0:
            return False
        number = buffer_of(places.flat[0])
        size = self._buffers[number].size
        return number in chain.results and np.array_equal(
            places.ravel(), (number << BITS) + np.arange(size)
        )

    def _operand(self, places: Places, count: int, rows: int, columns: int) -> Operand | None:
        chain = self._chain
        if chain is not None and self._within(chain, places):
            return Operand("earlier", chain.results[buffer_of(places.flat[0])])
        if chain is not None and set(np.unique(places >> BITS).tolist()) & set(chain.results):
            return None
        if places.size == 1:
            return Operand("all", int(self._read(places).flat[0]))
        if places.size == count:
            if rows == 1:
                return Operand("rows", int(self._side_by_side(places).flat[0]), columns)
            first, step = self._rows(places.reshape(rows, columns))
            return Operand("rows", first, step)
        if places.size == columns:
            return Operand("rows", int(self._side_by_side(places).flat[0]))
        if places.size * 2 == BLOCK and rows == 1:
            # Twice in each block.
            twice = np.concatenate([places.ravel(), places.ravel()])
            return Operand("repeated", int(self._side_by_side(twice).flat[0]))
        raise ValueError(f"it broadcasts {places.shape} in another way")

    def _close_chain(self) -> None:
        chain, self._chain = self._chain, None
        if chain is None:
            return
        key = tuple(self._sites[op] for op, _, _ in chain.operators)
        if ("chain", key) not in self._known:
            self._known["chain", key] = self._chain_numbers(chain)
        numbers = self._known["chain", key]
        reads = [o.place for _, given, _ in chain.operators for o in given if o.kind != "earlier"]
        writes = [number << BITS for _, _, number in chain.operators]
        self._steps.append(Step(reads, writes, lambda at: self._written_chain(chain, numbers, at)))

    def _chain_numbers(self, chain: Chain) -> dict[str, str]:
        """Where the numbers of a chain's operators begin, and its tables."""
        firsts: dict[str, str] = {}

        def numbers(kind: Kind, values: Sequence[int]) -> None:
            found = [self.weights.number(kind, value) for value in values]
            firsts.setdefault(kind.name, f"&{found[0]}")

        for position, (operation, _, _) in enumerate(chain.operators):
            tensors = [*operation.inputs, *operation.outputs]
            zeros = [tensor.zero_point for tensor in tensors if tensor is not None]
            if operation.kind in UNARY:
                table = self.weights.table(
                    f"table_{self._sites[operation]}", self._tables[operation]
                )
                firsts[f"table{position}"] = table
                continue
            a, b = operation.input(0), operation.input(1)
            (result,) = operation.outputs
            if operation.kind == "MUL":
                if operation.is_rectified:
                    raise ValueError("it has a rectified MUL")
                multipliers = [product_multiplier(a, b, result)]
            else:
                multipliers = sum_multipliers(a, b, result)
                zeros.append(result.zero_point if operation.is_rectified else -128)
            numbers(ZERO, zeros)
            numbers(MULTIPLIER, [multiplier for multiplier, _ in multipliers])
            numbers(RIGHT, [-exponent for _, exponent in multipliers])
        return firsts

    def _written_chain(
        self, chain: Chain, numbers: dict[str, str], at: Callable[[int], str]
    ) -> str:
        parameters, arguments, before, inside = [], [], [], []
        for kind in (ZERO, MULTIPLIER, RIGHT):
            if kind.name in numbers:
                parameters.append(f"const int32_t *{kind.name}")
                arguments.append(numbers[kind.name])
        counts = dict.fromkeys(("zero", "multiplier", "right"), 0)
        operands: dict[Operand, str] = {}

        def operand(given: Operand) -> str:
            if given.kind == "earlier":
                return f"v{given.place}"
            if given not in operands:
                name = f"x{len(operands)}"
                parameters.append(f"const int8_t *{name}")
                arguments.append(at(given.place))
                operands[given] = loaded = f"of_{name}"
                if given.kind == "all":
                    before.append(f"const block {loaded} = block_all(*{name});")
                elif given.kind == "repeated":
                    before.append(f"const block {loaded} = block_load({name});")
                else:
                    row = f"r * {given.row} + " if given.row and chain.rows > 1 else ""
                    inside.append(f"const block {loaded} = block_load({name} + {row}c);")
            return operands[given]

        stores = []
        for position, (operation, given, number) in enumerate(chain.operators):
            values = ", ".join(map(operand, given))
            if operation.kind in UNARY:
                table = f"table{position}"
                parameters.append(f"const int8_t *{table}")
                arguments.append(numbers[table])
                inside.append(f"const block v{position} = block_look_up({table}, {values});")
            else:
                struct, function = {
                    "ADD": ("sum", "add"),
                    "SUB": ("sum", "subtract"),
                    "MUL": ("product", "multiply"),
                }[operation.kind]
                places = ", ".join(f"{name} + {count}" for name, count in counts.items())
                before.append(f"const struct {struct} n{position} = {struct}_of({places});")
                for name, more in zip(
                    counts, (4, 3, 3) if struct == "sum" else (3, 1, 1), strict=True
                ):
                    counts[name] += more
                inside.append(f"const block v{position} = {function}(n{position}, {values});")
            if number in self._needed:
                parameters.append(f"int8_t *y{position}")
                arguments.append(at(number << BITS))
                row = f"r * {chain.columns} + " if chain.rows > 1 else ""
                stores.append(f"block_store(y{position} + {row}c, v{position});")
        loop = f"for (int c = 0; c < {chain.columns}; c += BLOCK) {{"
        body = [*before]
        if chain.rows > 1:
            body.append(f"for (int r = 0; r < {chain.rows}; r++)")
        body += [loop, *(f"    {line}" for line in (*inside, *stores)), "}"]
        function = self.source.function("chain", ", ".join(parameters), "\n".join(body))
        return f"{function}({', '.join(arguments)});"

    # Layers --------------------------------------------------------------------------------

    def _affine(self, operation: Operation, weight: Any, sums: Any) -> list[str]:
        """Tables of a layer by name, weight [outputs, ...] as the kernel reads it."""
        x, (result,), site = operation.input(0), operation.outputs, self._sites[operation]
        if ("affine", site) not in self._known:
            scales = weighted_multipliers(x, operation.input(1), result)
            tables = [self.weights.table(f"weight_{site}", weight.astype(np.int8))]
            for name, kind, values in (
                ("multiplier", MULTIPLIER, [multiplier for multiplier, _ in scales]),
                ("exponent", EXPONENT, [exponent for _, exponent in scales]),
            ):
                found = np.array(values, np.int32)
                if not ((found >= kind.low) & (found <= kind.high)).all():
                    raise ValueError(f"it has a {operation.kind} whose scales differ by too much")
                table = self.weights.table(f"{name}_{site}", found, kind.low, kind.high)
                tables.append(table)
            zero = self.weights.number(ZERO, result.zero_point)
            self._known["affine", site] = (*tables, zero)
        weights, multiplier, exponent, zero = self._known["affine", site]
        bias = np.zeros(len(sums), np.int64)
        if len(operation.inputs) > 2 and operation.inputs[2] is not None:
            bias += np.array(operation.input(2).content).ravel()
        number = self._numbers[operation]
        bias -= x.zero_point * sums
        offsets = self.weights.table(f"bias_{number}", bias.astype(np.int32))
        return [weights, offsets, multiplier, exponent, zero]

    def _linear(self, operation: Operation) -> None:
        x, weight, (result,) = operation.input(0), operation.input(1), operation.outputs
        kernel = _content(weight)
        places = self._at(x).reshape(-1, kernel.shape[1])
        order = _selection(operation)
        if order is not None:
            self._places[result.index] = places[:, order].reshape(result.shape)
            return
        outputs, inputs = kernel.shape
        if _splits_bands(kernel):
            # Where blocks of bands begin depends on the checkpoint, and all of them together don't.
            self._split[result.index] = operation
            return
        first, step = self._rows(places)
        rows = len(places)
        padded = np.pad(kernel, ((0, 0), (0, -inputs % INPUTS)))
        tables = self._affine(operation, padded, kernel.sum(axis=1, dtype=np.int64))
        shape = f"{rows}, {step}, {padded.shape[1]}, {outputs}, {outputs}, 1"
        self._apply(shape, tables, lambda at: at(first), [first], self._define(result).number)

    def _join_bins(self, operation: Operation) -> bool:
        """Join bins that are split from bands with what comes before them, if it does so."""
        tensors = [operation.input(n) for n in range(len(operation.inputs))]
        splitting = [self._split.pop(t.index) for t in tensors if t.index in self._split]
        if not splitting:
            return False
        moved, (result,) = tensors[: len(tensors) - len(splitting)], operation.outputs
        served = len(result.shape) == 2 and operation.options["axis"] == 1
        if not served or [op.outputs[0] for op in splitting] != tensors[len(moved) :]:
            raise ValueError("it joins bins in another order")
        first, weight, bias, multiplier, exponent = [], [], [], [], []
        step = 0
        for op in splitting:
            kernel, x = _content(op.input(1)), op.input(0)
            places = self._read(self._at(x))
            steps = strides_of(places)
            if steps is None or steps[1] != 1:
                raise ValueError("it splits bands that do not lie side by side")
            step = steps[0]
            begins = np.minimum((kernel != 0).argmax(axis=1), kernel.shape[1] - 2)
            pairs = np.stack(
                [np.take_along_axis(kernel, begins[:, None] + n, 1)[:, 0] for n in (0, 1)]
            )
            sums = pairs.sum(axis=0, dtype=np.int64)
            first += (offset_of(places[0, 0]) + begins).tolist()
            weight.append(pairs)
            bias += (np.array(op.input(2).content).ravel() - x.zero_point * sums).tolist()
            scales = weighted_multipliers(x, op.input(1), op.outputs[0])
            multiplier += [m for m, _ in scales]
            exponent += [e for _, e in scales]
        buffer, bands = self._define(result), places[:1] >> BITS << BITS
        low = (
            self._at(moved[0])
            if len(moved) == 1
            else np.concatenate([self._at(tensor) for tensor in moved], 1)
        )
        rows, columns = result.shape
        target = self._of(buffer).reshape(result.shape)[:, : low.shape[1]]
        self._copy(self._read(low), target)
        table = self.weights.table
        tables = (
            table("split_first", np.array(first, np.uint16), 0, step - 2),
            table("split_weight", np.concatenate(weight, axis=1).astype(np.int8)),
            table("split_bias", np.array(bias, np.int32)),
            table("split_multiplier", np.array(multiplier, np.int32), 0, MULTIPLIER.high),
            table("split_exponent", np.array(exponent, np.int32), EXPONENT.low, EXPONENT.high),
            self.weights.number(ZERO, result.zero_point),
        )
        source, begin = int(bands.flat[0]), int(target.flat[0]) + low.shape[1]
        shape = f"{rows}, {step}, {len(first)}, {columns}, {', '.join(tables)}"
        self._needed.add(buffer.number)
        self._emit(
            [source], [begin], lambda at: f"split_bands({shape}, {at(source)}, {at(begin)});"
        )
        return True

    def _apply(
        self,
        shape: str,
        tables: Sequence[str],
        x: Callable[[Callable[[int], str]], str],
        reads: Sequence[int],
        result: int,
        begin: int = 0,
    ) -> None:
        function = self.source.function(
            "apply_to_rows",
            "const struct affine a, const int8_t *x, int8_t *y",
            f"apply({shape}, a, x, y);",
        )
        place = (result << BITS) + begin
        self._emit(
            reads,
            [place],
            lambda at: f"{function}((struct affine){{{', '.join(tables)}}}, {x(at)}, {at(place)});",
        )

    def _convolution(self, operation: Operation) -> None:
        kernel = _content(operation.input(1))
        outputs, height, taps, inputs = kernel.shape
        places, before, after, stride = self._padded_rows(operation, taps)
        if height != 1 or len(places) != 1:
            raise ValueError("it has a convolution over more than one frame")
        (rows,), (result,) = places, operation.outputs
        groups, positions = rows.shape[1] // inputs, result.shape[2]
        flat = kernel.reshape(outputs, taps * inputs)
        padded = np.pad(flat, ((0, 0), (0, -flat.shape[1] % INPUTS)))
        tables = self._affine(operation, padded, flat.sum(axis=1, dtype=np.int64))
        buffer, of_group = self._define(result).number, outputs // groups
        first, row = self._rows(rows)
        count, width = len(rows), padded.shape[1]
        for group in range(groups):
            given = first + group * inputs
            part = [
                f"{name} + {group * of_group * (width if n == 0 else 1)}"
                if group and n < 4
                else name
                for n, name in enumerate(tables)
            ]
            step = stride * inputs
            shape = f"{positions}, {step}, {width}, {of_group}, {outputs}, 0"
            if taps == 1 and stride == 1:
                shape = f"{positions}, {row}, {width}, {of_group}, {outputs}, 0"
                self._apply(
                    shape,
                    part,
                    partial(_pointer, given),
                    [given],
                    buffer,
                    group * of_group,
                )
                continue
            self._pad(count, inputs, row, before, after, operation.input(0), given, 0)
            self._apply(shape, part, lambda at: "k.padded", [], buffer, group * of_group)

    def _pad(
        self,
        rows: int,
        channels: int,
        row: int,
        before: int,
        after: int,
        tensor: Tensor,
        place: int,
        begin: int,
    ) -> None:
        """Copy rows between rows of the zero point."""
        size = begin + (before + rows + after) * channels + BLOCK
        _, most = self.scratch.get("padded", ("", 0))
        self.scratch["padded"] = ("int8_t", max(most, size))
        key = "zero of", tensor.index
        if key not in self._known:
            self._known[key] = self.weights.number(ZERO, tensor.zero_point)
        zero = self._known[key]
        shape = f"{rows}, {channels}, {row}, {before}, {after}, {zero}"
        self._emit(
            [place],
            [],
            lambda at: f"pad_rows({shape}, {at(place)}, k.padded + {begin});",
        )

    def _padded_rows(self, operation: Operation, taps: int) -> tuple[Places, int, int, int]:
        """An image's frames [H, W, C] without zeros at their ends, how many were there, stride."""
        (places,) = self._at(operation.input(0))
        options = operation.options
        stride = options["strideW"]
        if options["dilationWFactor"] != 1:
            raise ValueError("it has a convolution dilated along frequency")
        zeros = [bool((places[:, n] == PADDING).all()) for n in range(places.shape[1])]
        before = zeros.index(False)
        after = zeros[::-1].index(False)
        places = places[:, before : len(zeros) - after]
        if options["padding"] == 0:
            more, _ = same_padding(len(zeros), taps, stride, 1)
            before += more
        positions = operation.outputs[0].shape[2]
        after = max((positions - 1) * stride + taps - before - places.shape[1], 0)
        return places, before, after, stride

    def _depthwise(self, operation: Operation) -> None:
        (kernel,) = _content(operation.input(1))
        frames, taps, channels = kernel.shape
        places, before, after, stride = self._padded_rows(operation, taps)
        dilation, (result,) = operation.options["dilationHFactor"], operation.outputs
        served = stride == 1 and operation.options["depthMultiplier"] == 1
        served = served and channels % BLOCK == 0
        if not served or len(places) != dilation * (frames - 1) + 1 or result.shape[1] != 1:
            raise ValueError("it has a depthwise convolution of another kind")
        sums = kernel.sum(axis=(0, 1), dtype=np.int64)
        tables = self._affine(operation, kernel, sums)
        buffer = self._define(result).number
        count = places.shape[1]
        frame = (before + count + after) * channels
        # All frames are one value: joined before, so that each lies where it stays.
        whole = self._side_by_side(places)
        for number in range(frames):
            first, row = self._rows(whole[number * dilation])
            begin = number * frame
            self._pad(count, channels, row, before, after, operation.input(0), first, begin)
        positions = result.shape[2]
        shape = f"{positions}, {frames}, {taps}, {channels}, {frame}"
        function = self.source.function(
            "apply_over_frames",
            "const struct affine a, const int8_t *x, int8_t *y",
            f"apply_depthwise({shape}, a, x, y);",
        )
        self._emit(
            [],
            [buffer << BITS],
            lambda at: (
                f"{function}((struct affine){{{', '.join(tables)}}}, k.padded, "
                f"{at(buffer << BITS)});"
            ),
        )

    def _mean(self, operation: Operation) -> None:
        x, (result,) = operation.input(0), operation.outputs
        axes = sorted(int(axis) for axis in _numbers(operation.input(1)))
        if axes != list(range(len(axes))):
            raise ValueError("it has a mean over axes that are not the first ones")
        columns = int(np.prod(x.shape[len(axes) :]))
        rows = int(np.prod(x.shape)) // columns
        first = int(self._side_by_side(self._at(x)).flat[0])
        multiplier, exponent = mean_multiplier(x, result, rows)
        numbers = (
            self.weights.number(ZERO, x.zero_point),
            self.weights.number(MULTIPLIER, multiplier),
            self.weights.number(EXPONENT, exponent),
            self.weights.number(ZERO, result.zero_point),
        )
        place = self._define(result).number << BITS
        self._emit(
            [first],
            [place],
            lambda at: f"mean({rows}, {columns}, {', '.join(numbers)}, {at(first)}, {at(place)});",
        )

    # The frame -----------------------------------------------------------------------------

    def _write(self, carried: Sequence[tuple[Tensor, Places]]) -> None:
        addresses = self._addresses(carried)

        def at(place: int) -> str:
            home = self._home_of(place)
            base, offset = addresses[buffer_of(home)]
            offset += offset_of(home)
            return f"{base} + {offset}" if offset else base

        self._open()
        for step in self._steps:
            self.source.say(step.write(at))
        names = {state.input: identifier(state.name) for state in self._manifest.states}
        kept = set()
        for tensor, places in carried:
            own = buffer_of(self._home_of(int(self._places[tensor.index].flat[0])))
            source = self._buffers[buffer_of(places.flat[0])]
            if source.is_state and source.number != own:
                raise ValueError(f"its state {names[tensor.index]} is another one's")
            state = f"s->{names[tensor.index]}"
            self.source.call("memmove", state, at(int(places.flat[0])), str(places.size))
            zero = self.weights.number(ZERO, tensor.zero_point)
            buffer = self._buffers[own]
            kept.add(buffer)
            self.on_reset.append(f"memset(s->{buffer.field}, {zero}, sizeof s->{buffer.field});")
        for buffer in sorted(kept, key=lambda kept: kept.number):
            self.state[buffer.field] = ("int8_t", _rounded(buffer.size))
        squared = squared_step(MaskScale(self._manifest.tensors.mask), WIDENED_BITS)
        square = self.weights.number(SQUARE, squared)
        self.source.say(f"int16_t parts[{2 * BINS}];")
        self.source.call("widen", str(2 * BINS), "k.mask", self._mask_zero, "parts")
        close_path(self, "parts", f"(uint64_t){square}")

    def _addresses(self, carried: Sequence[tuple[Tensor, Places]]) -> dict[int, tuple[str, int]]:
        """Of each buffer: a pointer, and where it begins behind that."""
        lives: dict[int, list[int]] = {}
        for index, step in enumerate(self._steps):
            for place in (*step.reads, *step.writes):
                number = buffer_of(self._home_of(place))
                lives.setdefault(number, [index, index])[1] = index
        for _, places in carried:
            lives[buffer_of(places.flat[0])][1] = len(self._steps)
        kept = {buffer_of(self._home_of(number << BITS)) for number in self._needed}
        own = [number for number in lives if not self._buffers[number].field and number in kept]
        sizes = [_rounded(self._buffers[number].size) for number in own]
        offsets = share(sizes, [(lives[number][0], lives[number][1]) for number in own])
        most = max((o + s for o, s in zip(offsets, sizes, strict=True)), default=0)
        self.scratch["values"] = ("int8_t", most + BLOCK)
        addresses = {
            number: ("k.values", offset) for number, offset in zip(own, offsets, strict=True)
        }
        begin, contents = 0, []
        for buffer, content in self._constants:
            addresses[buffer.number] = ("w->constants", begin)
            size = _rounded(content.size)
            contents.append(np.pad(content.ravel(), (0, size - content.size)))
            begin += size
        if contents:
            self.weights.table("constants", np.concatenate(contents).astype(np.int8))
        for buffer in self._buffers:
            if buffer.field and buffer.field != "constants":
                owner = "s->" if buffer.is_state else "k."
                addresses[buffer.number] = (f"{owner}{buffer.field}", 0)
                if not buffer.is_state:
                    self.scratch[buffer.field] = ("int8_t", _rounded(buffer.size))
        return addresses

    def _open(self) -> None:
        """Samples to features, as the frame loop's signal path makes them."""
        manifest, number = self._manifest, self.weights.number
        features, mask = manifest.tensors.features, manifest.tensors.mask
        add_path_memory(self)
        self.state["level"] = ("int32_t", 8)
        scale, of_mask = FeatureScale(features), MaskScale(mask)
        self._mask_zero = number(ZERO, of_mask.zero_point)
        low, high = limits(np.int8)
        fields: dict[str, Any] = {
            "level": f"{self._levelled()} ? (struct level *)s->level : 0",
            "feature_bytes": 1,
            "feature_multiplier": number(MULTIPLIER, scale.multiplier),
            "feature_exponent": number(FEATURE_EXPONENT, scale.exponent),
            "feature_zero_point": number(ZERO, scale.zero_point),
            "feature_low": low,
            "feature_high": high,
            "mask_bytes": 1,
            "mask_multiplier": number(HOPS, of_mask.multiplier),
            "mask_exponent": number(MASK_EXPONENT, of_mask.exponent),
            "mask_zero_point": self._mask_zero,
            "mask_unit": number(UNIT, of_mask.unit),
        }
        bands = manifest.bands
        if bands is not None:
            room = 2 * BINS
            merging, ends = FixedBands(bands), np.cumsum([len(row) for row in bands.weights])
            together = np.array([weight for row in bands.weights for weight in row], np.int32)
            if len(together) > room:
                raise ValueError("its bands overlap by more than two")
            first = self.weights.table("band_first", np.array(bands.first, np.int32), 0, BINS)
            until = self.weights.table("band_until", ends.astype(np.int32), 0, room)
            self.checks.append(f"bands_fit({len(ends)}, {first}, {until}, BINS)")
            fields |= {
                "band_first": first,
                "band_until": until,
                "band_weight": self.weights.table(
                    "band_weight",
                    np.pad(together, (0, room - len(together))),
                    0,
                    LARGEST_BAND_WEIGHT,
                ),
                "bands": bands.count,
                "bands_alike": bands.alike,
                "bound_exponent": number(BOUND_EXPONENT, merging.bound_exponent),
                "excess_shift": number(EXCESS_SHIFT, merging.excess_shift),
            }
        open_path(self, fields)

    def _levelled(self) -> str:
        """Whether loud input is attenuated for the network, in C; how much, after a reset."""
        levelled, number = self.signal.level_dbfs is not None, self.weights.number
        normalizer = LevelNormalizer(self.signal) if levelled else None
        kinds = {
            "target": LEVEL,
            "silence": LEVEL,
            "rise": FRACTION,
            "fall": FRACTION,
            "first_weight": HOPS,
        }
        values = [
            number(kind, max(kind.low, 0) if normalizer is None else getattr(normalizer, name))
            for name, kind in kinds.items()
        ]
        # Those, and the estimate, which begins at the target.
        for place, value in enumerate([*values, values[0]]):
            self.on_reset.append(f"s->level[{place}] = {value};")
        return number(LEVELLED, int(levelled))


def _sites(program: Program) -> dict[Operation, int]:
    """A number for each operator, the same for the same one of the steps of a recurrence.

    Those have equal shapes, scales and weights at equal distances, several times.
    """
    operations = program.operations
    marks = [_mark(operation) for operation in operations]
    sites = list(range(len(operations)))
    for period in range(1, LONGEST_PERIOD):
        equal = [a == b for a, b in zip(marks, marks[period:], strict=False)] + [False]
        begin = 0
        for index, same in enumerate(equal):
            if same:
                continue
            if index - begin >= (LEAST_REPEATS - 1) * period:
                for k in range(begin + period, index + period):
                    sites[k] = sites[k - period]
            begin = index + 1
    return dict(zip(operations, sites, strict=True))


def _mark(operation: Operation) -> Any:
    tensors = [
        (tensor.shape, tensor.scales.tobytes(), tensor.zero_point)
        for tensor in (*operation.inputs, *operation.outputs)
        if tensor is not None
    ]
    return operation.kind, tuple(tensors), str(sorted(operation.options.items()))


def _selection(operation: Operation) -> Any:
    """Which input each output of a linear layer is, where it only selects; else None."""
    x, weight, (result,) = operation.input(0), operation.input(1), operation.outputs
    kernel = _content(weight)
    encodings = [(t.scales.tobytes(), t.zero_point) for t in (x, result)]
    largest = kernel.max(axis=1)
    selects = (
        encodings[0] == encodings[1]
        and weight.scales.size == 1
        and (np.count_nonzero(kernel, axis=1) == 1).all()
        and (largest * weight.scale == 1).all()
        and (len(operation.inputs) < 3 or operation.inputs[2] is None)
    )
    return kernel.argmax(axis=1) if selects else None


def _splits_bands(kernel: Any) -> bool:
    """Whether more outputs than inputs are each made of one input, or of two neighbours."""
    outputs, inputs = kernel.shape
    used = kernel != 0
    first, last = used.argmax(axis=1), inputs - 1 - used[:, ::-1].argmax(axis=1)
    return bool(outputs > inputs > 2 and used.any(axis=1).all() and (last - first <= 1).all())


def _check_alike(operation: Operation, tensor: Tensor, result: Tensor) -> None:
    if (tensor.scales.tobytes(), tensor.zero_point) != (
        result.scales.tobytes(),
        result.zero_point,
    ):
        raise ValueError(f"it has a {operation.kind} of values with several scales")


def _block(operation: Operation) -> tuple[slice, ...]:
    begins, sizes = _numbers(operation.input(1)), _numbers(operation.input(2))
    return tuple(slice(b, b + size) for b, size in zip(begins, sizes, strict=True))


def _numbers(tensor: Tensor) -> list[int]:
    return [int(number) for number in _content(tensor).ravel()]


def _content(tensor: Tensor) -> Any:
    if tensor.content is None:
        raise ValueError(f"its tensor {tensor.index} is no constant")
    return tensor.content


def _in_rows(operand: Operand, columns: int) -> Operand:
    if operand.kind == "rows":
        return Operand("rows", operand.place, columns)
    return operand


def _written_block(block: Block, at: Callable[[int], str]) -> str:
    source = f"{at(block.source)}, {_listed(block.source_steps)}"
    target = f"{at(block.target)}, {_listed(block.target_steps)}"
    return f"copy({_listed(block.sizes)}, {source}, {target});"


def _written_pair(block: Block, other: Block, at: Callable[[int], str]) -> str:
    source = f"{at(block.source)}, {at(other.source)}, {_listed(block.source_steps[:-1])}"
    target = f"{at(block.target)}, {_listed(block.target_steps[:-1])}"
    return f"interleave({_listed(block.sizes)}, {source}, {target});"


def _pointer(place: int, at: Callable[[int], str]) -> str:
    return at(place)


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def _rounded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK
