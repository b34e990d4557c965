"""The graph of a window equals upstream's network, in torch and as a TFLite file."""

import numpy as np
import pytest
import torch

from edge_se.errors import UserError
from quant.graph.encoding import Precision, assign_encodings
from quant.graph.execute import run_step
from quant.graph.tflite import write_tflite
from quant.networks.cascaded.aspp import CascadedASPPNet
from quant.networks.cascaded.lstm import CascadedNet
from quant.networks.registry import find_network
from tests.helpers.running import run_tflite
from tests.helpers.separators import REFERENCE_OPTIONS, SMALL_OPTIONS, fill_by_rule

NAMES = sorted(SMALL_OPTIONS)
FRAMES = {"cascaded_aspp": 272, "cascaded_lstm": 144}


def write_float(graph):
    encodings = assign_encodings(graph, lambda _: Precision.FLOAT, {}, Precision.FLOAT)
    return write_tflite(graph, encodings, lambda _: Precision.FLOAT)


@pytest.fixture(params=NAMES)
def reference(request, assets):
    """Each separator's graph over its reference's frames, and the reference."""
    content = np.load(assets / "reference" / f"{request.param}_reference.npz")
    network = find_network(request.param)
    frames = content["mag"].shape[-1]
    model = network.create(**REFERENCE_OPTIONS[request.param], window_frames=frames)
    fill_by_rule(model, int(content["seed"]))
    return network.window(model), content


@torch.no_grad()
def test_float_file_equals_upstream(reference):
    graph, content = reference
    features = np.transpose(content["mag"], (0, 3, 2, 1))

    (mask,) = run_tflite(write_float(graph), {graph.inputs[0]: features}, graph.outputs)

    wanted = np.transpose(content["mask_cropped"], (0, 3, 2, 1))
    assert np.abs(mask - wanted).max() < 1e-4


@torch.no_grad()
@pytest.mark.parametrize("name", NAMES)
def test_graph_equals_network(name):
    network = find_network(name)
    model = fill_by_rule(network.create(**SMALL_OPTIONS[name], window_frames=FRAMES[name]))
    assert isinstance(model, CascadedASPPNet | CascadedNet)
    magnitude = torch.rand(1, 2, model.n_fft // 2 + 1, FRAMES[name])
    graph = network.window(model)

    (mask,), _ = run_step(graph, {"features": magnitude.permute(0, 3, 2, 1)[None]}, {})

    wanted = model.predict_mask(magnitude)
    torch.testing.assert_close(mask[0].permute(0, 3, 2, 1), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frames", [128, 150])
def test_window_that_does_not_fit_is_refused(frames):
    options = SMALL_OPTIONS["cascaded_lstm"]
    with pytest.raises(UserError, match="multiple of 16 above 128"):
        find_network("cascaded_lstm").create(**options, window_frames=frames)


def test_an_enhancer_has_no_window_and_a_separator_no_step():
    enhancer, separator = find_network("gtcrn"), find_network("cascaded_lstm")
    with pytest.raises(UserError, match="gtcrn enhances frame by frame"):
        enhancer.window(enhancer.create())
    with pytest.raises(UserError, match="cascaded_lstm separates whole recordings"):
        separator.step(separator.create(**SMALL_OPTIONS["cascaded_lstm"]))
