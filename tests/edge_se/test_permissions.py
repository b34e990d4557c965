"""What the user may not read or write, as somebody to whom permissions apply."""

import ctypes
import os
import subprocess
import sys

import numpy as np
import pytest
import soundfile

DROP_CAPABILITY, OVERRIDES = 24, (1, 2)  # PR_CAPBSET_DROP; CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH


def _let_permissions_apply() -> None:
    """Give up what lets root pass them by; nobody else has that."""
    if os.geteuid() == 0:
        for capability in OVERRIDES:
            if ctypes.CDLL(None, use_errno=True).prctl(DROP_CAPABILITY, capability, 0, 0, 0):
                raise OSError(ctypes.get_errno(), "prctl")


@pytest.fixture
def protected(tmp_path, tiny_int8):
    """Recordings and a model, and places and files that are closed."""
    for name in ("in.wav", "closed.wav", "folder/a.wav", "folder/closed.wav", "locked/a.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / name, np.zeros(800), 16000)
    (tmp_path / "readonly").mkdir()
    (tmp_path / "model.tflite").write_bytes(tiny_int8.read_bytes())
    (tmp_path / "closed.tflite").write_bytes(tiny_int8.read_bytes())
    (tmp_path / "closed.safetensors").write_bytes(b"x")
    closed = [*tmp_path.rglob("closed.*"), tmp_path / "locked"]
    for path in closed:
        path.chmod(0)
    (tmp_path / "readonly").chmod(0o555)
    yield tmp_path
    for path in (*closed, tmp_path / "readonly"):
        path.chmod(0o755)


@pytest.mark.parametrize(
    ("command", "place"),
    [
        (("enhance", "closed.wav", "out.wav", "--model", "model.tflite"), "closed.wav"),
        (("enhance", "in.wav", "out.wav", "--model", "closed.tflite"), "closed.tflite"),
        (("enhance", "locked", "out", "--model", "model.tflite"), "locked"),
        (("enhance", "locked/a.wav", "out.wav", "--model", "model.tflite"), "locked/a.wav"),
        (("enhance", "folder", "out", "--model", "model.tflite"), "folder/closed.wav"),
        (("enhance", "in.wav", "readonly/out.wav", "--model", "model.tflite"), "readonly"),
        (("enhance", "folder", "readonly/deep", "--model", "model.tflite"), "readonly"),
        (("inspect", "closed.tflite"), "closed.tflite"),
        (("benchmark", "--model", "model.tflite", "--json", "readonly/b.json"), "readonly"),
        (("quantize", "closed.safetensors", "--out", "out.tflite"), "closed.safetensors"),
        (("quantize", "--precision", "float", "--out", "readonly/out.tflite"), "readonly"),
        (
            (
                "quantize",
                "--precision",
                "int8",
                "--calibration-clips",
                "locked",
                "--out",
                "o.tflite",
            ),
            "locked",
        ),
    ],
)
def test_what_is_closed_is_named_in_one_sentence(protected, command, place):
    result = subprocess.run(
        [sys.executable, "-m", "edge_se", *command],
        capture_output=True,
        text=True,
        cwd=protected,
        preexec_fn=_let_permissions_apply,
    )

    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    assert place in result.stderr
    assert "ermission denied" in result.stderr or f"{place} can't be written" in result.stderr
    assert result.stderr.count("edge-se: error: ") == 1
    written = [path for path in protected.rglob("*") if path.name.startswith(("o", "b."))]
    assert {path.name for path in written} <= {"out"}
    assert not list((protected / "readonly").iterdir())
