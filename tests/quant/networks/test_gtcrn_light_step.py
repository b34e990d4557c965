"""GTCRN-Light frame by frame equals GTCRN-Light offline: at once when causal, else delayed."""

import numpy as np
import pytest
import torch
from torch import Tensor

from edge_se import Enhancer
from quant.audio.frames import analyse, apply_mask, features, synthesize
from quant.graph.execute import initial_states, run_sequence, run_step
from quant.graph.graph import Graph
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.networks.gtcrn.model import SIGNAL
from quant.networks.gtcrn_light.model import GTCRNLight
from quant.networks.registry import find_network
from quant.ptq.pipeline import build_float
from tests.helpers.running import assert_near, randomize, run_frames

LOOKAHEAD = 22


@pytest.fixture(scope="module", params=[True, False], ids=["causal", "delayed"])
def network(request) -> GTCRNLight:
    return randomize(GTCRNLight(causal=request.param), 0)


def describe(network: GTCRNLight) -> Graph:
    return find_network("gtcrn_light").step(network)


@torch.no_grad()
def offline(network: GTCRNLight, frames: Tensor) -> Tensor:
    return network.mask(frames.transpose(1, 2)).transpose(1, 2)


def test_lookahead_is_computed(network):
    causal = network.enc.blocks[2].lookahead == 0

    assert describe(network).lookahead == (0 if causal else LOOKAHEAD)


@torch.no_grad()
def test_streaming_equals_offline(network, frames):
    graph = describe(network)

    streamed = run_frames(graph, frames)

    end = frames.shape[1] - graph.lookahead
    expected = offline(network, frames)[:, :end]
    assert_near(streamed[:, graph.lookahead :], expected)


@torch.no_grad()
def test_sequence_equals_streaming(network, frames):
    graph = describe(network)

    (sequence,) = run_sequence(graph, {"features": frames})

    assert_near(sequence, run_frames(graph, frames))


@torch.no_grad()
def test_the_split_step_computes_the_same(network, frames):
    split = find_network("gtcrn_light").step(network, split=True)

    (sequence,) = run_sequence(split, {"features": frames})

    (expected,) = run_sequence(describe(network), {"features": frames})
    assert_near(sequence, expected)


@pytest.mark.parametrize("causal", [True, False], ids=["causal", "delayed"])
def test_enhanced_signals_are_those_of_upstreams_network(causal, assets, noisy, tmp_path):
    """Aligned with the input, with the look-ahead taken out, to the last sample."""
    path = assets / "gtcrn_light" / "gtcrn_light_v3.tar"
    checkpoint = load_checkpoint(path, "gtcrn_light", causal=causal)
    (tmp_path / "light.tflite").write_bytes(build_float(checkpoint))
    signal = noisy[0]

    enhanced = Enhancer(tmp_path / "light.tflite").enhance(signal)

    # What the network would look ahead to beyond the end is silence.
    padded = torch.from_numpy(np.pad(signal, (0, (LOOKAHEAD + 1) * 256)))[None]
    assert isinstance(checkpoint.model, GTCRNLight)
    with torch.no_grad():
        spectra = analyse(padded, SIGNAL)
        mask = offline(checkpoint.model, features(spectra, SIGNAL))
        expected = synthesize(apply_mask(spectra, mask, SIGNAL), padded.shape[1], SIGNAL)[
            0, : len(signal)
        ]
    np.testing.assert_allclose(enhanced, expected.numpy(), atol=1e-4)


def test_manifest_states_the_lookahead(tmp_path):
    checkpoint = Checkpoint(GTCRNLight().eval(), find_network("gtcrn_light"), "random", "")
    (tmp_path / "light.tflite").write_bytes(build_float(checkpoint))

    enhancer = Enhancer(tmp_path / "light.tflite")

    assert enhancer.manifest.lookahead_frames == LOOKAHEAD
    assert enhancer.latency_samples == 256 + LOOKAHEAD * 256


def test_gradients_reach_every_parameter(frames):
    network = randomize(GTCRNLight(causal=True), 1)
    graph = describe(network)

    outputs, states = run_step(graph, {"features": frames[:, 0]}, initial_states(graph))
    (outputs[0].square().sum() + sum(s.square().sum() for s in states.values())).backward()

    # From zero states, what a state is multiplied by has no effect in the first frame.
    unreached = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.any()]
    assert unreached == ["dp1.inter.weight_hh_l0"]
