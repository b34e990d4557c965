"""A plugin in PipeWire's filter chain, by the file that is written with it."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import edge_se.cli
from tests.helpers.waiting import wait_for

NAME, RATE = "edge_se_gtcrn", 48000
LATENCY = 1824
RAW = ["--raw", "--format=float32le", f"--rate={RATE}", "--channels=1"]


@pytest.fixture
def installed(tmp_path) -> None:
    """The plugin, its file where PipeWire looks for it, listening to the room."""
    if shutil.which("pipewire") is None:
        pytest.skip("pipewire is not installed")
    assert edge_se.cli.main(["compile", "--plugin", "ladspa", "--out", str(tmp_path)]) == 0
    told = (tmp_path / f"{NAME}.conf").read_text()
    told = told.replace(
        "node.passive = true", "node.passive = true target.object = room stream.capture.sink = true"
    )
    place = tmp_path / ".config" / "pipewire" / "pipewire.conf.d" / f"{NAME}.conf"
    place.parent.mkdir(parents=True)
    place.write_text(told)


def sources() -> str:
    listed = ["pactl", "list", "short", "sources"]
    return subprocess.run(listed, capture_output=True, text=True).stdout


def node() -> str:
    """The number of the filter chain's own node."""
    dumped = subprocess.run(["pw-dump"], capture_output=True, text=True, check=True).stdout
    nodes = [o for o in json.loads(dumped) if o["type"].endswith("Node")]
    return next(
        str(o["id"]) for o in nodes if o["info"]["props"].get("node.name") == f"capture.{NAME}"
    )


@pytest.mark.slow
def test_a_program_hears_the_room_as_late_as_told_while_a_control_moves(
    installed, pipewire, tmp_path
):
    wait_for(lambda: NAME in sources() and "room.monitor" in sources())
    noise = 0.1 * np.random.default_rng(0).standard_normal(5 * RATE).astype(np.float32)
    (tmp_path / "noise").write_bytes(noise.tobytes())
    heard = {name: tmp_path / name for name in ("room.monitor", NAME)}
    recorders = []
    for device, path in heard.items():
        record = ["parec", *RAW, "--latency-msec=10", f"--device={device}"]
        with path.open("wb") as file:
            recorders.append(subprocess.Popen(record, stdout=file))
    player = subprocess.Popen(["paplay", *RAW, "--device=room", str(tmp_path / "noise")])
    wait_for(lambda: bool(np.count_nonzero(samples(heard["room.monitor"])) > 2 * RATE))
    bypass = '{ params = [ "enhance:Bypass" 1.0 ] }'
    subprocess.run(["pw-cli", "set-param", node(), "Props", bypass], check=True, timeout=20)
    player.wait(30)
    for recorder in recorders:
        recorder.terminate()
        recorder.wait(30)

    room, enhanced = (samples(path) for path in heard.values())
    late = lag(room, enhanced)
    # On a busy machine the second recorder may begin later than what it hears is late.
    room, enhanced = room[max(-late, 0) :], enhanced[max(late, 0) :]
    count = min(len(room), len(enhanced))
    room, enhanced = room[:count], enhanced[:count]
    loud = np.flatnonzero(np.abs(room) > 0.01)
    end = slice(loud[-1] - RATE // 2, loud[-1])
    np.testing.assert_array_equal(enhanced[end], room[end])  # bypassed
    begin = slice(loud[0] + RATE // 2, loud[0] + RATE)
    assert enhanced[begin].std() < 0.5 * room[begin].std()  # noise that was taken away
    # Recorders begin at periods of the server.
    assert (late - LATENCY) % 64 == 0


def samples(path: Path) -> np.ndarray:
    data = path.read_bytes()
    return np.frombuffer(data[: len(data) // 4 * 4], np.float32)


def lag(first: np.ndarray, second: np.ndarray) -> int:
    """By how many samples the second is later; both hold the same sound."""
    size = 2 * max(len(first), len(second))
    spectrum = np.conj(np.fft.rfft(first, size)) * np.fft.rfft(second, size)
    found = int(np.argmax(np.fft.irfft(spectrum, size)))
    return found if found < size // 2 else found - size
