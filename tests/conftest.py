"""Shared fixtures: where the reference assets and the real recordings lie, and a sound server."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.sound_server import missing, sound_server

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


@pytest.fixture
def pipewire(tmp_path) -> Iterator[None]:
    """PipeWire's daemons, with a room that can be heard, `room.monitor`.

    Files below `tmp_path` / .config/pipewire are theirs.
    """
    yield from _server("pipewire", tmp_path)


@pytest.fixture
def pulseaudio(tmp_path) -> Iterator[None]:
    """PulseAudio's daemon, with such a room."""
    yield from _server("pulseaudio", tmp_path)


def _server(name: str, home: Path) -> Iterator[None]:
    absent = missing(name)
    if absent:
        pytest.skip(f"{absent[0]} is not installed")
    with sound_server(name, home):
        yield
