"""The live command, between programs that stand for ALSA's, and what it tells systemd."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest

from edge_se import cli
from edge_se.commands import live
from edge_se.console import Console
from edge_se.enhancer import Enhancer
from edge_se.errors import UserError
from edge_se.live import alsa, devices, pcm, pulse, stream
from edge_se.live.devices import Buffering, DeviceError, Loudspeaker, Program
from edge_se.live.notify import Notifier
from edge_se.live.path import LivePath
from edge_se.live.settings import LiveSettings, model_in, read_settings
from edge_se.live.status import Status

MISSING = "echo 'arecord: main:831: audio open error: No such file or directory' >&2; exit 1\n"
BUSY = "echo 'aplay: main:831: audio open error: Device or resource busy' >&2; exit 1\n"


@pytest.fixture
def systemd(tmp_path, monkeypatch):
    """Systemd's end of the line."""
    line = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    line.bind(str(tmp_path / "notify"))
    line.settimeout(60)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    yield line
    line.close()


def start(model, *arguments) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "edge_se", "live", "--model", str(model), *arguments]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def test_it_is_ready_once_sound_came_out_and_alive_after(card, systemd, tiny_int8, tmp_path):
    with start(tiny_int8) as process:
        first = systemd.recv(1000).decode().splitlines()
        heard = (tmp_path / "heard").stat().st_size
        second = systemd.recv(1000).decode().splitlines()
        process.send_signal(signal.SIGTERM)
        _, messages = process.communicate(timeout=30)

    assert "READY=1" in first and heard > 0.2 * 32000
    assert second == ["WATCHDOG=1"]
    assert process.returncode == 0
    assert "Traceback" not in messages
    assert "real-time factor" in messages


def test_a_check_ends_as_soon_as_sound_flows(card, edge_se, tiny_int8):
    result = edge_se("live", "--check", "--model", tiny_int8)

    assert result.returncode == 0
    assert "sound flows from 'default' to 'default'" in result.stderr


@pytest.mark.parametrize(
    ("program", "script", "complaint"),
    [
        ("arecord", MISSING, "the capture device 'one' failed (No such file or directory)"),
        ("aplay", BUSY, "the playback device 'two' failed (Device or resource busy)"),
        ("arecord", "exit 1\n", "the capture device 'one' failed (it has gone)"),
    ],
)
def test_a_device_that_fails_is_named_with_those_there_are(
    card, edge_se, tiny_int8, program, script, complaint
):
    card(program, script)

    result = edge_se(
        "live", "--check", "--model", tiny_int8, "--capture", "one", "--playback", "two"
    )

    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last == f"edge-se: error: {complaint}; there are: hw:CARD=Mic"


def test_a_status_file_follows_the_stream(card, systemd, tiny_int8, tmp_path):
    path = tmp_path / "status.json"
    settings = tmp_path / "mine.toml"
    settings.write_text("mix = 0.5\n")  # which --for puts aside
    options = ("--settings", str(settings), "--capture", "hw:1", "--status", str(path))
    strength = ("--for", "recogniser", "--max-attenuation", "12")
    with start(tiny_int8, *options, *strength) as process:
        systemd.recv(1000)
        systemd.recv(1000)
        running = json.loads(path.read_text())
        process.terminate()
        process.communicate(timeout=30)

    assert running["state"] == "running"
    assert running["settings"]["capture"] == "hw:1" and running["model"] == str(tiny_int8)
    assert running["strength"] == {"max_attenuation_db": 12, "mix": 0}
    assert (running["in_dbfs"], running["xruns"]) == (-120.0, 0)
    # A hop inside the model, the kernel, a full buffer and a period, and what this card leaves.
    assert running["latency_ms"] == pytest.approx(16 + 1 + 24, abs=16)
    assert json.loads(path.read_text())["state"] == "stopped"
    assert not list(tmp_path.glob(".edge-se-*"))


