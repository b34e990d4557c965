"""Elementwise operators that follow each other, in one loop."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from quant.c.int8_frame import BLOCK, Frame, Step
from quant.c.int8_moves import BITS, Places, buffer_of, lie_side_by_side
from quant.c.int8_program import Bytes, Operation, product_multiplier, sum_multipliers
from quant.c.int8_sums import Sum, weighted_sum
from quant.c.source import Source
from quant.c.weights import Weights

# int32 numbers of an operator, of which an engine takes any.
SUM_SIZE, PRODUCT_SIZE = 14, 5
# Of a product, by which it is shifted where it is quick.
LEAST_RIGHT, MOST_RIGHT = 3, 9
ANY = -(2**31), 2**31 - 1


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


class Chains:
    """Writes elementwise operators into a frame, those of one loop as one step."""

    def __init__(
        self,
        frame: Frame,
        weights: Weights,
        source: Source,
        sites: Mapping[Operation, int],
        tables: Mapping[Operation, Bytes],
    ) -> None:
        """Write into a frame.

        Args:
            frame: whose steps these become.
            weights: that get numbers and tables.
            source: that gets a function for each kind of loop.
            sites: the same number for operators that share their numbers.
            tables: results of operators whose every value depends on one.
        """
        self._frame, self._weights, self._source = frame, weights, source
        self._sites, self._tables = sites, tables
        self._chain: Chain | None = None
        self._known: dict[tuple[int, ...], dict[str, str]] = {}
        self._looked_up: dict[int, str] = {}  # tables by site
        frame.before_step = self.close

    def add(self, operation: Operation) -> None:
        """Add an operator to the chain, or begin another one with it."""
        (result,) = operation.outputs
        operands = [
            _repeated(self._frame.at(tensor), result.shape)
            for tensor in operation.inputs
            if tensor is not None
        ]
        count, last = int(np.prod(result.shape)), result.shape[-1]
        chain = self._chain
        whole = [places for places in operands if places.size == count]
        # In rows where an operand is a row that all share, or lies in rows apart.
        shared = any(1 < places.size < count and places.size != BLOCK // 2 for places in operands)
        apart = any(
            not lie_side_by_side(self._frame.home(places)) and not self._within(chain, places)
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
                self.close()
        given = [self._operand(places, count, rows, columns) for places in operands]
        if any(operand is None for operand in given):
            self.close()  # something of the chain is read in another order
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
        buffer = self._frame.define(result)
        self._chain.results[buffer.number] = len(self._chain.operators)
        self._chain.operators.append((operation, known, buffer.number))

    def _within(self, chain: Chain | None, places: Places) -> bool:
        """Whether places are a result of the chain as it is."""
        if chain is None or places.min() < 0:
            return False
        number = buffer_of(places.flat[0])
        size = self._frame.buffers[number].size
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
            return Operand("all", int(self._frame.read(places).flat[0]))
        if places.size == count:
            if rows == 1:
                return Operand("rows", int(self._frame.side_by_side(places).flat[0]), columns)
            first, step = self._frame.rows(places.reshape(rows, columns))
            return Operand("rows", first, step)
        if places.size == columns:
            return Operand("rows", int(self._frame.side_by_side(places).flat[0]))
        if places.size * 2 == BLOCK and rows == 1:
            # Twice in each block.
            twice = np.concatenate([places.ravel(), places.ravel()])
            return Operand("repeated", int(self._frame.side_by_side(twice).flat[0]))
        raise ValueError(f"it broadcasts {places.shape} in another way")

    def close(self) -> None:
        """Make a step of the chain."""
        chain, self._chain = self._chain, None
        if chain is None:
            return
        key = tuple(self._sites[op] for op, _, _ in chain.operators)
        if key not in self._known:
            self._known[key] = self._chain_numbers(chain)
        numbers = self._known[key]
        reads = [o.place for _, given, _ in chain.operators for o in given if o.kind != "earlier"]
        writes = [number << BITS for _, _, number in chain.operators]
        self._frame.append(Step(reads, writes, lambda at: self._written_chain(chain, numbers, at)))

    def _chain_numbers(self, chain: Chain) -> dict[str, str]:
        """Tables of a chain's operators, and the numbers of those that have none."""
        found: dict[str, str] = {}
        numbers = [1]  # whether all are quick
        for position, (operation, _, _) in enumerate(chain.operators):
            if operation.is_unary:
                found[f"table{position}"] = self._table(operation)
                continue
            own = _product(operation) if operation.kind == "MUL" else _sum(operation)
            quick = LEAST_RIGHT <= own[-1] <= MOST_RIGHT if operation.kind == "MUL" else own[-1]
            numbers[0] &= bool(quick)
            numbers += own
        if len(numbers) > 1:
            name = f"numbers_{len(self._known)}"
            found["numbers"] = self._weights.table(name, np.array(numbers, np.int32), *ANY)
        return found

    def _table(self, operation: Operation) -> str:
        site = self._sites[operation]
        if site not in self._looked_up:
            content = self._tables[operation]
            self._looked_up[site] = self._weights.table(f"table_{site}", content)
        return self._looked_up[site]

    def _written_chain(
        self, chain: Chain, numbers: dict[str, str], at: Callable[[int], str]
    ) -> str:
        parameters, arguments, before, inside = [], [], [], []
        if "numbers" in numbers:
            parameters.append("const int32_t *numbers")
            arguments.append(numbers["numbers"])
        count = 1
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
            if operation.is_unary:
                table = f"table{position}"
                parameters.append(f"const int8_t *{table}")
                arguments.append(numbers[table])
                inside.append(
                    f"const block v{position} = block_look_up({table}, {operand(given[0])});"
                )
            else:
                struct, size, function = {
                    "ADD": ("sum", SUM_SIZE, "add_rectified" if operation.is_rectified else "add"),
                    "SUB": ("sum", SUM_SIZE, "subtract"),
                    "MUL": ("product", PRODUCT_SIZE, "multiply"),
                }[operation.kind]
                place = f"(const struct {struct} *)(numbers + {count})"
                before.append(f"const struct {struct} *n{position} = {place};")
                count += size
                inside.append(
                    f"const block v{position} = {function}(quick, n{position}, {values});"
                )
            if number in self._frame.needed:
                parameters.append(f"int8_t *restrict y{position}")
                arguments.append(at(number << BITS))
                row = f"r * {chain.columns} + " if chain.rows > 1 else ""
                stores.append(f"block_store(y{position} + {row}c, v{position});")
        # Chains of all sizes are one function.
        several = chain.rows == 1 and chain.columns > BLOCK
        if several:
            parameters.append("int count")
            arguments.append(str(chain.columns))
        end = "count" if several else str(chain.columns)
        loop = f"for (int c = 0; c < {end}; c += BLOCK) {{"
        body = [*before]
        if chain.rows > 1:
            body.append(f"for (int r = 0; r < {chain.rows}; r++)")
        body += [loop, *(f"    {line}" for line in (*inside, *stores)), "}"]
        function = self._source.function(
            *("chain", ", ".join(parameters), "\n".join(body)),
            "*numbers" if "numbers" in numbers else "",
        )
        return f"{function}({', '.join(arguments)});"


