"""The recurrence of a small GRU on a GPU: a whole sequence in one kernel each way, in Triton.

Libraries spend a kernel per step or more, and for GTCRN's GRUs, which are 8 to 16 values wide, most
of a training step. Here a program keeps the weights and the states of a few clips in registers and
walks through time.
"""

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor, nn

# Clips of one program: few, so that many programs walk through time side by side, but whole pieces
# of memory where there are plenty.
FEW_CLIPS, MANY_CLIPS, PLENTY = 2, 8, 2048
WARPS = 1
LARGEST_SIZE = 32


def fits(size: int) -> bool:
    """Whether programs can hold this many state values: a power of two, and few."""
    return size <= LARGEST_SIZE and size & (size - 1) == 0


class GRU(nn.GRU):
    """`torch.nn.GRU` of one layer, batch first, zero initial state.

    Both directions run side by side, the backward one over the reversed sequence, as one recurrence
    with a block-diagonal weight.
    """

    def forward(  # type: ignore[override]
        self, input: Tensor, state: None = None
    ) -> tuple[Tensor, None]:
        """Run over sequences [N, L, inputs]; returns outputs [N, L, directions * hidden]."""
        features = input.permute(1, 2, 0)
        gates, weights, biases = [], [], []
        for suffix in ("", "_reverse") if self.bidirectional else ("",):
            input_weight, weight, input_bias, bias = self._parameters_of(suffix)
            direction = features.flip(0) if suffix else features
            part = torch.matmul(input_weight, direction) + input_bias[:, None]
            gates.append(part.unflatten(1, (3, -1)))
            weights.append(weight.unflatten(0, (3, -1)))
            biases.append(bias.unflatten(0, (3, -1)))
        block_diagonal = [torch.block_diag(*(w[gate] for w in weights)) for gate in range(3)]
        states = Recurrence.apply(
            torch.cat(gates, dim=2), torch.stack(block_diagonal), torch.cat(biases, dim=1)
        )
        if self.bidirectional:
            forward, backward = states.chunk(2, dim=1)
            states = torch.cat([forward, backward.flip(0)], dim=1)
        return states.permute(2, 0, 1), None

    def _parameters_of(self, suffix: str) -> list[Tensor]:
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        return [getattr(self, name + suffix) for name in names]


