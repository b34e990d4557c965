"""The ONNX step computes what torch and TFLite do, and the runtime takes it as a model file."""

import numpy as np
import onnx
import pytest
import torch

from edge_se import Enhancer
from edge_se.engines.onnx import OnnxStep
from edge_se.engines.tflite import TfliteStep
from edge_se.model_file import MANIFEST_KEY, read_manifest
from quant.networks.checkpoint import Checkpoint
from quant.networks.registry import find_network
from quant.ptq.onnx_step import build_onnx
from quant.ptq.pipeline import build_float
from tests.helpers.running import masks, write


@pytest.fixture(scope="module")
def random_checkpoint(random_network) -> Checkpoint:
    return Checkpoint(random_network, find_network("gtcrn"), "random.pt", "0" * 64)


@pytest.fixture(scope="module")
def path(random_checkpoint, tmp_path_factory):
    return write(tmp_path_factory.mktemp("onnx"), "step.onnx", build_onnx(random_checkpoint))


def test_masks_equal_those_of_torch(path, random_network, frames):
    assert frames.shape[1] >= 200

    result = masks(OnnxStep(path), frames[0].numpy())

    with torch.no_grad():
        expected = random_network.mask(frames.transpose(1, 2))[0].transpose(0, 1)
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_masks_equal_those_of_float_tflite(path, random_checkpoint, frames, tmp_path):
    content = build_float(random_checkpoint)
    tflite = TfliteStep(write(tmp_path, "float.tflite", content))

    result = masks(OnnxStep(path), frames[0].numpy())

    np.testing.assert_allclose(result, masks(tflite, frames[0].numpy()), atol=1e-4)


def test_official_networks_equal_torch(official, frames, tmp_path):
    path = write(tmp_path, "step.onnx", build_onnx(official))

    result = masks(OnnxStep(path), frames[0].numpy())

    with torch.no_grad():
        expected = official.model.mask(frames.transpose(1, 2))[0].transpose(0, 1)
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_signals_and_states_are_named_in_the_graph_and_the_manifest(path):
    model = onnx.load(path)
    inputs = [value.name for value in model.graph.input]
    outputs = [value.name for value in model.graph.output]

    manifest = read_manifest(path)
    told = {entry.key: entry.value for entry in model.metadata_props}
    assert told[MANIFEST_KEY] == manifest.to_json()

    names = [state.name for state in manifest.states]
    assert inputs == ["features", *names] == ["features", *(s.input for s in manifest.states)]
    assert outputs == ["mask", *(f"{name}.next" for name in names)]
    assert outputs == ["mask", *(state.output for state in manifest.states)]


def test_model_is_valid_and_plain(path):
    model = onnx.load(path)

    onnx.checker.check_model(model, full_check=True)
    assert {opset.domain for opset in model.opset_import} == {""}
    assert not any(attribute.HasField("g") for n in model.graph.node for attribute in n.attribute)


def test_runtime_enhances_with_it(path, random_checkpoint, noisy, tmp_path):
    tflite = write(tmp_path, "float.tflite", build_float(random_checkpoint))

    result = Enhancer(path).enhance(noisy[0])

    np.testing.assert_allclose(result, Enhancer(tflite).enhance(noisy[0]), atol=1e-5)


def test_bytes_are_reproducible(path, random_checkpoint):
    assert build_onnx(random_checkpoint) == path.read_bytes()
