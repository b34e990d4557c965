"""Fixtures of the device runtime's tests: tiny models, a signal, and the command line as typed."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tiny_model import write_tiny
from tests.helpers.tiny_separator import write_separator

Command = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def tiny_float(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny_float.tflite", "float32")


@pytest.fixture(scope="session")
def tiny_int8(tmp_path_factory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("models") / "tiny_int8.tflite", "int8")


@pytest.fixture(scope="session")
def tiny_separator(tmp_path_factory) -> Path:
    return write_separator(tmp_path_factory.mktemp("models") / "separator.tflite")


@pytest.fixture(scope="session")
def tiny_separator_int8(tmp_path_factory) -> Path:
    return write_separator(tmp_path_factory.mktemp("models") / "separator_int8.tflite", "int8")


@pytest.fixture(scope="session", params=["float32", "int8"])
def tiny(request, tiny_float, tiny_int8) -> Path:
    """Each of the tiny models in turn."""
    return {"float32": tiny_float, "int8": tiny_int8}[request.param]


@pytest.fixture(scope="session")
def noise() -> np.ndarray:
    """Two seconds and a bit of white noise, no whole number of frames."""
    return (0.05 * np.random.default_rng(0).standard_normal(32123)).astype(np.float32)


@pytest.fixture
def edge_se(tmp_path) -> Command:
    """Run the command line in an empty folder: `edge_se("inspect", "model.tflite")`."""

    def run(*arguments, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "edge_se", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, **options
        )

    return run
