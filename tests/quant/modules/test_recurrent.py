"""Recurrent layers in few operators compute what torch's do."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn

from quant.modules.recurrent import shorten_recurrences

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "both ways": {"bidirectional": True},
    "deep": {"bidirectional": True, "num_layers": 2, "batch_first": True},
    "unbiased": {"bias": False},
    "wide": {"bidirectional": True, "hidden_size": 70},
}


class Layers(nn.Module):
    """Recurrent layers beside each other, then one that waits for them."""

    def __init__(self, kind: type[nn.GRU | nn.LSTM], options: dict, following: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        settings = {"hidden_size": 4} | options
        width = settings["hidden_size"] * (1 + settings.get("bidirectional", False))
        self.layers = nn.ModuleList(kind(3, **settings) for _ in range(2))
        self.next = kind(width, **settings) if following else None

    def forward(self, x: Tensor, *states: Tensor) -> tuple[Tensor, ...]:
        """Outputs and last states of all."""
        state = states if isinstance(self.layers[0], nn.LSTM) else states[0]
        results = [layer(x * (1 + n), state) for n, layer in enumerate(self.layers)]
        if self.next is not None:
            results.append(self.next(results[0][0] + results[1][0], state))
        flat = [(y, *(after if isinstance(after, tuple) else [after])) for y, after in results]
        return tuple(tensor for tensors in flat for tensor in tensors)


def shortened(layers: nn.Module, examples: Sequence[Tensor]) -> fx.GraphModule:
    """The frame of some layers, written out."""
    module = torch.export.export(layers, tuple(examples), strict=False).module()
    shorten_recurrences(module)
    return module


@pytest.mark.parametrize("steps", [1, 5])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("kind", [nn.GRU, nn.LSTM])
def test_it_computes_the_same_in_other_operators(kind, options, steps):
    layers = Layers(kind, OPTIONS[options], following=True).eval().requires_grad_(False)
    of_each = layers.next
    assert of_each is not None
    x = torch.randn((2, steps, 3) if of_each.batch_first else (steps, 2, 3))
    count = of_each.num_layers * (1 + of_each.bidirectional)
    states = torch.randn(2 if kind is nn.LSTM else 1, count, 2, of_each.hidden_size)

    short = shortened(layers, (x, *states))

    expected, found = layers(x, *states), short(x, *states)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=1e-6)
    again = torch.export.export(short, (x, *states), strict=False).graph.nodes
    names = {str(node.target) for node in again}
    assert not any(word in name for name in names for word in ("gru", "lstm", "flip"))
    # The first two run side by side, the third waits for both.
    written = [node for node in short.graph.nodes if str(node.target).startswith("recurrence")]
    assert len(written) == 2


def test_layers_whose_weights_are_computed_stay_as_they_are():
    layer = nn.utils.parametrizations.weight_norm(nn.GRU(3, 4), "weight_hh_l0")
    x, state = torch.randn(5, 2, 3), torch.randn(1, 2, 4)

    short = shortened(layer, (x, state))

    assert "aten.gru.input" in {str(node.target) for node in short.graph.nodes}
    torch.testing.assert_close(short(x, state)[0], layer(x, state)[0])
