"""Fixtures of the host's tests: networks, some noisy speech, one calibration for all."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import edge_se.cli
from calib_data import clips_folder
from quant.audio.frames import analyse, features
from quant.audio.mixing import calibration_mixtures
from quant.checkpoints import default_checkpoint_path
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.networks.gtcrn.model import GTCRN, SIGNAL
from quant.ptq.pipeline import CalibratedGraph, calibrate_checkpoint
from tests.helpers.clips import samples_of
from tests.helpers.running import PLAIN, randomize

torch.set_num_threads(1)

Command = Callable[..., subprocess.CompletedProcess]
Main = Callable[..., tuple[int, str, str]]
OFFICIAL = ("dns3", "vctk")


@pytest.fixture(scope="session")
def random_network() -> GTCRN:
    """GTCRN with random weights and random BatchNorm statistics, in evaluation mode."""
    return randomize(GTCRN(), seed=0)


@pytest.fixture(scope="session")
def default_checkpoint() -> Checkpoint:
    """The embedded network."""
    return load_checkpoint(default_checkpoint_path())


@pytest.fixture(scope="session", params=OFFICIAL)
def official_path(request, assets) -> Path:
    """Each of the authors' checkpoint files in turn."""
    return assets / "gtcrn" / f"model_trained_on_{request.param}.tar"


@pytest.fixture(scope="session")
def official(official_path) -> Checkpoint:
    """Each of the authors' networks in turn."""
    return load_checkpoint(official_path)


@pytest.fixture(scope="session")
def noisy() -> list[np.ndarray]:
    """Six mixtures of 1.5 s at as many SNRs and levels, float32 at 16 kHz."""
    clean, noise = (sorted((clips_folder() / name).iterdir()) for name in ("clean", "noise"))
    speech = [samples_of(path)[8000:32000] for path in clean[:24:4]]
    mixtures = calibration_mixtures(speech, [samples_of(path) for path in noise[:24:6]], 0)
    return [mixture.noisy for mixture in mixtures]


@pytest.fixture(scope="session")
def frames(noisy) -> Tensor:
    """Features of more than 200 frames of one noisy signal, [1, frames, 3, 257]."""
    signal = np.concatenate(noisy[:3])
    return features(analyse(torch.from_numpy(signal)[None], SIGNAL), SIGNAL)[:, :210]


@pytest.fixture(scope="session")
def _calibrated(default_checkpoint, noisy) -> CalibratedGraph:
    with torch.no_grad():
        return calibrate_checkpoint(default_checkpoint, noisy, PLAIN)


@pytest.fixture
def calibrated(_calibrated) -> CalibratedGraph:
    """The embedded network's step, equalized and calibrated; a copy, since building uses it up."""
    return copy.deepcopy(_calibrated)


@pytest.fixture
def main(tmp_path, monkeypatch, capsys) -> Main:
    """Run the command line's `main` in an empty folder; gives exit code, output and errors.

    As `typed` below, without the seconds that a new process takes to import torch.
    """
    monkeypatch.chdir(tmp_path)

    def run(*arguments) -> tuple[int, str, str]:
        code = edge_se.cli.main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def typed(tmp_path) -> Command:
    """Run the command line as typed, in an empty folder: `typed("convert", "--out", "x.onnx")`."""

    def run(*arguments) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "edge_se", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
