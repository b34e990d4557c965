"""The wheel, installed into a fresh environment outside the checkout, as a board would have it."""

import json
import os
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

pytestmark = pytest.mark.slow


def _run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    result = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert not check or result.returncode == 0, result.stdout + result.stderr
    return result


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the source distribution, in a folder of its own: other tests build here too."""
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--outdir", folder, cwd=REPOSITORY)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the executables of an environment that holds the wheel without extras."""
    folder = tmp_path_factory.mktemp("board")
    _run(sys.executable, "-m", "venv", folder / "env", cwd=folder)
    binaries = folder / "env" / "bin"
    _run(binaries / "python", "-m", "pip", "install", "--quiet", wheel, cwd=folder)
    return binaries


def test_wheel_holds_the_four_packages_and_the_embedded_files(wheel: Path) -> None:
    listing = _run(sys.executable, "-m", "zipfile", "-l", wheel, cwd=wheel.parent).stdout

    for name in (
        "edge_se/models/gtcrn.tflite",
        "edge_se/models/ul_unas.tflite",
        "quant/checkpoints/gtcrn.safetensors",
        "quant/checkpoints/ul_unas.safetensors",
        "targets/__init__.py",
        "targets/wheels.sha256",
        "targets/board/edge-se.service",
        "targets/board/installer/command_line.py",
        "targets/c/plugin/ports.h",
        "targets/c/plugin/plugin.ttl",
        "targets/c/plugin/pipewire.conf",
        "calib_data/manifest.json",
        "calib_data/clips/clean/",
        "calib_data/clips/noise/",
    ):
        assert name in listing


def test_base_install_enhances_right_away(installed: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(0, 3000, 16000).astype("<i2")
    with wave.open(str(tmp_path / "in.wav"), "wb") as file:
        file.setparams((1, 2, 16000, 0, "NONE", ""))
        file.writeframes(noise.tobytes())

    _run(installed / "edge-se", "enhance", "in.wav", "out.wav", cwd=tmp_path)

    with wave.open(str(tmp_path / "out.wav")) as file:
        enhanced = np.frombuffer(file.readframes(file.getnframes()), "<i2")
    assert enhanced.shape == noise.shape
    assert 0 < np.abs(enhanced.astype(float)).mean() < np.abs(noise.astype(float)).mean()


def test_base_install_benchmarks(installed: Path, tmp_path: Path) -> None:
    _run(
        installed / "edge-se", "benchmark", "--seconds", "2", "--json", "report.json", cwd=tmp_path
    )

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["frames"] == 125
    assert report["rtf"] > 0


def test_base_install_has_no_host_packages(installed: Path, tmp_path: Path) -> None:
    names = json.loads(
        _run(installed / "python", "-m", "pip", "list", "--format", "json", cwd=tmp_path).stdout
    )

    assert not {entry["name"] for entry in names} & {"torch", "tensorflow", "scipy", "onnxruntime"}


def test_host_commands_name_the_missing_extra(installed: Path, tmp_path: Path) -> None:
    result = _run(installed / "edge-se", "quantize", "--out", "m.tflite", cwd=tmp_path, check=False)

    assert result.returncode == 2
    assert 'pip install "edge-se[quant]"' in result.stderr
    assert not (tmp_path / "m.tflite").exists()
