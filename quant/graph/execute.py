"""Running a graph in torch: one frame at a time, or whole sequences at once.

Both run the same operators on the same values, so that what is calibrated, trained or exported is
what the TFLite file computes. Every tensor has one more leading axis than its value: clips, or
clips times frames.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edge_se.manifest import BandMerging
from quant.graph.graph import Graph, Operator, State, Value

# Called with every tensor that an operator reads as a constant or produces; what it returns is
# used instead. Observers return it unchanged, fake quantizers round it.
Hook = Callable[[Value, Tensor], Tensor]
Values = dict[Value, Tensor]


def _unchanged(_: Value, tensor: Tensor) -> Tensor:
    return tensor


def initial_states(graph: Graph, clips: int = 1) -> dict[str, Tensor]:
    """Zero states, each [clips, *shape], by name."""
    return {state.name: torch.zeros(clips, *state.input.shape) for state in graph.states}


def run_step(
    graph: Graph,
    inputs: Mapping[str, Tensor],
    states: Mapping[str, Tensor],
    hook: Hook = _unchanged,
) -> tuple[list[Tensor], dict[str, Tensor]]:
    """Run one frame of several clips.

    Args:
        graph: the frame.
        inputs: input signals by name, each [clips, *shape].
        states: states by name, each [clips, *shape].
        hook: sees, and may replace, every tensor.

    Returns:
        The output signals, each [clips, *shape], and the new states.
    """
    values: Values = {value: hook(value, inputs[value.name]) for value in graph.inputs}
    values |= {state.input: hook(state.input, states[state.name]) for state in graph.states}
    for operator in graph.operators:
        _run(operator, values, hook)
    carried = {state.name: values[state.output] for state in graph.states}
    return [values[value] for value in graph.outputs], carried


def run_sequence(
    graph: Graph, inputs: Mapping[str, Tensor], hook: Hook = _unchanged
) -> list[Tensor]:
    """Run whole clips from zero states; equal to `run_step` frame after frame.

    Args:
        graph: the frame.
        inputs: input signals by name, each [clips, frames, *shape].
        hook: sees, and may replace, every tensor; see `sequence_values`.

    Returns:
        The output signals, each [clips, frames, *shape].
    """
    values = sequence_values(graph, inputs, hook)
    clips_and_frames = next(iter(inputs.values())).shape[:2]
    return [values[value].unflatten(0, clips_and_frames) for value in graph.outputs]


def sequence_values(graph: Graph, inputs: Mapping[str, Tensor], hook: Hook = _unchanged) -> Values:
    """All values that `run_sequence` computes, each [clips * frames, *shape].

    Everything that does not depend on a recurrent state runs for all frames at once; only the
    operators between a recurrent state and its successor run frame by frame.

    Args:
        graph: the frame.
        inputs: input signals by name, each [clips, frames, *shape].
        hook: sees, and may replace, every tensor; its leading axis is clips times frames, or
            clips within a recurrence.

    Returns:
        The output signals, each [clips, frames, *shape].
    """
    clips, frames = next(iter(inputs.values())).shape[:2]
    values: Values = {v: hook(v, inputs[v.name].flatten(0, 1)) for v in graph.inputs}
    recurrences = {
        state: recurrent_operators(graph, state) for state in graph.states if state.source is None
    }
    owner = {op: state for state, members in recurrences.items() for op in members}
    histories = {state.input: state for state in graph.states if state.source is not None}
    pending = list(graph.operators)
    while pending:
        waiting = []
        for operator in pending:
            recurrence = owner.get(operator)
            if recurrence is not None:
                members = recurrences[recurrence]
                if recurrence.output in values:
                    continue
                if _ready(members, values, recurrence):
                    _run_recurrence(recurrence, members, values, clips, frames, hook)
                else:
                    waiting.append(operator)
                continue
            for value in operator.inputs:
                state = histories.get(value)
                if state is None or state.source is None or value in values:
                    continue
                if state.source.constant is not None:
                    newest = state.source.constant.expand(clips * frames, *state.source.shape)
                elif state.source in values:
                    newest = values[state.source]
                else:
                    continue
                values[value] = hook(value, _past_frames(newest, clips, frames, value.shape[1]))
            if all(value.constant is not None or value in values for value in operator.inputs):
                _run(operator, values, hook)
            else:
                waiting.append(operator)
        if len(waiting) == len(pending):
            raise ValueError(f"the graph has a cycle through {waiting[0].scope}")
        pending = waiting
    return values


class Step(nn.Module):
    """One frame as a torch module with positional inputs: signals, then states in their order."""

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.graph = graph

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors without a clip axis in, output signals and then new states out."""
        given = [tensor[None] for tensor in tensors]
        signals = {value.name: t for value, t in zip(self.graph.inputs, given, strict=False)}
        rest = given[len(signals) :]
        states = {state.name: t for state, t in zip(self.graph.states, rest, strict=True)}
        outputs, carried = run_step(self.graph, signals, states)
        return tuple(tensor[0] for tensor in [*outputs, *carried.values()])


