"""One board's life, in order: cut off, powered off, without a sound card, and then with sound.

All times of sound are by the board's own clock, which waits for its emulated core.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edge_se import Enhancer
from targets.board.installer.rights import PRIORITY_COMMAND
from tests.helpers.waiting import wait_for
from tests.targets.board.listening import (
    RATE,
    UNIT,
    Heard,
    edit_settings,
    give_priority,
    listen,
    put_in_cards,
    read_wav,
    record,
    set_up,
    status_of,
    wav,
)
from tests.targets.board.machine import Board

pytestmark = pytest.mark.board

FLOWS, MINUTES = "StatusText=sound flows\n", 600.0
STEADY_S = 0.012  # what the controller of the clocks leaves alone, and an emulated card's step


@dataclass(frozen=True)
class Deploy:
    """Runs the command: `deploy("--model", FILE)`."""

    board: Board
    state: Path

    @contextmanager
    def start(self, *arguments: object) -> Iterator[subprocess.Popen]:
        """Begin; it is ended where it has not come to its end by then."""
        words = [str(word) for word in ("deploy", self.board.name, *arguments)]
        self.board.tell(f"$ edge-se {' '.join(words)}")
        options = ["--ssh-config", str(self.board.config)]
        with subprocess.Popen(
            [sys.executable, "-m", "edge_se", *words, *options],
            env={**os.environ, "XDG_STATE_HOME": str(self.state)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def __call__(self, *arguments: object, failing: str = "") -> str:
        """What it says; it has to succeed, or to fail with a sentence that holds these words."""
        with self.start(*arguments) as process:
            out, error = process.communicate(timeout=2400)
        self.board.tell(error + out)
        assert bool(process.returncode) == bool(failing), error
        assert "Traceback" not in error
        assert failing in error
        return str(error + out)


@pytest.fixture
def deploy(board, tmp_path) -> Deploy:
    """Deploys to a board on which nobody else does."""
    wait_until(board, "test -e edge-se/lock || echo free; flock -n edge-se/lock echo free", "free")
    return Deploy(board, tmp_path / "state")


@pytest.fixture
def unused(board) -> None:
    """A board on which no release is in use."""
    board.run(
        "test ! -e edge-se/current || "
        f"{{ {UNIT.format('disable --now')}; rm -r edge-se .config/systemd/user/edge-se.service; }}"
    )


@pytest.fixture
def serving(board, deploy, models) -> None:
    """A board with sound cards and a service that enhances, with priority, by the defaults."""
    put_in_cards(board)
    edit_settings(board)
    in_use = f"test -e edge-se/current/model.so && {UNIT.format('is-enabled')}"
    if board.try_to(in_use).returncode:
        deploy("--model", models["so"], "--service")
    give_priority(board)
    wait_for_sound(board)


def wait_until(board: Board, command: str, wanted: str, seconds: float = 600) -> str:
    """Ask until an answer holds something."""
    end = time.monotonic() + seconds
    while wanted not in (answer := board.try_to(command).stdout):
        assert time.monotonic() < end, answer
        time.sleep(2)
    board.tell(f"board$ {command}\n{answer}")
    return answer


def wait_for_sound(board: Board) -> None:
    """Wait until the service says that sound flows."""
    wait_until(board, UNIT.format("show --property=StatusText"), FLOWS)


def wait_for_failure(board: Board, words: str) -> None:
    """Wait until the service says what it waits for."""
    wait_until(board, UNIT.format("show --property=StatusText"), words)


def told(board: Board, heard: list[Heard]) -> list[Heard]:
    """Print what was heard; windows that are whole."""
    whole = [one for one in heard if one.likeness > 0.5]
    for one in heard:
        board.tell(f"   {one.start_s:5.0f} s: {1e3 * one.lag_s:6.1f} ms, {one.likeness:.3f}")
    return whole


@pytest.mark.usefixtures("unused")
class TestBoard:
    def test_a_pulled_cable_is_told_and_the_rest_is_sent_later(self, board, deploy, models):
        with deploy.start("--model", models["so"]) as process:
            wait_until_sent(process, 12_000_000)
            with board.unplugged():
                _, error = process.communicate(timeout=300)
        board.tell(error)

        assert process.returncode == 2
        assert error.splitlines()[-1].startswith("edge-se: error: the connection to board was lost")
        wait_for(board.answers)
        assert "no releases in" in deploy("--list")
        rest = deploy("--model", models["so"], "--dry-run")
        assert float(rest.split(" would get ")[1].split(" MB")[0]) < 15
        # What received it gives up too, and keeps nobody out.
        wait_until(board, "flock -n edge-se/lock echo free", "free")

    def test_a_power_cut_in_the_middle_leaves_nothing_that_is_used(self, board, deploy, models):
        with deploy.start("--model", models["so"]) as process:
            assert process.stderr is not None, "it is a pipe"
            for line in process.stderr:
                board.tell(line)
                if "installing the wheels" in line:
                    break
            time.sleep(10)
            board.cut_power()
            process.communicate(timeout=300)
        board.boot()

        assert "installing the wheels" in line
        assert process.returncode == 2
        assert "no releases in" in deploy("--list") or "interrupted" in deploy("--list")
        assert board.try_to("test -e edge-se/current").returncode == 1

    def test_without_a_sound_card_the_service_is_undone(self, board, deploy, models):
        said = deploy("--model", models["so"], "--service", failing="failed (")

        assert "the capture device 'default' failed" in said
        assert "nothing is in use there" in said
        assert board.try_to("test -e edge-se/current").returncode == 1
        assert board.try_to(UNIT.format("is-enabled")).returncode
        # What the power cut had left is gone.
        assert len(board.run("ls edge-se/releases").split()) == 1

    def test_with_one_it_serves_now(self, board, deploy, models):
        put_in_cards(board)
        edit_settings(board)

        said = deploy("--model", models["so"], "--service")

        wait_for_sound(board)
        assert PRIORITY_COMMAND.format(user="pi") in said
        give_priority(board)
        assert board.run("loginctl show-user pi --property=Linger") == "Linger=yes\n"
        assert board.run(UNIT.format("is-enabled")) == "enabled\n"


@pytest.mark.usefixtures("serving")
class TestService:
    def test_after_a_reboot_it_enhances_without_a_login(self, board, models, talk):
        board.reboot()
        wait_for_sound(board)
        process = board.run(UNIT.format("show --property=MainPID --value")).strip()
        assert "SCHED_RR" in board.run(f"chrt -p {process}")

        said, heard = record(board, talk, 40)

        enhancer = Enhancer(models["tflite"])
        expected = enhancer.enhance(said)
        assert len(told(board, listen(said, heard, RATE))) > 5
        like = sorted(one.likeness for one in listen(expected, heard, RATE))
        board.tell(f"likeness to the file's: {[round(one, 3) for one in like]}")
        assert like[len(like) // 2] > 0.9
        # The fan is gone.
        assert np.percentile(np.abs(heard), 20) < 0.5 * np.percentile(np.abs(said), 20)
        status_of(board)

    def test_it_is_heard_within_70_ms(self, board, talk):
        before = status_of(board)

        said, heard = record(board, talk, 40)

        whole = told(board, listen(said, heard, RATE))
        after = status_of(board)
        assert len(whole) > 10
        assert np.median([one.lag_s for one in whole]) <= 0.07
        assert after["xruns"] == before["xruns"]
        assert after["discarded_hops"] == before["discarded_hops"]

    def test_what_is_heard_does_not_become_late_in_ten_minutes(self, board, talk):
        before = status_of(board)

        said, heard = record(board, talk, MINUTES)

        windows = listen(said, heard, RATE)
        lags = [one.lag_s for one in told(board, windows)]
        after = status_of(board)
        assert len(lags) > 0.95 * len(windows)
        assert max(lags) - min(lags) < STEADY_S
        assert after["xruns"] == before["xruns"]
        assert after["discarded_hops"] == before["discarded_hops"]

    def test_a_release_of_the_other_kind_goes_on_with_the_same_unit(self, board, deploy, models):
        unit = board.run("cat .config/systemd/user/edge-se.service")

        deploy("--model", models["tflite"])
        wait_for_sound(board)
        deploy("--rollback")
        wait_for_sound(board)

        assert board.run("cat .config/systemd/user/edge-se.service") == unit
        assert int(board.run(UNIT.format("show --property=NRestarts --value"))) == 0

    def test_a_microphone_that_is_busy_or_gone_is_waited_for(self, board):
        with busy(board):
            wait_for_failure(board, "Device or resource busy")
        wait_for_sound(board)

        board.run("echo snd_aloop.0 | sudo tee /sys/bus/platform/drivers/snd_aloop/unbind")
        wait_for_failure(board, "the capture device 'plughw:Mic,1' failed")
        board.run("echo snd_aloop.0 | sudo tee /sys/bus/platform/drivers/snd_aloop/bind")
        wait_for_sound(board)
        assert int(board.run(UNIT.format("show --property=NRestarts --value"))) == 0

    def test_48_khz_stereo_of_32_bits_goes_through(self, board, talk):
        set_up(
            board,
            capture="hw:Mic,1",
            playback="hw:Spk,0",
            rate=48000,
            channels=2,
            format="s32le",
            full_band=False,
        )
        wait_until(board, "cat /proc/asound/Spk/pcm0p/sub0/hw_params", "rate: 48000")
        params = board.run("cat /proc/asound/Spk/pcm0p/sub0/hw_params")
        board.send(wav(talk[: 10 * RATE], 48000, 2, "PCM_32"), "/tmp/said.wav")

        board.run(
            "aplay -q -D hw:Mic,0 /tmp/said.wav & "
            "arecord -q -D hw:Spk,1 -f S32_LE -r 48000 -c 2 -d 14 /tmp/heard.wav; wait"
        )

        assert "format: S32_LE" in params and "channels: 2" in params
        heard = read_wav(board.fetch("/tmp/heard.wav"))
        np.testing.assert_array_equal(heard[:, 0], heard[:, 1])
        found = told(board, listen(np.pad(talk[: 10 * RATE], (0, RATE)), heard[::3, 0], RATE))
        assert len(found) > 1

    def test_clocks_that_are_200_ppm_apart_are_followed(self, board, talk):
        slower = 200e-6
        control = "amixer -c Spk cset iface=PCM,name='PCM Rate Shift 100000',device=1 100020"
        board.run(control)
        before = status_of(board)

        said, heard = record(board, talk, 300)

        windows = told(board, listen(said, heard, RATE))
        # Who records from the loudspeaker's card counts by its clock too, and so too little.
        settled = [one.lag_s + slower * one.start_s for one in windows if one.start_s > 180]
        after = status_of(board)
        assert 100 < after["drift_ppm"] < 300
        # Without being followed they would be 24 ms apart, and hops discarded or missing.
        assert max(settled) - min(settled) < STEADY_S
        assert after["xruns"] == before["xruns"]
        assert after["discarded_hops"] == before["discarded_hops"]


def wait_until_sent(process: subprocess.Popen, size: int) -> None:
    """Wait until an ssh that a process has started took so many bytes to send."""
    while process.poll() is None:
        for children in Path(f"/proc/{process.pid}/task").glob("*/children"):
            for child in children.read_text().split():
                with contextlib.suppress(OSError):  # it has ended
                    about = Path(f"/proc/{child}")
                    # pip reads as much, where it fetches a board's packages for the first time.
                    is_ssh = about.joinpath("comm").read_text() == "ssh\n"
                    if is_ssh and int(about.joinpath("io").read_text().split()[1]) >= size:
                        return
        time.sleep(0.02)
    raise AssertionError("it has ended")


@contextmanager
def busy(board: Board) -> Iterator[None]:
    """Somebody else has the microphone, who was faster after a restart."""
    grab = "systemctl --user stop edge-se; arecord -q -D hw:Mic,1 -f S16_LE -r 16000 /dev/null"
    board.run(f"({grab}) >/dev/null 2>&1 & sleep 8; {UNIT.format('--no-block start')}")
    yield
    board.run("pkill -f '[a]record -q -D hw:Mic,1'; true")
