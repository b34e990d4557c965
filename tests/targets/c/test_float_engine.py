"""The float engine: equal to the network, harmless input or not."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from edge_se.engines.generated import ARITHMETICS
from quant.audio.frames import analyse, synthesize
from quant.networks.checkpoint import load_checkpoint
from quant.networks.gtcrn.model import SIGNAL
from targets.c.generate import generate
from tests.targets.c.conftest import CompiledEngine, compile_shared

HOP = 256


def offline(model: torch.nn.Module, samples: np.ndarray) -> np.ndarray:
    """What the network itself makes of a whole signal [n]."""
    with torch.no_grad():
        spectra = torch.view_as_real(analyse(torch.from_numpy(samples)[None], SIGNAL))
        enhanced = model(spectra.transpose(1, 2)).transpose(1, 2).contiguous()
        return synthesize(torch.view_as_complex(enhanced), len(samples), SIGNAL)[0].numpy()


def enhance(engine, samples: np.ndarray) -> np.ndarray:
    """Enhanced samples aligned with the input's."""
    padded = np.concatenate([samples, np.zeros(-len(samples) % HOP + HOP, np.float32)])
    return engine.process(padded)[HOP : HOP + len(samples)]


def test_it_equals_the_network(engine, checkpoint, noisy):
    signal = np.concatenate(noisy)

    enhanced = enhance(engine("float"), signal)

    np.testing.assert_allclose(enhanced, offline(checkpoint.model, signal), atol=1e-5)


def assert_it_equals_over_ten_minutes(path: Path, once: np.ndarray, folder: Path) -> None:
    """Compile the engine of a checkpoint, and repeat a signal with states carried on."""
    checkpoint = load_checkpoint(path)
    for file, text in generate(checkpoint).items():
        (folder / file).write_text(text)
    engine = CompiledEngine(compile_shared(folder, ["cc"]))
    signal = np.resize(once, 600 * 16000).astype(np.float32)

    enhanced = enhance(engine, signal)

    np.testing.assert_allclose(enhanced, offline(checkpoint.model, signal), rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dns3", "vctk"])
def test_it_equals_the_authors_network_over_ten_minutes(name, assets, noisy, tmp_path):
    path = assets / "gtcrn" / f"model_trained_on_{name}.tar"

    assert_it_equals_over_ten_minutes(path, np.concatenate(noisy), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dns3", "vctk"])
def test_it_equals_the_authors_network_on_loud_recordings(name, assets, audio, tmp_path):
    path = assets / "gtcrn" / f"model_trained_on_{name}.tar"
    files = sorted((audio / "eval_public" / "noisy").iterdir())
    recordings = [soundfile.read(file, dtype="float32")[0] for file in files]

    assert_it_equals_over_ten_minutes(path, np.concatenate(recordings), tmp_path)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers_count_as_silence(engine, noisy, value):
    clean = noisy[0][: 20 * HOP].copy()
    clean[3 * HOP + 7 : 4 * HOP] = 0
    broken = clean.copy()
    broken[3 * HOP + 7 : 4 * HOP] = value
    wanted = engine("float").process(clean)

    enhanced = engine("float").process(broken)

    np.testing.assert_array_equal(enhanced, wanted)


def test_the_largest_samples_leave_no_trace_that_is_no_number(engine, noisy):
    loud = np.full(10 * HOP, np.finfo(np.float32).max, np.float32)

    enhanced = engine("float").process(np.concatenate([loud, noisy[0][: 20 * HOP]]))

    assert np.isfinite(enhanced).all()


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_reset_forgets_everything(engine, noisy, arithmetic):
    compiled = engine(arithmetic)
    signal = noisy[0][: 30 * HOP]
    signal = signal if arithmetic == "float" else (signal * 32767).astype(np.int16)
    first = compiled.process(signal)

    compiled.library.gtcrn_reset(compiled.state.ctypes.data)

    np.testing.assert_array_equal(compiled.process(signal), first)


@pytest.mark.parametrize(
    ("arithmetic", "most"), [("float", 80_000), ("fixed", 40_000), ("int8", 26_000)]
)
def test_the_state_is_small(engine, arithmetic, most):
    assert engine(arithmetic).state.size <= most


def test_no_denormal_numbers_arise_of_faint_samples(engine):
    """Sounds of every size from speech down to the least number, and what they leave behind."""
    random = np.random.default_rng(0)
    tiny = np.finfo(np.float32).tiny
    for exponent in (-3, -20, -29, -31, -45, -60, -100, -126, -149):
        made = engine("float")
        frames = np.ldexp(random.uniform(-1, 1, 8 * HOP), exponent).astype(np.float32)

        enhanced = made.process(frames)

        # The state begins with an address, and has counters among its numbers.
        words = np.concatenate([made.state.view(np.float32)[2:], enhanced])
        counters = words.view(np.uint32) < 2**16
        sizes = np.abs(words[~counters])
        assert len(sizes) > 2000 and sizes.min() >= tiny, exponent


def test_faint_samples_count_as_silence(engine):
    faint = np.full(4 * HOP, 0.99 * 2.0**-30, np.float32)

    np.testing.assert_array_equal(
        engine("float").process(faint), engine("float").process(np.zeros(4 * HOP, np.float32))
    )
    assert not np.array_equal(engine("float").process(2 * faint), engine("float").process(faint))
