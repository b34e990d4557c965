"""One window of CascadedASPPNet; equal to `quant.networks.cascaded.aspp` frame by frame."""

from quant.graph import operators as ops
from quant.graph.graph import Graph, Value
from quant.networks.cascaded.aspp import BaseASPPNet, CascadedASPPNet
from quant.networks.cascaded.window_blocks import (
    convolution_block,
    decoder,
    encoder,
    input_bands,
    output_mask,
    pyramid,
)


def describe_cascaded_aspp(model: CascadedASPPNet, frames: int) -> Graph:
    """Describe a window of `frames` frames; see `quant.networks.network.Network.window`."""
    graph = Graph()
    x, low, high = input_bands(graph, frames, model.n_fft // 2 + 1)
    bands = [
        _net(graph, low, model.stg1_low_band_net, "stg1_low"),
        _net(graph, high, model.stg1_high_band_net, "stg1_high"),
    ]
    first = ops.concat(graph, bands, 2, "stg1", mixed=True)
    joined = ops.concat(graph, [x, first], 3, "stg2_input", mixed=True)
    bridge = convolution_block(graph, joined, model.stg2_bridge, "stg2_bridge")
    second = _net(graph, bridge, model.stg2_full_band_net, "stg2")
    joined = ops.concat(graph, [x, first, second], 3, "stg3_input", mixed=True)
    bridge = convolution_block(graph, joined, model.stg3_bridge, "stg3_bridge")
    third = _net(graph, bridge, model.stg3_full_band_net, "stg3")
    graph.output(output_mask(graph, third, model.out, model.offset))
    return graph


def _net(graph: Graph, x: Value, net: BaseASPPNet, name: str) -> Value:
    with graph.scope(name):
        skips = []
        for level in (1, 2, 3, 4):
            skip, x = encoder(graph, x, getattr(net, f"enc{level}"), f"enc{level}")
            skips.append(skip)
        x = pyramid(graph, x, net.aspp, "aspp")
        for level in (4, 3, 2, 1):
            x = decoder(graph, x, skips.pop(), getattr(net, f"dec{level}"), f"dec{level}")
        return x
