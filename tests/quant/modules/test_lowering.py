"""A frame is tidied before litert-torch sees it."""

import torch
from torch import Tensor, nn

from quant.modules.lowering import drop_idle


class Untidy(nn.Module):
    """Splits into one part, and writes a constant out."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Both, and a split that stays."""
        (whole,) = x.split(4, dim=-1)
        (chunk,) = x.chunk(1, dim=-1)
        one, other = x.split(2, dim=-1)
        return whole.sigmoid(), chunk * torch.tensor([0.5]), one + other.detach()


def test_what_changes_nothing_is_taken_out():
    x = torch.randn(1, 4)
    module = torch.export.export(Untidy(), (x,), strict=False).module()

    drop_idle(module)

    names = [str(node.target) for node in module.graph.nodes]
    assert not any("detach" in name or "lift_fresh" in name or "chunk" in name for name in names)
    assert sum("split" in name for name in names) == 1
    for found, expected in zip(module(x), Untidy()(x), strict=True):
        assert torch.equal(found, expected)
