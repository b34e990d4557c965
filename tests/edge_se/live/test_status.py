"""What the live stream tells of itself: a file for machines and a line for people."""

import json
import os
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from edge_se.console import Console
from edge_se.errors import UserError
from edge_se.live.status import SILENCE_DBFS, Meter, Status, format_status


class FakeStream:
    latency_s, drift_ppm = 0.05, 12.34

    def levels(self) -> tuple[float, float]:
        return -20.0, -32.5

    def summary(self) -> dict[str, Any]:
        return {
            "frame_us": {"p50": 300.0},
            "discarded_s": 0.5,
            "discarded_hops": 31,
            "seconds": 9.0,
        }


@pytest.fixture
def now():
    return [0.0]


@pytest.fixture
def status(tmp_path, now):
    about = {"settings": {"capture": "hw:1"}}
    return Status(tmp_path / "status.json", about, Console(), clock=lambda: now[0])


def read(tmp_path) -> dict[str, Any]:
    return json.loads((tmp_path / "status.json").read_text())


def running(status, xruns: int = 2) -> None:
    devices = SimpleNamespace(xruns=xruns, delay_s=0.04)
    status.running(cast(Any, FakeStream()), cast(Any, devices))


def test_levels_are_rms_below_full_scale_of_both_kinds_of_samples():
    meter = Meter()
    sine = np.sin(2 * np.pi * np.arange(1600) / 16)
    meter.add((0.1 * sine).astype(np.float32))
    assert meter.read() == pytest.approx(-23.0, abs=0.05)
    meter.add((3276.8 * sine).astype(np.int16))
    assert meter.read() == pytest.approx(-23.0, abs=0.05)
    meter.add(np.full(100, -32768, np.int16))
    assert meter.read() == 0.0
    meter.add(np.zeros(100, np.float32))
    assert meter.read() == SILENCE_DBFS == meter.read()


def test_the_file_is_there_before_any_sound(status, tmp_path):
    content = read(tmp_path)

    assert content["state"] == "starting"
    assert content["pid"] == os.getpid()
    assert content["settings"] == {"capture": "hw:1"}


def test_the_file_says_what_a_running_stream_does(status, tmp_path):
    running(status)

    content = read(tmp_path)
    assert content["state"] == "running"
    assert (content["in_dbfs"], content["out_dbfs"], content["gain_db"]) == (-20.0, -32.5, -12.5)
    assert content["latency_ms"] == 90.0
    assert content["drift_ppm"] == 12.3
    assert (content["xruns"], content["discarded_hops"], content["discarded_s"]) == (2, 31, 0.5)


def test_it_is_written_once_a_second(status, tmp_path, now):
    running(status)
    (tmp_path / "status.json").unlink()
    now[0] = 0.99
    running(status)
    assert not (tmp_path / "status.json").exists()
    now[0] = 1.0
    running(status)
    assert (tmp_path / "status.json").exists()


def test_counts_go_on_over_a_device_that_was_lost(status, tmp_path, now):
    running(status, xruns=2)
    status.ended(cast(Any, FakeStream()), cast(Any, SimpleNamespace(xruns=3)))
    status.waiting("the microphone has gone")
    content = read(tmp_path)
    assert (content["state"], content["why"]) == ("waiting", "the microphone has gone")
    assert content["xruns"] == 3 and "in_dbfs" not in content

    now[0] = 5.0
    running(status, xruns=1)
    assert read(tmp_path)["xruns"] == 4
    assert read(tmp_path)["discarded_hops"] == 62
    status.stopped()
    assert read(tmp_path)["state"] == "stopped"


def test_a_file_that_cannot_be_written_is_an_error_at_first_and_a_warning_later(
    status, tmp_path, now, capsys
):
    with pytest.raises(UserError, match="there is no folder"):
        Status(tmp_path / "none" / "status.json", {}, Console())

    (tmp_path / "status.json").unlink()
    (tmp_path / "status.json").mkdir()
    for now[0] in (1.0, 3.0, 5.0):
        running(status)
    assert capsys.readouterr().err.count("the status is not written any more") == 1


def test_nothing_is_left_beside_the_file(status, tmp_path):
    running(status)

    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_the_line_for_people_tells_what_is_worth_telling():
    state = {
        "in_dbfs": -20.0,
        "out_dbfs": -32.5,
        "gain_db": -12.5,
        "latency_ms": 90.2,
        "xruns": 0,
        "drift_ppm": 0.0,
        "discarded_s": 0.0,
    }
    plain = "-20.0 dBFS in, -32.5 out (-12.5 dB), 90 ms latency, 0 xruns"
    assert format_status(state) == plain
    state |= {"drift_ppm": -12.3, "discarded_s": 0.25}
    assert format_status(state) == f"{plain}, clocks -12 ppm apart, 0.25 s discarded"
