"""Layers that compute what torch's own do, faster on a GPU.

GTCRN has 16 channels: kernels made for hundreds leave most of a GPU idle.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Conv2d(nn.Conv2d):
    """Convolution in groups of several channels, as one of all channels with zeros between."""

    def forward(self, input: Tensor) -> Tensor:
        """Map [N, C, T, F] to [N, C', T', F']."""
        weight = _dense(self.weight.unflatten(0, (self.groups, -1)))
        return F.conv2d(input, weight, self.bias, self.stride, self.padding, self.dilation)


def _dense(weight: Tensor) -> Tensor:
    """Weights of groups [G, C', C, ...] as one [G C', G C, ...] with zeros between groups."""
    groups = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
    apart = weight[:, :, None] * groups[:, None, :, None, None, None]
    return apart.flatten(2, 3).flatten(0, 1)
