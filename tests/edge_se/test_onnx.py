import os
import subprocess
import sys

import numpy as np
import pytest

from edge_se import Enhancer
from edge_se.errors import UserError
from edge_se.inspection import inspect_model
from tests.helpers.tiny_model import expected_output
from tests.helpers.tiny_onnx import write_tiny_onnx

# Where it reports nothing by itself, or was told not to.
CI = ("CI", "GITHUB_ACTIONS", "ORT_DISABLE_TELEMETRY")


@pytest.fixture(scope="module")
def tiny_onnx(tmp_path_factory):
    return write_tiny_onnx(tmp_path_factory.mktemp("models") / "tiny.onnx")


def test_onnxruntime_gives_the_offline_answer(tiny_onnx, noise):
    output = Enhancer(tiny_onnx).enhance(noise)

    np.testing.assert_allclose(output, expected_output(noise), atol=1e-6)


def test_onnxruntime_equals_tflite(tiny_onnx, tiny_float, noise):
    difference = Enhancer(tiny_onnx).enhance(noise) - Enhancer(tiny_float).enhance(noise)

    assert np.abs(difference).max() < 1e-6


def test_reset_gives_the_same_bits_again(tiny_onnx, noise):
    enhancer = Enhancer(tiny_onnx)

    np.testing.assert_array_equal(enhancer.enhance(noise), enhancer.enhance(noise))


def test_states_can_be_inspected_by_name(tiny_onnx):
    enhancer = Enhancer(tiny_onnx)

    enhancer.process(np.zeros(256, np.float32))

    np.testing.assert_array_equal(enhancer.states["smoother.cache"], np.full((1, 257), 0.125))


def test_a_model_without_a_manifest_is_refused(tmp_path):
    path = write_tiny_onnx(tmp_path / "bare.onnx", with_manifest=False)

    with pytest.raises(UserError, match="without an edge-se manifest"):
        Enhancer(path)


def test_a_state_that_differs_from_the_graph_is_named(tmp_path):
    path = write_tiny_onnx(tmp_path / "wrong.onnx", shape=(257, 1))

    with pytest.raises(UserError, match=r"differ in smoother\.cache, smoother\.cache\.next"):
        Enhancer(path)


def test_onnxruntime_leaves_no_identifier_and_reports_nothing(tiny_onnx, tmp_path):
    places = dict.fromkeys(("HOME", "TMPDIR", "XDG_CACHE_HOME"), str(tmp_path))
    environment = {key: value for key, value in os.environ.items() if key not in CI} | places
    code = f"from edge_se import Enhancer; Enhancer({str(tiny_onnx)!r})"

    subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    assert list(tmp_path.iterdir()) == []


def test_what_is_no_onnx_model_is_refused(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a model at all")

    with pytest.raises(UserError, match="is not an ONNX model"):
        Enhancer(path)


def test_inspection_counts_operators_by_precision(tiny_onnx):
    operators = inspect_model(tiny_onnx)["operators"]

    assert operators[0] == {"operator": "Mul", "precision": "float32", "count": 3}
    assert sum(operator["count"] for operator in operators) == 7
