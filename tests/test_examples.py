"""The examples do what they say."""

import os
import shutil
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

from edge_se import Enhancer

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
FLAGS = ("-std=c99", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast")


@pytest.fixture
def noise() -> np.ndarray:
    """Half a second of noise and a bit, no whole number of hops, int16."""
    return np.random.default_rng(0).normal(0, 3000, 8100).astype("<i2")


def _delayed(enhancer: Enhancer, samples: np.ndarray) -> np.ndarray:
    """What a loop of whole hops gives, in int16 steps."""
    hop = enhancer.hop_size
    padded = np.zeros(-(-len(samples) // hop) * hop, np.float32)
    padded[: len(samples)] = samples / 32768
    out = np.concatenate([enhancer.process(frame) for frame in padded.reshape(-1, hop)])
    return out[: len(samples)] * 32768


def test_the_python_loop_gives_the_enhanced_stream(noise: np.ndarray, tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "noisy.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(noise.tobytes())

    command = [sys.executable, str(EXAMPLES / "enhance_stream.py"), "noisy.wav", "enhanced.wav"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120)

    with wave.open(str(tmp_path / "enhanced.wav")) as file:
        enhanced = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert len(enhanced) == len(noise)
    assert np.abs(enhanced - _delayed(Enhancer(), noise)).max() <= 0.5


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_the_c_loop_gives_what_the_same_network_gives_in_python(
    noise: np.ndarray, tmp_path: Path
) -> None:
    for out in ("engine/", "engine.so"):
        command = [sys.executable, "-m", "edge_se", "compile", "--out", out]
        subprocess.run(command, cwd=tmp_path, check=True, timeout=600)
    warnings = ("-Wall", "-Wextra", "-pedantic", "-Werror")
    sources = (str(EXAMPLES / "loop.c"), "engine/gtcrn.c", "engine/gtcrn_weights.c")
    compile_loop = ["cc", *FLAGS, *warnings, "-Iengine", *sources, "-lm", "-o", "loop"]
    subprocess.run(compile_loop, cwd=tmp_path, check=True, timeout=600)

    result = subprocess.run(
        [tmp_path / "loop"], input=noise.tobytes(), capture_output=True, check=True, timeout=120
    )

    enhanced = np.frombuffer(result.stdout, "<i2")
    expected = np.clip(_delayed(Enhancer(tmp_path / "engine.so"), noise), -32768, 32767)
    assert len(enhanced) == len(noise)
    assert np.abs(enhanced - expected).max() <= 1


def test_the_pipe_hands_devices_and_options_on(tmp_path: Path) -> None:
    for name, body in {
        "arecord": 'echo "arecord $2" >&2; printf abcd',
        "edge-se": 'echo "edge-se $*" >&2; cat',
        "aplay": 'echo "aplay $2" >&2; cat',
    }.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}

    result = subprocess.run(
        [EXAMPLES / "alsa_pipe.sh", "plughw:1", "hw:0", "--engine", "c"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )

    assert result.stdout == "abcd"
    assert sorted(result.stderr.splitlines()) == [
        "aplay hw:0",
        "arecord plughw:1",
        "edge-se stream --engine c",
    ]
