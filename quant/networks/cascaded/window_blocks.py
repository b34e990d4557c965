"""The separators' blocks as graph operators.

Images are [1, frames, bins, channels]: torch's [B, channels, bins, frames] reversed, so the axes of
weights, strides and dilations are reversed too.
"""

from typing import cast

import torch
from torch import Tensor, nn

from quant.graph import operators as ops
from quant.graph.graph import Graph, Value
from quant.networks.cascaded.blocks import ASPP, Conv2DBNActiv, Decoder, Encoder
from quant.networks.folding import fold_batch_norm


def convolution_block(graph: Graph, x: Value, block: Conv2DBNActiv, name: str) -> Value:
    """Convolution, BatchNorm, activation; a ReLU is fused into the convolution."""
    *convolutions, norm, activation = block.conv
    last = cast(nn.Conv2d, convolutions[-1])
    with graph.scope(name):
        if len(convolutions) == 2:
            x = _depthwise(graph, x, cast(nn.Conv2d, convolutions[0]))
        weight, bias = fold_batch_norm(last, cast(nn.BatchNorm2d, norm))
        rectified = isinstance(activation, nn.ReLU)
        y = ops.image_convolution(
            graph,
            x,
            _reversed_axes(weight),
            bias,
            "convolution",
            last.stride[0],
            (last.dilation[1], last.dilation[0]),
            rectified,
        )
        if rectified:
            return y
        slope = torch.tensor(cast(nn.LeakyReLU, activation).negative_slope)
        return ops.leaky_relu(graph, y, slope, "activation")


def _reversed_axes(weight: Tensor) -> Tensor:
    """[outputs, inputs, bins, frames] to [outputs, frames, bins, inputs]."""
    return weight.permute(0, 3, 2, 1)


def _depthwise(graph: Graph, x: Value, convolution: nn.Conv2d) -> Value:
    weight = convolution.weight[:, 0].permute(2, 1, 0)[None]
    dilation = convolution.dilation
    return ops.image_depthwise(graph, x, weight, (dilation[1], dilation[0]), "depthwise")


def encoder(graph: Graph, x: Value, block: Encoder, name: str) -> tuple[Value, Value]:
    """Outputs of both convolutions."""
    with graph.scope(name):
        first = convolution_block(graph, x, block.conv1, "conv1")
        return first, convolution_block(graph, first, block.conv2, "conv2")


def decoder(graph: Graph, x: Value, skip: Value, block: Decoder, name: str) -> Value:
    """Up-sampled x beside the skip, which has as many frames, through one convolution."""
    with graph.scope(name):
        up = ops.resize(graph, x, (skip.shape[1], skip.shape[2]), "up")
        return convolution_block(
            graph, ops.concat(graph, [up, skip], 3, "joined"), block.block, "conv"
        )


def pyramid(graph: Graph, x: Value, block: ASPP, name: str) -> Value:
    """Atrous spatial pyramid pooling."""
    with graph.scope(name):
        mean = ops.mean(graph, x, (2,), "mean")
        pooled = convolution_block(graph, mean, cast(Conv2DBNActiv, block.conv1[1]), "conv1")
        branches = [ops.resize(graph, pooled, (x.shape[1], x.shape[2]), "spread")]
        for index in (2, 3, 4, 5):
            branch = cast(Conv2DBNActiv, getattr(block, f"conv{index}"))
            branches.append(convolution_block(graph, x, branch, f"conv{index}"))
        joined = ops.concat(graph, branches, 3, "joined")
        return convolution_block(graph, joined, block.joint, "bottleneck")


def input_bands(graph: Graph, frames: int, bins: int) -> tuple[Value, Value, Value]:
    """The input without its highest bin, then its lower and its upper half."""
    channels = 2
    features = graph.input("features", (1, frames, bins, channels))
    features.fixed_range = (0.0, 1.0)  # a recording's largest magnitude is 1
    half = (bins - 1) // 2
    whole = ops.slice(graph, features, (0, 0, 0, 0), (1, frames, 2 * half, channels), "bins")
    low = ops.slice(graph, features, (0, 0, 0, 0), (1, frames, half, channels), "low")
    high = ops.slice(graph, features, (0, 0, half, 0), (1, frames, half, channels), "high")
    return whole, low, high


def output_mask(graph: Graph, x: Value, out: nn.Conv2d, offset: int) -> Value:
    """The mask, cropped by `offset` frames on both sides, its highest bin repeated once."""
    _, frames, bins, channels = x.shape
    kept = frames - 2 * offset
    middle = ops.slice(graph, x, (0, offset, 0, 0), (1, kept, bins, channels), "middle")
    weight = _reversed_axes(out.weight)
    logits = ops.image_convolution(graph, middle, weight, torch.zeros(2), "out")
    mask = ops.sigmoid(graph, logits, "sigmoid")
    highest = ops.slice(graph, mask, (0, 0, bins - 1, 0), (1, kept, 1, 2), "highest")
    return ops.concat(graph, [mask, highest], 2, "mask")
