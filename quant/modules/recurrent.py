"""Recurrent layers of a frame in few operators, before litert-torch unrolls them into many.

torch's own decomposition takes some twenty operators a step, for each direction apart. A layer that
runs over the bands of a frame has many steps: there the time goes, of the conversion and then of
every frame. Here a step takes eleven, for both directions at once, and for several layers at once
that do not wait for each other.
"""

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

# Side by side layers multiply by zeros, too: not those of many units.
_UNITS_AT_MOST = 64

# Of one direction of a layer: weights of its input and of its hidden state, then their biases.
Direction = Sequence[Tensor]


class _Gru(nn.Module):
    """GRU cells side by side, over all steps."""

    GATES = 3  # reset, update, new
    input_gates: Tensor
    input_new: Tensor
    hidden_gates: Tensor
    hidden_new: Tensor
    gates_bias: Tensor
    new_bias: Tensor
    reset_bias: Tensor

    def __init__(self, cells: Sequence[Direction]) -> None:
        super().__init__()
        of_input, of_hidden, input_bias, hidden_bias = _by_kind(cells)
        for name, gates in (("gates", (0, 1)), ("new", (2,))):
            self.register_buffer(f"input_{name}", _joined(of_input, gates, self.GATES))
            self.register_buffer(f"hidden_{name}", _joined(of_hidden, gates, self.GATES))
        both = [a + b for a, b in zip(input_bias, hidden_bias, strict=True)]
        self.register_buffer("gates_bias", _in_a_row(both, (0, 1), self.GATES))
        self.register_buffer("new_bias", _in_a_row(input_bias, (2,), self.GATES))
        self.register_buffer("reset_bias", _in_a_row(hidden_bias, (2,), self.GATES))

    def forward(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs [L, B, I] and the state [B, H] to all states [L, B, H] and the last one."""
        steps, batch, _ = x.shape
        rows, outputs = x.flatten(0, 1), []
        all_gates = _parts(torch.addmm(self.gates_bias, rows, self.input_gates), steps, 0)
        all_new = _parts(torch.addmm(self.new_bias, rows, self.input_new), steps, 0)
        for gates, new in zip(all_gates, all_new, strict=True):
            reset, update = torch.addmm(gates, hidden, self.hidden_gates).sigmoid().chunk(2, -1)
            old = torch.addmm(self.reset_bias, hidden, self.hidden_new)
            new = torch.tanh(new + reset * old)
            hidden = new + update * (hidden - new)
            outputs.append(hidden)
        return torch.cat(outputs).unflatten(0, (steps, batch)), hidden


class _Lstm(nn.Module):
    """LSTM cells side by side, over all steps."""

    GATES = 4
    ORDER = (0, 1, 3, 2)  # input, forget and output gate, then what is new
    of_input: Tensor
    of_hidden: Tensor
    bias: Tensor

    def __init__(self, cells: Sequence[Direction]) -> None:
        super().__init__()
        of_input, of_hidden, input_bias, hidden_bias = _by_kind(cells)
        both = [a + b for a, b in zip(input_bias, hidden_bias, strict=True)]
        self.register_buffer("of_input", _joined(of_input, self.ORDER, self.GATES))
        self.register_buffer("of_hidden", _joined(of_hidden, self.ORDER, self.GATES))
        self.register_buffer("bias", _in_a_row(both, self.ORDER, self.GATES))

    def forward(self, x: Tensor, hidden: Tensor, cell: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs [L, B, I], states [B, H] to hidden states [L, B, H], and the last of both."""
        steps, batch, _ = x.shape
        units, outputs = hidden.shape[-1], []
        for row in _parts(torch.addmm(self.bias, x.flatten(0, 1), self.of_input), steps, 0):
            gates, new = torch.addmm(row, hidden, self.of_hidden).split([3 * units, units], -1)
            taken, kept, shown = torch.sigmoid(gates).chunk(3, -1)
            cell = kept * cell + taken * torch.tanh(new)
            hidden = shown * torch.tanh(cell)
            outputs.append(hidden)
        return torch.cat(outputs).unflatten(0, (steps, batch)), hidden, cell


_CELLS: dict[Any, type[_Gru | _Lstm]] = {
    torch.ops.aten.gru.input: _Gru,
    torch.ops.aten.lstm.input: _Lstm,
}


@dataclass(frozen=True)
class _Options:
    """What torch was told of a recurrent layer; those alike in all of it can run side by side."""

    kind: type[_Gru | _Lstm]
    biases: bool
    layers: int
    directions: int
    batch_first: bool
    shape: tuple[int, ...]  # of its input
    state_shape: tuple[int, ...]


class _Recurrence(nn.Module):
    """Recurrent layers of torch that are alike, side by side."""

    turn: Tensor

    def __init__(self, options: _Options, weights: Sequence[Sequence[Tensor]]) -> None:
        super().__init__()
        self.options = options
        self.columns = len(weights) * options.directions
        units = options.state_shape[-1]
        self.together = self.columns if self.columns * units <= _UNITS_AT_MOST else 1
        steps = options.shape[1 if options.batch_first else 0]
        self.register_buffer("turn", torch.eye(steps).flip(0))
        of_each = 4 if options.biases else 2
        self.cells = nn.ModuleList()
        for layer in range(options.layers):
            starts = range(
                layer * options.directions * of_each,
                (layer + 1) * options.directions * of_each,
                of_each,
            )
            cells = [own[start : start + of_each] for own in weights for start in starts]
            for first in range(0, self.columns, self.together):
                self.cells.append(options.kind(cells[first : first + self.together]))

    def forward(
        self, inputs: Sequence[Tensor], states: Sequence[Sequence[Tensor]]
    ) -> tuple[Tensor, ...]:
        """Of each layer its output and its last states, one after another.

        Args:
            inputs: of each layer, as torch takes it.
            states: of each layer: [layers * directions, B, H], of an LSTM two.
        """
        options, directions = self.options, self.options.directions
        if options.batch_first:
            inputs = [_turned_over(x) for x in inputs]
        last: list[list[list[Tensor]]] = [[[] for _ in own] for own in states]
        cells = iter(self.cells)
        for layer in range(options.layers):
            # One column is one direction of one of the layers.
            columns = [self._backwards(x) if d else x for x in inputs for d in range(directions)]
            before = [
                [state[layer * directions + d] for state in own]
                for own in states
                for d in range(directions)
            ]
            outputs: list[Tensor] = []
            for first in range(0, self.columns, self.together):
                run = slice(first, first + self.together)
                joined = [torch.cat(parts, -1) for parts in zip(*before[run], strict=True)]
                y, *after = next(cells)(torch.cat(columns[run], -1), *joined)
                outputs += _parts(y, self.together, -1)
                for kind, state in enumerate(after):
                    for column, part in enumerate(_parts(state, self.together, -1), first):
                        last[column // directions][kind].append(part)
            inputs = [
                torch.cat([self._backwards(y) if d else y for d, y in enumerate(own)], -1)
                for own in _groups(outputs, directions)
            ]
        results: list[Tensor] = []
        for y, own in zip(inputs, last, strict=True):
            results.append(_turned_over(y) if options.batch_first else y)
            results += [torch.stack(kept) for kept in own]
        return tuple(results)

    def _backwards(self, x: Tensor) -> Tensor:
        """Steps [L, B, H] from the last to the first.

        By a linear layer: flip can't be quantized, and of indices litert-torch checks the bounds.
        """
        if len(x) == 1:
            return x
        return nn.functional.linear(x.flatten(1).T, self.turn).T.reshape(x.shape)


def shorten_recurrences(module: fx.GraphModule) -> None:
    """Write out the GRUs and LSTMs of an exported frame, in place; all else stays as it is.

    Left to litert-torch are those whose weights are computed or whose state is projected.
    """
    graph = module.graph
    for number, nodes in enumerate(list(_side_by_side(module))):
        options = _options(nodes[0])
        assert options is not None
        weights = [_weights(module, node) or [] for node in nodes]
        name = f"recurrence{number}"
        module.add_submodule(name, _Recurrence(options, weights))
        arguments: list[Any] = [node.args for node in nodes]
        inputs = [x for x, *_ in arguments]
        states = [list(s) if options.kind is _Lstm else [s] for _, s, *_ in arguments]
        width = 2 + (options.kind is _Lstm)
        with graph.inserting_after(nodes[-1]):
            joined = graph.call_module(name, (inputs, states))
        joined.meta = dict(nodes[0].meta)
        for position, node in enumerate(nodes):
            for user in list(node.users):
                with graph.inserting_after(joined):
                    index: Any = user.args[1]
                    place = position * width + index
                    part = graph.call_function(operator.getitem, (joined, place))
                part.meta = dict(user.meta)
                user.replace_all_uses_with(part)
                graph.erase_node(user)
            graph.erase_node(node)
    graph.lint()
    module.recompile()


def _side_by_side(module: fx.GraphModule) -> Iterator[list[fx.Node]]:
    """Recurrent layers of a graph, those together that are alike and wait for nothing between."""
    waiting: list[fx.Node] = []
    order = {node: place for place, node in enumerate(module.graph.nodes)}
    for node in list(module.graph.nodes):
        options = _options(node)
        if options is None or _weights(module, node) is None:
            continue
        readers = [reader for one in waiting for part in one.users for reader in part.users]
        free = all(order[reader] > order[node] for reader in readers)
        if waiting and not (free and _options(waiting[0]) == options):
            yield waiting
            waiting = []
        waiting.append(node)
    if waiting:
        yield waiting


def _options(node: fx.Node) -> _Options | None:
    """What a node was told; None if it is no recurrent layer that can be written out here."""
    kind = _CELLS.get(node.target)
    if kind is None or len(node.args) != 9:
        return None
    arguments: Any = node.args
    x, states, _, biases, layers, _, _, bidirectional, batch_first = arguments
    states = states if kind is _Lstm else [states]
    shapes = {tuple(state.meta["val"].shape) for state in states}
    if len(shapes) > 1:  # the hidden state is projected
        return None
    shape = tuple(x.meta["val"].shape)
    return _Options(kind, biases, layers, 1 + bidirectional, batch_first, shape, shapes.pop())


def _weights(module: fx.GraphModule, node: fx.Node) -> list[Tensor] | None:
    """A layer's weights; None where one of them is computed in the graph."""
    sources: Any = node.args[2]
    if any(source.op != "get_attr" for source in sources):
        return None
    return [operator.attrgetter(str(source.target))(module).detach() for source in sources]


def _by_kind(cells: Sequence[Direction]) -> tuple[Sequence[Tensor], ...]:
    """Weights of the inputs of cells, of their hidden states, and the biases of both."""
    of_input, of_hidden, *biases = zip(*cells, strict=True)
    none = [torch.zeros(len(weight)) for weight in of_input]
    return of_input, of_hidden, *(biases or (none, none))


def _joined(weights: Sequence[Tensor], gates: Sequence[int], of: int) -> Tensor:
    """Linear layers side by side as one [inputs, outputs]: each gate's of all layers together."""
    blocks = [torch.block_diag(*(weight.chunk(of)[gate] for weight in weights)) for gate in gates]
    return torch.cat(blocks).T.contiguous()


def _in_a_row(biases: Sequence[Tensor], gates: Sequence[int], of: int) -> Tensor:
    return torch.cat([bias.chunk(of)[gate] for gate in gates for bias in biases])


def _groups(columns: Sequence[Tensor], size: int) -> list[Sequence[Tensor]]:
    return [columns[start : start + size] for start in range(0, len(columns), size)]


def _parts(x: Tensor, count: int, dim: int) -> Sequence[Tensor]:
    return x.chunk(count, dim) if count > 1 else [x]


def _turned_over(x: Tensor) -> Tensor:
    """Steps and batch in the other order; without a transposition where one of them is 1."""
    first, second, _ = x.shape
    if 1 in (first, second):
        return x.reshape(second, first, x.shape[2])
    return x.transpose(0, 1)