# Recurrences ---------------------------------------------------------------------------------


def recurrent_operators(graph: Graph, state: State) -> list[Operator]:
    """Operators that depend on the state and on which its successor depends, in order."""
    after = {state.input}
    downstream = []
    for operator in graph.operators:
        if any(value in after for value in operator.inputs):
            after.update(operator.outputs)
            downstream.append(operator)
    before = {state.output}
    members = []
    for operator in reversed(downstream):
        if any(value in before for value in operator.outputs):
            before.update(operator.inputs)
            members.append(operator)
    return members[::-1]


def _ready(members: list[Operator], values: Values, state: State) -> bool:
    inner = {value for operator in members for value in operator.outputs} | {state.input}
    return all(
        value.constant is not None or value in inner or value in values
        for operator in members
        for value in operator.inputs
    )


def _run_recurrence(
    state: State, members: list[Operator], values: Values, clips: int, frames: int, hook: Hook
) -> None:
    # A list: values keep one order, by which observers draw their samples.
    inner = [state.input, *(value for operator in members for value in operator.outputs)]
    # Unbound once: the gradients of frames taken out one by one would be summed over whole clips.
    outer = {
        value: values[value].unflatten(0, (clips, frames)).unbind(1)
        for operator in members
        for value in operator.inputs
        if value not in inner and value.constant is None
    }
    carried = torch.zeros(clips, *state.input.shape)
    collected: dict[Value, list[Tensor]] = {value: [] for value in inner}
    for frame in range(frames):
        local: Values = {value: tensors[frame] for value, tensors in outer.items()}
        local[state.input] = hook(state.input, carried)
        for operator in members:
            _run(operator, local, hook)
        carried = local[state.output]
        for value in inner:
            collected[value].append(local[value])
    for value, tensors in collected.items():
        values[value] = torch.stack(tensors, dim=1).flatten(0, 1)


def _past_frames(source: Tensor, clips: int, frames: int, past: int) -> Tensor:
    """[clips * frames, 1, 1, W, C] to [clips * frames, 1, past, W, C], zeros before the start."""
    newest = source.unflatten(0, (clips, frames))[:, :, 0, 0]
    padded = F.pad(newest, (0, 0, 0, 0, past, 0))[:, :-1]
    windows = padded.unfold(1, past, 1).movedim(-1, 2)
    return windows.flatten(0, 1)[:, None]


# Operators -----------------------------------------------------------------------------------


def _run(operator: Operator, values: Values, hook: Hook) -> None:
    inputs = [
        values[value] if value.constant is None else hook(value, value.constant)
        for value in operator.inputs
    ]
    results = _FUNCTIONS[operator.kind](operator, inputs)
    for value, tensor in zip(operator.outputs, results, strict=True):
        values[value] = hook(value, tensor)