@pytest.mark.parametrize("name", ["-", "/dev/null", "/dev/stdout"])
def test_a_status_goes_into_a_file_and_nothing_else(edge_se, tiny_int8, name):
    result = edge_se("live", "--model", tiny_int8, "--status", name)

    assert result.returncode == 2
    assert f"--status {name} is no file" in result.stderr


@pytest.mark.parametrize("virtual", [None, "Clean"])
def test_nothing_is_recorded_before_all_that_a_stream_needs_is_computed(
    monkeypatch, tiny_int8, virtual
):
    told: list[str] = []

    def path(*arguments, **options) -> LivePath:
        told.append("ready")
        return LivePath(*arguments, **options)

    def no_device(*_, **__) -> None:
        told.append("opened")
        raise DeviceError("there is none")

    monkeypatch.setattr(stream, "LivePath", path)
    monkeypatch.setattr(pulse, "list_sources", list)
    monkeypatch.setattr(devices, "_End", no_device)
    monkeypatch.setattr(pulse, "VirtualMicrophone", no_device)
    settings = LiveSettings(capture="room", rate=48000)
    status, enhancer = Status(None, {}, Console()), Enhancer(tiny_int8)
    one = live._Live(enhancer, settings, Notifier(), status, Console(), virtual)

    with pytest.raises(DeviceError):
        one.stream()

    assert told == ["ready", "opened"]


def test_what_comes_before_the_loudspeaker_is_open_is_lost_and_not_late(card, tmp_path, tiny_int8):
    card("aplay", f"sleep 1\nexec cat >{tmp_path / 'heard'}\n")
    with start(tiny_int8) as process:
        while not (tmp_path / "heard").exists() or not (tmp_path / "heard").stat().st_size:
            time.sleep(0.01)
        process.terminate()
        process.communicate(timeout=30)

    # 47 ms of silence, and what came since: not the second before.
    assert (tmp_path / "heard").stat().st_size < 0.5 * 32000


@pytest.mark.parametrize("buffer_ms", [4, 20])
@pytest.mark.parametrize("since_ms", [0, 1, 8, 15, 16])
def test_whenever_the_loudspeaker_begins_just_enough_waits_from_the_first_sound_on(
    buffer_ms, since_ms
):
    waits, hop = Buffering(buffer_ms * 1e-3), bytes(range(256)) * 2
    target, sound = 2 * round(waits.target_s * 16000), 32 * since_ms
    program = Program(("sleep", "60"), "playback", "default", "", list)
    with contextlib.closing(Loudspeaker(program, pcm.Pcm(16000, 1, "s16le"), waits)) as loudspeaker:
        (process,) = _children(os.getpid(), "sleep")
        # What `aplay` would take is taken here.
        with Path(f"/proc/{process}/fd/0").open("rb", buffering=0) as pipe:
            os.set_blocking(pipe.fileno(), False)
            for _ in range(3):  # it is not open yet
                loudspeaker.write(hop)
            assert loudspeaker.waiting == loudspeaker.written == 0
            silence = pipe.read(2 * round(waits.full_s * 16000) - target)  # its buffer is full now
            silence += pipe.read(sound)
            loudspeaker.write(hop)
            heard = pipe.read(1 << 16)

    # Nothing was missing until this hop, and so it goes on with each.
    assert len(heard) == target + len(hop)
    assert len(silence) >= 32 * buffer_ms
    assert heard[len(heard) - sound :] == hop[len(hop) - sound :]
    assert not any(silence + heard[: len(heard) - sound])


@pytest.mark.slow
def test_a_device_that_is_not_there_is_waited_for(card, systemd, tiny_int8, tmp_path):
    switch = tmp_path / "plugged"
    works = f"exec {sys.executable} {tmp_path / 'bin' / 'microphone.py'}\n"
    card("arecord", f"[ -e {switch} ] && {works}{MISSING}")
    with start(tiny_int8) as process:
        first = systemd.recv(1000).decode()
        switch.touch()
        second = systemd.recv(1000).decode()
        process.terminate()
        _, messages = process.communicate(timeout=30)

    assert first.startswith("EXTEND_TIMEOUT_USEC=20000000\nSTATUS=waits: the capture device")
    assert second.startswith("READY=1")
    assert process.returncode == 0
    assert "Traceback" not in messages
    assert "before its first frame" not in messages


