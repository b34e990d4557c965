"""Fixtures of the tests of boards: tools of the system, and a cache of the tests' own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Command = Callable[..., subprocess.CompletedProcess]


@pytest.fixture(scope="session")
def tool() -> Callable[[str], str]:
    """Path of a tool by name; without it the test is skipped, and fails in CI."""
    folders = [os.environ.get("PATH", ""), "/usr/sbin", str(Path(sys.executable).parent)]

    def find(name: str) -> str:
        found = shutil.which(name, path=os.pathsep.join(folders))
        if found is None:
            reason = f"{name} is not installed on this machine"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        return found

    return find


@pytest.fixture
def edge_se(tmp_path) -> Command:
    """Run the command line in an empty folder: `edge_se("boards")`."""

    def run(*arguments, **options) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "edge_se", *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=300, **options
        )

    return run
