"""No damaged file and no stream brings a command down: each kind of input, as in `make fuzz`."""

import subprocess
import sys

import pytest

from tests.fuzz.kinds import KINDS
from tests.fuzz.runner import ROOT


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_damaged_input_is_read_or_refused_in_one_sentence(kind):
    command = [sys.executable, "-m", "tests.fuzz", kind, "--cases", "700"]

    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800)

    assert result.returncode == 0, result.stdout + result.stderr
