"""Every TFLite runtime gives the same output, each in an environment of its own."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from calib_data import clips_folder
from edge_se import Enhancer
from edge_se.model_file import find_model

REPOSITORY = Path(__file__).parents[2]
SCRIPT = """
import sys
import numpy
from edge_se import Enhancer
_, runtime, noisy, output, *models = sys.argv
outputs = {}
for index, model in enumerate(models):
    enhancer = Enhancer(model, runtime=runtime)
    assert enhancer.describe()["runtime"] == runtime
    outputs[str(index)] = enhancer.enhance(numpy.load(noisy))
numpy.savez(output, **outputs)
"""
PACKAGES = {
    "tflite_runtime": ["tflite-runtime==2.14.0", "numpy<2"],
    "tensorflow": ["tensorflow-cpu"],
}


@pytest.fixture
def environment(request, tmp_path) -> tuple[str, Path]:
    """Runtime, and the Python of an environment that has it and nothing else."""
    runtime = request.param
    if runtime == "tflite_runtime" and sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime has no wheels for Python 3.12 and later")
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", *PACKAGES[runtime]]
    result = subprocess.run(install, capture_output=True, text=True, timeout=1200)
    assert result.returncode == 0, result.stderr
    return runtime, python


def snr(reference: np.ndarray, output: np.ndarray) -> float:
    error = np.sum((output - reference).astype(np.float64) ** 2)
    return float(10 * np.log10(np.sum(reference.astype(np.float64) ** 2) / max(error, 1e-30)))


@pytest.mark.slow
@pytest.mark.parametrize("environment", list(PACKAGES), indirect=True)
def test_a_runtime_gives_the_same_output(environment, tiny_float, tiny_int8, noise, tmp_path):
    runtime, python = environment
    # Signal to noise at least, in dB. Kernels of other versions round 8-bit values elsewhere, by a
    # step or two, and a recurrent network carries that on: the default model then differs about as
    # much as quantization itself changed it.
    models = {tiny_float: 100, tiny_int8: 30, find_model("gtcrn"): 20}
    speech, _ = soundfile.read(sorted(clips_folder().glob("clean/*.flac"))[0], dtype="float32")
    noisy = speech + np.resize(noise, len(speech)) * 0.1 * np.std(speech) / np.std(noise)
    np.save(tmp_path / "noisy.npy", noisy.astype(np.float32))

    command = [python, "-c", SCRIPT, runtime, tmp_path / "noisy.npy", tmp_path / "out.npz"]
    result = subprocess.run(
        [*command, *models],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )

    assert result.returncode == 0, result.stderr
    outputs = np.load(tmp_path / "out.npz")
    ratios = {
        model: snr(Enhancer(model).enhance(np.load(tmp_path / "noisy.npy")), outputs[str(index)])
        for index, model in enumerate(models)
    }
    assert all(ratios[model] > least for model, least in models.items()), ratios
