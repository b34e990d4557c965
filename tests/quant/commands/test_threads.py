"""Threads of torch leave a busy machine to others while they wait."""

import os
import subprocess
import sys

import pytest

SETTINGS = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


@pytest.mark.parametrize(
    ("given", "count"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_threads_hardly_spin_unless_told_otherwise(tmp_path, given, count):
    (tmp_path / "weights.pt").write_text("no checkpoint")
    usual = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    command = [sys.executable, "-m", "edge_se", "quantize", "weights.pt", "--out", "x.tflite"]

    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=usual | given | {"OMP_DISPLAY_ENV": "verbose"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert f"GOMP_SPINCOUNT = '{count}'" in done.stderr
