"""Enhance live sound from a microphone to a loudspeaker, through ALSA.

The model is loaded before the devices are opened, through `arecord` and `aplay`, which every
Raspberry Pi has. What piles up is discarded, so that sound is never late. A device that is
unplugged or busy is waited for. Devices, rate, format and channels come from
~/.config/edge-se/live.toml, which docs/live/service.md describes; options come before it. Use
headphones.
"""

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_se.errors import UserError
from edge_se.options import add_model_arguments, input_path, word

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer
    from edge_se.live.notify import Notifier
    from edge_se.live.settings import LiveSettings

SETTINGS = Path(".config", "edge-se", "live.toml")
PROVEN_S = 0.25  # of sound that the loudspeaker took: more than all buffers on the way hold
RETRY_S = 2.0


class _FlowingError(Exception):
    """Sound flows, which is all that was asked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    add_model_arguments(parser)
    parser.add_argument("--capture", type=word, metavar="DEVICE", help="ALSA's name, as plughw:1,0")
    parser.add_argument("--playback", type=word, metavar="DEVICE", help="as --capture")
    parser.add_argument(
        "--settings",
        type=input_path,
        metavar="FILE",
        help="what to read in place of ~/.config/edge-se/live.toml",
    )
    parser.add_argument(
        "--list-devices", action="store_true", help="list the devices there are, and stop"
    )
    parser.add_argument(
        "--check", action="store_true", help="stop as soon as sound flows, or a device fails"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.benchmark import undisturbed
    from edge_se.enhancer import Enhancer
    from edge_se.live.alsa import list_devices
    from edge_se.live.notify import Notifier
    from edge_se.live.settings import model_in, read_settings

    if arguments.list_devices:
        for role, program in (("capture", "arecord"), ("playback", "aplay")):
            print(f"{role}: {', '.join(list_devices(program)) or 'none'}")
        return 0
    if arguments.settings is not None and not arguments.settings.exists():
        raise UserError(f"there are no settings {arguments.settings}")
    settings = read_settings(arguments.settings or Path.home() / SETTINGS)
    given = {"capture": arguments.capture, "playback": arguments.playback}
    settings = replace(settings, **{name: value for name, value in given.items() if value})
    model = Path(settings.model).expanduser() if settings.model else arguments.model
    enhancer = Enhancer(
        model and model_in(model), arguments.engine, arguments.runtime, arguments.stft
    )
    notifier = Notifier()
    with undisturbed():
        if arguments.check:
            _check(enhancer, settings, notifier)
            return 0
        try:
            while True:
                _run_until_lost(enhancer, settings, notifier)
        except SystemExit:
            return 0  # a signal is the usual end


def _check(enhancer: "Enhancer", settings: "LiveSettings", notifier: "Notifier") -> None:
    try:
        _stream(enhancer, settings, notifier, once=True)
    except _FlowingError:
        _say(f"sound flows from {settings.capture!r} to {settings.playback!r}")


def _run_until_lost(enhancer: "Enhancer", settings: "LiveSettings", notifier: "Notifier") -> None:
    """Stream until a device fails; then wait a while, and say so where it is news."""
    from edge_se.live.alsa import DeviceError

    try:
        _stream(enhancer, settings, notifier)
    except DeviceError as error:
        why = f"waits: {error}"
        if why != notifier.status:
            _say(str(error))
        notifier.waiting(why, 10 * RETRY_S)
        time.sleep(RETRY_S)


def _stream(
    enhancer: "Enhancer", settings: "LiveSettings", notifier: "Notifier", once: bool = False
) -> None:
    from edge_se.live.alsa import AlsaDevices
    from edge_se.live.pcm import Pcm
    from edge_se.live.stream import Settings, Stream, format_summary

    layout = Pcm(settings.rate, settings.channels, settings.format)
    enhancer.reset()
    devices = AlsaDevices(settings.capture, settings.playback, layout)

    def frame_done() -> None:
        if devices.played_s >= PROVEN_S:
            if once:
                raise _FlowingError
            notifier.flowing()

    asked = Settings(
        layout.rate, layout.channels, layout.format, settings.channel or None, settings.max_lag
    )
    stream = Stream(enhancer, devices, devices, asked, _say, frame_done)
    try:
        stream.pump()
    finally:
        devices.close()
        summary = stream.summary()
        if summary["frames"] and not once:
            _say(f"{format_summary(summary)}, {devices.xruns} overruns and underruns")


def _say(text: str) -> None:
    print(f"edge-se: {text}", file=sys.stderr, flush=True)
