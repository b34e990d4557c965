"""Folded weights are exact, with random BatchNorm statistics."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from quant.networks.folding import (
    channels_last,
    depthwise_channels_last,
    fold_batch_norm,
    merge_grus,
    two_phases,
)
from tests.helpers.running import randomize


def block(convolution: nn.Conv2d | nn.ConvTranspose2d, seed: int = 0) -> nn.Sequential:
    """The convolution and its BatchNorm."""
    return randomize(nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels)), seed)


def image(channels: int, width: int = 17) -> torch.Tensor:
    return torch.randn(2, channels, 3, width, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("outputs", "groups"), [(8, 1), (12, 2), (6, 6)])
@torch.no_grad()
def test_convolution_with_folded_batch_norm_equals_both(outputs, groups):
    both = block(nn.Conv2d(6, outputs, (1, 5), padding=(0, 2), groups=groups))
    x = image(6)

    weight, bias = fold_batch_norm(*both)

    torch.testing.assert_close(F.conv2d(x, weight, bias, padding=(0, 2), groups=groups), both(x))


@torch.no_grad()
def test_transposed_point_convolution_is_an_ordinary_one():
    both = block(nn.ConvTranspose2d(6, 8, 1))
    x = image(6)

    weight, bias = fold_batch_norm(*both)

    torch.testing.assert_close(F.conv2d(x, weight, bias), both(x))


@torch.no_grad()
def test_transposed_depthwise_convolution_is_an_ordinary_one_with_flipped_taps():
    both = block(nn.ConvTranspose2d(6, 6, 3, padding=1, groups=6))
    x = image(6)

    weight, bias = fold_batch_norm(*both)

    expected = F.conv2d(x, weight.flip(2, 3), bias, padding=1, groups=6)
    torch.testing.assert_close(expected, both(x))


@pytest.mark.parametrize("groups", [1, 2])
@torch.no_grad()
def test_transposed_strided_convolution_is_two_phases_of_an_ordinary_one(groups):
    convolution = nn.ConvTranspose2d(6, 4, (1, 5), (1, 2), (0, 2), groups=groups)
    both = block(convolution)
    x = image(6)

    weight, bias = two_phases(*fold_batch_norm(*both), groups)

    phases = F.conv2d(x, weight, bias, padding=(0, 1), groups=groups)
    # [B, group, phase, channel, T, W] to [B, group and channel, T, W and phase]
    grouped = phases.unflatten(1, (groups, 2, 4 // groups)).permute(0, 1, 3, 4, 5, 2)
    interleaved = grouped.flatten(4, 5).flatten(1, 2)[..., :-1]
    torch.testing.assert_close(interleaved, both(x))


def test_weights_are_laid_out_channels_last():
    assert channels_last(torch.zeros(7, 2, 1, 5)).shape == (7, 1, 5, 2)
    assert depthwise_channels_last(torch.zeros(7, 1, 3, 5)).shape == (1, 3, 5, 7)


@torch.no_grad()
def test_merged_grus_compute_what_each_does_alone():
    first, second = (
        randomize(nn.GRU(3, 5, bidirectional=True), 0),
        randomize(nn.GRU(4, 2), 1),
    )
    x, hidden = torch.randn(1, 8), torch.randn(1, 12)
    parts = [(first, "", 1), (first, "_reverse", 0), (second, "", 4)]

    merged = merge_grus(parts, 8)

    from_input = F.linear(x, merged.input_weight, merged.input_bias)
    bias = torch.cat([torch.zeros(24), merged.candidate_bias])
    from_hidden = F.linear(hidden, merged.hidden_weight, bias)
    gates = torch.sigmoid(from_input[:, :24] + from_hidden[:, :24])
    reset, update = gates.chunk(2, dim=1)
    candidate = torch.tanh(from_input[:, 24:] + reset * from_hidden[:, 24:])
    result = candidate + update * (hidden - candidate)
    expected = []
    for (module, direction, start), before in zip(parts, hidden.split([5, 5, 2], 1), strict=True):
        weights = [
            getattr(module, f"{name}_l0{direction}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        ]
        given = x[:, start : start + module.input_size]
        expected.append(torch.gru_cell(given, before, *weights))
    assert merged.hidden == 12
    torch.testing.assert_close(result, torch.cat(expected, dim=1))
