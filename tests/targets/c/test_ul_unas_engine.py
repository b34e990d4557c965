"""UL-UNAS as C: equal to the network, which equals upstream's."""

import ctypes
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import quant
from edge_se.core import load_core
from edge_se.engines.generated import engine_manifest, load_from_core
from edge_se.enhancer import Enhancer
from quant.audio.frames import analyse, synthesize
from quant.c.engines import float_engine
from quant.graph.recipes import RECIPES
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.networks.registry import find_network
from quant.networks.ul_unas.model import SIGNAL
from targets.engines import SOURCES, core_sources
from tests.helpers.running import at_every_level

HOP = 256
NETWORK = find_network("ul_unas")


@pytest.fixture(scope="module")
def upstream(assets) -> Checkpoint:
    return load_checkpoint(assets / "ul_unas" / "model_trained_on_dns3.tar")


@pytest.fixture(scope="module")
def shaken() -> Checkpoint:
    """An untrained network, none of whose weights is what it usually is at first."""
    torch.manual_seed(5)
    model = NETWORK.build().eval()
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and not name.startswith("erb"):
                tensor.add_(0.2 * torch.rand_like(tensor))
    return Checkpoint(model, NETWORK, "shaken", 64 * "0")


def test_a_compiled_engine_says_what_it_takes_and_gives():
    manifest = engine_manifest("ul_unas", "float", SIGNAL, {}, {})

    assert manifest.tensors.features.shape == (1, 257)
    assert manifest.tensors.mask.shape == (1, 257)


class InC:
    """The core's engine with a checkpoint's weights."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        library = load_core()
        if library is None:
            pytest.skip("this installation has no compiled core (no C compiler)")
        blob = float_engine(checkpoint, at_every_level(RECIPES["float"])).blob
        self._weights = np.frombuffer(blob, np.uint8).copy()
        self._state = np.zeros(library.ul_unas_float_state_size() // 8 + 1, np.int64)
        self.library = library
        library.ul_unas_float_load.restype = ctypes.c_char_p
        library.ul_unas_float_load.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        library.ul_unas_float_process.argtypes = [ctypes.c_void_p] * 3
        self.reset()

    def reset(self) -> None:
        fault = self.library.ul_unas_float_load(
            self._state.ctypes.data, self._weights.ctypes.data, len(self._weights)
        )
        assert fault is None

    def enhance(self, samples: np.ndarray) -> np.ndarray:
        """Enhanced samples aligned with the input's, [n]."""
        padded = np.concatenate([samples, np.zeros(-len(samples) % HOP + HOP, np.float32)])
        out = np.empty_like(padded)
        for start in range(0, len(padded), HOP):
            given, made = padded[start : start + HOP], out[start : start + HOP]
            self.library.ul_unas_float_process(
                self._state.ctypes.data, given.ctypes.data, made.ctypes.data
            )
        return out[HOP : HOP + len(samples)]


@torch.no_grad()
def offline(checkpoint: Checkpoint, samples: np.ndarray) -> np.ndarray:
    """What the network itself makes of a whole signal [n].

    Spectra come from a double: rounding of a float's would be seen in the logarithm of weak bins.
    """
    signal = checkpoint.signal
    exact = analyse(torch.from_numpy(samples).double()[None], signal)
    spectra = torch.view_as_real(exact).float()
    enhanced = checkpoint.model(spectra.transpose(1, 2)).transpose(1, 2).contiguous()
    return synthesize(torch.view_as_complex(enhanced), len(samples), signal)[0].numpy()


@pytest.mark.parametrize("name", ["upstream", "shaken"])
def test_it_equals_the_network(name, noisy, request):
    checkpoint = request.getfixturevalue(name)
    signal = np.concatenate(noisy)

    enhanced = InC(checkpoint).enhance(signal)

    np.testing.assert_allclose(enhanced, offline(checkpoint, signal), rtol=0, atol=1e-5)


def test_a_reset_forgets_everything(upstream, noisy):
    engine = InC(upstream)
    first = engine.enhance(noisy[0])

    engine.reset()

    np.testing.assert_array_equal(engine.enhance(noisy[0]), first)


@pytest.mark.parametrize("silence", [0.0, 1e-30], ids=["zeros", "next to nothing"])
def test_silence_stays_silent(upstream, silence):
    enhanced = InC(upstream).enhance(np.full(40 * HOP, silence, np.float32))

    assert np.abs(enhanced).max() <= 2 * silence


def test_the_core_has_the_frame_that_every_checkpoint_has(shaken):
    for name, text in core_sources(float_engine(shaken, RECIPES["float"])).items():
        assert (SOURCES / name).read_text() == text, "run make default-model"


def test_a_float_file_runs_in_c(upstream, noisy, tmp_path):
    path = tmp_path / "ul_unas.tflite"
    quant.quantize(upstream, precision="float").save(path)
    in_tflite, in_c = Enhancer(path), Enhancer(path, engine="c")

    for hop in np.concatenate(noisy)[: 40 * HOP].reshape(-1, HOP):
        np.testing.assert_allclose(in_c.process(hop), in_tflite.process(hop), rtol=0, atol=1e-5)
    assert load_from_core(path).manifest.architecture == "ul_unas"


@pytest.mark.slow
def test_it_equals_the_network_over_ten_minutes(upstream, audio):
    files: list[Path] = sorted((audio / "eval_public" / "noisy").iterdir())
    recordings = [soundfile.read(file, dtype="float32")[0] for file in files]
    signal = np.resize(np.concatenate(recordings), 600 * 16000).astype(np.float32)

    enhanced = InC(upstream).enhance(signal)

    np.testing.assert_allclose(enhanced, offline(upstream, signal), rtol=0, atol=1e-4)
