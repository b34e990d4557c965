"""The U-shaped GTCRN frame by frame equals itself offline, with every fusion."""

from typing import Any

import pytest
import torch

from quant.graph.execute import run_sequence
from quant.networks.gtcrn_unet.model import FUSIONS, GTCRNUNet
from quant.networks.registry import find_network
from tests.helpers.running import assert_near, randomize, run_frames

# Each fusion with skips of its own bands, and two whose skips are interpolated, down and up.
OPTIONS: list[dict[str, Any]] = [{"fusion": fusion} for fusion in FUSIONS]
OPTIONS += [{"fusion": "mixed", "up_sampling_after": after} for after in (1, 5)]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@torch.no_grad()
def test_streaming_equals_offline(options, frames):
    network = randomize(GTCRNUNet(**options), 0)
    graph, frames = find_network("gtcrn_unet").step(network), frames[:, :20]

    streamed = run_frames(graph, frames)

    expected = network.mask(frames.transpose(1, 2)).transpose(1, 2)
    assert_near(streamed, expected)
    assert_near(run_sequence(graph, {"features": frames})[0], streamed)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_a_skip_needs_no_state(fusion):
    states = find_network("gtcrn_unet").step(GTCRNUNet(fusion=fusion).eval()).states

    blocks = [1, 2, 3, 5, 6, 7]
    expected = {f"encoder.{index}" for index in blocks} | {f"decoder.{i - 1}" for i in blocks}
    expected |= {"dpgrnn1", "dpgrnn2"}
    kinds = ("cache", "attention.gru.memory", "inter.memory")
    found = {s.name.removesuffix(f".{kind}") for s in states for kind in kinds} - {
        s.name for s in states
    }
    assert found == expected
