"""What is heard becomes tables, which are kept beside each other."""

import json

import numpy as np

from benchmarks import live
from benchmarks.results import put, render
from tests.helpers import sound_server
from tests.targets.board.listening import Heard, listen

RATE = 4000


def test_what_is_heard_of_a_room_becomes_rows():
    room = np.random.default_rng(0).uniform(-0.1, 0.1, 11 * RATE)
    late = np.concatenate([np.zeros(RATE // 20), room[: -RATE // 20]])

    rows = live.minutes(listen(room, late, RATE), 10)

    assert rows == [["0 to 10", "50.0", "50.0 to 50.0", "4 of 4"]]


def test_tables_stand_beside_each_other(tmp_path):
    target = tmp_path / "85_live.json"
    for _ in range(2):
        settings, minutes = [[""] * 7], [["0 to 2", "", "", ""]]
        put(target, live.table_of_settings(settings), live.table_of_minutes(minutes), **live.HEAD)

    assert len(json.loads(target.read_text())["tables"]) == 2
    assert "### 10 minutes on a board" in render(tmp_path)


def test_each_so_many_minutes_have_a_row_and_what_is_not_heard_is_counted():
    windows = [Heard(start, 0.05 + start / 1e4, 0.9) for start in (0.0, 30.0, 90.0, 150.0)]

    rows = live.minutes([*windows, Heard(152.0, 0.9, 0.1)], 2)

    assert rows == [
        ["0 to 2", "53.0", "50.0 to 59.0", "3 of 3"],
        ["2 to 4", "65.0", "65.0 to 65.0", "1 of 2"],
    ]


def arrivals(samples: np.ndarray, start_s: float, seed: int) -> list[sound_server.Arrival]:
    """Samples in pieces of 10 ms, each held up by up to 30 ms."""
    late = np.random.default_rng(seed).uniform(0, 0.03, len(samples) // 480)
    pieces = (samples * 32767).astype("<i2")[: 480 * len(late)].reshape(-1, 480)
    return [
        (start_s + (n + 1) * 0.01 + held, piece.tobytes())
        for n, (piece, held) in enumerate(zip(pieces, late, strict=True))
    ]


def test_programs_that_are_held_up_and_samples_that_are_missed_change_no_lag():
    room = np.random.default_rng(0).uniform(-0.1, 0.1, 15 * sound_server.RATE)
    clean = arrivals(room, 100.05, 1)
    del clean[700:710]

    said, heard = (
        sound_server.place(some, 100.2, 14 * sound_server.RATE)
        for some in (arrivals(room, 100.0, 2), clean)
    )

    windows = listen(said, heard, sound_server.RATE)
    assert len(windows) == 6
    for window in windows:
        assert abs(window.lag_s - 0.05) < 0.002 or 3.8 < window.start_s < 7