def test_a_device_that_is_waited_for_is_named_once_in_the_log(monkeypatch, capsys):
    def lose(*_) -> None:
        raise DeviceError("the microphone has gone")

    monkeypatch.setattr(live._Live, "stream", lose)
    monkeypatch.setattr(live, "RETRY_S", 0.0)
    notifier, console = Notifier(), Console()
    status = Status(None, {}, console)
    one = live._Live(cast(Any, None), LiveSettings(), notifier, status, console)

    for _ in range(3):
        one.run_until_lost()
    assert capsys.readouterr().err == "edge-se: the microphone has gone\n"
    notifier.flowing()
    one.run_until_lost()
    assert capsys.readouterr().err == "edge-se: the microphone has gone\n"


@pytest.mark.slow
def test_a_device_that_is_unplugged_and_comes_back_is_opened_again(
    card, systemd, tiny_int8, tmp_path
):
    with start(tiny_int8) as process:
        assert "READY=1" in systemd.recv(1000).decode()
        (microphone,) = _children(process.pid, "microphone.py")
        os.kill(microphone, signal.SIGKILL)
        told: list[str] = []
        while not told or "waits" not in told[-1]:
            told.append(systemd.recv(1000).decode())
        again = systemd.recv(1000).decode()
        process.terminate()
        process.communicate(timeout=30)

    assert told[-1].startswith("WATCHDOG=1\nSTATUS=waits: the capture device 'default' failed")
    assert again == "WATCHDOG=1\nSTATUS=sound flows"
    assert not _children(process.pid, "")


