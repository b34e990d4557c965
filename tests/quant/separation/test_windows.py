"""The graph of a window equals upstream's network, in torch and as a TFLite file."""

import numpy as np
import pytest
import torch

from edge_se.errors import UserError
from quant.graph.encoding import Precision, assign_encodings
from quant.graph.execute import run_step
from quant.graph.tflite import write_tflite
from quant.networks.registry import build_model
from quant.separation import describe_window
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
    model = build_model(request.param, **REFERENCE_OPTIONS[request.param])
    fill_by_rule(model, int(content["seed"]))
    return describe_window(request.param, model, content["mag"].shape[-1]), content


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
    model = fill_by_rule(build_model(name, **SMALL_OPTIONS[name]))
    magnitude = torch.rand(1, 2, model.n_fft // 2 + 1, FRAMES[name])
    graph = describe_window(name, model, FRAMES[name])

    (mask,), _ = run_step(graph, {"features": magnitude.permute(0, 3, 2, 1)[None]}, {})

    wanted = model.predict_mask(magnitude)
    torch.testing.assert_close(mask[0].permute(0, 3, 2, 1), wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("frames", [128, 150])
def test_window_that_does_not_fit_is_refused(frames):
    model = build_model("cascaded_lstm", **SMALL_OPTIONS["cascaded_lstm"])
    with pytest.raises(UserError, match="multiple of 16 above 128"):
        describe_window("cascaded_lstm", model, frames)
