"""Recurrent layers frame by frame equal torch's over whole clips."""

import pytest
import torch
from torch import nn

from quant.graph.execute import run_sequence
from quant.graph.graph import Graph
from quant.networks.folding import merge_grus
from quant.networks.gtcrn.model import TRA
from quant.networks.recurrent import (
    gru_over_rows,
    gru_over_time,
    layer_norm_residual,
    recurrent_attention,
)
from tests.helpers.running import assert_near, randomize, run_frames

TOLERANCE = 1e-5
RUNNERS = {
    "frame by frame": run_frames,
    "whole clips": lambda graph, x: run_sequence(graph, {"x": x})[0],
}


@pytest.fixture(params=RUNNERS)
def run(request):
    """Runs a graph of one image on rows [clips, frames, rows, features], and gives such rows."""
    return lambda graph, x: RUNNERS[request.param](graph, x[:, :, None, None])[:, :, 0, 0]


def frames(*shape: int, seed: int = 0) -> torch.Tensor:
    """Two clips of 30 frames."""
    return torch.randn(2, 30, *shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_gru_over_time(run):
    gru = randomize(nn.GRU(6, 5, batch_first=True), 0)
    graph = Graph()
    weights = merge_grus([(gru, "", 0)], 6)
    graph.output(gru_over_time(graph, graph.input("x", (1, 1, 3, 6)), weights, "gru"))
    x = frames(3, 6)

    result = run(graph, x)

    expected = gru(x.transpose(1, 2).flatten(0, 1))[0].unflatten(0, (2, 3)).transpose(1, 2)
    assert_near(result, expected, TOLERANCE)


@torch.no_grad()
def test_gru_over_rows_starts_from_zero_in_every_frame(run):
    gru = randomize(nn.GRU(6, 5, batch_first=True), 0)
    graph = Graph()
    weights = merge_grus([(gru, "", 0)], 6)
    graph.output(gru_over_rows(graph, graph.input("x", (1, 1, 9, 6)), weights, "gru"))
    x = frames(9, 6)

    result = run(graph, x)

    assert not graph.states
    assert_near(result, gru(x.flatten(0, 1))[0].unflatten(0, (2, 30)), TOLERANCE)


@torch.no_grad()
def test_layer_norm_with_residual(run):
    norm = randomize(nn.LayerNorm((7, 4), eps=1e-8), 0)
    graph = Graph()
    x = graph.input("x", (1, 1, 7, 4))
    graph.output(layer_norm_residual(graph, x, x, norm, "norm"))
    inputs = 3 + 2 * frames(7, 4)

    result = run(graph, inputs)

    assert_near(result, inputs + norm(inputs), TOLERANCE)


@torch.no_grad()
def test_recurrent_attention(run):
    attention = randomize(TRA(4), 0)
    graph = Graph()
    weights = merge_grus([(attention.att_gru, "", 0)], 4)
    gate = (attention.att_fc.weight, attention.att_fc.bias)
    x = graph.input("x", (1, 1, 9, 4))
    graph.output(recurrent_attention(graph, x, weights, gate, "attention"))
    inputs = frames(9, 4)

    result = run(graph, inputs)

    expected = attention(inputs.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    assert_near(result, expected, TOLERANCE)
