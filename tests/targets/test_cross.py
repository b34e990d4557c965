"""C compiled for boards: the core gives the NumPy model's bits on emulated ones."""

import math
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import edge_se.core
from edge_se.core import LIBRARY, Level, build
from edge_se.engines.compiled_path import CompiledPath
from edge_se.engines.fixed_path import FixedPath
from edge_se.fixed import LOGARITHM_BITS
from edge_se.manifest import TensorSpec
from targets import cross
from targets.boards import load_platforms
from targets.cross import _compiled_core, _fingerprint, core_libraries
from targets.emulation.system import find_emulator
from targets.release import build_wheels
from tests.helpers.fixed_signals import (
    BINS,
    GAINS,
    HOP,
    LOGARITHMIC,
    LOGARITHMS,
    SIGNAL,
    manifest,
)

# Statically linked, so that it runs under an emulator without a system.
STATIC = {"aarch64": ("aarch64-linux-musl", ()), "armv7l": ("arm-linux-musleabihf", ("cortex_a9",))}
NO_LIBRARY = SimpleNamespace(edge_se_fixed_analyse=None, edge_se_fixed_synthesise=None)


def hops(count: int) -> np.ndarray:
    """Noise of all levels, int16 [count, 256], with full scale and an impulse among it."""
    random = np.random.default_rng(0)
    samples = random.integers(-32768, 32768, (count, HOP)) >> random.integers(0, 17, (count, 1))
    samples[3], samples[5] = -32768, -32768 * (np.arange(HOP) == 17)
    return samples.astype(np.int16)


def guest(folder: Path, machine: str, source: str = "core_guest.c") -> list[str]:
    """Command that runs a program of this folder on an emulated machine."""
    target, cpu = STATIC[machine]
    binary = folder / machine
    subprocess.run(
        [
            *(sys.executable, "-m", "ziglang", "cc", "-target", target, "-static"),
            *(f"-mcpu={name}" for name in cpu),
            *(flag for flag in build.FLAGS if flag not in ("-shared", "-fPIC")),
            *("-I", Path(edge_se.core.__file__).parent, Path(__file__).with_name(source)),
            *("-o", binary),
        ],
        check=True,
    )
    return [*find_emulator(machine), str(binary)]


@pytest.mark.slow
@pytest.mark.parametrize("platform", load_platforms().values(), ids=lambda p: p.key)
def test_the_core_compiles_to_the_same_bytes_every_time(platform, tmp_path, monkeypatch):
    first = core_libraries(platform)
    _compiled_core.cache_clear()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    assert core_libraries(platform) == first
    assert len(list((tmp_path / "edge-se" / "cores").glob(f"{platform.key}-*"))) == 1


def test_another_core_has_another_place_in_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cross, "CORE", tmp_path)
    compiler = (sys.executable,)
    prints = [_fingerprint(compiler), _fingerprint((sys.executable, "-O"))]
    (tmp_path / "engine").mkdir()
    for text in ("int x;", "int y;"):
        (tmp_path / "engine" / "float.h").write_text(text)
        prints.append(_fingerprint(compiler))

    assert len(set(prints)) == 4
    assert _fingerprint(compiler) == prints[-1]


@pytest.mark.slow
@pytest.mark.parametrize("machine", STATIC)
@pytest.mark.parametrize(
    ("dtype", "level", "kind"),
    [("int8", None, "complex"), ("int16", -28.0, "complex"), ("int8", -25.0, "real")],
)
def test_bits_on_an_emulated_board_equal_those_of_the_numpy_model(
    tool, tmp_path, machine, dtype, level, kind
):
    for name in ("apt-get", "dpkg-deb"):
        tool(name)
    narrow = dtype == "int8"
    features = TensorSpec(0, (3, BINS), dtype, 0.05 if narrow else 0.01, -3 if narrow else 0)
    mask = TensorSpec(1, (2, BINS), dtype, 0.011 if narrow else 2.0**-13, 5 if narrow else 0)
    signal = SIGNAL
    if kind == "real":
        signal, features, mask = LOGARITHMIC, LOGARITHMS, GAINS
    described = manifest(features, mask, level, "follow", signal)
    arrays = [np.zeros(spec.shape, dtype) for spec in (features, mask)]
    model = FixedPath(described, *arrays)
    told = CompiledPath(NO_LIBRARY, described, *arrays)
    numbers = [getattr(told._context, name) for name in edge_se.core._NUMBERS]
    front_end = told._level or Level()
    tables = ("sines", "window", "synthesis", "logarithms", "twiddles")
    none = np.zeros(2**LOGARITHM_BITS + 1, np.int32)
    sent = [
        np.array([len(numbers), arrays[0].size, *numbers]),
        np.array([told._level is not None, *np.frombuffer(bytes(front_end), np.int32)]),
        *(told._arrays.get(name, none) for name in tables),
    ]
    message = b"".join(table.astype(np.int32).tobytes() for table in sent)
    random, expected = np.random.default_rng(1), b""
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    for frame in hops(60):
        arrays[1][...] = random.integers(low, high + 1, arrays[1].shape)
        message += frame.tobytes() + arrays[1].tobytes()
        output = np.empty(HOP, np.int16)
        model.analyse(frame)
        model.synthesise(output)
        expected += arrays[0].tobytes() + output.tobytes()

    found = subprocess.run(guest(tmp_path, machine), input=message, capture_output=True, check=True)

    np.testing.assert_array_equal(
        np.frombuffer(found.stdout, np.int8), np.frombuffer(expected, np.int8)
    )


@pytest.mark.slow
def test_magnitudes_on_an_emulated_board_are_exact(tool, tmp_path):
    for name in ("apt-get", "dpkg-deb"):
        tool(name)
    random = np.random.default_rng(2)
    parts = random.integers(-(2**30), 2**30, (20000, 2, 4)) >> random.integers(0, 31, (20000, 1, 4))
    parts[:3, 0] = [0, 1, 2, 3], [2**30, 2**30 - 1, -(2**30), 1 - 2**30], [2**k for k in range(4)]
    parts[:8000:2, 1] = 0  # squares, whose roots have no fraction
    parts[1:8000:2] = parts[1:8000:2, :1] // 5 * [[3], [4]]

    found = subprocess.run(
        guest(tmp_path, "aarch64", "magnitude_guest.c"),
        input=parts.astype(np.int32).tobytes(),
        capture_output=True,
        check=True,
    )

    expected = [math.isqrt(int(x)) for x in (parts**2).sum(axis=1).ravel()]
    np.testing.assert_array_equal(np.frombuffer(found.stdout, np.int32), expected)


@pytest.mark.slow
def test_there_is_a_wheel_for_each_platform_and_one_for_all_others(tmp_path):
    build_wheels(tmp_path)

    tags = {path.name.split("-", 2)[2] for path in tmp_path.iterdir()}
    compiled = {f"py3-none-{platform.compiled_tag}.whl" for platform in load_platforms().values()}
    assert tags == compiled | {"py3-none-any.whl"}
    for path in tmp_path.iterdir():
        with zipfile.ZipFile(path) as wheel:
            assert (f"edge_se/core/{LIBRARY}" in wheel.namelist()) != path.name.endswith("-any.whl")
