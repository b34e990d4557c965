"""GTCRN frame by frame equals GTCRN offline, block by block and as a whole."""

import pytest
import torch
from torch import Tensor

from edge_se.errors import UserError
from quant.graph import operators as ops
from quant.graph.execute import initial_states, run_sequence, run_step
from quant.graph.graph import Graph
from quant.graph.operators.weighted import weight_scales
from quant.networks.gtcrn.model import (
    DPGRNN,
    ERB,
    GTCRN,
    ConvBlock,
    GTConvBlock,
    extract_subband_features,
)
from quant.networks.gtcrn.step import (
    NEAR_TIE,
    band_images,
    down_sampling,
    dual_path,
    first_block,
    merge_bands,
    neighbour_bands,
    off_ties,
    split_bands,
    temporal_block,
    up_sampling,
)
from quant.networks.registry import find_network
from tests.helpers.running import assert_near, randomize, run_frames


def clips(channels: int, bands: int, seed: int = 0) -> Tensor:
    """Two clips of 40 frames, [B, C, T, F]."""
    return torch.randn(2, channels, 40, bands, generator=torch.Generator().manual_seed(seed))


def as_images(x: Tensor) -> Tensor:
    """[B, C, T, F] to [B, T, 1, 1, F, C]."""
    return x.permute(0, 2, 3, 1)[:, :, None, None]


def assert_streaming_equals_offline(graph: Graph, inputs: Tensor, expected: Tensor) -> None:
    (sequence,) = run_sequence(graph, {graph.inputs[0].name: inputs})

    assert_near(run_frames(graph, inputs), expected)
    assert_near(sequence, expected)


@torch.no_grad()
def test_down_sampling():
    block, x = randomize(ConvBlock(16, 16, 2, transposed=False), 0), clips(16, 65)
    graph = Graph()
    graph.output(down_sampling(graph, graph.input("x", (1, 1, 65, 16)), block))

    assert_streaming_equals_offline(graph, as_images(x), as_images(block(x)))


@pytest.mark.parametrize("in_parts", [False, True])
@torch.no_grad()
def test_first_block_on_the_bands_of_the_input(in_parts):
    erb, block = ERB(), randomize(ConvBlock(9, 16, 1, transposed=False), 0)
    # As the manifest says them to whoever merges bands.
    erb.erb_fc.weight.copy_(torch.round(erb.merging * 2**15) / 2**15)
    x = 20 * clips(3, 257)
    graph = Graph()
    graph.output(first_block(graph, band_images(graph, erb, in_parts), block))

    expected = block(extract_subband_features(erb.merge(x)))
    assert_streaming_equals_offline(graph, x.transpose(1, 2), as_images(expected))


@torch.no_grad()
def test_up_sampling():
    block = randomize(ConvBlock(16, 16, 2, transposed=True), 0)
    x = clips(16, 33)
    graph = Graph()
    graph.output(up_sampling(graph, graph.input("x", (1, 1, 33, 16)), block, last=False))

    assert_streaming_equals_offline(graph, as_images(x), as_images(block(x)))


@torch.no_grad()
def test_last_up_sampling_gives_rows_of_the_mask_and_one_band_too_many():
    block = randomize(ConvBlock(16, 2, 1, transposed=True, last=True), 0)
    x = clips(16, 65)
    graph = Graph()
    bands = up_sampling(graph, graph.input("x", (1, 1, 65, 16)), block, last=True)
    graph.output(ops.slice(graph, bands, (0, 0, 0, 0), (1, 1, 2, 129), "bands_read"))

    assert bands.shape == (1, 1, 2, 130)
    expected = block(x).transpose(1, 2)[:, :, None, None]
    assert_streaming_equals_offline(graph, as_images(x), expected)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("dilation", [1, 2, 5])
@torch.no_grad()
def test_temporal_block(transposed, dilation):
    block = randomize(GTConvBlock(16, dilation, transposed), 0)
    x = clips(16, 33)
    graph = Graph()
    graph.output(temporal_block(graph, graph.input("x", (1, 1, 33, 16)), block))

    assert_streaming_equals_offline(graph, as_images(x), as_images(block(x)))


@torch.no_grad()
def test_dual_path():
    block = randomize(DPGRNN(16, 33), 0)
    x = clips(16, 33)
    graph = Graph()
    graph.output(dual_path(graph, graph.input("x", (1, 1, 33, 16)), block))

    assert_streaming_equals_offline(graph, as_images(x), as_images(block(x)))


