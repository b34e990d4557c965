"""Running a graph in torch: one frame at a time, or whole sequences at once.

Both run the same operators on the same values, so that what is calibrated, trained or exported is
what the TFLite file computes. Every tensor has one more leading axis than its value: clips, or
clips times frames.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from quant.graph.graph import Graph, Operator, Region, State, Value

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


def run_region(region: Region, x: Tensor) -> Tensor:
    """What a region that reads nothing but its "x" makes of it: its "result", [n, *shape]."""
    values: Values = {region.values["x"]: x}
    for operator in region.operators:
        _run(operator, values, _unchanged)
    return values[region.values["result"]]


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


def _run(operator: Operator, values: Values, hook: Hook) -> None:
    inputs = [
        values[value] if value.constant is None else hook(value, value.constant)
        for value in operator.inputs
    ]
    results = operator.rule.run(operator, inputs)
    if operator.attributes.get("rectified"):
        results = [torch.relu(result) for result in results]
    for value, tensor in zip(operator.outputs, results, strict=True):
        values[value] = hook(value, tensor)
