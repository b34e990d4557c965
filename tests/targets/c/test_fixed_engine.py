"""The fixed engine: the same bits as its NumPy model, on every processor."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edge_se.errors import UserError
from quant.c.fixed_layers import quantize_layers
from quant.c.fixed_point import SUM_STEP, quantize_affine
from targets.c.cortex_m7 import run_on_cortex_m7
from targets.c.generate import FLAGS
from tests.helpers.fixed_model import FixedModel, tanh

HOP = 256


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
    model = FixedModel(layers[0], quantize_layers(*layers))
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


@pytest.mark.slow
def test_it_gives_the_same_bits_on_a_bare_cortex_m7(engine, sources, noisy, tmp_path):
    signal = difficult(noisy)
    try:
        report = run_on_cortex_m7(sources("fixed"), signal, tmp_path)
    except UserError as error:
        if "install" in str(error):
            pytest.skip(str(error))
        raise

    np.testing.assert_array_equal(report.enhanced, engine("fixed").process(signal))


def test_no_float_is_in_the_sources(sources):
    text = "".join(path.read_text() for path in sources("fixed").glob("*.[ch]"))
    code = re.sub(r'/\*.*?\*/|"[^"]*"', "", text, flags=re.DOTALL)

    assert not re.search(r"\b(float|double)\b", code)