def _children(parent: int, name: str) -> list[int]:
    """Processes of a parent whose command line holds a name."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            status = (path / "stat").read_text().rpartition(")")[2].split()
            if int(status[1]) == parent and name in (path / "cmdline").read_text():
                found.append(int(path.name))
        except OSError:
            continue  # it has ended
    return found


@pytest.mark.parametrize(
    "delay_s",
    [0.05, 0.3, *(pytest.param(delay, marks=pytest.mark.slow) for delay in (0.6, 1.0, 1.5))],
)
def test_stopping_it_at_any_time_gives_no_traceback(card, tiny_int8, delay_s):
    with start(tiny_int8) as process:
        time.sleep(delay_s)
        for child in _children(process.pid, ""):  # systemd ends the whole group
            os.kill(child, signal.SIGTERM)
        process.terminate()
        _, messages = process.communicate(timeout=30)

    assert process.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
    assert "Traceback" not in messages


def test_devices_are_listed(card, capsys):
    assert cli.main(["live", "--list-devices"]) == 0

    assert capsys.readouterr().out == "capture: hw:CARD=Mic\nplayback: hw:CARD=Mic\n"


def test_without_alsas_programs_it_says_what_to_install(tmp_path, monkeypatch, edge_se, tiny_int8):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))

    result = edge_se("live", "--model", tiny_int8)

    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].endswith("install it: sudo apt install alsa-utils")


def test_a_releases_folder_stands_for_its_model(tmp_path):
    (tmp_path / "model.so").touch()
    assert model_in(tmp_path) == tmp_path / "model.so"
    assert model_in(tmp_path / "model.so") == tmp_path / "model.so"

    (tmp_path / "model.tflite").touch()
    with pytest.raises(UserError, match="holds 2 models"):
        model_in(tmp_path)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("rate = 0", "rate in .* has to lie between 4000 and 384000, not 0"),
        ("rate = true", "rate in .* has to be a whole number, not True"),
        ('rate = "16000"', "rate in .* has to be a whole number"),
        ("capture = 1", "capture in .* has to be text, not 1"),
        ('capture = ""', "a device in .* has no name"),
        ('format = "S16_LE"', "format in .* has to be one of s16le"),
        ("channel = 2", "channel in .* is 2 of 1"),
        ("speed = 1", "has a setting 'speed'; there are: capture, playback"),
        ("mix = 1.5", "mix in .* has to lie between 0 and 1, not 1.5"),
        ("max_attenuation = nan", "max_attenuation in .* has to lie between 0 and 100"),
        ('mix = "a bit"', "mix in .* has to be a number"),
        ('listener = "nobody"', "listener in .* has to be one of recogniser"),
        ("rate = ", "is no TOML"),
        ("\x00", "is no TOML"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, text, complaint):
    path = tmp_path / "live.toml"
    path.write_text(text)

    with pytest.raises(UserError, match=complaint):
        read_settings(path)


def test_settings_are_read(tmp_path):
    path = tmp_path / "live.toml"
    devices = 'capture = "plughw:1"\nrate = 48000\nchannels = 2\nchannel = 1\n'
    path.write_text(f'{devices}listener = "recogniser"\nmax_attenuation = 12\nmix = 0.1\n')

    expected = LiveSettings(
        *("plughw:1", "default", 48000, 2),
        channel=1,
        listener="recogniser",
        max_attenuation=12,
        mix=0.1,
    )
    assert read_settings(path) == expected
    assert read_settings(tmp_path / "none.toml") == LiveSettings()


def test_without_systemd_nothing_is_told(monkeypatch):
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)

    notifier = Notifier()
    notifier.flowing()

    assert notifier.ready


def test_the_watchdog_hears_once_a_second_and_abstract_sockets_are_known(monkeypatch):
    name, now = f"edge-se-test-{os.getpid()}", [0.0]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(f"\0{name}")
        line.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")
        notifier = Notifier(clock=lambda: now[0])
        for _ in range(300):
            notifier.flowing()
            now[0] += 0.01
        heard = [line.recv(100).decode() for _ in range(3)]

        with pytest.raises(BlockingIOError):
            line.recv(100)
        notifier.waiting("waits", 1.0)
        notifier.flowing()
        after = [line.recv(100).decode() for _ in range(2)]
    assert after == ["WATCHDOG=1\nSTATUS=waits", "WATCHDOG=1\nSTATUS=sound flows"]
    assert heard[0].startswith("READY=1\n")
    assert heard[1:] == ["WATCHDOG=1", "WATCHDOG=1"]


def test_alsa_has_a_name_for_every_format():
    assert set(alsa.FORMATS) == set(pcm.FORMATS)


def test_overruns_and_underruns_are_counted(card, systemd, tiny_int8, tmp_path):
    told = "for i in 1 2 3; do echo 'overrun!!! (at least 12.3 ms long)' >&2; done\n"
    card("arecord", f"{told}exec {sys.executable} {tmp_path / 'bin' / 'microphone.py'}\n")
    with start(tiny_int8) as process:
        systemd.recv(1000)
        process.terminate()
        _, messages = process.communicate(timeout=30)

    assert "3 overruns and underruns" in messages


def test_a_model_of_a_user_who_is_not_there_is_one_sentence(edge_se, tmp_path):
    (tmp_path / "live.toml").write_text('model = "~nobody-of-that-name/m.tflite"')

    result = edge_se("live", "--settings", "live.toml")

    assert result.returncode == 2
    assert "~nobody-of-that-name/m.tflite names no folder" in result.stderr.splitlines()[-1]


def test_a_model_that_is_taken_in_place_of_an_option_is_told(
    card, edge_se, tiny_int8, tiny_float, tmp_path
):
    (tmp_path / "live.toml").write_text(f'model = "{tiny_float}"')

    result = edge_se("live", "--check", "--settings", "live.toml", "--model", tiny_int8)

    assert result.returncode == 0, result.stderr
    assert f"names {tiny_float}, which runs in place of {tiny_int8}" in result.stderr
