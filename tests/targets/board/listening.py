"""Sound cards without hardware, and what is heard through them: how late, and how like."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from edge_se.resampling import resample
from targets.board.installer.rights import PRIORITY_COMMAND
from tests.helpers.clips import samples_of
from tests.targets.board.cards import made_module
from tests.targets.board.machine import Board

CLIPS = Path(__file__).parents[3] / "calib_data" / "clips"

RATE = 16000
# Mic and Spk are what edge-se opens; Ref hears what is said into Mic.
CARDS = "options snd-aloop enable=1,1,1 index=0,1,2 id=Mic,Spk,Ref pcm_substreams=1,1,1\n"
RIG = """
pcm.said { type route; slave { pcm { type multi
    slaves { a { pcm "hw:Mic,0" channels 1 } b { pcm "hw:Ref,0" channels 1 } }
    bindings { 0 { slave a channel 0 } 1 { slave b channel 0 } } } channels 2 }
    ttable { 0 { 0 1 1 1 } } }
pcm.heard { type multi
    slaves { a { pcm "hw:Ref,1" channels 1 } b { pcm "hw:Spk,1" channels 1 } }
    bindings { 0 { slave a channel 0 } 1 { slave b channel 0 } } }
"""
SETTINGS = "/home/pi/.config/edge-se/live.toml"
UNIT = "systemctl --user {} edge-se"
STATUS = "/run/user/1000/edge-se/status.json"
WINDOW_S, LONGEST_S = 2.0, 1.0
SILENCE = 1e-3  # RMS of a window in which nothing is said


@dataclass(frozen=True)
class Heard:
    """A window of a recording.

    Attributes:
        start_s: Where it begins in what was said.
        lag_s: How much later it is heard.
        likeness: Correlation with what was said, at most 1.
    """

    start_s: float
    lag_s: float
    likeness: float


def listen(said: np.ndarray, recorded: np.ndarray, rate: int) -> list[Heard]:
    """Find windows of what was said, float [n], in what was recorded meanwhile, float [n]."""
    window, longest = round(WINDOW_S * rate), round(LONGEST_S * rate)
    found = []
    for start in range(0, min(len(said), len(recorded)) - window - longest, window):
        piece = said[start : start + window].astype(float)
        around = recorded[start : start + window + longest].astype(float)
        if piece.std() < SILENCE:
            continue
        size = 2 ** len(around).bit_length()
        products = np.fft.irfft(np.fft.rfft(around, size) * np.fft.rfft(piece, size).conj(), size)
        sums = np.cumsum(np.concatenate([[0.0], around**2]))
        energies = np.maximum(sums[window:] - sums[:-window], 1e-9)
        likeness = products[: len(energies)] / np.sqrt(energies * np.sum(piece**2))
        best = int(np.argmax(likeness))
        found.append(Heard(start / rate, best / rate, float(likeness[best])))
    return found


def wav(samples: np.ndarray, rate: int = RATE, channels: int = 1, subtype: str = "PCM_16") -> bytes:
    """A WAV file of float32 [n] at 16 kHz, resampled, in all channels."""
    file, frames = io.BytesIO(), resample(samples, RATE, rate)
    soundfile.write(file, np.repeat(frames[:, None], channels, 1), rate, subtype, format="WAV")
    return file.getvalue()


def read_wav(content: bytes) -> np.ndarray:
    """Samples of a WAV file, float32 [n, channels]."""
    return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0]


def put_in_cards(board: Board) -> None:
    """Give a board new sound cards, now and at each boot, which nobody has opened."""
    board.send(RIG.encode(), "/home/pi/.asoundrc")
    board.run(
        f"printf '{CARDS}' | sudo tee /etc/modprobe.d/cards.conf; "
        "echo snd-aloop | sudo tee /etc/modules-load.d/cards.conf; "
        f"{UNIT.format('stop')}; pkill -x 'aplay|arecord'; sleep 1; "
        "sudo modprobe -r snd-aloop && sudo modprobe snd-aloop && cat /proc/asound/cards"
    )


def put_in_steady_cards(board: Board) -> None:
    """Replace its sound cards until it is switched off, by some that move in no steps."""
    module = made_module(board.run("uname -r").strip())
    board.send(module, "/tmp/loop_cards.ko")
    board.run(f"{UNIT.format('stop')}; sudo rmmod snd_aloop; sudo modprobe snd-pcm")
    board.run("sudo insmod /tmp/loop_cards.ko; cat /proc/asound/cards")


def give_priority(board: Board) -> None:
    """Let users' services take real-time priority, as the installer says how to."""
    command, then = PRIORITY_COMMAND.format(user="pi").split(", and ")
    assert then == "reboot"
    board.run(f"{command}; sudo systemctl restart user@$(id -u)")  # which a reboot does too


def edit_settings(board: Board, **settings: object) -> None:
    """Say what the service uses when it is started next; else the defaults, and these cards."""
    lines = {"capture": "plughw:Mic,1", "playback": "plughw:Spk,0", **settings}
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    board.send(text.encode(), SETTINGS)


def set_up(board: Board, **settings: object) -> None:
    """Edit the settings of the service and start it again, which ends once sound came out."""
    edit_settings(board, **settings)
    board.run(UNIT.format("reset-failed"))  # it may not be started five times in ten minutes
    board.run(UNIT.format("restart"))


def status_of(board: Board) -> dict[str, Any]:
    """What the service says of itself."""
    return dict(json.loads(board.run(f"cat {STATUS}")))


def record(board: Board, said: np.ndarray, seconds: float, rate: int = RATE) -> list[np.ndarray]:
    """Say something, float32 [n] at 16 kHz, into the microphone over and over.

    Returns:
        What was said, and what is heard of it meanwhile, float32 [seconds * rate] each.
    """
    board.send(wav(said, rate), "/tmp/said.wav")
    # It goes on until it fails, as it does when it is ended.
    play = "while aplay -q -D said --buffer-size=8192 /tmp/said.wav; do :; done"
    board.run(
        f"({play}) >/dev/null 2>&1 & sleep 2; "
        f"arecord -q -D heard -f S16_LE -r {rate} -c 2 --buffer-size=16384 -d {seconds:g} "
        "/tmp/heard.wav; pkill -P $! -x aplay; true",
        20 * seconds + 600,
    )
    return list(read_wav(board.fetch("/tmp/heard.wav")).T)


def talk_beside_a_fan() -> np.ndarray:
    """Half a minute of somebody who talks, float32 [n] at 16 kHz."""
    clips = [samples_of(path) for path in sorted((CLIPS / "clean").iterdir())[:12]]
    speech = np.resize(np.concatenate([0.05 * clip / clip.std() for clip in clips]), 30 * RATE)
    noise = np.random.default_rng(0).standard_normal(len(speech))
    return (speech + 0.008 * noise).clip(-1, 1).astype(np.float32)
