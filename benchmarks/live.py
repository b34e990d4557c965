"""How late live sound is, by correlation of what is heard with what was said meanwhile.

`python -m benchmarks.live --model FILE.so` deploys a model to an emulated board (`make test-board`
says what that needs, and a C compiler for arm64 and `make`), and measures ten minutes with loopback
cards, and settings with cards that move in no steps.
`--server pulseaudio` or `--server pipewire` runs that sound server by itself, without a card, and a
virtual microphone on it, and records that beside its room. All write their tables into a file of
`benchmarks/results/` (`--json`), and leave its other tables.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import put
from edge_se.errors import UserError, run_script
from tests.helpers import sound_server
from tests.helpers.waiting import wait_for
from tests.targets.board.listening import (
    RATE,
    Heard,
    edit_settings,
    give_priority,
    listen,
    put_in_cards,
    put_in_steady_cards,
    record,
    set_up,
    status_of,
    talk_beside_a_fan,
    wav,
)
from tests.targets.board.machine import Board

FILE = Path(__file__).resolve().parent / "results" / "85_live.json"
HEAD = {
    "title": "Live sound",
    "measured": "From microphone to loudspeaker, by correlation of windows of 2 s with what was "
    "said meanwhile. The board is a whole emulated one (Debian 12, arm64), whose clock counts the "
    "instructions of its one core, 2 ns each, and passes over the time in which it idles.",
}
SETTINGS: dict[str, dict[str, Any]] = {
    "16 kHz, `buffer_ms` 4": {"buffer_ms": 4},
    "16 kHz, `buffer_ms` 5": {"buffer_ms": 5},
    "16 kHz, `buffer_ms` 6": {"buffer_ms": 6},
    "16 kHz, `buffer_ms` 7": {"buffer_ms": 7},
    "16 kHz, `buffer_ms` 10": {"buffer_ms": 10},
    "16 kHz, `buffer_ms` 20, the default": {},
    "48 kHz, full band, `buffer_ms` 20": {"rate": 48000},
}
SECONDS, MINUTES = 40.0, 10
WHOLE = 0.5  # correlation, of 1, of a window that is heard


def measure_settings(board: Board, said: np.ndarray) -> list[list[str]]:
    """A row for each of the settings, on a board with a service and cards that is switched on."""
    rows = []
    for name, settings in SETTINGS.items():
        rate = settings.get("rate", RATE)
        set_up(board, **settings)
        spoken, heard = record(board, said, SECONDS, rate)
        windows = listen(spoken, heard, rate)
        status = status_of(board)
        lost = [str(status[counted]) for counted in ("xruns", "discarded_hops")]
        rows.append([name, *_lags(windows), f"{status['latency_ms']:.0f}", *lost])
    return rows


def measure_minutes(board: Board, said: np.ndarray) -> list[list[str]]:
    """Rows of two minutes each, at the default settings."""
    set_up(board)
    spoken, heard = record(board, said, 60 * MINUTES)
    return minutes(listen(spoken, heard, RATE), 2)


def minutes(windows: Sequence[Heard], step: int) -> list[list[str]]:
    """Rows of so many minutes each, of what was heard."""
    rows = []
    for start in range(0, round(max(one.start_s for one in windows)), 60 * step):
        within = [one for one in windows if start <= one.start_s < start + 60 * step]
        rows.append([f"{start // 60} to {start // 60 + step}", *_lags(within)])
    return rows


def _lags(windows: Sequence[Heard]) -> list[str]:
    """Median, least and most in ms, and the share of windows that were heard."""
    whole = [1e3 * one.lag_s for one in windows if one.likeness > WHOLE]
    if not whole:
        return ["", "", f"0 of {len(windows)}"]
    bounds = f"{min(whole):.1f} to {max(whole):.1f}"
    return [f"{np.median(whole):.1f}", bounds, f"{len(whole)} of {len(windows)}"]


LAGS = ["median ms", "least to most", "windows heard"]


COMMAND = "python -m benchmarks.live --model gtcrn_int8.so"


def table_of_settings(rows: list[list[str]]) -> dict[str, Any]:
    """A table as `benchmarks.results` takes it."""
    return {
        "title": "Latency on a board",
        "command": [COMMAND],
        "measured": f"{SECONDS:g} s of talk beside a fan for each of the settings, after the "
        "service was started again, through cards without hardware whose samples move one by one "
        "with the clock, as those of a sound card do (`tests/targets/board/cards`). What is "
        "computed is `latency_ms` of the status.",
        "columns": ["", *LAGS, "computed", "xruns", "hops discarded"],
        "rows": rows,
    }


def table_of_minutes(rows: list[list[str]]) -> dict[str, Any]:
    """A table as `benchmarks.results` takes it."""
    return {
        "title": f"{MINUTES} minutes on a board",
        "command": [COMMAND],
        "measured": "The default settings, without a start in between, through ALSA's loopback "
        "cards, whose samples move in steps of 4 ms.",
        "columns": ["minutes", *LAGS],
        "rows": rows,
    }


def table_of_server(server: str, length: int) -> dict[str, Any]:
    """So many minutes of a virtual microphone on a sound server of its own, in twos or tens."""
    absent = sound_server.missing(server)
    if absent:
        raise UserError(f"{absent[0]} is not installed")
    version = subprocess.check_output([server, "--version"], text=True).split()[-1]
    with tempfile.TemporaryDirectory() as folder:
        status, said = Path(folder, "status.json"), Path(folder, "said.wav")
        said.write_bytes(wav(np.resize(talk_beside_a_fan(), 60 * (length + 1) * RATE)))
        microphone = [sys.executable, "-m", "edge_se", "live", "--virtual-microphone", "clean"]
        microphone += ["--model", "gtcrn"]  # as the tables say
        microphone += ["--capture", "room.monitor", "--status", str(status)]
        with (
            sound_server.sound_server(server, Path(folder)),
            sound_server.running(microphone),
            sound_server.running(["paplay", "--device=room", str(said)]),
        ):
            wait_for(lambda: status.exists() and _of(status)["state"] == "running")
            room, clean = sound_server.record(["room.monitor", "clean"], 60 * length)
            told = _of(status)
    return {
        "title": f"{length} minutes on a PC with {server}",
        "command": [f"python -m benchmarks.live --server {server} --minutes {length}"],
        "measured": f"A virtual microphone of the built-in GTCRN ({server} {version}, no sound "
        "card: a null sink for the room) and the room itself, recorded by two programs that take "
        "10 ms at a time, by when the newest sample of a chunk reaches them; others wait for it. "
        f"{told['discarded_s']:.2f} s of {told['seconds']:.0f} s were discarded; "
        f"{os.cpu_count()} cores had {os.getloadavg()[2]:.1f} programs to run; these were at nice "
        f"{os.getpriority(os.PRIO_PROCESS, 0)}.",
        "columns": ["minutes", *LAGS],
        "rows": minutes(listen(room, clean, sound_server.RATE), 2 if length <= 20 else 10),
    }


def _of(status: Path) -> dict[str, Any]:
    return dict(json.loads(status.read_text(encoding="utf-8")))


def main() -> int:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, metavar="FILE", help="to deploy to a board")
    source.add_argument("--server", choices=sound_server.DAEMONS, help="to run, without a card")
    parser.add_argument("--minutes", type=int, default=MINUTES, help="of --server (default: 10)")
    parser.add_argument(
        "--only-settings", action="store_true", help=f"leave the {MINUTES} minutes out"
    )
    parser.add_argument("--json", type=Path, default=FILE, metavar="FILE")
    arguments = parser.parse_args()
    if arguments.server:
        table = table_of_server(arguments.server, arguments.minutes)
        put(arguments.json, table, **HEAD)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        board = Board(Path(folder))
        try:
            board.boot()
            put_in_cards(board)
            edit_settings(board)
            give_priority(board)
            deploy = ["deploy", board.name, "--ssh-config", board.config, "--service"]
            command = [sys.executable, "-m", "edge_se", *deploy, "--model", arguments.model]
            subprocess.run([str(word) for word in command], check=True)
            said = talk_beside_a_fan()
            if not arguments.only_settings:
                put(arguments.json, table_of_minutes(measure_minutes(board, said)), **HEAD)
            put_in_steady_cards(board)
            put(arguments.json, table_of_settings(measure_settings(board, said)), **HEAD)
        finally:
            board.close()
    return 0


if __name__ == "__main__":
    run_script(main)