class Recurrence(torch.autograd.Function):
    """The recurrence over L steps of K state values, N clips side by side, where `fits(K)`.

    Inputs: the gates' input parts [L, 3, K, N] (reset, update, new), the state's weight [3, K, K]
    and bias [3, K], float32 on one GPU. Output: states [L, K, N], from zero.
    """

    @staticmethod
    def forward(ctx: Any, gates: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """States, with what the way back needs kept."""
        length, _, size, clips = gates.shape
        gates, weight, bias = gates.contiguous(), weight.contiguous(), bias.contiguous()
        # Slot t of the states is the state before step t.
        states = gates.new_zeros(length + 1, size, clips)
        parts = torch.empty_like(gates)
        _forward[_programs(clips)](
            *(gates, weight, bias, states, parts, length, clips),
            size=size,
            tile=_clips_of_a_program(clips),
            num_warps=WARPS,
        )
        ctx.save_for_backward(gates, states, parts, weight)
        return states[1:]

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of the inputs, given that of the states."""
        gates, states, parts, weight = ctx.saved_tensors
        length, _, size, clips = gates.shape
        of_gates = torch.empty_like(gates)  # gradient of the state's part of the gates
        of_new = torch.empty_like(states[1:])  # gradient of the new gate's input part
        _backward[_programs(clips)](
            *(gradient.contiguous(), gates, states, parts, weight, of_gates, of_new, length, clips),
            size=size,
            tile=_clips_of_a_program(clips),
            num_warps=WARPS,
        )
        rows = of_gates.view(length, 3 * size, clips)
        of_weight = torch.bmm(rows, states[:-1].transpose(1, 2)).sum(0).view(3, size, size)
        of_bias = of_gates.sum((0, 3))
        of_inputs = torch.cat([of_gates[:, :2], of_new[:, None]], dim=1)
        return of_inputs, of_weight, of_bias


def _clips_of_a_program(clips: int) -> int:
    return MANY_CLIPS if clips >= PLENTY else FEW_CLIPS


def _programs(clips: int) -> tuple[int]:
    return (triton.cdiv(clips, _clips_of_a_program(clips)),)


@triton.jit
def _tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@triton.jit
def _forward(
    gates, weight, bias, states, parts, length, clips, size: tl.constexpr, tile: tl.constexpr
):
    row = tl.arange(0, size)
    clip = tl.program_id(0) * tile + tl.arange(0, tile)
    inside = (clip < clips)[None, :]
    matrix = row[:, None] * size + row[None, :]
    reset_weight = tl.load(weight + matrix)[:, :, None]
    update_weight = tl.load(weight + size * size + matrix)[:, :, None]
    new_weight = tl.load(weight + 2 * size * size + matrix)[:, :, None]
    reset_bias = tl.load(bias + row)[:, None]
    update_bias = tl.load(bias + size + row)[:, None]
    new_bias = tl.load(bias + 2 * size + row)[:, None]
    place = row[:, None] * clips + clip[None, :]
    plane = size * clips
    state = tl.zeros((size, tile), tl.float32)
    gate = gates + place
    part = parts + place
    after = states + plane + place
    for _ in range(length):
        reset_input = tl.load(gate, mask=inside, other=0.0)
        update_input = tl.load(gate + plane, mask=inside, other=0.0)
        new_input = tl.load(gate + 2 * plane, mask=inside, other=0.0)
        given = state[None, :, :]
        reset = tl.sigmoid(reset_input + reset_bias + tl.sum(reset_weight * given, axis=1))
        update = tl.sigmoid(update_input + update_bias + tl.sum(update_weight * given, axis=1))
        new_part = new_bias + tl.sum(new_weight * given, axis=1)
        new = _tanh(new_input + reset * new_part)
        state = new + update * (state - new)
        tl.store(part, reset, mask=inside)
        tl.store(part + plane, update, mask=inside)
        tl.store(part + 2 * plane, new_part, mask=inside)
        tl.store(after, state, mask=inside)
        gate += 3 * plane
        part += 3 * plane
        after += plane


@triton.jit
def _backward(
    gradient,
    gates,
    states,
    parts,
    weight,
    of_gates,
    of_new,
    length,
    clips,
    size: tl.constexpr,
    tile: tl.constexpr,
):
    row = tl.arange(0, size)
    clip = tl.program_id(0) * tile + tl.arange(0, tile)
    inside = (clip < clips)[None, :]
    matrix = row[:, None] * size + row[None, :]
    reset_weight = tl.load(weight + matrix)[:, :, None]
    update_weight = tl.load(weight + size * size + matrix)[:, :, None]
    new_weight = tl.load(weight + 2 * size * size + matrix)[:, :, None]
    place = row[:, None] * clips + clip[None, :]
    plane = size * clips
    last = (length - 1).to(tl.int64)
    one = last * plane + place
    three = 3 * last * plane + place
    given = gradient + one
    before = states + one
    result = of_new + one
    new_gate = gates + 2 * plane + three
    part = parts + three
    of_gate = of_gates + three
    carried = tl.zeros((size, tile), tl.float32)
    for _ in range(length):
        reset = tl.load(part, mask=inside, other=0.0)
        update = tl.load(part + plane, mask=inside, other=0.0)
        new_part = tl.load(part + 2 * plane, mask=inside, other=0.0)
        state = tl.load(before, mask=inside, other=0.0)
        new = _tanh(tl.load(new_gate, mask=inside, other=0.0) + reset * new_part)
        carried += tl.load(given, mask=inside, other=0.0)
        into_new = carried * (1 - update) * (1 - new * new)
        of_reset = into_new * new_part * reset * (1 - reset)
        of_update = carried * (state - new) * update * (1 - update)
        of_new_part = into_new * reset
        tl.store(of_gate, of_reset, mask=inside)
        tl.store(of_gate + plane, of_update, mask=inside)
        tl.store(of_gate + 2 * plane, of_new_part, mask=inside)
        tl.store(result, into_new, mask=inside)
        carried = (
            carried * update
            + tl.sum(reset_weight * of_reset[:, None, :], axis=0)
            + tl.sum(update_weight * of_update[:, None, :], axis=0)
            + tl.sum(new_weight * of_new_part[:, None, :], axis=0)
        )
        given -= plane
        before -= plane
        result -= plane
        new_gate -= 3 * plane
        part -= 3 * plane
        of_gate -= 3 * plane
