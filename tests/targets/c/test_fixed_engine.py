"""The fixed engine: the same bits as its NumPy model, on every processor."""

import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from quant.c.engines import make_engine
from quant.c.fixed_engine import FixedEngine
from quant.c.fixed_layers import quantize_layers
from quant.c.fixed_point import (
    SUM_STEP,
    TANH_REACH,
    energy_step,
    quantize_affine,
    quantize_cell,
)
from quant.c.layers import Cell
from quant.networks.checkpoint import load_checkpoint
from quant.networks.gtcrn.model import SIGNAL
from targets.c.generate import FLAGS
from targets.c.microcontroller import find_core
from targets.c.microcontroller.emulation import emulate
from targets.c.microcontroller.package import write_package
from tests.helpers.fixed_model import FixedModel, tanh
from tests.helpers.tools import unless_missing

HOP = 256
# Bytes of a package, and of the stack that the program takes which calls it.
FLASH_LIMIT, RAM_LIMIT, MAIN_STACK = 80 * 1024, 64 * 1024, 512


def difficult(noisy: list[np.ndarray]) -> np.ndarray:
    """Speech, full-scale noise, silence, full scale, whispers: int16 [50 hops]."""
    random = np.random.default_rng(0)
    speech = np.rint(noisy[0][2000:][: 25 * HOP] * 32767).astype(np.int16)
    parts = [
        speech,
        random.integers(-32768, 32768, 8 * HOP).astype(np.int16),
        np.zeros(4 * HOP, np.int16),
        np.full(4 * HOP, -32768, np.int16),
        random.integers(-3, 4, 4 * HOP).astype(np.int16),
        speech[: 5 * HOP],
    ]
    return np.concatenate(parts)


def test_it_gives_the_bits_of_the_model(engine, layers, noisy):
    model = FixedModel(layers[0], quantize_layers(layers[0], layers[1], SIGNAL), SIGNAL)
    signal = difficult(noisy)
    wanted = np.concatenate([model.process(hop) for hop in signal.reshape(-1, HOP)])

    enhanced = engine("fixed").process(signal)

    np.testing.assert_array_equal(enhanced, wanted)


def test_it_is_near_the_float_engine(engine, noisy):
    signal = noisy[0][: len(noisy[0]) // HOP * HOP]
    wanted = engine("float").process(signal)

    enhanced = engine("fixed").process(np.rint(signal * 32768)) / 32768

    error = enhanced - wanted
    assert 10 * np.log10((wanted**2).sum() / (error**2).sum()) > 30


def test_the_tables_tanh_is_near_tanh():
    x = np.arange(-40000, 40000)

    error = tanh(x) / 2**15 - np.tanh(x * SUM_STEP)

    assert np.abs(error).max() < 2**-13.9


def test_sums_that_could_leave_32_bits_are_refused():
    with pytest.raises(ValueError, match="32 bits"):
        quantize_affine(np.ones((1, 600)), np.zeros(1), 1.0, 1.0)


@pytest.mark.parametrize("loudest", [0.001, 500, 7000, 1e6])
def test_energies_are_heard_in_steps_that_sums_of_gates_need_not_be_shifted_for(loudest):
    random = np.random.default_rng(0)
    weight = random.normal(size=(1, 3, 4, 8)).astype(np.float32)
    bias = np.zeros((1, 3, 4), np.float32)
    cell = Cell((0,), (False,), weight, bias, weight[..., :4], bias[:, 2])

    step = energy_step(cell, loudest / 32768)

    multiplier = quantize_cell(cell, step).input.multiplier
    assert quantize_cell(cell, step).input.shift == 0 and multiplier.max() < 2**30
    if loudest < 100:
        assert step == loudest / 32768
    else:  # whatever is cut off would have decided a gate by itself
        assert step * 32768 * np.abs(weight).max() > 40 * TANH_REACH


@pytest.mark.parametrize("checkpoint", ["gtcrn/dns3", "gtcrn/vctk", "ul_unas/dns3"])
def test_the_authors_networks_fit_a_microcontroller(checkpoint, assets, noisy):
    folder, data = checkpoint.split("/")
    path = assets / folder / f"model_trained_on_{data}.tar"
    made = make_engine(load_checkpoint(path), "fixed", noisy, lambda *_: None)

    blobs = [made.lean_blob(by_output) for by_output in (False, True)]

    assert len(blobs[0]) == len(blobs[1]) and blobs[0] != blobs[1]


def run_on_arm(folder: Path, signal: np.ndarray, core: str, *options: str) -> np.ndarray:
    """The engine on an emulated 64-bit Arm processor, compiled with these options."""
    compiler, emulator = "aarch64-linux-gnu-gcc", "qemu-aarch64"
    missing = [name for name in (compiler, emulator) if shutil.which(name) is None]
    if missing:
        pytest.skip(f"{' and '.join(missing)} not installed")
    program = folder / "pipe.c"
    program.write_text(
        '#include "gtcrn.h"\n#include "gtcrn_weights.h"\n#include <stdio.h>\n'
        "static gtcrn_state state;\n"
        "int main(void) { int16_t hop[256];\n"
        "if (gtcrn_load(&state, gtcrn_weights, GTCRN_WEIGHTS_SIZE)) return 1;\n"
        "while (fread(hop, sizeof hop, 1, stdin)) { gtcrn_process(&state, hop, hop);\n"
        "fwrite(hop, sizeof hop, 1, stdout); } return 0; }\n"
    )
    target = folder / "pipe"
    command = [compiler, *FLAGS, *options, "-static", "-I", str(folder)]
    subprocess.run(
        [
            *(*command, str(program), str(folder / "gtcrn.c"), str(folder / "gtcrn_weights.c")),
            *("-lm", "-o", str(target)),
        ],
        check=True,
    )
    result = subprocess.run(
        [emulator, "-cpu", core, str(target)],
        input=signal.tobytes(),
        capture_output=True,
        check=True,
    )
    return np.frombuffer(result.stdout, np.int16)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("core", "options"),
    [("cortex-a72", ()), ("cortex-a76", ("-march=armv8.2-a+dotprod",))],
    ids=["without dot products", "with dot products"],
)
def test_it_gives_the_same_bits_on_arm(engine, sources, noisy, core, options):
    signal = difficult(noisy)

    enhanced = run_on_arm(sources("fixed"), signal, core, *options)

    np.testing.assert_array_equal(enhanced, engine("fixed").process(signal))


