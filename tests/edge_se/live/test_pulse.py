"""A microphone for other programs: with stand-ins for a sound server, and with a real one."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edge_se.errors import UserError
from edge_se.live.devices import DeviceError
from edge_se.live.pcm import Pcm
from edge_se.live.pulse import WAITING_S, VirtualMicrophone, list_sources, virtual_devices
from tests.helpers.waiting import wait_for

LAYOUT = Pcm(16000, 1, "s16le")
PACTL = """
case "$1" in
list) printf '0\\ttaken\\tmodule\\n1\\troom\\tmodule\\n';;
get-default-source) echo room;;
load-module)
    for word in "$@"; do case "$word" in file=*) mkfifo "${word#file=}";; esac; done
    echo "$@" >>LOG; echo 7;;
unload-module) echo "$@" >>LOG;;
esac
"""


@pytest.fixture
def server(card, tmp_path, monkeypatch):
    """A sound server; gives what it was told."""
    log = tmp_path / "log"
    log.touch()
    (tmp_path / "runtime").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "runtime"))
    card("pactl", PACTL.replace("LOG", str(log)))
    card("parec", f"exec {sys.executable} {tmp_path / 'bin' / 'microphone.py'}\n")
    return log


def state(path: Path) -> str:
    return str(json.loads(path.read_text())["state"]) if path.exists() else ""


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_it_comes_and_goes_with_the_process(server, tiny_int8, tmp_path, ending):
    command = [sys.executable, "-m", "edge_se", "live", "--model", str(tiny_int8)]
    command += ["--virtual-microphone", "Clean", "--status", str(tmp_path / "status.json")]
    with subprocess.Popen(command) as process:
        try:
            wait_for(lambda: state(tmp_path / "status.json") == "running")
            told = server.read_text()
        finally:
            process.send_signal(ending)

    assert "source_name=Clean" in told and "unload" not in told
    assert "format=s16le rate=16000 channels=1" in told
    wait_for(lambda: server.read_text().endswith("unload-module 7\n"))
    wait_for(lambda: not list((tmp_path / "runtime").iterdir()))


@pytest.fixture
def microphone(server):
    one = VirtualMicrophone("Clean", LAYOUT)
    yield one
    one.close()


def hop(value: int) -> bytes:
    return np.full(256, value, "<i2").tobytes()


def test_where_nobody_records_the_newest_is_kept_and_nothing_blocks(microphone):
    for value in range(1000):
        microphone.write(hop(value))

    kept = np.frombuffer(os.read(microphone._pipe, 1 << 16), "<i2")
    assert set(kept) == {999}
    assert microphone.written == 1000 * 512


def test_who_records_in_time_gets_every_sample(microphone):
    heard = b""
    for value in range(100):
        microphone.write(hop(value))
        heard += os.read(microphone._pipe, 512)

    assert heard == b"".join(map(hop, range(100)))


def test_who_records_in_gulps_gets_every_sample(microphone):
    """As a sound server does that has a longer period than a hop."""
    heard = b""
    for value in range(99):
        microphone.write(hop(value))
        if value % 3 == 2:
            heard += os.read(microphone._pipe, 1 << 16)

    assert heard == b"".join(map(hop, range(99)))
    assert WAITING_S * 32000 > 4 * 512


def test_a_name_that_is_taken_is_refused(server):
    with pytest.raises(UserError, match="there is a microphone 'taken' already"):
        virtual_devices("default", "taken", LAYOUT)


@pytest.mark.parametrize("name", ["", "two words", "a=b", "-x", "x" * 65, "a'b", "a\nb"])
def test_a_name_that_a_server_would_misread_is_refused(edge_se, name):
    result = edge_se("live", f"--virtual-microphone={name}")

    assert result.returncode == 2
    assert "up to 64 letters, digits" in result.stderr


def test_the_microphone_that_was_in_use_is_enhanced_and_not_the_new_one(server, monkeypatch):
    devices = virtual_devices("default", "Clean", LAYOUT)
    devices.open()
    try:
        assert "--device=room" in str(devices._capture._end.process.args)
        assert not devices.two_clocks
    finally:
        devices.close()


def test_nobody_records_yet_when_it_is_made(server, card):
    """PulseAudio would move who records its default source to the new one, which is enhanced."""
    card("parec", f"echo recording >>{server}; exec sleep 100\n")

    devices = virtual_devices("room", "Clean", LAYOUT)
    devices.open()
    try:
        wait_for(lambda: "recording" in server.read_text())
        made, recording = server.read_text().splitlines()
        assert made.startswith("load-module") and recording == "recording"
    finally:
        devices.close()


def test_without_a_server_it_says_so(card, tmp_path):
    card("pactl", "echo 'Connection failure: Connection refused' >&2; exit 1\n")

    with pytest.raises(DeviceError, match=r"no sound server answers \(Connection refused\)"):
        list_sources()


def test_a_server_that_makes_none_is_told(server, card):
    refuses = "case $1 in list) ;; *) echo 'Failure: No such entity' >&2; exit 1;; esac\n"
    card("pactl", refuses)

    with pytest.raises(DeviceError, match=r"makes no microphone 'Clean' \(No such entity\)"):
        virtual_devices("room", "Clean", LAYOUT).open()


def test_without_its_programs_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(UserError, match="sudo apt install pulseaudio-utils"):
        list_sources()


@pytest.mark.slow
@pytest.mark.parametrize("server", ["pipewire", "pulseaudio"])
def test_a_program_records_what_is_said_in_the_room(server, request, tiny_int8, tmp_path):
    request.getfixturevalue(server)
    status = tmp_path / "status.json"
    command = [sys.executable, "-m", "edge_se", "live", "--model", str(tiny_int8)]
    command += ["--virtual-microphone", "clean", "--capture", "room.monitor"]
    tone = (8000 * np.sin(2 * np.pi * 440 / 16000 * np.arange(80000))).astype("<i2").tobytes()
    (tmp_path / "tone").write_bytes(tone)
    raw = ["--raw", "--format=s16le", "--rate=16000", "--channels=1"]
    with subprocess.Popen([*command, "--status", str(status)]) as process:
        try:
            wait_for(lambda: state(status) == "running")
            assert "clean" in list_sources()
            record = ["parec", *raw, "--device=clean", "--latency-msec=10"]
            with (tmp_path / "heard").open("wb") as file:
                recorder = subprocess.Popen(record, stdout=file)
                subprocess.run(["paplay", *raw, "--device=room", tmp_path / "tone"], timeout=60)
                recorder.terminate()
                recorder.wait(30)
        finally:
            process.terminate()
    heard = (tmp_path / "heard").read_bytes()

    samples = np.frombuffer(heard[: len(heard) // 2 * 2], "<i2").astype(float)
    assert len(samples) > 4 * 16000
    middle = samples[len(samples) // 2 :][:16000]
    spectrum = np.abs(np.fft.rfft(middle))
    assert np.argmax(spectrum) == 440 and middle.std() > 100
    wait_for(lambda: "clean" not in list_sources())
