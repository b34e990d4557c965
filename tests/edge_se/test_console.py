"""What a command shows while it works: on a terminal a line that moves, elsewhere none."""

import os
import pty
import re
import select
from contextlib import redirect_stderr
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from edge_se.cli import main
from edge_se.console import Console


@pytest.fixture
def terminal():
    """Both ends of a terminal."""
    ends = pty.openpty()
    yield ends
    for end in ends:
        os.close(end)


def shown_on(terminal, ending: str) -> str:
    """What has come to a terminal, once it matches or nothing has come for seconds."""
    text = ""
    while not re.search(ending, text) and select.select([terminal[0]], [], [], 5)[0]:
        text += os.read(terminal[0], 1000).decode()
    return text


def test_progress_moves_in_one_line_and_is_taken_off(terminal, monkeypatch):
    times = iter([0.0, 1.0, 1.1, 2.0])
    clock = SimpleNamespace(monotonic=times.__next__)
    monkeypatch.setattr("edge_se.console.time", clock)

    with open(terminal[1], "w", closefd=False, encoding="utf-8") as file, redirect_stderr(file):
        console = Console()
        for share in (0.25, 0.26, 0.5):
            console.progress(share, "a.wav")
        console.say("wrote a.wav")
        console.close()

    assert shown_on(terminal, "wrote a.wav\r\n") == (
        " 25 %, 3 s left a.wav\r\x1b[K 50 %, 2 s left a.wav\r\x1b[Kwrote a.wav\r\n"
    )


def test_without_a_terminal_there_is_no_progress(monkeypatch, capsys):
    clock = SimpleNamespace(monotonic=iter([0.0, 5.0]).__next__)
    monkeypatch.setattr("edge_se.console.time", clock)

    Console().progress(0.5, "a.wav")

    assert capsys.readouterr() == ("", "")


def test_a_recording_shows_how_far_it_is(terminal, tiny_int8, tmp_path, monkeypatch):
    noise = 0.1 * np.random.default_rng(0).standard_normal(30 * 16000)
    soundfile.write(tmp_path / "in.wav", noise, 16000)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edge_se.console._INTERVAL_S", 0.0)  # however fast the machine is

    with open(terminal[1], "w", closefd=False, encoding="utf-8") as file, redirect_stderr(file):
        status = main(["enhance", "in.wav", "out.wav", "--model", str(tiny_int8)])

    progress = r" \d+ %, \d+ s left"
    assert status == 0
    assert re.search(progress, shown_on(terminal, progress))
