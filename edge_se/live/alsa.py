"""A microphone and a loudspeaker through ALSA's own programs, `arecord` and `aplay`."""

import functools
import subprocess

from edge_se.errors import printable
from edge_se.live.devices import (
    CAPTURE_PERIOD_S,
    Buffering,
    Capture,
    Devices,
    Loudspeaker,
    Program,
)
from edge_se.live.pcm import Pcm

# ALSA's names of the formats.
FORMATS = {"s16le": "S16_LE", "s24le": "S24_3LE", "s24_3le": "S24_3LE", "s32le": "S32_LE"}
FORMATS["f32le"] = "FLOAT_LE"
CAPTURE_BUFFER_S = 0.064


def alsa_devices(capture: str, playback: str, layout: Pcm, buffering: Buffering) -> Devices:
    """Two devices by ALSA's names, as `plughw:1,0`, to be opened."""
    microphone = _program("arecord", "capture", capture, layout, CAPTURE_PERIOD_S, CAPTURE_BUFFER_S)
    waiting = (buffering.period_s, buffering.buffer_s)
    loudspeaker = _program("aplay", "playback", playback, layout, *waiting)
    return Devices(
        lambda: Capture(microphone),
        lambda: Loudspeaker(loudspeaker, layout, buffering),
        layout,
        not have_one_clock(capture, playback),
    )


def card_of(device: str) -> str:
    """The card that a name says, as `1` in `plughw:1,0`; empty where it says none."""
    kind, _, rest = device.partition(":")
    if kind not in ("hw", "plughw", "sysdefault", "dmix", "dsnoop"):
        return ""
    return rest.split(",")[0].removeprefix("CARD=")


def have_one_clock(capture: str, playback: str) -> bool:
    """Whether two devices are known to be of one card."""
    return card_of(capture) == card_of(playback) != ""


def _program(
    program: str, role: str, device: str, layout: Pcm, period_s: float, buffer_s: float
) -> Program:
    period, buffer = round(period_s * layout.rate), round(buffer_s * layout.rate)
    command = [program, "-q", "-D", device, "-t", "raw", "-f", FORMATS[layout.format]]
    command += ["-r", str(layout.rate), "-c", str(layout.channels)]
    command += [f"--period-size={period}", f"--buffer-size={buffer}"]
    names = functools.partial(list_devices, program)
    return Program(tuple(command), role, device, "sudo apt install alsa-utils", names)


def list_devices(program: str) -> list[str]:
    """Names of the devices that `arecord` or `aplay` can open; none where it is missing."""
    try:
        result = subprocess.run([program, "-L"], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = result.stdout.decode(errors="replace").splitlines()
    names = [line for line in lines if line and not line[0].isspace()]
    return [printable(name) for name in names if name != "null"][:20]
