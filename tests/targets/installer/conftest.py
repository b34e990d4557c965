"""A board that is a folder, the installer as it travels, and a systemd that is a script."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from targets.application import APPLICATION, application
from targets.board.installer import installing
from targets.board.installer.errors import EXIT_REFUSED
from tests.helpers.releases import add_release, write_environment


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No test touches the units of whoever runs it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def root(tmp_path) -> Path:
    """A board's folder with three releases; the last is in use."""
    for number in range(3):
        add_release(tmp_path / "root", number)
    return tmp_path / "root"


@pytest.fixture
def quick(monkeypatch):
    """Installing without wheels, on any machine."""
    monkeypatch.setattr(
        installing, "make_environment", lambda bundle, folder, system: write_environment(folder)
    )
    monkeypatch.setattr(installing, "benchmark", lambda folder: {"rtf": 0.1})
    monkeypatch.setattr(installing, "check_board", lambda facts, description: None)


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """A systemctl that writes down what it is asked; `fails("word")` makes it refuse that."""
    folder = tmp_path / "bin"
    folder.mkdir()
    calls = tmp_path / "calls"

    def fails(word: str) -> list[str]:
        script = folder / "systemctl"
        script.write_text(
            f'#!/bin/sh\necho "$*" >>{calls}\n'
            f'case "$*" in *{word}*) echo no sound >&2; exit 1;; esac\n'
        )
        script.chmod(0o755)
        return calls.read_text().splitlines() if calls.exists() else []

    fails("nothing")
    for name in ("loginctl", "sudo"):
        answer = 'case "$*" in *show-user*) echo no;; esac'
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{calls}\n{answer}\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return fails


@pytest.fixture(scope="session")
def installer(tmp_path_factory) -> Path:
    """The file that bundles carry."""
    path = tmp_path_factory.mktemp("installer") / APPLICATION
    path.write_bytes(application())
    return path


@pytest.fixture
def act(installer) -> Callable[..., dict]:
    """Run the installer: `act(root, "use", "--release", ID)`; what it answers, refused or not.

    It sees the standard library alone.
    """

    def run(root, *arguments: str) -> dict:
        command = [sys.executable, "-I", "-S", installer, *arguments, "--root", str(root)]
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert "Traceback" not in result.stderr
        answer = json.loads(result.stdout)
        assert result.returncode == (EXIT_REFUSED if "error" in answer else 0)
        return answer

    return run
