"""Weights as the streaming step needs them, derived from a trained network's modules.

Everything here is a differentiable function of the parameters and exact: BatchNorm folded into
convolutions (also transposed ones), transposed convolutions turned into ordinary ones, several
GRUs merged into one with block-diagonal weights.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Convolution = nn.Conv2d | nn.ConvTranspose2d | nn.Linear
BatchNorm = nn.BatchNorm2d | nn.BatchNorm1d


def fold_batch_norm(convolution: Convolution, norm: BatchNorm) -> tuple[Tensor, Tensor]:
    """Weight [outputs, inputs / groups, ...] and bias [outputs] with the BatchNorm folded in.

    A transposed convolution's weight comes in the same axis order, its taps not yet reversed.
    """
    weight = convolution.weight
    if isinstance(convolution, nn.ConvTranspose2d):
        groups = convolution.groups
        inputs, outputs_per_group, *taps = weight.shape
        weight = weight.view(groups, inputs // groups, outputs_per_group, *taps)
        weight = weight.transpose(1, 2).reshape(-1, inputs // groups, *taps)
    return fold_into(weight, convolution.bias, norm)


def fold_into(
    weight: Tensor, bias: Tensor | None, norm: nn.BatchNorm2d | nn.BatchNorm1d
) -> tuple[Tensor, Tensor]:
    """Weight [outputs, ...] and bias [outputs] of a convolution with the BatchNorm folded in."""
    assert norm.running_mean is not None and norm.running_var is not None
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    centre = -norm.running_mean if bias is None else bias - norm.running_mean
    gain = scale.view(-1, *[1] * (weight.dim() - 1))
    return weight * gain, centre * scale + norm.bias


def separable(depthwise: nn.Conv2d | nn.ConvTranspose2d, pointwise: nn.Conv2d) -> Tensor:
    """A depthwise convolution and the 1x1 one after it as one: [outputs, inputs, height, width].

    Taps of a transposed convolution are not yet reversed.
    """
    return pointwise.weight * depthwise.weight[None, :, 0]


def channels_last(weight: Tensor) -> Tensor:
    """[outputs, inputs, height, width] to TFLite's [outputs, height, width, inputs]."""
    return weight.permute(0, 2, 3, 1)


def depthwise_channels_last(weight: Tensor) -> Tensor:
    """[channels, 1, height, width] to TFLite's [1, height, width, channels]."""
    return weight[:, 0].permute(1, 2, 0)[None]


def two_phases(weight: Tensor, bias: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """A transposed 5-tap convolution with stride 2 and padding 2 as an ordinary 3-tap one.

    Args:
        weight: [outputs, inputs / groups, 1, 5], taps not reversed.
        bias: [outputs].
        groups: groups of the transposed convolution.

    Returns:
        Weight [2 * outputs, inputs / groups, 1, 3] and bias [2 * outputs]. Within each group the
        first half of the channels are the even output positions (taps 4, 2, 0), the second half
        the odd ones (taps 3, 1, at this position and the next).
    """
    even = weight[..., [4, 2, 0]]
    odd = F.pad(weight[..., [3, 1]], (1, 0))
    by_group = [phase.unflatten(0, (groups, weight.shape[0] // groups)) for phase in (even, odd)]
    biases = bias.view(groups, -1)
    return torch.cat(by_group, dim=1).flatten(0, 1), torch.cat([biases, biases], dim=1).flatten()


@dataclass(frozen=True)
class GRUPart:
    """One of several GRUs that lie side by side.

    Attributes:
        first: its first input among those of all.
        inputs: how many it has.
        hidden: its hidden units.
    """

    first: int
    inputs: int
    hidden: int


@dataclass(frozen=True)
class GRUWeights:
    """One GRU, gates in the order reset, update, candidate; H hidden units, I inputs.

    The input bias of the reset and update gates includes the hidden one.
    """

    input_weight: Tensor  # [3H, I]
    input_bias: Tensor  # [3H]
    hidden_weight: Tensor  # [3H, H]
    candidate_bias: Tensor  # [H], added to the hidden projection, before the reset gate
    parts: tuple[GRUPart, ...]  # whose hidden units lie side by side, and don't see each other

    @property
    def hidden(self) -> int:
        """Number of hidden units."""
        return self.hidden_weight.shape[1]


def merge_grus(parts: list[tuple[nn.GRU, str, int]], inputs: int) -> GRUWeights:
    """Several GRUs as one, hidden units side by side.

    Args:
        parts: for each GRU the module, the suffix of its direction ("" or "_reverse") and the
            first of its inputs in the merged input.
        inputs: size of the merged input.
    """
    input_weights: list[list[Tensor]] = [[], [], []]
    hidden_weights: list[list[Tensor]] = [[], [], []]
    input_biases: list[list[Tensor]] = [[], [], []]
    candidate_biases = []
    for module, direction, start in parts:
        w_input, w_hidden, b_input, b_hidden = (
            getattr(module, f"{name}_l0{direction}").chunk(3)
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        for gate in range(3):
            end = start + w_input[gate].shape[1]
            input_weights[gate].append(F.pad(w_input[gate], (start, inputs - end)))
            hidden_weights[gate].append(w_hidden[gate])
            is_candidate = gate == 2
            input_biases[gate].append(
                b_input[gate] if is_candidate else b_input[gate] + b_hidden[gate]
            )
        candidate_biases.append(b_hidden[2])
    return GRUWeights(
        torch.cat([torch.cat(rows) for rows in input_weights]),
        torch.cat([torch.cat(rows) for rows in input_biases]),
        torch.cat([torch.block_diag(*blocks) for blocks in hidden_weights]),
        torch.cat(candidate_biases),
        tuple(GRUPart(start, gru.input_size, gru.hidden_size) for gru, _, start in parts),
    )
