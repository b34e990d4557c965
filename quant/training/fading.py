"""Penalty on memories of attention that hang on what they were before, for streams that miss time.

A gated recurrent unit may have several resting points for one input: what it does then hangs on
which of them it was in. While a knock lasts, frames never reach the network; if its memory then
rests elsewhere than that of a run without the gap, the output differs for seconds. A unit is
incrementally stable where its states meet under one input wherever they started (F. Bonassi, M.
Farina, R. Scattolini, "On the stability properties of gated recurrent units neural networks",
Systems & Control Letters, 2021); the bound given there is far too strict to be useful here, so it
is taught by example.
"""

from typing import Any

import torch
from torch import Tensor, nn

from edge_se.errors import UserError
from quant.networks.gtcrn.model import TRA
from quant.networks.ul_unas.model import Attention

GAP = 64  # frames that are missed; as many are compared afterwards
FORGOTTEN = 12  # frames after which nothing of it may be left


class FadingPenalty:
    """Collects, while the network runs, by how much attention depends on states of other times."""

    def __init__(self, model: nn.Module) -> None:
        """Watch the attention of a network that is trained.

        Raises:
            UserError: the network has none, or none of it is trained.
        """
        self._differences: list[Tensor] = []
        watched = 0
        for module in model.modules():
            parts = _memory_and_gate(module)
            if parts is not None and all(weight.requires_grad for weight in module.parameters()):
                self._watch(*parts)
                watched += 1
        if not watched:
            raise UserError(
                "no attention with a memory, as GTCRN and UL-UNAS have it, is trained here; leave "
                "--fading-weight out"
            )

    def take(self) -> Tensor:
        """The mean over what was watched since the last call, a scalar."""
        penalty = torch.stack(self._differences).mean()
        self._differences.clear()
        return penalty

    def _watch(self, memory: nn.GRU, gate: nn.Linear) -> None:
        def compare(_: nn.Module, inputs: tuple[Tensor, ...], outputs: tuple[Tensor, Any]) -> None:
            if torch.is_grad_enabled():  # not while it is validated
                self._differences.append(difference(memory, gate, inputs[0].detach(), outputs[0]))

        memory.register_forward_hook(compare)


def difference(memory: nn.GRU, gate: nn.Linear, energies: Tensor, states: Tensor) -> Tensor:
    """Mean squared difference that other states make to gates, from `FORGOTTEN` frames on.

    Frames are taken in spans of `GAP`. Each runs again from the state of one span earlier, as if
    what lies between had been missed, and from that of another clip at that time.

    Args:
        memory: of one layer.
        gate: what sigmoids are taken of.
        energies: what the memory heard, [clips, frames, inputs], `2 * GAP` frames at least.
        states: what it became, [clips, frames, hidden].

    Returns:
        A scalar between 0 and 1.
    """
    count = energies.shape[1] // GAP
    spans = energies[:, GAP : count * GAP].unflatten(1, (count - 1, GAP)).flatten(0, 1)
    usual = states[:, GAP : count * GAP].unflatten(1, (count - 1, GAP)).flatten(0, 1)
    before = states[:, GAP - 1 : (count - 1) * GAP : GAP]
    earlier = torch.cat([torch.zeros_like(before[:, :1]), before[:, :-1]], dim=1)
    starts = torch.cat([earlier, before.roll(1, dims=0)]).flatten(0, 1)
    others = continued(memory, torch.cat([spans, spans]), starts.detach())
    expected = gate(usual).sigmoid()[:, FORGOTTEN:]
    found = gate(others[:, FORGOTTEN:]).sigmoid().unflatten(0, (2, -1))
    return (found - expected).square().mean()


def continued(memory: nn.GRU, inputs: Tensor, state: Tensor) -> Tensor:
    """States [N, L, hidden] of a GRU over inputs [N, L, inputs], from a state [N, hidden] on."""
    # By torch's own layer: the faster ones in its place start from zero, and this calls no hook.
    return nn.GRU.forward(memory, inputs, state[None])[0]


def _memory_and_gate(module: nn.Module) -> tuple[nn.GRU, nn.Linear] | None:
    if isinstance(module, TRA):
        return module.att_gru, module.att_fc
    if isinstance(module, Attention):
        return module.ta_gru, module.ta_fc
    return None
