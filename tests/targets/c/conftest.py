"""Fixtures of the generated engines' tests: engines of the embedded network, compiled once."""

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from calib_data import clips_folder
from edge_se.core.build import BuildError, find_compiler
from quant.audio.mixing import calibration_mixtures
from quant.c.engines import fixed_layers, int8_engine
from quant.checkpoints import default_checkpoint_path
from quant.graph.recipes import find_recipe
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.networks.registry import find_network
from quant.ptq.pipeline import build_quantized, calibrate_checkpoint, find_ranges
from targets.c.generate import FLAGS, frame_sources, generate, weights_sources
from tests.helpers.clips import samples_of
from tests.helpers.running import at_every_level

torch.set_num_threads(1)

HOP = 256
Layers = tuple[list[Any], Any]


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """The embedded network."""
    return load_checkpoint(default_checkpoint_path())


@pytest.fixture(scope="session")
def noisy() -> list[np.ndarray]:
    """Two mixtures of 1.5 s, float32 at 16 kHz."""
    clean, noise = (sorted((clips_folder() / name).iterdir()) for name in ("clean", "noise"))
    speech = [samples_of(path)[8000:32000] for path in clean[:8:4]]
    mixtures = calibration_mixtures(speech, [samples_of(path) for path in noise[:2]], 0)
    return [mixture.noisy for mixture in mixtures]


@pytest.fixture(scope="session")
def layers(checkpoint, noisy) -> Layers:
    """The network's layers and the encodings of their values, calibrated with the mixtures."""
    recipe = at_every_level(find_recipe("int16x8"))
    calibrated = calibrate_checkpoint(checkpoint, noisy, recipe, lambda stage, done, total: None)
    return fixed_layers(calibrated, recipe, find_ranges(calibrated, recipe))


@pytest.fixture(scope="session")
def int8_file(checkpoint, noisy) -> Callable[[str], bytes]:
    """Model file in 8 bits by what it is of.

    The "embedded" GTCRN, the same with "plain_hann" windows, a "random" one, a random "ul_unas".
    """
    made: dict[str, bytes] = {}

    def make(which: str) -> bytes:
        if which not in made:
            chosen = checkpoint
            if which == "plain_hann":
                chosen = load_checkpoint(default_checkpoint_path(), window_function="hann")
            elif which != "embedded":
                network = find_network("gtcrn" if which == "random" else which)
                torch.manual_seed(0)
                chosen = Checkpoint(network.build().eval(), network, which, "0" * 64)
            recipe = find_recipe("int8")
            calibrated = calibrate_checkpoint(
                chosen, noisy, recipe, lambda stage, done, total: None
            )
            ranges = find_ranges(calibrated, recipe)
            made[which] = build_quantized(calibrated, recipe, ranges, {})
        return made[which]

    return make


@pytest.fixture(scope="session")
def sources(checkpoint, noisy, int8_file, tmp_path_factory) -> Callable[[str], Path]:
    """Folder with the sources of an engine of some arithmetic."""
    made: dict[str, Path] = {}

    def write(arithmetic: str) -> Path:
        if arithmetic not in made:
            folder = tmp_path_factory.mktemp(arithmetic)
            if arithmetic == "int8":
                engine = int8_engine(int8_file("embedded"))
                files = frame_sources(engine, "gtcrn")
                files |= weights_sources(engine, checkpoint.name, "gtcrn")
            else:
                files = generate(checkpoint, arithmetic, noisy=noisy, keep_level=True)
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")
            made[arithmetic] = folder
        return made[arithmetic]

    return write


class CompiledEngine:
    """An engine called through ctypes."""

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        library.gtcrn_state_size.restype = ctypes.c_size_t
        library.gtcrn_arithmetic.restype = ctypes.c_char_p
        library.gtcrn_load.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        library.gtcrn_load.restype = ctypes.c_char_p
        library.gtcrn_reset.argtypes = [ctypes.c_void_p]
        library.gtcrn_process.argtypes = [ctypes.c_void_p] * 3
        self.library, self.size = library, path.stat().st_size
        self.dtype = np.float32 if library.gtcrn_arithmetic() == b"float" else np.int16
        self.state = np.zeros(library.gtcrn_state_size(), np.uint8)
        self.weights = ctypes.addressof(ctypes.c_char.in_dll(library, "gtcrn_weights"))
        # The size that a header states.
        self.weights_size = int.from_bytes(ctypes.string_at(self.weights + 16, 4), "little")
        self.reset()

    def reset(self) -> None:
        """Start anew."""
        fault = self.library.gtcrn_load(self.state.ctypes.data, self.weights, self.weights_size)
        assert fault is None

    def process(self, samples: np.ndarray) -> np.ndarray:
        """Enhance some hops: [n] to [n]."""
        hops = np.ascontiguousarray(samples, self.dtype).reshape(-1, HOP)
        out = np.empty_like(hops)
        for hop, enhanced in zip(hops, out, strict=True):
            self.library.gtcrn_process(
                self.state.ctypes.data, hop.ctypes.data, enhanced.ctypes.data
            )
        return out.reshape(-1)


def compile_shared(folder: Path, compiler: list[str], *options: str) -> Path:
    """The engine in a folder as a shared library."""
    library = folder / f"{Path(compiler[0]).name}.so"
    command = [*compiler, *FLAGS, *options, "-shared", "-fPIC", "-s"]
    files = [str(folder / name) for name in ("gtcrn.c", "gtcrn_weights.c")]
    subprocess.run([*command, *files, "-o", str(library), "-lm"], check=True)
    return library


@pytest.fixture(scope="session")
def engine(sources) -> Callable[[str], CompiledEngine]:
    """A compiled engine of some arithmetic, as after a reset."""
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    made: dict[str, CompiledEngine] = {}

    def load(arithmetic: str) -> CompiledEngine:
        if arithmetic not in made:
            made[arithmetic] = CompiledEngine(compile_shared(sources(arithmetic), compiler))
        made[arithmetic].reset()
        return made[arithmetic]

    return load


@pytest.fixture
def compilers() -> list[str]:
    """Which of gcc and clang are here; skips where neither is."""
    found = [name for name in ("gcc", "clang") if shutil.which(name)]
    if not found:
        pytest.skip("neither gcc nor clang is installed")
    return found
