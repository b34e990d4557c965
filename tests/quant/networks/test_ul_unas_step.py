"""UL-UNAS frame by frame equals UL-UNAS offline, and upstream's streaming network."""

import numpy as np
import pytest
import torch

from edge_se import Enhancer
from quant.audio.frames import analyse, features, synthesize
from quant.graph.execute import run_sequence
from quant.networks.checkpoint import load_checkpoint
from quant.networks.registry import find_network
from quant.networks.ul_unas.model import SIGNAL, ULUNAS
from quant.ptq.pipeline import build_float
from quant.training.spectra import to_samples, to_spectrogram
from tests.helpers.running import assert_near, randomize, run_frames, write


@pytest.fixture(scope="module")
def log_frames(noisy):
    """Features of more than 200 frames of one noisy signal, [1, frames, 1, 257]."""
    signal = np.concatenate(noisy[:3])
    return features(analyse(torch.from_numpy(signal)[None], SIGNAL), SIGNAL)[:, :210]


@pytest.fixture(scope="module")
def upstream(assets):
    return load_checkpoint(assets / "ul_unas" / "model_trained_on_dns3.tar")


@pytest.mark.parametrize("split", [False, True])
@torch.no_grad()
def test_streaming_equals_offline(log_frames, split):
    network = randomize(ULUNAS(), 0)
    graph = find_network("ul_unas").step(network, split)

    streamed = run_frames(graph, log_frames[:, :24])
    (sequence,) = run_sequence(graph, {"features": log_frames})

    expected = network.mask(log_frames.transpose(1, 2)).transpose(1, 2)
    assert expected.shape[1] >= 200
    assert_near(streamed, expected[:, :24])
    assert_near(sequence, expected)


@torch.no_grad()
def test_upstreams_checkpoint(upstream, log_frames):
    graph = upstream.step()

    (mask,) = run_sequence(graph, {"features": log_frames})

    assert_near(mask, upstream.model.mask(log_frames.transpose(1, 2)).transpose(1, 2), 1e-5)


@pytest.fixture(scope="module")
def enhancer(upstream, tmp_path_factory):
    """The loop around the float file of upstream's checkpoint."""
    folder = tmp_path_factory.mktemp("ul_unas")
    return Enhancer(write(folder, "float.tflite", build_float(upstream)))


@pytest.fixture(scope="module")
def reference(assets):
    return np.load(assets / "reference" / "ul_unas_reference.npz")


def test_the_loop_equals_upstreams_streaming_network(enhancer, reference, assets):
    onnxruntime = pytest.importorskip("onnxruntime")
    session = onnxruntime.InferenceSession(assets / "ul_unas" / "ulunas_stream_simple.onnx")
    fed = {given.name: np.zeros(given.shape, np.float32) for given in session.get_inputs()}
    caches = [name for name in fed if name != "mix"]
    noisy = reference["wav"]
    enhanced = []
    for spectrum in torch.view_as_real(analyse(torch.from_numpy(noisy)[None], SIGNAL))[0].numpy():
        fed["mix"] = spectrum[None, :, None]
        frame, *states = session.run(None, fed)
        fed |= dict(zip(caches, states, strict=True))
        enhanced.append(frame[0, :, 0])
    spectra = torch.view_as_complex(torch.from_numpy(np.stack(enhanced)))[None]
    expected = synthesize(spectra, len(noisy), SIGNAL)[0].numpy()

    np.testing.assert_allclose(enhancer.enhance(noisy), expected, atol=1e-5)


def test_after_silence_the_loop_equals_upstreams_offline_network(enhancer, upstream, reference):
    """Upstream's first window reflects the signal's edge, which silence makes no difference to."""
    noisy = np.concatenate([np.zeros(512, np.float32), reference["wav"][: 186 * 256]])

    with torch.no_grad():
        spectrogram = upstream.model(to_spectrogram(torch.from_numpy(noisy)[None], SIGNAL))
        expected = to_samples(spectrogram, SIGNAL)[0].numpy()

    enhanced = enhancer.enhance(noisy)[: len(expected)]
    # The last window reflects the other edge.
    np.testing.assert_allclose(enhanced[:-256], expected[:-256], atol=1e-5)


def test_signals_and_states():
    graph = find_network("ul_unas").step(ULUNAS().eval())

    blocks = [f"{half}.{index}" for half in ("encoder", "decoder") for index in range(5)]
    over_time = [f"encoder.{i}" for i in (0, 1, 2)] + [f"decoder.{i}" for i in (2, 3, 4)]
    expected = {f"{name}.cache" for name in over_time} - {"encoder.0.cache"}
    expected |= {"encoder.0.part0.cache"}
    expected |= {f"{name}.attention.gru.memory" for name in blocks}
    expected |= {"dpgrnn1.inter.memory", "dpgrnn2.inter.memory"}
    assert {state.name for state in graph.states} == expected
    assert [(value.name, value.shape) for value in graph.inputs] == [("features", (1, 257))]
    assert [(value.name, value.shape) for value in graph.outputs] == [("mask", (1, 257))]
