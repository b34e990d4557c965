"""One frame of UL-UNAS: features [1, bins] and states in, mask [1, bins] and new states out.

Equal to `quant.networks.ul_unas.model.ULUNAS.mask` frame by frame. Bands run along the width of
[1, 1, width, channels] images.

The 1x1 convolutions in groups are written as ones of all channels, with zeros between the groups;
so shuffling their outputs is another order of their rows.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.graph import Graph, Value
from quant.networks.folding import (
    channels_last,
    depthwise_channels_last,
    fold_batch_norm,
    merge_grus,
)
from quant.networks.gtcrn.model import DPGRNN
from quant.networks.gtcrn.step import blocks_of_bands, dual_path, split_bands
from quant.networks.recurrent import gru_both_ways, gru_over_time
from quant.networks.ul_unas.model import (
    GROUPED_BANDS,
    GROUPS,
    ULUNAS,
    AffinePReLU,
    Attention,
    BottleneckBlock,
    PlainBlock,
    SeparableBlock,
)

# Of 8-bit frames: before which of its output's bands the first convolution is cut.
PARTS = (32, 48)
# A weight, a bias and a name to an image, of which what is below zero is zero.
Rectified = Callable[[Tensor, Tensor, str], Value]


def describe_ul_unas(model: ULUNAS, split: bool = False) -> Graph:
    """Describe one frame of a trained UL-UNAS; see `quant.networks.network.Network`."""
    graph = Graph()
    features = graph.input("features", (1, model.erb.bins))
    first, *others = model.encoder.en_convs
    cuts = PARTS if split else ()
    shape = {"alike": model.erb.low_bands, "padding": 0}
    with graph.region("merge_bands", shape, x=features):
        with graph.scope("merge"):
            image = ops.reshape(graph, features, (1, 1, *features.shape), "image")
            blocks = blocks_of_bands(graph, image, model.erb)
        with graph.scope("encoder.0"):
            images = _images(graph, blocks, cuts)
        graph.mark(result=images[-1])
    with graph.scope("encoder.0"):
        skips = [_first_block(graph, images, cast(PlainBlock, first), cuts)]
    for index, block in enumerate(others, 1):
        with graph.scope(f"encoder.{index}"):
            skips.append(_block(graph, skips[-1], block))
    x = skips[-1]
    for index, paths in enumerate(model.dpgrnn):
        with graph.scope(f"dpgrnn{index + 1}"):
            x = dual_path(graph, x, cast(DPGRNN, paths))
    for index, block in enumerate(model.decoder.de_convs):
        with graph.scope(f"decoder.{index}"):
            x = _block(graph, ops.add(graph, x, skips[-1 - index], "skip"), block)
    gains = ops.sigmoid(graph, x, "gains")
    mask = ops.reshape(graph, gains, (1, 1, 1, gains.shape[2]), "mask_bands")
    mask.fixed_range = gains.fixed_range
    graph.output(split_bands(graph, mask, model.erb))
    return graph


def _images(graph: Graph, blocks: Sequence[Value], cuts: Sequence[int]) -> list[Value]:
    """Bands [1, 1, 1, W] in blocks to images [1, 1, W', 1], one a part of the first block."""
    bands = sum(value.shape[3] for value in blocks)
    images = []
    for part, (begin, end) in enumerate(itertools.pairwise([0, *cuts, (bands + 1) // 2])):
        with graph.scope(f"part{part}"):
            first, last = max(2 * begin - 1, 0), min(2 * end + 1, bands)
            rows = _bands_between(graph, blocks, first, last)
            images.append(ops.reshape(graph, rows, (1, 1, last - first, 1), "image"))
    return images


def _first_block(
    graph: Graph, images: Sequence[Value], block: PlainBlock, cuts: Sequence[int]
) -> Value:
    """The first block's output [1, 1, W / 2, C].

    Bands add up logarithms, high ones of many bins, low ones of one: in one tensor of 8 bits the
    steps of the former are too coarse for the latter. So the output is made in parts, cut before
    these of its bands, each from an image of its own.
    """
    _, convolution, norm, activation, attention = block.ops
    convolution, activation = cast(nn.Conv2d, convolution), cast(AffinePReLU, activation)
    weight, bias = fold_batch_norm(convolution, cast(nn.BatchNorm2d, norm))
    ends = [*cuts, activation.affine_weight.shape[1]]
    sizes = [end - begin for begin, end in itertools.pairwise([0, *ends])]
    with graph.region("spread", x=images[-1]):
        windows = []
        for part, image in enumerate(images):
            with graph.scope(f"part{part}"):
                past = convolution.kernel_size[0] - 1
                windows.append(histories.history(graph, image, past, "cache"))

        def convolve(weight: Tensor, bias: Tensor, name: str) -> Value:
            parts = []
            for part, (window, size) in enumerate(zip(windows, sizes, strict=True)):
                with graph.scope(f"part{part}"):
                    kernel = channels_last(weight)
                    y = ops.convolution(graph, window, kernel, bias, name, 2, rectified=True)
                    if y.shape[2] > size:  # the last one would have to see the next part's bands
                        shape = (1, 1, size, y.shape[3])
                        y = ops.slice(graph, y, (0, 0, 0, 0), shape, "of_part")
                parts.append(y)
            return parts[0] if len(parts) == 1 else ops.concat(graph, parts, 2, name, mixed=True)

        with graph.scope("spread"):
            y = _activated(graph, convolve, weight, bias, _gains(activation))
        graph.mark(window=windows[-1], result=y)
    return _attention(graph, y, attention, shuffled=False)


def _bands_between(graph: Graph, blocks: Sequence[Value], first: int, last: int) -> Value:
    """[1, 1, 1, last - first] of bands that lie in blocks."""
    parts: list[Value] = []
    begin = 0
    for index, block in enumerate(blocks):
        size = block.shape[3]
        start, end = max(first - begin, 0), min(last - begin, size)
        if (start, end) == (0, size):
            parts.append(block)
        elif start < end:
            shape = (1, 1, 1, end - start)
            parts.append(ops.slice(graph, block, (0, 0, 0, start), shape, f"bands{index}"))
        begin += size
    return parts[0] if len(parts) == 1 else ops.concat(graph, parts, 3, "bands", mixed=True)


def _block(graph: Graph, x: Value, block: nn.Module) -> Value:
    """[1, 1, W, C] to [1, 1, W', C']."""
    if isinstance(block, PlainBlock):
        _, convolution, norm, activation, attention = block.ops
        y = _over_history(graph, x, convolution, norm, activation)
        return _attention(graph, y, attention, shuffled=False)
    pointwise = block.pconv if isinstance(block, SeparableBlock) else block.pconv1
    y = _pointwise(graph, x, cast(nn.Sequential, pointwise))
    _, convolution, norm, activation, *rest = cast(nn.Sequential, block.dconv)
    y = _over_history(graph, y, convolution, norm, activation)
    if isinstance(block, SeparableBlock):
        return _attention(graph, y, rest[0], shuffled=False)
    convolution, norm, attention, _ = cast(BottleneckBlock, block).pconv2
    weight, bias = (_shuffle(part, 0) for part in _dense(convolution, norm))
    with graph.region("convolution", x=y):
        y = ops.convolution(graph, y, channels_last(weight), bias, "project")
        graph.mark(convolution=y, result=y)
    return _attention(graph, y, attention, shuffled=True)


def _shuffle(x: Tensor, axis: int) -> Tensor:
    """The channels of both groups, interleaved."""
    return x.unflatten(axis, (GROUPS, -1)).transpose(axis, axis + 1).flatten(axis, axis + 1)


def _dense(convolution: nn.Module, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [outputs, inputs, 1, 1] and bias of a 1x1 convolution in groups."""
    convolution = cast(nn.Conv2d, convolution)
    weight, bias = fold_batch_norm(convolution, cast(nn.BatchNorm2d, norm))
    groups = weight[:, :, 0, 0].chunk(convolution.groups)
    return torch.block_diag(*groups)[:, :, None, None], bias


def _pointwise(graph: Graph, x: Value, layers: nn.Sequential) -> Value:
    """1x1 convolution, activation and shuffle."""
    convolution, norm, activation, _ = layers
    weight, bias = (_shuffle(part, 0) for part in _dense(convolution, norm))

    def rectified(weight: Tensor, bias: Tensor, name: str) -> Value:
        return ops.convolution(graph, x, channels_last(weight), bias, name, rectified=True)

    activation = cast(AffinePReLU, activation)
    gains = [_shuffle(part, 0) for part in _gains(activation)]
    with graph.scope("expand"), graph.region("spread", x=x):
        result = _activated(graph, rectified, weight, bias, gains)
        graph.mark(result=result)
        return result


def _over_history(
    graph: Graph, x: Value, convolution: nn.Module, norm: nn.Module, activation: nn.Module
) -> Value:
    """A convolution over past frames and neighbouring bands, and its activation if it has one."""
    convolution = cast(nn.Conv2d | nn.ConvTranspose2d, convolution)
    frames, stride = cast(int, convolution.kernel_size[0]), convolution.stride[1]
    depthwise = convolution.groups > 1
    weight, bias = fold_batch_norm(convolution, cast(nn.BatchNorm2d, norm))
    doubled = isinstance(convolution, nn.ConvTranspose2d) and stride == 2
    if isinstance(convolution, nn.ConvTranspose2d):
        weight = weight.flip(2)  # such a convolution reverses time
        weight = _two_phases(weight) if doubled else weight.flip(3)
    if doubled:
        stride, bias = 1, bias.repeat(2)
        if depthwise:
            weight = weight * torch.eye(convolution.groups).repeat(2, 1)[:, :, None, None]
            depthwise = False

    def convolve(weight: Tensor, bias: Tensor, name: str, rectified: bool = True) -> Value:
        if depthwise:
            kernel = depthwise_channels_last(weight)
            return ops.depthwise_over_history(
                *(graph, window, kernel, bias, 1, name), stride=stride, rectified=rectified
            )
        kernel = channels_last(weight)
        return ops.convolution(graph, window, kernel, bias, name, stride, rectified)

    shape = {"depthwise": convolution.groups > 1, "doubled": doubled}
    with graph.region("spread", shape, x=x):
        window = histories.history(graph, x, frames - 1, "cache") if frames > 1 else x
        with graph.scope("spread"):
            if isinstance(activation, AffinePReLU):
                gains = _gains(activation)
                if doubled:
                    gains = [_in_phases(part) for part in gains]
                y = _activated(graph, convolve, weight, bias, gains)
            else:
                y = convolve(weight, bias, "convolution", rectified=False)
                graph.mark(convolution=y)
            result = _interleaved(graph, y) if doubled else y
        graph.mark(window=window, result=result)
        return result


def _two_phases(weight: Tensor) -> Tensor:
    """Three taps of a transposed convolution of stride 2 as two of an ordinary one.

    Args:
        weight: [outputs, inputs, frames, 3], taps not reversed.

    Returns:
        [2 * outputs, inputs, frames, 2]: even output bands see the band at their place through the
        middle tap, odd ones that and the next one through the other two.
    """
    even = F.pad(weight[..., 1:2], (0, 1))
    return torch.cat([even, weight[..., [2, 0]]])


def _in_phases(x: Tensor) -> Tensor:
    """[C, 2 W - 1] to [2 C, W]: even bands, odd bands, of which the last one is never read."""
    return F.pad(x, (0, 1)).unflatten(1, (-1, 2)).permute(2, 0, 1).flatten(0, 1)


def _interleaved(graph: Graph, x: Value) -> Value:
    """[1, 1, W, 2 C], even bands before odd ones, to [1, 1, 2 W - 1, C]."""
    _, _, width, channels = x.shape
    image = ops.reshape(graph, x, (1, 1, 2 * width, channels // 2), "interleaved")
    return ops.slice(graph, image, (0, 0, 0, 0), (1, 1, 2 * width - 1, channels // 2), "trimmed")


def _gains(activation: AffinePReLU) -> list[Tensor]:
    """What the activation makes of positive inputs, of negative ones' size, and adds: [C, W]."""
    gain, slope = activation.affine_weight, activation.slope_weight[:, None]
    return [gain + 1, -(gain + slope), activation.affine_bias]


def _activated(
    graph: Graph, rectified: Rectified, weight: Tensor, bias: Tensor, gains: list[Tensor]
) -> Value:
    """The activation of a convolution: both signs apart, each with a range of its own."""
    above_gain, below_gain, shift = (part.T[None, None] for part in gains)
    with graph.scope("above"):
        positive = rectified(weight, bias, "convolution")
        above = ops.multiply(graph, positive, graph.constant(above_gain, "gain"), "gained")
    with graph.scope("below"):
        y = rectified(-weight, -bias, "convolution")
        below = ops.multiply(graph, y, graph.constant(below_gain, "gain"), "gained")
    both = ops.add(graph, above, below, "activation")
    shifted = ops.add(graph, both, graph.constant(shift, "shift"), "shifted")
    graph.mark(convolution=positive, above=above, below=below, shifted=shifted)
    return shifted


def _attention(graph: Graph, x: Value, attention: nn.Module, shuffled: bool) -> Value:
    """[1, 1, W, C] to the same shape; channels are those of the network's attention `shuffled`."""
    attention = cast(Attention, attention)
    with graph.scope("attention"), graph.region("attention_both_ways", x=x):
        squared = ops.multiply(graph, x, x, "squared")
        gates = _channel_gates(graph, squared, attention, shuffled)
        by_channels = ops.multiply(graph, x, gates, "by_channels")
        gates = _band_gates(graph, squared, attention)
        result = ops.multiply(graph, by_channels, gates, "gated")
        graph.mark(result=result)
        return result


def _channel_gates(graph: Graph, squared: Value, attention: Attention, shuffled: bool) -> Value:
    """[1, 1, W, C] to gates [1, 1, 1, C]."""
    channels = squared.shape[3]
    energy = ops.mean(graph, squared, (2,), "energy")
    graph.mark(energy=energy)
    weights = merge_grus([(attention.ta_gru, "", 0)], channels)
    gate: tuple[Tensor, Tensor] = (attention.ta_fc.weight, attention.ta_fc.bias)
    if shuffled:
        weights = replace(weights, input_weight=_shuffle(weights.input_weight, 1))
        gate = _shuffle(gate[0], 0), _shuffle(gate[1], 0)
    state = gru_over_time(graph, energy, weights, "gru")
    gate_input = ops.linear(graph, state, *gate, "gate_input")
    graph.mark(gate_input=gate_input)
    return ops.sigmoid(graph, gate_input, "gate")


def _band_gates(graph: Graph, squared: Value, attention: Attention) -> Value:
    """[1, 1, W, C] to gates [1, 1, W, 1]."""
    bands, layers = squared.shape[2], attention.fa
    padded_bands = bands + -bands % GROUPED_BANDS
    with graph.scope("bands"):
        energy = ops.mean(graph, squared, (3,), "energy")
        graph.mark(band_energy=energy)
        if padded_bands > bands:
            amounts = ((0, 0), (0, 0), (0, padded_bands - bands), (0, 0))
            energy = ops.pad(graph, energy, amounts, "padded")
        shape = (1, 1, padded_bands // GROUPED_BANDS, GROUPED_BANDS)
        rows = ops.reshape(graph, energy, shape, "rows")
        both_ways = [(layers.gru, "", 0), (layers.gru, "_reverse", GROUPED_BANDS)]
        merged = merge_grus(both_ways, 2 * GROUPED_BANDS)
        forward, backward = layers.fc.weight.chunk(2, dim=1)
        y = gru_both_ways(graph, rows, merged, forward, backward, layers.fc.bias, "scan")
        gates = ops.sigmoid(graph, y, "gate")
        image = ops.reshape(graph, gates, (1, 1, padded_bands, 1), "gate_image")
        if padded_bands > bands:
            image = ops.slice(graph, image, (0, 0, 0, 0), (1, 1, bands, 1), "gate_bands")
        return image
