"""Threads of torch leave a busy machine to others while they wait."""

import os
import subprocess
import sys

import pytest


@pytest.mark.parametrize("policy", [None, "ACTIVE"])
def test_threads_wait_without_spinning_unless_told_otherwise(tmp_path, policy):
    (tmp_path / "weights.pt").write_text("no checkpoint")
    usual = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    environment = usual | ({} if policy is None else {"OMP_WAIT_POLICY": policy})
    command = [sys.executable, "-m", "edge_se", "quantize", "weights.pt", "--out", "x.tflite"]

    done = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment | {"OMP_DISPLAY_ENV": "true"},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 2
    assert f"OMP_WAIT_POLICY = '{policy or 'PASSIVE'}'" in done.stderr
