"""Shared fixtures: where the reference assets and the real recordings lie."""

import os
from pathlib import Path

import pytest

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
