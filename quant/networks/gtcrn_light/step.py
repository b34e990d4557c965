"""One frame of GTCRN-Light: features [3, 257] and states in, mask [2, 257] and new states out.

Equal to `quant.networks.gtcrn_light.model.GTCRNLight.mask` frame by frame. A network that is not
causal needs future frames: each of its blocks then computes its output for an earlier frame, as
soon as it has the frames that this depends on, and everything that meets it is delayed alike. The
mask that comes out belongs to the frame `Graph.lookahead` frames ago. Offline, what lies before the
clip is zero in every layer; here, what the layers make of frames before the start is set to zero.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import nn

from quant.graph import histories
from quant.graph import operators as ops
from quant.graph.graph import Graph, Value
from quant.networks.folding import (
    channels_last,
    depthwise_channels_last,
    fold_batch_norm,
    fold_into,
    merge_grus,
    separable,
)
from quant.networks.gtcrn.step import (
    band_images,
    first_convolution,
    leaky_relu,
    split_bands,
    strided_convolution,
    transposed_convolution,
)
from quant.networks.gtcrn_light.model import (
    BOTTLENECK,
    CHANNELS,
    GATE_FRAMES,
    BottleneckedDualPath,
    GTCRNLight,
    LightGTConvBlock,
    SeparableBlock,
    TemporalGate,
)
from quant.networks.recurrent import FEATURES, gru_both_ways, gru_over_time, layer_norm


@dataclass(frozen=True)
class Lagging:
    """A value that belongs to the frame `lag` frames ago."""

    value: Value
    lag: int = 0


class _Presence:
    """Whether the frame that a lagging value belongs to lies after the start."""

    def __init__(self, graph: Graph, lookahead: int) -> None:
        self._graph = graph
        self._lookahead = lookahead
        self._window = histories.presence(graph, lookahead, "presence") if lookahead else None
        self._flags: dict[int, Value] = {}

    def flag(self, lag: int) -> Value:
        """1 or 0, [1, 1, 1, 1]."""
        assert self._window is not None
        if lag not in self._flags:
            begin = (0, self._lookahead - lag, 0, 0)
            name = f"presence.lag{lag}"
            self._flags[lag] = ops.slice(self._graph, self._window, begin, (1, 1, 1, 1), name)
        return self._flags[lag]

    def of(self, x: Lagging, name: str) -> Lagging:
        """The image x, or zeros where it belongs to a frame before the start."""
        if not x.lag:
            return x
        return replace(x, value=ops.multiply(self._graph, x.value, self.flag(x.lag), name))


def describe_gtcrn_light(model: GTCRNLight, split: bool = False) -> Graph:
    """Describe one frame of a trained GTCRN-Light; see `quant.networks.network.Network`."""
    graph = Graph()
    blocks = [*model.enc.blocks, *model.dec.blocks]
    graph.lookahead = sum(b.lookahead for b in blocks if isinstance(b, LightGTConvBlock))
    images = band_images(graph, model.erb, split)
    presence = _Presence(graph, graph.lookahead)
    skips = []
    for index, block in enumerate(model.enc.blocks):
        with graph.scope(f"encoder.{index}"):
            if index == 0:
                x = Lagging(_first_block(graph, images, model))
            elif isinstance(block, LightGTConvBlock):
                x = _temporal_block(graph, x, block, presence)
            else:
                x = Lagging(_down_sampling(graph, x.value, cast(SeparableBlock, block)))
        skips.append(x)
    with graph.scope("dp1"):
        x = _dual_path(graph, x, model.dp1, presence)
    for index, block in enumerate(model.dec.blocks):
        with graph.scope(f"decoder.{index}"):
            skip, behind = skips[-1 - index], x.lag - skips[-1 - index].lag
            same = (
                histories.delayed(graph, skip.value, behind, "skip_cache") if behind else skip.value
            )
            x = replace(x, value=ops.add(graph, x.value, same, "skip"))
            if isinstance(block, LightGTConvBlock):
                x = _temporal_block(graph, x, block, presence)
            else:
                last = index == len(model.dec.blocks) - 1
                up = _up_sampling(graph, x.value, cast(SeparableBlock, block), last)
                x = replace(x, value=up)
    graph.output(split_bands(graph, x.value, model.erb))
    return graph


def _first_block(graph: Graph, images: Sequence[Value], model: GTCRNLight) -> Value:
    """Sub-band filter and first block on the neighbour-major `band_images`: one convolution.

    Inputs are (neighbour, feature); the filter weighs neighbours, the depthwise convolution taps.
    """
    block = cast(SeparableBlock, model.enc.blocks[0])
    taps = separable(cast(nn.Conv2d, block.dw), block.pw)
    neighbours = model.sfe.dw.weight[:, 0, 0].T.flatten()
    weight, bias = fold_into(taps.repeat(1, 3, 1, 1) * neighbours[:, None, None], None, block.bn)
    return first_convolution(graph, images, weight, bias, block.act)


def _down_sampling(graph: Graph, x: Value, block: SeparableBlock) -> Value:
    """[1, 1, W, C] to [1, 1, W / 2, C'], rounded up."""
    weight = separable(cast(nn.Conv2d, block.dw), block.pw)
    weight, bias = fold_into(weight, None, block.bn)
    return strided_convolution(graph, x, weight, bias, block.act)


def _up_sampling(graph: Graph, x: Value, block: SeparableBlock, last: bool) -> Value:
    """As `quant.networks.gtcrn.step.up_sampling`; three taps are five with zeros at both ends."""
    weight = separable(cast(nn.ConvTranspose2d, block.dw), block.pw)
    weight, bias = fold_into(nn.functional.pad(weight, (1, 1)), None, block.bn)
    return transposed_convolution(graph, x, weight, bias, 1, block.act, last)


def _temporal_block(
    graph: Graph, x: Lagging, block: LightGTConvBlock, presence: _Presence
) -> Lagging:
    """[1, 1, W, C] to the same shape, `block.lookahead` frames later."""
    window = histories.history(graph, x.value, block.past_frames, "cache")
    dilation = block.ds.dilation[0]
    weight = depthwise_channels_last(block.ds.weight)
    y = ops.depthwise_over_history(graph, window, weight, torch.zeros(CHANNELS), dilation, "depth")
    weight, bias = fold_batch_norm(block.pw, block.bn)
    y = ops.convolution(graph, y, channels_last(weight), bias, "point")
    y = leaky_relu(graph, y, block.act, "activation")
    lagging = Lagging(y, x.lag + block.lookahead - block.tra.lookahead)
    gated = _gate(graph, presence.of(lagging, "present"), block.tra)
    residual = x.value
    if block.lookahead:
        # The window of the convolution holds the frame that the output belongs to.
        begin = (0, block.past_frames - block.lookahead, 0, 0)
        residual = ops.slice(graph, window, begin, x.value.shape, "residual")
    return replace(gated, value=ops.add(graph, gated.value, residual, "sum"))


def _gate(graph: Graph, x: Lagging, gate: TemporalGate) -> Lagging:
    """The temporal gate: its two convolutions are one linear layer on three frames' energies."""
    channels = x.value.shape[3]
    with graph.scope("gate"):
        squared = ops.multiply(graph, x.value, x.value, "squared")
        energy = ops.mean(graph, squared, (2,), "energy")
        window = histories.history(graph, energy, GATE_FRAMES - 1, "cache")
        energies = ops.reshape(graph, window, (1, 1, 1, GATE_FRAMES * channels), "energies")
        pointwise, depthwise = gate.pw.weight[:, :, 0], gate.dw.weight[:, 0]
        weight = (pointwise[:, None, :] * depthwise.T[None]).flatten(1)
        assert gate.dw.bias is not None and gate.pw.bias is not None
        bias = pointwise @ gate.dw.bias + gate.pw.bias
        opened = ops.sigmoid(graph, ops.linear(graph, energies, weight, bias, "input"), "open")
        gated = x.value
        if gate.lookahead:
            gated = histories.delayed(graph, gated, gate.lookahead, "gated_cache")
        return Lagging(ops.multiply(graph, gated, opened, "gated"), x.lag + gate.lookahead)


def _dual_path(
    graph: Graph, x: Lagging, block: BottleneckedDualPath, presence: _Presence
) -> Lagging:
    """[1, 1, W, C] to the same shape; the projection into the bottleneck is part of the GRUs."""
    into, twice = block.pre.weight, torch.block_diag(block.pre.weight, block.pre.weight)

    both = merge_grus([(block.intra, "", 0), (block.intra, "_reverse", BOTTLENECK)], 2 * BOTTLENECK)
    both = replace(both, input_weight=both.input_weight @ twice)
    forward, backward = block.post.weight.chunk(2, dim=1)
    y = gru_both_ways(graph, x.value, both, forward, backward, None, "intra")
    with graph.scope("intra_norm"), graph.region("layer_norm_of_sum", x=y):
        rows = layer_norm(graph, ops.add(graph, x.value, y, "sum"), block.ln1, (FEATURES,))

    over_time = merge_grus([(block.inter, "", 0)], BOTTLENECK)
    over_time = replace(over_time, input_weight=over_time.input_weight @ into)
    flag = presence.flag(x.lag) if x.lag else None
    state = gru_over_time(graph, rows, over_time, "inter", flag)
    y = ops.linear(graph, state, block.post2.weight, None, "inter_linear")
    with graph.scope("inter_norm"), graph.region("layer_norm_of_sum", x=y):
        rows = layer_norm(graph, ops.add(graph, rows, y, "sum"), block.ln2, (FEATURES,))
    return presence.of(Lagging(rows, x.lag), "present")
