"""One frame of the U-shaped GTCRN: features [3, 257] and states in, mask and new states out.

Equal to `quant.networks.gtcrn_unet.model.GTCRNUNet.mask` frame by frame. A skip passes within one
frame and needs no state.
"""

from typing import cast

from quant.graph import operators as ops
from quant.graph.graph import Graph, Value
from quant.networks.folding import channels_last
from quant.networks.gtcrn.model import ConvBlock, GTConvBlock
from quant.networks.gtcrn.step import (
    band_images,
    down_sampling,
    dual_path,
    first_block,
    split_bands,
    temporal_block,
    up_sampling,
)
from quant.networks.gtcrn_unet.model import Fusion, GTCRNUNet


def describe_gtcrn_unet(model: GTCRNUNet, split: bool = False) -> Graph:
    """Describe one frame of a trained network; see `quant.networks.network.Network`."""
    graph = Graph()
    images = band_images(graph, model.erb, split)
    skips = []
    for index, block in enumerate(model.encoder):
        with graph.scope(f"encoder.{index}"):
            if index == 0:
                x = first_block(graph, images, cast(ConvBlock, block))
            elif isinstance(block, GTConvBlock):
                x = temporal_block(graph, x, block)
                skips.append(x)
            else:
                x = down_sampling(graph, x, cast(ConvBlock, block))
    for name, paths in (("dpgrnn1", model.dpgrnn1), ("dpgrnn2", model.dpgrnn2)):
        with graph.scope(name):
            x = dual_path(graph, x, paths)
    fusions = iter(model.fusions)
    for index, block in enumerate(model.decoder):
        with graph.scope(f"decoder.{index}"):
            if isinstance(block, GTConvBlock):
                x = fuse(graph, skips.pop(), x, cast(Fusion, next(fusions)))
                x = temporal_block(graph, x, block)
            else:
                last = index == len(model.decoder) - 1
                x = up_sampling(graph, x, cast(ConvBlock, block), last)
    graph.output(split_bands(graph, x, model.erb))
    return graph


def fuse(graph: Graph, skip: Value, x: Value, fusion: Fusion) -> Value:
    """E [1, 1, F', C] and d [1, 1, F, C] to [1, 1, F, C]."""
    if fusion.kind == "none":
        return x
    if skip.shape != x.shape:
        skip = ops.resize(graph, skip, (1, x.shape[2]), "skip_resized")
    if fusion.conv is None:
        return ops.add(graph, skip, x, "skip")
    weight, bias = fusion.conv.weight, fusion.conv.bias
    assert bias is not None
    both = ops.concat(graph, [skip, x], 3, "skip_and_own", mixed=True)
    mixed = ops.convolution(graph, both, channels_last(weight), bias, "fusion")
    if fusion.kind == "concat":
        return mixed
    gate = ops.sigmoid(graph, mixed, "fusion_gate")
    change = ops.multiply(graph, gate, ops.subtract(graph, skip, x, "skip_change"), "skip_gated")
    return ops.add(graph, x, change, "skip")
