"""A board that is switched on, models that it runs in time, and what is said beside it."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.targets.board.listening import CLIPS, talk_beside_a_fan
from tests.targets.board.machine import EMULATOR, Board


@pytest.fixture(scope="module")
def one_board(tool, tmp_path_factory) -> Iterator[Board]:
    """A fresh board without sound cards, switched off."""
    for name in (EMULATOR, "mke2fs", "cpio", "depmod", "ssh-keygen"):
        tool(name)
    one = Board(tmp_path_factory.mktemp("board"))
    try:
        yield one
    finally:
        one.close()


@pytest.fixture
def board(one_board) -> Board:
    """A board that is on; the tests of a module share it, in order."""
    one_board.recover()
    return one_board


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    """The built-in network in 8 bits, which an emulated core runs in time: a file, and compiled."""
    folder = tmp_path_factory.mktemp("models")
    for kind in ("clean", "noise"):
        (folder / "clips" / kind).mkdir(parents=True)
        for clip in sorted((CLIPS / kind).iterdir())[:4]:
            shutil.copy(clip, folder / "clips" / kind)
    tflite, library = folder / "int8.tflite", folder / "int8.so"
    clips = ["--calibration-clips", str(folder / "clips")]
    edge_se = [sys.executable, "-m", "edge_se"]
    quantize = [*edge_se, "quantize", "--precision", "int8", "--recover", "0", *clips]
    subprocess.run([*quantize, "--out", str(tflite)], check=True)
    compile_ = [*edge_se, "compile", str(tflite), "--board", "pi4", "--out", str(library)]
    subprocess.run(compile_, check=True)
    return {"tflite": tflite, "so": library}


@pytest.fixture(scope="module")
def talk() -> np.ndarray:
    """Half a minute of somebody who talks in a room with a fan, float32 at 16 kHz."""
    return talk_beside_a_fan()
