"""Shared fixtures: where the reference assets and the real recordings lie, and a sound server."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.waiting import wait_for

REPOSITORY = Path(__file__).resolve().parent.parent


def _shared_folder(name: str) -> Path:
    root = Path(os.environ.get("EDGE_SE_ASSETS", REPOSITORY.parent / "shared"))
    folder = root / name
    if not folder.is_dir():
        reason = f"no folder {name!r} in {root}; set EDGE_SE_ASSETS to the folder that holds it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return folder


@pytest.fixture(scope="session")
def assets() -> Path:
    """Folder of official checkpoints and upstream reference outputs."""
    return _shared_folder("assets")


@pytest.fixture(scope="session")
def audio() -> Path:
    """Folder of real speech and noise recordings."""
    return _shared_folder("audio")


DAEMONS = ("dbus-daemon", "pipewire", "wireplumber", "pipewire-pulse")


@pytest.fixture
def pipewire(tmp_path, monkeypatch) -> Iterator[None]:
    """PipeWire's daemons, with a room that can be heard, `room.monitor`.

    Files below `tmp_path` / .config/pipewire are theirs.
    """
    missing = [name for name in (*DAEMONS, "pactl", "parec", "paplay") if not shutil.which(name)]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    runtime = Path(os.environ.get("TMPDIR", "/tmp"), f"edge-se-{os.getpid()}")  # short, for sockets
    runtime.mkdir(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DBUS_SESSION_BUS_ADDRESS", f"unix:path={runtime}/bus")
    bus = [DAEMONS[0], "--session", f"--address=unix:path={runtime}/bus", "--nofork", "--nopidfile"]
    running = []
    for command in (bus, *([name] for name in DAEMONS[1:])):
        running.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))
        time.sleep(0.7)
    room = ["pactl", "load-module", "module-null-sink", "sink_name=room", "rate=48000"]
    wait_for(lambda: subprocess.run(room, capture_output=True).returncode == 0)
    yield
    for process in reversed(running):
        process.terminate()
        process.wait(10)
    shutil.rmtree(runtime)