def _linear(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    y = F.linear(*inputs)
    return [torch.relu(y) if operator.attributes["rectified"] else y]


def same_padding(size: int, taps: int, stride: int, dilation: int) -> tuple[int, int]:
    """TFLite's SAME padding: the smaller half goes before."""
    needed = (-(-size // stride) - 1) * stride + (taps - 1) * dilation + 1 - size
    before = max(needed, 0) // 2
    return before, max(needed, 0) - before


def _convolve(operator: Operator, inputs: list[Tensor], weight: Tensor, groups: int) -> Tensor:
    """Weight [outputs, inputs / groups, height, width]."""
    x = inputs[0].flatten(0, 1).permute(0, 3, 1, 2)
    stride, dilation = operator.attributes["stride"], operator.attributes["dilation"]
    if not operator.attributes.get("padded"):
        height, width = (
            same_padding(x.shape[2 + axis], weight.shape[2 + axis], stride[axis], dilation[axis])
            for axis in (0, 1)
        )
        x = F.pad(x, (*width, *height))
    y = F.conv2d(x, weight, inputs[2], stride, 0, dilation, groups)
    return y.permute(0, 2, 3, 1).unflatten(0, inputs[0].shape[:2])


def _convolution(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    weight = inputs[1].permute(0, 3, 1, 2)
    y = _convolve(operator, inputs, weight, inputs[0].shape[-1] // weight.shape[1])
    return [torch.relu(y) if operator.attributes["rectified"] else y]


def _depthwise(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    x = inputs[0]
    if operator.attributes["stride"][0] == x.shape[2] > 1:
        return [_depthwise_over_history(x, inputs[1][0], inputs[2], operator)]
    weight = inputs[1][0].permute(2, 0, 1)[:, None]
    return [_convolve(operator, inputs, weight, weight.shape[0])]


def _depthwise_over_history(x: Tensor, weight: Tensor, bias: Tensor, operator: Operator) -> Tensor:
    """Tap by tap: torch's gradient of a dilated depthwise convolution takes many times as long."""
    dilation = operator.attributes["dilation"][0]
    width, taps = x.shape[3], weight.shape[1]
    padded = F.pad(x[:, :, ::dilation], (0, 0, taps // 2, taps // 2))
    result = bias
    for frame in range(weight.shape[0]):
        for tap in range(taps):
            rows = padded[:, :, frame : frame + 1, tap : tap + width]
            result = torch.addcmul(result, rows, weight[frame, tap])
    return result


def _mean(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    axes = [axis + 1 for axis in operator.attributes["axes"]]
    return [inputs[0].mean(dim=axes, keepdim=True)]


def _concat(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    lead = max(
        (
            tensor.shape[0]
            for tensor, value in zip(inputs, operator.inputs, strict=True)
            if value.constant is None
        ),
        default=1,
    )
    whole = [
        tensor if value.constant is None else tensor.expand(lead, *tensor.shape)
        for tensor, value in zip(inputs, operator.inputs, strict=True)
    ]
    return [torch.cat(whole, dim=operator.attributes["axis"] + 1)]


def _slice(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    begin_and_size = zip(operator.attributes["begin"], operator.attributes["size"], strict=True)
    block = (slice(None), *(slice(begin, begin + size) for begin, size in begin_and_size))
    return [inputs[0][block]]


def _split(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    return list(inputs[0].chunk(len(operator.outputs), dim=operator.attributes["axis"] + 1))


def _reshape(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    return [inputs[0].reshape(-1, *operator.outputs[0].shape)]


def _transpose(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    return [inputs[0].permute(0, *(axis + 1 for axis in operator.attributes["permutation"]))]


def _reverse(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    return [inputs[0].flip(operator.attributes["axis"] + 1)]


def _pad(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    amounts = [amount for pair in reversed(operator.attributes["amounts"]) for amount in pair]
    return [F.pad(inputs[0], amounts)]


def _resize(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    x = inputs[0].flatten(0, 1).permute(0, 3, 1, 2)
    y = F.interpolate(x, operator.attributes["size"], mode="bilinear", align_corners=True)
    return [y.permute(0, 2, 3, 1).unflatten(0, inputs[0].shape[:2])]


def _lstm(_: Operator, inputs: list[Tensor]) -> list[Tensor]:
    x, *given = inputs
    weights = []
    for input_weight, state_weight, bias in (given[:3], given[3:]):
        weights += [input_weight, state_weight, bias, torch.zeros_like(bias)]
    zeros = x.new_zeros(2, x.shape[0], weights[1].shape[1])
    rows = x[:, :, 0]  # [clips, time, 1, inputs]
    y = torch.lstm(rows, (zeros, zeros), weights, True, 1, 0.0, False, True, True)[0]
    return [y[:, :, None]]


def _sum(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    y = inputs[0] + inputs[1]
    return [torch.relu(y) if operator.attributes["rectified"] else y]


def _bands_in_parts(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    bands: BandMerging = operator.attributes["bands"]
    features = inputs[0]
    fine = features.clamp(-bands.bound, bands.bound)
    parts = torch.cat([fine, (features - fine) / bands.ratio], dim=1)
    alike, others = parts.tensor_split([bands.alike], dim=-1)
    matrix = torch.from_numpy(bands.matrix(features.shape[-1])).to(others)
    return [torch.cat([alike, others @ matrix], dim=-1)]


def _leaky_relu(operator: Operator, inputs: list[Tensor]) -> list[Tensor]:
    slope = operator.attributes["slope"]
    return [torch.where(inputs[0] > 0, inputs[0], inputs[0] * slope)]


_FUNCTIONS: dict[str, Callable[[Operator, list[Tensor]], list[Tensor]]] = {
    "linear": _linear,
    "convolution": _convolution,
    "depthwise": _depthwise,
    "add": _sum,
    "bands_in_parts": _bands_in_parts,
    "subtract": lambda _, inputs: [inputs[0] - inputs[1]],
    "multiply": lambda _, inputs: [inputs[0] * inputs[1]],
    "sigmoid": lambda _, inputs: [torch.sigmoid(inputs[0])],
    "tanh": lambda _, inputs: [torch.tanh(inputs[0])],
    "leaky_relu": _leaky_relu,
    "reciprocal_root": lambda _, inputs: [torch.rsqrt(inputs[0])],
    "mean": _mean,
    "concat": _concat,
    "slice": _slice,
    "split": _split,
    "reshape": _reshape,
    "transpose": _transpose,
    "reverse": _reverse,
    "pad": _pad,
    "resize": _resize,
    "lstm": _lstm,
}
