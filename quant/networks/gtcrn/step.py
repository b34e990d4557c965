"""One frame of GTCRN: features [3, bins] and states in, mask [2, bins] and new states out.

Equal to `quant.networks.gtcrn.model.GTCRN.mask` frame by frame. Frequency runs along the width of
[1, 1, width, channels] images. Shapes in the comments
are those of upstream's network: 257 bins, 129 bands, 33 of them between the coders, 16 channels.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from edge_se.manifest import BAND_WEIGHT_BITS, BandMerging
from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.graph import Graph, Value
from quant.graph.operators.weighted import weight_scales
from quant.networks.folding import (
    channels_last,
    depthwise_channels_last,
    fold_batch_norm,
    merge_grus,
    two_phases,
)
from quant.networks.gtcrn.model import (
    DPGRNN,
    GTCRN,
    Bands,
    ConvBlock,
    GTConvBlock,
)
from quant.networks.recurrent import (
    gru_both_ways,
    gru_over_time,
    layer_norm_residual,
    recurrent_attention,
)

# The band matrices are nearly diagonal: cut into this many blocks, most zeros are never touched.
BAND_BLOCKS = 4
# 8-bit bands in two parts: of bins up to 1, and of 1/16 of what exceeds that, for a window of 512
# samples, where full scale reaches about 160; longer windows give more.
FINE_BOUND, FINE_WINDOW = 1.0, 512
EXCESS_RATIO = 16
NEAR_TIE = 1e-4  # steps of 8-bit weights


def describe_gtcrn(model: GTCRN, split: bool = False) -> Graph:
    """Describe one frame of a trained GTCRN; see `quant.networks.network.Network`."""
    graph = Graph()
    images = band_images(graph, model.erb, split)
    skips = []
    for index, block in enumerate(model.encoder.en_convs):
        with graph.scope(f"encoder.{index}"):
            if index == 0:
                x = first_block(graph, images, cast(ConvBlock, block))
            elif isinstance(block, ConvBlock):
                x = down_sampling(graph, x, block)
            else:
                x = temporal_block(graph, x, cast(GTConvBlock, block))
        skips.append(x)
    for name, paths in (("dpgrnn1", model.dpgrnn1), ("dpgrnn2", model.dpgrnn2)):
        with graph.scope(name):
            x = dual_path(graph, x, paths)
    for index, block in enumerate(model.decoder.de_convs):
        with graph.scope(f"decoder.{index}"):
            x = ops.add(graph, x, skips[-1 - index], "skip")
            if isinstance(block, GTConvBlock):
                x = temporal_block(graph, x, block)
            else:
                last = index == len(model.decoder.de_convs) - 1
                x = up_sampling(graph, x, cast(ConvBlock, block), last)
    graph.output(split_bands(graph, x, model.erb))
    return graph


def band_images(graph: Graph, erb: Bands, in_parts: bool) -> list[Value]:
    """The input signal, "features" [3, 257], as the first convolution's images [1, 1, 129, 9].

    One image, or with `in_parts` two: of small values, and of 1 / `EXCESS_RATIO` of what exceeds
    them. Soft sounds live in the lowest steps of 8-bit features that have room for loud ones, and
    in bands' sums of many bins below the first step; so the file begins with bands, merged in full
    precision.
    """
    features = graph.input("features", (3, erb.bins))
    if not in_parts:
        return [neighbour_bands(graph, merge_bands(graph, features, erb))]
    parts = ops.bands_in_parts(graph, features, band_merging(erb), "features_in_bands")
    with graph.scope("merge"):
        edge = graph.constant(torch.zeros(parts.shape[0], 1), "edge")
        padded = ops.concat(graph, [edge, parts, edge], 1, "bands")
    images = []
    for part, name in enumerate(("fine", "excess")):
        with graph.scope(name):
            images.append(neighbour_bands(graph, padded, 3 * part))
    return images


def band_merging(erb: Bands) -> BandMerging:
    """How bins make up bands, as the manifest says it."""
    spans = [_nonzero_span(row[None]) for row in erb.merging]
    weights = torch.round(erb.merging * 2**BAND_WEIGHT_BITS).int()
    return BandMerging(
        bound=FINE_BOUND * 2.0 ** round(math.log2(2 * (erb.bins - 1) / FINE_WINDOW)),
        ratio=EXCESS_RATIO,
        alike=erb.low_bands,
        first=tuple(erb.low_bands + first for first, _ in spans),
        weights=tuple(
            tuple(row[first:last].tolist())
            for row, (first, last) in zip(weights, spans, strict=True)
        ),
    )


def _nonzero_span(matrix: Tensor) -> tuple[int, int]:
    """First and one past the last column that holds anything but zeros."""
    columns = matrix.abs().sum(dim=0).nonzero()
    return int(columns[0]), int(columns[-1]) + 1


def merge_bands(graph: Graph, features: Value, erb: Bands) -> Value:
    """[R, 257] bins to [R, 131]: 129 bands between two zeros."""
    shape = {"alike": erb.low_bands, "padding": 1}
    with graph.scope("merge"), graph.region("merge_bands", shape, x=features):
        silence = graph.constant(torch.zeros(features.shape[0], 1), "edge")
        low, *blocks = blocks_of_bands(graph, features, erb)
        # Five inputs at most: more are not accelerated.
        high = ops.concat(graph, [*blocks, silence], 1, "high", mixed=True)
        bands = ops.concat(graph, [silence, low, high], 1, "bands", mixed=True)
        graph.mark(result=bands)
        return bands


def blocks_of_bands(graph: Graph, features: Value, erb: Bands) -> list[Value]:
    """[..., 257] bins to their bands, the low ones [..., 65] and blocks of the others [..., 16]."""
    rows, low_bands = features.shape[:-1], erb.low_bands
    start = (0,) * len(rows)
    parts = [ops.slice(graph, features, (*start, 0), (*rows, low_bands), "low")]
    for block, filters in enumerate(erb.merging.chunk(BAND_BLOCKS)):
        first, last = _nonzero_span(filters)
        with graph.scope(f"block{block}"):
            begin, size = (*start, low_bands + first), (*rows, last - first)
            bins = ops.slice(graph, features, begin, size, "bins")
            parts.append(ops.linear(graph, bins, filters[:, first:last], None, "bands"))
    return parts


def neighbour_bands(graph: Graph, padded: Value, row: int = 0) -> Value:
    """Each band with its neighbours: an image [1, 1, 129, 9], neighbour-major.

    Made of the three rows of `padded` [R, 131] from `row` on.
    """
    bands = padded.shape[1] - 2
    with graph.scope("neighbours"), graph.region("neighbours", x=padded):
        shifted = [
            ops.slice(graph, padded, (row, offset), (3, bands), f"shift{offset}")
            for offset in range(3)
        ]
        stacked = ops.concat(graph, shifted, 0, "stacked")
        image = ops.transpose(graph, stacked, (1, 0), "transposed")
        result = ops.reshape(graph, image, (1, 1, bands, 9), "image")
        graph.mark(result=result)
        return result


def leaky_relu(graph: Graph, x: Value, activation: nn.Module, name: str) -> Value:
    """PReLU with one shared slope, which is a leaky ReLU."""
    return ops.leaky_relu(graph, x, cast(nn.PReLU, activation).weight[0], name)


def down_sampling(graph: Graph, x: Value, block: ConvBlock) -> Value:
    """[1, 1, W, C] to [1, 1, W / 2, C'], rounded up."""
    weight, bias = fold_batch_norm(cast(nn.Conv2d, block.conv), block.bn)
    return strided_convolution(graph, x, weight, bias, block.act)


def strided_convolution(
    graph: Graph, x: Value, weight: Tensor, bias: Tensor, activation: nn.Module
) -> Value:
    """`down_sampling` by a weight [outputs, inputs / groups, 1, taps] and bias [outputs]."""
    with graph.region("convolution", x=x):
        y = ops.convolution(graph, x, channels_last(weight), bias, "convolution", stride=2)
        result = leaky_relu(graph, y, activation, "activation")
        graph.mark(convolution=y, result=result)
        return result


def first_block(graph: Graph, images: Sequence[Value], block: ConvBlock) -> Value:
    """`down_sampling` of the `band_images`."""
    weight, bias = fold_batch_norm(cast(nn.Conv2d, block.conv), block.bn)
    # Upstream orders inputs feature-major, the images are neighbour-major.
    weight = weight.unflatten(1, (3, 3)).transpose(1, 2).flatten(1, 2)
    return first_convolution(graph, images, weight, bias, block.act)


def first_convolution(
    graph: Graph, images: Sequence[Value], weight: Tensor, bias: Tensor, activation: nn.Module
) -> Value:
    """`strided_convolution` of the `band_images`; of two images, as 8 bits hold it better.

    Of a loud frame, what the convolution gives below zero is tens of times larger than what it
    gives above, until the slope shrinks it. So each side is computed apart, with a range of its
    own, as the rectified sum of the convolutions of both images.
    """
    if len(images) == 1:
        return strided_convolution(graph, images[0], weight, bias, activation)
    slope = cast(nn.PReLU, activation).weight[0]
    shrink = -slope.abs()
    weight = off_ties(weight)
    above = _rectified_sum(graph, images, weight, bias, "above")
    below = _rectified_sum(graph, images, shrink * weight, shrink * bias, "below")
    join = ops.subtract if slope >= 0 else ops.add
    return join(graph, above, below, "activation")


def off_ties(weight: Tensor) -> Tensor:
    """A weight [outputs, ...] whose multiples all become the same 8-bit weights, but for signs.

    What lies so near the middle of two steps that rounding in floats decides is moved off by
    `NEAR_TIE`. The C engine computes both sides from one sum.
    """
    shape = [-1, *[1] * (weight.dim() - 1)]
    step = torch.from_numpy(weight_scales(weight.detach().numpy(), 0)).reshape(shape)
    steps = weight / step
    apart = steps.frac().abs() - 0.5
    nudge = NEAR_TIE * torch.where(apart < 0, -steps.sign(), steps.sign())
    return torch.where(apart.abs() < NEAR_TIE, weight + nudge * step, weight)


def _rectified_sum(
    graph: Graph, images: Sequence[Value], weight: Tensor, bias: Tensor, name: str
) -> Value:
    fine, excess = images
    with graph.scope(name):
        kernel, none = channels_last(weight), torch.zeros_like(bias)
        small = ops.convolution(graph, fine, kernel, bias, "fine", stride=2)
        large = ops.convolution(graph, excess, EXCESS_RATIO * kernel, none, "excess", stride=2)
        return ops.add(graph, small, large, "sum", rectified=True)


def temporal_block(graph: Graph, x: Value, block: GTConvBlock) -> Value:
    """[1, 1, 33, 16] to the same shape, channels shuffled."""
    _, _, bands, channels = x.shape
    half = channels // 2
    processed = ops.slice(graph, x, (0, 0, 0, 0), (1, 1, bands, half), "processed")
    passed = ops.slice(graph, x, (0, 0, 0, half), (1, 1, bands, half), "passed")

    # Three neighbouring bands per channel, then 1x1, is a convolution of three taps.
    weight, bias = fold_batch_norm(block.point_conv1, block.point_bn1)
    weight = weight.reshape(channels, half, 1, 3)
    with graph.region("convolution", x=processed):
        point = ops.convolution(graph, processed, channels_last(weight), bias, "point1")
        y = leaky_relu(graph, point, block.point_act, "point1_activation")
        graph.mark(convolution=point, result=y)

    weight, bias = fold_batch_norm(block.depth_conv, block.depth_bn)
    if isinstance(block.depth_conv, nn.ConvTranspose2d):
        weight = weight.flip(2, 3)
    dilation = block.depth_conv.dilation[0]
    with graph.region("temporal_convolution", x=y):
        window = histories.history(graph, y, block.past_frames, "cache")
        depth = ops.depthwise_over_history(
            graph, window, depthwise_channels_last(weight), bias, dilation, "depth"
        )
        y = leaky_relu(graph, depth, block.depth_act, "depth_activation")
        graph.mark(window=window, convolution=depth, result=y)

    weight, bias = fold_batch_norm(block.point_conv2, block.point_bn2)
    with graph.region("convolution", x=y):
        y = ops.convolution(graph, y, channels_last(weight), bias, "point2")
        graph.mark(convolution=y, result=y)
    gate = (block.tra.att_fc.weight, block.tra.att_fc.bias)
    weights = merge_grus([(block.tra.att_gru, "", 0)], half)
    y = recurrent_attention(graph, y, weights, gate, "attention")

    # Interleaving the channels of two images is transposing the pair of them.
    with graph.scope("shuffle"), graph.region("shuffle", first=y, second=passed):
        pair = ops.concat(graph, [y, passed], 1, "pair", mixed=True)
        image = ops.transpose(graph, pair, (0, 2, 3, 1), "transposed")
        result = ops.reshape(graph, image, (1, 1, bands, channels), "image")
        graph.mark(result=result)
        return result


def dual_path(graph: Graph, x: Value, block: DPGRNN) -> Value:
    """[1, 1, 33, 16] to the same shape.

    Both groups and both directions over frequency are one GRU, with the hidden units forward 1 and
    2, backward 1 and 2.
    """
    intra, inter = block.intra_rnn, block.inter_rnn
    channels = x.shape[3]
    half = channels // 2
    merged = merge_grus(
        [
            (intra.rnn1, "", 0),
            (intra.rnn2, "", half),
            (intra.rnn1, "_reverse", channels),
            (intra.rnn2, "_reverse", channels + half),
        ],
        2 * channels,
    )
    forward1, backward1, forward2, backward2 = block.intra_fc.weight.chunk(4, dim=1)
    y = gru_both_ways(
        graph,
        x,
        merged,
        torch.cat([forward1, forward2], dim=1),
        torch.cat([backward1, backward2], dim=1),
        block.intra_fc.bias,
        "intra",
    )
    x = layer_norm_residual(graph, y, x, block.intra_ln, "intra_norm")

    merged = merge_grus([(inter.rnn1, "", 0), (inter.rnn2, "", half)], channels)
    state = gru_over_time(graph, x, merged, "inter")
    with graph.region("linear", x=state):
        y = ops.linear(graph, state, block.inter_fc.weight, block.inter_fc.bias, "inter_linear")
        graph.mark(result=y)
    return layer_norm_residual(graph, y, x, block.inter_ln, "inter_norm")


def up_sampling(graph: Graph, x: Value, block: ConvBlock, last: bool) -> Value:
    """[1, 1, W, C] to [1, 1, 2 W - 1, C'], or after the last block the mask's bands [1, 1, 2, 2 W].

    The last position of the latter is past the end and never read.
    """
    convolution = cast(nn.ConvTranspose2d, block.conv)
    weight, bias = fold_batch_norm(convolution, block.bn)
    return transposed_convolution(graph, x, weight, bias, convolution.groups, block.act, last)


def transposed_convolution(
    graph: Graph,
    x: Value,
    weight: Tensor,
    bias: Tensor,
    groups: int,
    activation: nn.Module,
    last: bool,
) -> Value:
    """`up_sampling` by a weight [outputs, inputs / groups, 1, 5] and bias [outputs]."""
    outputs, width = len(bias), x.shape[2]
    weight, bias = two_phases(weight, bias, groups)
    with graph.region("transposed_convolution", x=x):
        y = ops.convolution(graph, x, channels_last(weight), bias, "convolution")
        graph.mark(convolution=y)
        if groups > 1:  # [group, phase, channel] to [phase, group, channel]
            grouped = ops.reshape(graph, y, (width, groups, 2, outputs // groups), "grouped")
            y = ops.transpose(graph, grouped, (0, 2, 1, 3), "phases")
        if last:
            rows = ops.reshape(graph, y, (1, 1, 2 * width, outputs), "interleaved")
            y = ops.transpose(graph, rows, (0, 1, 3, 2), "bands")
        else:
            image = ops.reshape(graph, y, (1, 1, 2 * width, outputs), "interleaved")
            y = ops.slice(graph, image, (0, 0, 0, 0), (1, 1, 2 * width - 1, outputs), "trimmed")
        if isinstance(activation, nn.Tanh):
            result = ops.tanh(graph, y, "activation")
        else:
            result = leaky_relu(graph, y, activation, "activation")
        graph.mark(result=result)
        return result


def split_bands(graph: Graph, bands: Value, erb: Bands) -> Value:
    """The mask of the bands [1, 1, R, 130] to the bins' [R, 257]; the last band is not read."""
    rows_of_mask = bands.shape[2]
    # Bins are cut where the blocks of bands begin.
    cuts = [_nonzero_span(rows)[0] for rows in erb.merging.chunk(BAND_BLOCKS)][1:]
    low_bands, high_bands = erb.low_bands, len(erb.merging)
    edges = [0, *cuts, erb.bins - low_bands]
    with graph.region("split_bands", {"alike": low_bands}, x=bands):
        with graph.scope("split"):
            low = (1, 1, rows_of_mask, low_bands)
            parts = [ops.slice(graph, bands, (0, 0, 0, 0), low, "low")]
            for block in range(BAND_BLOCKS):
                rows = erb.splitting[edges[block] : edges[block + 1]]
                first, last = _nonzero_span(rows)
                assert last <= high_bands
                with graph.scope(f"block{block}"):
                    begin, size = (0, 0, 0, low_bands + first), (1, 1, rows_of_mask, last - first)
                    part = ops.slice(graph, bands, begin, size, "bands")
                    # A weighted mean of bands: it has their range.
                    bins = ops.linear(graph, part, rows[:, first:last], None, "bins")
                    bins.fixed_range = bands.fixed_range
                    parts.append(bins)
        image = ops.concat(graph, parts, 3, "mask_image")
        mask = ops.reshape(graph, image, (rows_of_mask, erb.bins), "mask")
        mask.fixed_range = bands.fixed_range
        graph.mark(result=mask)
        return mask