@pytest.fixture(scope="session")
def packages(layers, checkpoint, tmp_path_factory) -> Callable[[str], Path]:
    """Packages by core, each made once."""
    values, encodings = layers
    names = (checkpoint.signal, checkpoint.architecture, checkpoint.sha256)

    @cache
    def make(core: str) -> Path:
        folder = tmp_path_factory.mktemp("microcontroller") / "package"
        engine = FixedEngine(values, *names, encodings)
        with unless_missing(), pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder.parent)  # a path as one types it
            write_package(Path("package"), engine, find_core(core), "a checkpoint")
        assert [path.name for path in folder.parent.iterdir()] == ["package"]
        return folder

    return make


@pytest.fixture(scope="session")
def package(packages) -> Path:
    """A package for a Cortex-M33."""
    return packages("cortex-m33")


def test_a_package_tests_itself_on_this_machine(package, tmp_path, compilers):
    command = [compilers[0], "-O1", "-I", package / "include", "-I", package / "test"]
    subprocess.run([*command, "-c", *package.glob("src/*.c")], cwd=tmp_path, check=True)
    text = (package / "test" / "self_test_vector.h").read_text()
    end = text.rindex("}}")
    begin = text.rindex(",", 0, end) + 1
    wrong = text[:begin] + str(int(text[begin:end]) + 1) + text[end:]
    statuses = []

    for vector in (text, wrong):
        (tmp_path / "self_test_vector.h").write_text(vector)
        for name in ("self_test.c", "self_test_main.c"):
            (tmp_path / name).write_text((package / "test" / name).read_text())
        inputs = [*tmp_path.glob("*.c"), *tmp_path.glob("*.o")]
        subprocess.run([*command, *inputs, "-o", tmp_path / "self_test"], check=True)
        statuses.append(subprocess.run([tmp_path / "self_test"]).returncode)

    assert statuses == [0, 1]


def test_a_package_says_what_memory_it_takes(package):
    text = (package / "MEMORY.md").read_text()

    flash, ram = (
        [int(size.replace(",", "")) for size in re.findall(r"\| \**([\d,]+)\**", part)]
        for part in text.split("RAM")
    )
    assert flash[-1] == sum(flash[:-1]) and ram[-1] == sum(ram[:-1])
    weights = int(
        re.findall(r"WEIGHTS_SIZE (\d+)", (package / "src/engine_weights.h").read_text())[0]
    )
    assert f"| weights | {weights:,} |" in text
    assert 60_000 < flash[-1] < FLASH_LIMIT and ram[-1] < RAM_LIMIT


def test_its_header_knows_no_network(package):
    assert "gtcrn" not in (package / "include" / "edge_se.h").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("core", ["cortex-m33", "cortex-m55"])
def test_a_package_gives_the_same_bits_on_a_bare_core(engine, packages, noisy, tmp_path, core):
    package = packages(core)
    signal = difficult(noisy)[22 * HOP : 30 * HOP]
    with unless_missing():
        report = emulate(package, find_core(core), signal, tmp_path)

    np.testing.assert_array_equal(report.enhanced, engine("fixed").process(signal))
    written = (package / "MEMORY.md").read_text().replace(",", "")
    (bound,) = re.findall(r"stack of edge_se_process \| (\d+)", written)
    assert report.stack <= int(bound) + MAIN_STACK


def test_no_float_is_in_the_sources(sources):
    text = "".join(path.read_text() for path in sources("fixed").glob("*.[ch]"))
    code = re.sub(r'/\*.*?\*/|"[^"]*"', "", text, flags=re.DOTALL)

    assert not re.search(r"\b(float|double)\b", code)
