"""One window of CascadedNet; equal to `quant.networks.cascaded.lstm` frame by frame."""

from typing import cast

from torch import Tensor, nn

from quant.graph import operators as ops
from quant.graph.graph import Graph, Value
from quant.networks.cascaded.blocks import Conv2DBNActiv
from quant.networks.cascaded.lstm import BaseNet, CascadedNet, LSTMModule
from quant.networks.cascaded.window_blocks import (
    convolution_block,
    decoder,
    encoder,
    input_bands,
    output_mask,
    pyramid,
)
from quant.networks.folding import fold_batch_norm


def describe_cascaded_lstm(model: CascadedNet, frames: int) -> Graph:
    """Describe a window of `frames` frames; see `quant.networks.network.Network.window`."""
    graph = Graph()
    x, low, high = input_bands(graph, frames, model.n_fft // 2 + 1)
    low1 = _low_net(graph, low, model.stg1_low_band_net, "stg1_low")
    high1 = _net(graph, high, model.stg1_high_band_net, "stg1_high")
    low_input = ops.concat(graph, [low, low1], 3, "stg2_low_input", mixed=True)
    high_input = ops.concat(graph, [high, high1], 3, "stg2_high_input", mixed=True)
    low2 = _low_net(graph, low_input, model.stg2_low_band_net, "stg2_low")
    high2 = _net(graph, high_input, model.stg2_high_band_net, "stg2_high")
    first = ops.concat(graph, [low1, high1], 2, "stg1", mixed=True)
    second = ops.concat(graph, [low2, high2], 2, "stg2", mixed=True)
    joined = ops.concat(graph, [x, first, second], 3, "stg3_input", mixed=True)
    third = _net(graph, joined, model.stg3_full_band_net, "stg3")
    graph.output(output_mask(graph, third, model.out, model.offset))
    return graph


def _low_net(graph: Graph, x: Value, net: nn.Sequential, name: str) -> Value:
    y = _net(graph, x, cast(BaseNet, net[0]), name)
    with graph.scope(name):
        return convolution_block(graph, y, cast(Conv2DBNActiv, net[1]), "narrowed")


def _net(graph: Graph, x: Value, net: BaseNet, name: str) -> Value:
    with graph.scope(name):
        skips = [convolution_block(graph, x, net.enc1, "enc1")]
        for level in (2, 3, 4, 5):
            skips.append(encoder(graph, skips[-1], getattr(net, f"enc{level}"), f"enc{level}")[1])
        x = pyramid(graph, skips.pop(), net.aspp, "aspp")
        for level in (4, 3, 2):
            x = decoder(graph, x, skips.pop(), getattr(net, f"dec{level}"), f"dec{level}")
        x = ops.concat(graph, [x, _lstm(graph, x, net.lstm_dec2, "lstm_dec2")], 3, "with_lstm")
        return decoder(graph, x, skips.pop(), net.dec1, "dec1")


def _lstm(graph: Graph, x: Value, module: LSTMModule, name: str) -> Value:
    """[1, frames, bins, C] to [1, frames, bins, 1]."""
    _, frames, bins, _ = x.shape
    with graph.scope(name):
        narrow = convolution_block(graph, x, module.conv, "conv")
        rows = ops.reshape(graph, narrow, (frames, 1, bins), "rows")
        states = ops.bidirectional_lstm(graph, rows, lstm_weights(module.lstm), "lstm")
        flat = ops.reshape(graph, states, (frames, states.shape[2]), "states")
        linear, norm = cast(nn.Linear, module.dense[0]), cast(nn.BatchNorm1d, module.dense[1])
        dense = ops.linear(graph, flat, *fold_batch_norm(linear, norm), "dense", rectified=True)
        return ops.reshape(graph, dense, (1, frames, bins, 1), "image")


def lstm_weights(lstm: nn.LSTM) -> list[Tensor]:
    """Input weight, state weight and the sum of both biases, forward, then backward."""
    weights = []
    for direction in ("", "_reverse"):
        parts = (getattr(lstm, f"{kind}_l0{direction}") for kind in ("weight_ih", "weight_hh"))
        biases = (getattr(lstm, f"{kind}_l0{direction}") for kind in ("bias_ih", "bias_hh"))
        weights += [*parts, sum(biases)]
    return weights
