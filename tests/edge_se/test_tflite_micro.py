"""What microcontrollers compute, by TFLite Micro's own interpreter."""

import importlib
import sys

import numpy as np
import pytest

from edge_se import Enhancer
from edge_se.engines import MICRO, load_engine
from edge_se.engines import tflite as engine_module
from edge_se.engines.tflite import TfliteStep
from edge_se.engines.tflite_micro import MicroStep
from edge_se.errors import UserError

pytest.importorskip("tflite_micro", reason="tflite-micro is not installed")


def random_frames(shape, dtype, count=20) -> np.ndarray:
    random = np.random.default_rng(0).standard_normal((count, *shape))
    if dtype == np.float32:
        return random.astype(np.float32)
    return np.clip(np.rint(40 * random), -128, 127).astype(dtype)


@pytest.mark.filterwarnings("ignore:XNNPACK took none")
def test_masks_and_states_equal_litert_s_own_kernels(tiny, monkeypatch):
    """To the integer, of a model without a fully connected layer, which the two round otherwise."""
    micro = MicroStep(tiny)
    create = engine_module.create_interpreter
    monkeypatch.setattr(
        engine_module,
        "create_interpreter",
        lambda runtime, path: create(runtime, path, delegate=False),
    )
    litert = TfliteStep(tiny)
    micro.cache.reset()
    litert.cache.reset()
    tolerance = 1e-6 if micro.features.dtype == np.float32 else 0

    for frame in random_frames(micro.features.shape, micro.features.dtype):
        for step in (micro, litert):
            step.features[...] = frame
            step.run()
            step.cache.carry()
        np.testing.assert_allclose(micro.mask, litert.mask, rtol=0, atol=tolerance)
        for name in micro.cache:
            np.testing.assert_allclose(
                micro.cache.raw(name), litert.cache.raw(name), rtol=0, atol=tolerance
            )


def test_the_frame_loop_enhances_with_it(tiny, noise):
    expected = Enhancer(tiny).enhance(noise)

    enhanced = Enhancer(tiny, runtime=MICRO).enhance(noise)

    np.testing.assert_allclose(enhanced, expected, atol=2e-2)
    error = np.sum((enhanced - expected) ** 2) / np.sum(expected**2)
    assert error < 1e-4


def test_a_reset_gives_what_loading_anew_gives(tiny_int8, noise):
    enhancer = Enhancer(tiny_int8, runtime=MICRO)
    first = enhancer.enhance(noise)

    enhancer.reset()

    np.testing.assert_array_equal(enhancer.enhance(noise), first)


def test_reports_say_what_runs(tiny):
    described = load_engine(tiny, runtime=MICRO).describe()

    assert (described["engine"], described["runtime"]) == ("tflite", MICRO)
    assert described["runtime_version"]


def test_it_is_named_when_it_is_not_installed(tiny, monkeypatch):
    monkeypatch.setitem(sys.modules, "tflite_micro", None)
    monkeypatch.setitem(sys.modules, "tflite_micro.python", None)
    for name in [name for name in sys.modules if name.startswith("tflite_micro.")]:
        monkeypatch.setitem(sys.modules, name, None)

    with pytest.raises(UserError, match=r"tflite_micro is not installed; pip install --pre"):
        load_engine(tiny, runtime=MICRO)


def test_what_it_can_not_run_is_refused(tiny_int8, monkeypatch):
    runtime = importlib.import_module("tflite_micro.python.tflite_micro.runtime")
    made = runtime.Interpreter.from_bytes
    monkeypatch.setattr(runtime.Interpreter, "from_bytes", lambda data: made(data, arena_size=1000))

    with pytest.raises(UserError, match=r"tflite_micro can't run .*tiny_int8\.tflite"):
        MicroStep(tiny_int8)


def test_a_damaged_file_is_refused_before_it_is_believed(tiny_int8, tmp_path):
    path = tmp_path / "damaged.tflite"
    data = bytearray(tiny_int8.read_bytes())
    data[:4] = b"\xff\xff\xff\x7f"
    path.write_bytes(data)

    with pytest.raises(UserError, match="is damaged"):
        MicroStep(path)