def _repeated(places: Places, shape: tuple[int, ...]) -> Places:
    """Places of what an operand is repeated to, unless the loop repeats it."""
    size, last = places.size, shape[-1]
    in_loop = size in (1, int(np.prod(shape)), BLOCK // 2)
    if in_loop or (size == last and last % BLOCK == 0):
        return places
    return np.broadcast_to(places, shape)


def _sum(operation: Operation) -> list[int]:
    """Numbers of a sum or a difference, as the kernels' struct has them."""
    a, b, (result,) = operation.input(0), operation.input(1), operation.outputs
    factors = sum_multipliers(a, b, result)
    if any(exponent > 0 for _, exponent in factors):
        raise ValueError("it has a sum whose scales differ by too much")
    if operation.is_rectified and operation.kind != "ADD":
        raise ValueError(f"it has a rectified {operation.kind}")
    first, second, third = factors
    found = Sum(
        (a.zero_point, b.zero_point, result.zero_point),
        result.zero_point if operation.is_rectified else -128,
        (first[0], second[0], third[0]),
        (-first[1], -second[1], -third[1]),
        1 if operation.kind == "ADD" else -1,
    )
    numbers = [*found.zeros, found.lowest, *found.multipliers, *found.rights]
    return [*numbers, *weighted_sum(found)]


def _product(operation: Operation) -> list[int]:
    """Numbers of a product, as the kernels' struct has them."""
    if operation.is_rectified:
        raise ValueError("it has a rectified MUL")
    a, b, (result,) = operation.input(0), operation.input(1), operation.outputs
    multiplier, exponent = product_multiplier(a, b, result)
    if exponent > 0:
        raise ValueError("it has a product whose scales differ by too much")
    return [a.zero_point, b.zero_point, result.zero_point, multiplier, -exponent]


def _in_rows(operand: Operand, columns: int) -> Operand:
    if operand.kind == "rows":
        return Operand("rows", operand.place, columns)
    return operand
