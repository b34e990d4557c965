"""The compiled core: the same bits as NumPy's, and an installation without it."""

import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_se import Enhancer, core
from edge_se.core.build import FOLDER, BuildError, compile_core, compile_library, find_compiler
from edge_se.engines.compiled_front_end import CompiledFrontEnd
from edge_se.engines.compiled_path import CompiledPath
from edge_se.engines.compiled_stft import CompiledStft
from edge_se.engines.fixed_path import FixedPath
from edge_se.engines.samples import CompiledSamples, IntegerSamples
from edge_se.level import FloatFrontEnd
from edge_se.manifest import TensorSpec
from edge_se.stft import Stft
from edge_se.strength import FULL, Strength
from tests.helpers.fixed_signals import (
    BAND_FEATURES,
    BANDS,
    BINS,
    FEATURES,
    GAINS,
    HOP,
    LOGARITHMIC,
    LOGARITHMS,
    MASK,
    SIGNAL,
    buffers,
    manifest,
    passing_mask,
)

REPOSITORY = Path(__file__).resolve().parents[2]
INT16_FEATURES = TensorSpec(0, (3, BINS), "int16", 300 / 32768, 0)
INT16_MASK = TensorSpec(1, (2, BINS), "int16", 2.0**-13, 0)
FINE_LOGARITHMS = TensorSpec(0, (1, BINS), "int16", 12 / 32768, 0)
FINE_GAINS = TensorSpec(1, (1, BINS), "int16", 2.0**-15, 0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A folder with the library, without the generated engines, which take long to compile."""
    try:
        compiler = find_compiler()
    except BuildError as error:
        pytest.skip(str(error))
    path = tmp_path_factory.mktemp("core")
    own = sorted(FOLDER.glob("*.c"))
    compile_library(path / core.LIBRARY, own, compiler, ["-I", str(FOLDER)])
    return path


@pytest.fixture
def from_folder(monkeypatch):
    """Have a folder stand for the one that the package looks for its library in."""

    def use(path: Path) -> None:
        monkeypatch.setattr(core, "__file__", str(path / "__init__.py"))
        core.load_core.cache_clear()

    yield use
    monkeypatch.undo()
    core.load_core.cache_clear()


@pytest.fixture
def library(folder, from_folder):
    from_folder(folder)
    return core.load_core()


def hops(seed: int, count: int) -> np.ndarray:
    """Noise whose level jumps, with silence, full scale and impulses among it."""
    random = np.random.default_rng(seed)
    bits = random.integers(0, 17, count)
    samples = random.integers(-32768, 32768, (count, HOP)) >> bits[:, None]
    samples[random.integers(0, count)] = random.choice([-32768, 32767], HOP)
    samples[random.integers(0, count)] = -32768 * (np.arange(HOP) == 17)
    return samples.astype(np.int16)


@pytest.mark.parametrize(
    ("features", "mask", "bands"),
    [
        (FEATURES, MASK, None),
        (INT16_FEATURES, INT16_MASK, None),
        (BAND_FEATURES, MASK, BANDS),
        (LOGARITHMS, GAINS, None),
        (FINE_LOGARITHMS, FINE_GAINS, None),
    ],
    ids=["int8", "int16", "bands", "logarithms", "int16 logarithms"],
)
@pytest.mark.parametrize(
    ("lookahead", "level", "strength"),
    [
        (0, None, FULL),
        (2, None, FULL),
        (0, -28.0, FULL),
        (0, (-28.0, "follow"), FULL),
        (0, None, Strength(12.0)),
        (2, None, Strength(3.0, 0.3)),
        (0, None, Strength(mix=1.0)),
    ],
)
def test_bits_equal_those_of_the_numpy_model(
    library, features, mask, bands, lookahead, level, strength
):
    target, front_end = level if isinstance(level, tuple) else (level, "attenuate")
    described = manifest(
        *(features, mask, target, front_end),
        signal=SIGNAL if mask.shape[0] == 2 else LOGARITHMIC,
        lookahead_frames=lookahead,
        bands=bands,
    )
    low, high = np.iinfo(mask.dtype).min, np.iinfo(mask.dtype).max

    @settings(max_examples=25, deadline=None)
    @given(st.integers(0, 2**32 - 1))
    def check(seed: int) -> None:
        ours, theirs = buffers(described), buffers(described)
        paths = FixedPath(described, *ours), CompiledPath(library, described, *theirs)
        for path in paths:
            path.set_strength(strength)
        random = np.random.default_rng(seed)
        outputs = np.empty((2, HOP), np.int16)
        for frame in hops(seed, 8):
            # Small ones among them, and zeros.
            values = random.integers(low, high + 1, mask.shape) >> random.integers(0, 9, BINS)
            ours[1][...] = theirs[1][...] = values
            for path, output in zip(paths, outputs, strict=True):
                path.analyse(frame)
                path.synthesise(output)
            np.testing.assert_array_equal(ours[0], theirs[0])
            np.testing.assert_array_equal(paths[0]._spectra, paths[1]._spectra)
            np.testing.assert_array_equal(outputs[0], outputs[1])
            assert paths[0].speech_probability() == paths[1].speech_probability()

    check()


def speech_like(seed: int, count: int) -> np.ndarray:
    """Noise whose level drifts by 60 dB, with pauses."""
    random = np.random.default_rng(seed)
    level = 10 ** (np.cumsum(random.normal(0, 2, count)).clip(-30, 30) / 20 - 1.5)
    level[random.random(count) < 0.2] = 0
    samples = random.standard_normal((count, HOP)) * level[:, None] * 32768
    return samples.clip(-32768, 32767).astype(np.int16)


@pytest.mark.parametrize(
    ("front_end", "target", "least", "most"),
    [("attenuate", -50.0, -4, 0), ("follow", -50.0, -4, 0), ("follow", -15.0, 0, 7)],
)
def test_the_level_s_bits_equal_those_of_the_numpy_model(library, front_end, target, least, most):
    described = manifest(level_dbfs=target, front_end=front_end)
    ours, theirs = buffers(described), buffers(described)
    model, path = FixedPath(described, *ours), CompiledPath(library, described, *theirs)
    gains, events = set(), set()
    for frame in speech_like(0, 3000):
        model.analyse(frame)
        path.analyse(frame)
        level, expected = path._level, model._normalize
        assert level is not None and expected is not None
        gains.add(level.exponent)
        for name in ("estimate", "floor", "hops", "exponent", "previous", "loud"):
            assert getattr(level, name) == getattr(
                expected, name if name == "exponent" else f"_{name}"
            )
        assert level.event == expected.event
        events.add(level.event)
        assert level.dc == model._dc._mean
        np.testing.assert_array_equal(ours[0], theirs[0])

    assert (min(gains), max(gains)) == (least, most)
    assert events == ({0, 1, 2} if (front_end, target) == ("follow", -50.0) else {0})


@pytest.mark.parametrize(
    ("level", "front_end"), [(None, "attenuate"), (-28.0, "attenuate"), (-28.0, "follow")]
)
def test_reset_forgets_everything(library, level, front_end):
    described = manifest(level_dbfs=level, front_end=front_end)
    features, mask = buffers(described)
    mask[...] = passing_mask()
    path = CompiledPath(library, described, features, mask)

    def run() -> tuple[np.ndarray, np.ndarray]:
        outputs = np.empty((8, HOP), np.int16)
        for frame, output in zip(hops(0, 8), outputs, strict=True):
            path.analyse(frame)
            path.synthesise(output)
        return outputs, features.copy()

    first = run()
    path.reset()

    for before, after in zip(first, run(), strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.filterwarnings("ignore:the fixed-point STFT runs in NumPy")
@pytest.mark.parametrize(("stft", "tolerance"), [("fixed", 0), ("float", 1e-6)])
def test_models_run_alike_with_and_without_it(
    folder, from_folder, tiny_float, tiny_int8, noise, tmp_path, stft, tolerance
):
    model = tiny_int8 if stft == "fixed" else tiny_float
    outputs, words = [], []
    for place in (folder, tmp_path):
        from_folder(place)
        enhancer = Enhancer(model, stft=stft)
        outputs.append(enhancer.enhance(noise))
        words.append(enhancer.describe()["stft"])

    assert words == [f"{stft} (compiled)", f"{stft} (numpy)"]
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=0, atol=tolerance)


def check_the_float_stft(library, seed, level):
    stft, model = CompiledStft(library, SIGNAL), Stft(SIGNAL)
    random = np.random.default_rng(seed)
    outputs = np.empty((2, HOP), np.float32)
    for _ in range(6):
        frame = (level * random.uniform(-1, 1, HOP)).astype(np.float32)
        mask = random.standard_normal(BINS) + 1j * random.standard_normal(BINS)
        spectra = [part.analyse(frame).copy() for part in (stft, model)]
        np.testing.assert_allclose(spectra[0], spectra[1], rtol=0, atol=1e-5 * level)
        stft.synthesise((spectra[1] * mask).astype(np.complex64), outputs[0])
        model.synthesise((spectra[1] * mask).astype(np.complex64), outputs[1])
        np.testing.assert_allclose(outputs[0], outputs[1], rtol=0, atol=1e-5 * level)


@pytest.mark.parametrize("level", [1e-6, 1.0, 1e6])
def test_the_float_stft_equals_numpy_s_up_to_rounding(library, level):
    settings(max_examples=10, deadline=None)(
        given(st.integers(0, 2**32 - 1))(lambda seed: check_the_float_stft(library, seed, level))
    )()


def test_the_float_stft_forgets_everything_at_reset(library):
    stft, frames = CompiledStft(library, SIGNAL), np.eye(3, HOP, dtype=np.float32)

    def run() -> np.ndarray:
        outputs = np.empty_like(frames)
        for frame, output in zip(frames, outputs, strict=True):
            stft.synthesise(stft.analyse(frame), output)
        return outputs

    first = run()
    stft.reset()

    np.testing.assert_array_equal(run(), first)


FOLLOWING = replace(SIGNAL, level_dbfs=-25.0, front_end="follow")


def difficult_hops(seed: int, count: int) -> np.ndarray:
    """Noise of all levels, each for a while, with DC, clicks, knocks and silence in it."""
    random = np.random.default_rng(seed)
    levels = np.repeat(10 ** random.uniform(-4.5, 0, count // 40), 40)
    hops = 0.3 * levels[:, None] * random.standard_normal((len(levels), HOP))
    hops += np.repeat(random.choice([0, 0, 0.003, 0.05, 0.3], len(levels) // 40), 40)[:, None]
    hops[random.integers(len(hops), size=8), random.integers(HOP, size=8)] = 1
    hops[100:110], hops[200:230], hops[300:302] = np.sign(hops[100:110]), 0, 1e6
    return hops.astype(np.float32)


@pytest.mark.parametrize("front_end", ["follow", "attenuate"])
@pytest.mark.parametrize("seed", range(3))
def test_the_float_front_end_equals_numpy_s_up_to_rounding(library, front_end, seed):
    signal = replace(FOLLOWING, front_end=front_end)
    compiled, model = CompiledFrontEnd(library, signal), FloatFrontEnd(signal)
    exponents, events = set(), set()

    for hop in difficult_hops(seed, 800):
        (samples, exponent), (expected, told) = compiled(hop), model(hop)
        largest = max(np.abs(hop).max(), np.abs(hop - expected).max())
        np.testing.assert_allclose(samples, expected, rtol=0, atol=1e-6 * largest)
        assert (exponent, compiled.event) == (told, model.event)
        exponents.add(exponent)
        events.add(compiled.event)

    assert len(exponents) >= (9 if front_end == "follow" else 3)
    assert events == ({0, 1, 2} if front_end == "follow" else {0})


def test_the_float_front_end_forgets_everything_at_reset(library):
    front_end, hops = CompiledFrontEnd(library, FOLLOWING), difficult_hops(0, 400)

    def run() -> list[tuple[bytes, int, int]]:
        return [
            (samples.tobytes(), exponent, front_end.event)
            for samples, exponent in map(front_end, hops)
        ]

    first = run()
    front_end.reset()

    assert run() == first


def check_samples(library, seed, level):
    frame = (level * np.random.default_rng(seed).uniform(-1, 1, HOP)).astype(np.float32)
    frame[:4] = (np.arange(4) + 0.5) / 32768  # halves
    outputs, integers = np.empty((2, HOP), np.float32), []

    def keep(frame: np.ndarray, out: np.ndarray) -> None:
        integers.append(frame.copy())

    CompiledSamples(library, keep).process(frame, outputs[0])
    IntegerSamples(keep, HOP).process(frame, outputs[1])
    np.testing.assert_array_equal(*integers)
    np.testing.assert_array_equal(*outputs)


@pytest.mark.parametrize("level", [1e-9, 1e-4, 0.3, 1.0, 1.5, 1e30])
def test_float_samples_become_the_same_int16(library, level):
    for seed in range(20):
        check_samples(library, seed, level)


def test_a_library_of_another_version_is_left_alone(folder, from_folder, monkeypatch):
    from_folder(folder)
    monkeypatch.setattr(core, "VERSION", core.VERSION + 1)

    with pytest.warns(UserWarning, match="of another version"):
        assert core.load_core() is None


def test_without_the_core_a_warning_says_what_the_fixed_stft_costs(
    from_folder, tiny_int8, tmp_path
):
    from_folder(tmp_path)

    with pytest.warns(RuntimeWarning, match="in NumPy, several times slower than the model"):
        Enhancer(tiny_int8, stft="fixed")


def test_a_damaged_library_is_left_alone(from_folder, tmp_path):
    (tmp_path / core.LIBRARY).write_bytes(b"no library")
    from_folder(tmp_path)

    with pytest.warns(UserWarning, match="NumPy runs instead"):
        assert core.load_core() is None


def test_a_compiler_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(BuildError, match="false failed"):
        compile_core(tmp_path, ["false"])

    assert not list(tmp_path.iterdir())


def test_a_machine_without_a_compiler_is_told_apart(tmp_path, monkeypatch):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(BuildError, match="no C compiler"):
        find_compiler()


def build_wheel(folder: Path, **environment: str) -> zipfile.ZipFile:
    """A wheel of edge_se alone, built from a copy of the sources."""
    source = folder / "source"
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(REPOSITORY / "edge_se", source / "edge_se", ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    options = ["--no-build-isolation", "--no-deps", "--quiet", "--wheel-dir", str(folder)]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", *options, str(source)],
        check=True,
        env=os.environ | environment,
    )
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


@pytest.mark.slow
def test_with_a_compiler_the_wheel_is_one_for_the_platform_and_any_python(folder, tmp_path):
    wheel = build_wheel(tmp_path)

    assert wheel.filename is not None
    assert Path(wheel.filename).name.split("-")[2:4] == ["py3", "none"]
    assert not wheel.filename.endswith("-any.whl")
    assert f"edge_se/core/{core.LIBRARY}" in wheel.namelist()


@pytest.mark.slow
@pytest.mark.parametrize("environment", [{"CC": "false"}, {"EDGE_SE_PURE": "1"}])
def test_without_a_compiler_the_wheel_is_one_for_all(tmp_path, environment):
    wheel = build_wheel(tmp_path, **environment)

    assert wheel.filename is not None
    assert wheel.filename.endswith("-py3-none-any.whl")
    assert f"edge_se/core/{core.LIBRARY}" not in wheel.namelist()
    sources = [*(REPOSITORY / "edge_se/core").glob("*.[ch]")]
    assert {f"edge_se/core/{path.name}" for path in sources} <= set(wheel.namelist())
