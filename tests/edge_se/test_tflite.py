from dataclasses import replace

import numpy as np
import pytest

from edge_se.engines import load_engine
from edge_se.engines import tflite as engine_module
from edge_se.engines.tflite import TfliteStep, find_runtime
from edge_se.errors import UserError
from edge_se.model_file import write_model
from tests.helpers.tiny_model import tiny_flatbuffer, write_tiny


def test_new_states_pass_as_raw_values(tiny_int8):
    step = TfliteStep(tiny_int8)
    step.cache.reset()
    step.features[...] = np.random.default_rng(0).integers(-128, 128, step.features.shape)

    step.run()
    new = step._interpreter.get_tensor(step.manifest.states[0].output)
    step.cache.carry()

    raw = step.cache.raw("smoother.cache")
    assert raw.dtype == np.int8
    np.testing.assert_array_equal(raw, new)


def test_views_stay_where_the_interpreter_has_its_tensors(tiny):
    step = TfliteStep(tiny)

    for _ in range(5):
        step.run()

    held = step.features.__array_interface__["data"]
    now = step._view(step.manifest.tensors.features.tensor).__array_interface__["data"]
    assert held == now


def test_the_delegate_s_share_is_reported(tiny):
    assert TfliteStep(tiny).describe()["xnnpack_share"] == 1.0


def test_the_share_counts_operators_not_partitions(tiny):
    path = engine_module.create_interpreter(find_runtime(), tiny, delegate=False)

    assert engine_module.delegated_share(path) == 0.0


def test_an_absent_delegate_is_announced(tiny, monkeypatch):
    create = engine_module.create_interpreter
    monkeypatch.setattr(
        engine_module,
        "create_interpreter",
        lambda runtime, path: create(runtime, path, delegate=False),
    )

    with pytest.warns(RuntimeWarning, match="XNNPACK took none of the operators"):
        TfliteStep(tiny)


def test_a_forced_runtime_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(engine_module, "_import_runtime", lambda name: None)

    with pytest.raises(UserError, match="tflite_runtime is not installed; pip install tflite"):
        find_runtime("tflite_runtime")


def test_runtimes_are_tried_in_order(monkeypatch):
    tried: list[str] = []
    monkeypatch.setattr(engine_module, "_import_runtime", tried.append)

    with pytest.raises(UserError, match="a TFLite runtime is not installed"):
        find_runtime()

    assert tried == ["ai_edge_litert", "tflite_runtime", "tensorflow"]


def test_an_unknown_runtime_is_refused():
    with pytest.raises(UserError, match="no TFLite runtime 'caffe'"):
        find_runtime("caffe")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"shape": (257, 1)}, r"input of state smoother.cache the shape \(257, 1\)"),
        ({"dtype": "int16"}, "the dtype int16, the graph has int8"),
        ({"scale": 0.5}, "the scale 0.5, the graph has 0.015625"),
        ({"zero_point": 0}, "the zero point 0, the graph has -128"),
        ({"input": 99}, r"input of state smoother.cache \(tensor 99\) is not in the graph"),
        ({"input": "t1"}, r"\(tensor t1\) is not in the graph"),
        ({"output": 1}, r"output of state smoother.cache \(tensor 1\) is not in the graph"),
    ],
)
def test_a_state_that_differs_from_the_graph_is_named(tmp_path, changes, complaint):
    (state,) = tiny_flatbuffer("int8")[1].states
    path = write_tiny(tmp_path / "m.tflite", "int8", states=(replace(state, **changes),))

    with pytest.raises(UserError, match=complaint):
        TfliteStep(path)


def test_a_signal_that_differs_from_the_graph_is_named(tmp_path):
    signals = tiny_flatbuffer("int8")[1].tensors
    changed = replace(signals, mask=replace(signals.mask, scale=0.5))
    path = write_tiny(tmp_path / "m.tflite", "int8", tensors=changed)

    with pytest.raises(UserError, match=r"gives mask the scale 0\.5"):
        TfliteStep(path)


def test_an_input_that_the_manifest_leaves_out_is_missed(tmp_path):
    path = write_tiny(tmp_path / "m.tflite", "int8", states=())

    with pytest.raises(UserError, match="2 inputs, of which its manifest names 1"):
        TfliteStep(path)


def test_a_damaged_graph_is_refused_in_one_sentence(tmp_path):
    path = tmp_path / "m.tflite"
    data, manifest = tiny_flatbuffer("float32")
    write_model(path, b"\xff\xff\xff\x7f" + data[4:], manifest)

    with pytest.raises(UserError, match="can't run"):
        TfliteStep(path)


@pytest.mark.parametrize(
    ("name", "engine", "runtime", "complaint"),
    [
        ("model.bin", None, None, "is no model file"),
        ("model.tflite", "onnxruntime", None, "the engine onnxruntime runs .onnx files"),
        ("model.tflite", "gpu", None, "no engine 'gpu'"),
        ("model.onnx", None, "tensorflow", "a runtime can be chosen for the engine tflite only"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(tmp_path, name, engine, runtime, complaint):
    with pytest.raises(UserError, match=complaint):
        load_engine(tmp_path / name, engine, runtime)