@torch.no_grad()
def test_bands_and_their_neighbours():
    erb, x = ERB(), clips(3, 257)
    graph = Graph()
    features = graph.input("x", (3, 257))
    graph.output(neighbour_bands(graph, merge_bands(graph, features, erb)))

    expected = extract_subband_features(erb.merge(x))
    neighbour_major = expected.unflatten(1, (3, 3)).transpose(1, 2).flatten(1, 2)
    assert_streaming_equals_offline(graph, x.transpose(1, 2), as_images(neighbour_major))


@torch.no_grad()
def test_split_bands():
    erb, x = ERB(), clips(2, 129)
    graph = Graph()
    graph.output(split_bands(graph, graph.input("x", (1, 1, 2, 130)), erb))

    padded = torch.nn.functional.pad(x, (0, 1), value=99.0).transpose(1, 2)[:, :, None, None]
    assert_streaming_equals_offline(graph, padded, erb.split(x).transpose(1, 2))


@torch.no_grad()
def test_whole_network(random_network, frames):
    graph = find_network("gtcrn").step(random_network)

    assert frames.shape[1] >= 200
    expected = random_network.mask(frames.transpose(1, 2)).transpose(1, 2)
    assert_streaming_equals_offline(graph, frames, expected)


@torch.no_grad()
def test_official_networks(official, frames):
    graph = find_network("gtcrn").step(official.model)

    (sequence,) = run_sequence(graph, {"features": frames})

    expected = official.model.mask(frames.transpose(1, 2)).transpose(1, 2)
    assert_near(sequence, expected)


def test_signals_and_states(random_network):
    graph = find_network("gtcrn").step(random_network)

    temporal = [
        f"{half}.{index}"
        for half, first in (("encoder", 2), ("decoder", 0))
        for index in range(first, first + 3)
    ]
    expected = {f"{name}.cache" for name in temporal}
    expected |= {f"{name}.attention.gru.memory" for name in temporal}
    expected |= {"dpgrnn1.inter.memory", "dpgrnn2.inter.memory"}
    assert {state.name for state in graph.states} == expected
    assert [(value.name, value.shape) for value in graph.inputs] == [("features", (3, 257))]
    assert [(value.name, value.shape) for value in graph.outputs] == [("mask", (2, 257))]


@torch.no_grad()
def test_runs_from_reset_states_are_bit_identical(random_network, frames):
    graph = find_network("gtcrn").step(random_network)

    first, second = (run_frames(graph, frames[:, :20]) for _ in range(2))

    assert torch.equal(first, second)


@torch.no_grad()
def test_a_future_frame_changes_no_past_mask(random_network, frames):
    graph = find_network("gtcrn").step(random_network)
    changed = frames.clone()
    changed[:, 100] += 1

    before, after = (run_sequence(graph, {"features": x})[0] for x in (frames, changed))

    torch.testing.assert_close(before[:, :100], after[:, :100], rtol=0, atol=1e-6)
    assert (before - after)[:, 100].abs().max() > 0.01


def test_gradients_reach_every_trained_parameter(frames):
    network = randomize(GTCRN(), 1)
    graph = find_network("gtcrn").step(network)

    outputs, states = run_step(graph, {"features": frames[:, 0]}, initial_states(graph))
    (outputs[0].square().sum() + sum(s.square().sum() for s in states.values())).backward()

    trained = {n: p for n, p in network.named_parameters() if p.requires_grad}
    # From zero states, what a state is multiplied by has no effect in the first frame.
    idle = [name for name in trained if "weight_hh" in name and "intra" not in name]
    unreached = [name for name, p in trained.items() if p.grad is None or not p.grad.any()]
    assert sorted(unreached) == sorted(idle)


def test_an_architecture_without_a_step_is_named(random_network):
    with pytest.raises(UserError, match=r"cascaded_lstm separates .* and has no streaming step"):
        find_network("cascaded_lstm").step(random_network)


def test_all_multiples_of_a_first_weight_have_the_same_steps():
    torch.manual_seed(0)
    weight = torch.randn(16, 9, 1, 5)
    step = torch.from_numpy(weight_scales(weight.numpy(), 0)).reshape(-1, 1, 1, 1)
    near = (torch.round(weight / step) + 0.5 + 1e-6 * torch.randn(weight.shape)) * step
    near = torch.where(weight.abs() < 100 * step, near, weight)

    moved = off_ties(near)

    assert (moved - near).abs().max() < 1.1 * NEAR_TIE * step.max()
    steps = torch.round(moved / step)
    for factor in torch.rand(200) - 0.5:
        scales = torch.from_numpy(weight_scales((factor * moved).numpy(), 0)).reshape(-1, 1, 1, 1)
        assert torch.equal(torch.round(factor * moved / scales), steps * factor.sign())
