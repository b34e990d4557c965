"""UL-UNAS in 16 bits: the same bits as its NumPy model, on every processor."""

import ctypes

import numpy as np
import pytest
import torch

from edge_se.core import load_core
from quant.c.engines import fixed_layers
from quant.c.fixed_engine import FixedEngine
from quant.c.fixed_layers import quantize_layers
from quant.graph.recipes import RECIPES
from quant.networks.checkpoint import Checkpoint
from quant.networks.registry import find_network
from quant.ptq.pipeline import calibrate_checkpoint, find_ranges
from targets.c.microcontroller import find_core
from targets.c.microcontroller.emulation import emulate
from targets.c.microcontroller.package import write_package
from targets.emulation.engine import run_engine
from targets.engines import SOURCES, core_sources
from tests.helpers.fixed_model import FixedModel
from tests.helpers.running import at_every_level, randomize

HOP = 256
NETWORK = find_network("ul_unas")


@pytest.fixture(scope="module")
def layers(noisy):
    """Layers of a network with random weights, and the encodings of their values."""
    torch.manual_seed(0)
    model = randomize(NETWORK.build(), 3).eval()
    checkpoint = Checkpoint(model, NETWORK, "random", 64 * "0")
    recipe = at_every_level(RECIPES["int16x8"])
    short = [noisy[0][:8000]]
    calibrated = calibrate_checkpoint(checkpoint, short, recipe, lambda stage, done, total: None)
    return fixed_layers(calibrated, recipe, find_ranges(calibrated, recipe))


@pytest.fixture(scope="module")
def engine(layers) -> FixedEngine:
    values, encodings = layers
    return FixedEngine(values, NETWORK.signal(NETWORK.build()), "ul_unas", 64 * "0", encodings)


@pytest.fixture(scope="module")
def hops(noisy) -> np.ndarray:
    """Speech, full-scale noise, silence, full scale, whispers: int16 [hops, 256]."""
    random = np.random.default_rng(0)
    speech = np.rint(noisy[0][4000:][: 8 * HOP] * 32767).astype(np.int16).reshape(-1, HOP)
    parts = [
        speech,
        random.integers(-32768, 32768, (4, HOP)).astype(np.int16),
        np.zeros((2, HOP), np.int16),
        np.full((2, HOP), -32768, np.int16),
        random.integers(-3, 4, (2, HOP)).astype(np.int16),
    ]
    return np.concatenate(parts)


@pytest.fixture(scope="module")
def wanted(layers, engine, hops) -> np.ndarray:
    model = FixedModel(
        layers[0], quantize_layers(layers[0], layers[1], engine.signal), engine.signal
    )
    return np.stack([model.process(hop) for hop in hops])


def test_the_core_has_the_frame_that_every_checkpoint_has(engine):
    for name, text in core_sources(engine).items():
        assert (SOURCES / name).read_text() == text, "run make default-model"


def test_it_gives_the_bits_of_the_model(engine, hops, wanted):
    library = load_core()
    if library is None:
        pytest.skip("this installation has no compiled core (no C compiler)")
    library.ul_unas_fixed_load.restype = ctypes.c_char_p
    library.ul_unas_fixed_load.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    library.ul_unas_fixed_process.argtypes = [ctypes.c_void_p] * 3
    weights = np.frombuffer(engine.blob, np.uint8).copy()
    state = np.zeros(library.ul_unas_fixed_state_size() // 8 + 1, np.int64)
    fault = library.ul_unas_fixed_load(state.ctypes.data, weights.ctypes.data, len(weights))
    assert fault is None

    enhanced = np.empty_like(hops)
    for hop, out in zip(hops, enhanced, strict=True):
        library.ul_unas_fixed_process(state.ctypes.data, hop.ctypes.data, out.ctypes.data)

    np.testing.assert_array_equal(enhanced, wanted)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("machine", "options"),
    [("aarch64", []), ("aarch64", ["-mcpu=cortex_a55"]), ("armv7l", [])],
    ids=["64 bits", "64 bits, dot products", "32 bits"],
)
def test_emulated_arm_has_the_same_bits(engine, hops, wanted, machine, options):
    found = run_engine(SOURCES / "ul_unas_fixed.c", engine.blob, hops, machine, options)

    np.testing.assert_array_equal(found, wanted)


@pytest.mark.slow
def test_a_package_gives_the_same_bits_on_a_bare_cortex_m7(engine, hops, wanted, tmp_path):
    core = find_core("cortex-m7")
    write_package(tmp_path / "package", engine, core, "random weights")

    report = emulate(tmp_path / "package", core, hops.ravel(), tmp_path)

    np.testing.assert_array_equal(report.enhanced, wanted.ravel())
