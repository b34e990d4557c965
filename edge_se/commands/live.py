"""Enhance live sound from a microphone to a loudspeaker, through ALSA.

The model is loaded before the devices are opened, through `arecord` and `aplay`, which every
Raspberry Pi has. What piles up is discarded, so that sound is never late. A device that is
unplugged or busy is waited for. Devices, rate, format and channels come from
~/.config/edge-se/live.toml, which docs/live/service.md describes; options come before it, but a
model that it names before --model, by which a service names its release. Use headphones.
"""

import argparse
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge_se.console import Console
from edge_se.ending import Ended
from edge_se.errors import UserError
from edge_se.files import STANDARD, at_home
from edge_se.live.limits import LIMITS
from edge_se.options import (
    Number,
    add_full_band,
    add_model_arguments,
    add_strength_arguments,
    asked_strength,
    input_path,
    output_file,
    word,
)

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer
    from edge_se.live.devices import Buffering, Devices
    from edge_se.live.notify import Notifier
    from edge_se.live.settings import LiveSettings
    from edge_se.live.status import Status

SETTINGS = Path("~", ".config", "edge-se", "live.toml")
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
        "--buffer-ms",
        type=Number(int, *LIMITS["buffer_ms"]),
        metavar="MS",
        help="of the loudspeaker; less is heard earlier, until it runs empty (default: 20)",
    )
    add_full_band(parser)
    add_strength_arguments(parser)
    parser.set_defaults(full_band=None)
    parser.add_argument(
        "--settings",
        type=input_path,
        metavar="FILE",
        help="what to read in place of ~/.config/edge-se/live.toml",
    )
    parser.add_argument(
        "--status",
        type=output_file,
        metavar="FILE",
        help="keep a file of JSON up to date, once a second: levels, latency, xruns, drift, ...",
    )
    parser.add_argument(
        "--list-devices", action="store_true", help="list the devices there are, and stop"
    )
    parser.add_argument(
        "--check", action="store_true", help="stop as soon as sound flows, or a device fails"
    )
    parser.add_argument(
        "--virtual-microphone",
        type=source_name,
        metavar="NAME",
        help="be a microphone of that name for other programs, on PipeWire, in place of playing; "
        "--capture is then one of `pactl list short sources`",
    )
    parser.add_argument(
        "--measure-latency",
        action="store_true",
        help="play bursts of noise, and say how late the microphone hears them: connect it to the "
        "loudspeaker by a cable or a loopback first",
    )


def source_name(text: str) -> str:
    """A kind of option: the name of a sound server's source."""
    from edge_se.live.pulse import NAME

    if not NAME.fullmatch(text):
        raise argparse.ArgumentTypeError(
            "it has to be up to 64 letters, digits, dots, hyphens and underscores"
        )
    return text


def run(arguments: argparse.Namespace) -> int:
    """Run the command and return its exit code."""
    from edge_se.benchmark import undisturbed
    from edge_se.enhancer import Enhancer
    from edge_se.live.alsa import list_devices
    from edge_se.live.notify import Notifier
    from edge_se.live.priority import take_priority
    from edge_se.live.settings import model_in, read_settings
    from edge_se.live.status import Status
    from edge_se.model_file import find_model

    if arguments.list_devices:
        for role, program in (("capture", "arecord"), ("playback", "aplay")):
            print(f"{role}: {', '.join(list_devices(program)) or 'none'}")
        return 0
    if arguments.virtual_microphone is not None and arguments.measure_latency:
        raise UserError("--measure-latency needs a loudspeaker; leave out --virtual-microphone")
    if arguments.status is not None:
        _require_regular(arguments.status)
    if arguments.settings is not None and not arguments.settings.exists():
        raise UserError(f"there are no settings {arguments.settings}")
    console = Console()
    path = arguments.settings or at_home(SETTINGS)
    settings = read_settings(path)
    names = ("capture", "playback", "buffer_ms", "full_band", "listener", "max_attenuation", "mix")
    if arguments.listener is not None:  # whatever the file asks for otherwise
        settings = replace(settings, max_attenuation=None, mix=None)
    given = {name: getattr(arguments, name) for name in names}
    settings = replace(settings, **{n: value for n, value in given.items() if value is not None})
    model = arguments.model
    if settings.model:
        model = at_home(find_model(settings.model))
        if arguments.model is not None:
            console.say(f"edge-se: {path} names {model}, which runs in place of {arguments.model}")
    enhancer = Enhancer(
        model and model_in(model), arguments.engine, arguments.runtime, arguments.stft
    )
    enhancer.strength = asked_strength(settings, enhancer.strength)
    about = {
        "model": str(enhancer.model_path),
        "strength": asdict(enhancer.strength),
        "settings": asdict(settings),
    }
    status = Status(arguments.status, about, console)
    live = _Live(enhancer, settings, Notifier(), status, console, arguments.virtual_microphone)
    take_priority(console.say)  # after the model is loaded, which computes for seconds
    with undisturbed():
        if arguments.check or arguments.measure_latency:
            (live.check if arguments.check else live.measure)()
            return 0
        try:
            while True:
                live.run_until_lost()
        except Ended:
            return 0  # a signal is the usual end
        finally:
            status.stopped()


@dataclass(frozen=True)
class _Live:
    """What runs between a microphone and a loudspeaker, and who is told of it."""

    enhancer: "Enhancer"
    settings: "LiveSettings"
    notifier: "Notifier"
    status: "Status"
    console: Console
    virtual: str | None = None

    def check(self) -> None:
        """Stream until sound flows."""
        try:
            self.stream(once=True)
        except _FlowingError:
            playback = self.virtual or self.settings.playback
            self.say(f"sound flows from {self.settings.capture!r} to {playback!r}")

    def measure(self) -> None:
        """Measure how late sound is, and say where that comes from."""
        from edge_se.live.latency import measure_latency
        from edge_se.live.path import LivePath

        settings, devices = self.settings, self._devices()
        layout, channel = devices.layout, settings.channel or None
        path = LivePath(
            self.enhancer,
            layout.rate,
            layout.channels,
            varying=devices.two_clocks,
            full_band=False,
        )
        devices.open()
        try:
            found = measure_latency(devices, devices, layout, channel, settings.max_lag, self.say)
        finally:
            devices.close()
        inside = path.latency_s
        print(
            f"{1e3 * (found.median + inside):.1f} ms from microphone to loudspeaker "
            f"({1e3 * (found.least + inside):.1f} to {1e3 * (found.most + inside):.1f}): "
            f"{1e3 * found.median:.1f} for the devices, their buffers and a hop, "
            f"{1e3 * inside:.1f} for the network and resampling"
        )

    def run_until_lost(self) -> None:
        """Stream until a device fails; then wait a while, and say so where it is news."""
        from edge_se.live.devices import DeviceError

        try:
            self.stream()
        except DeviceError as error:
            why = f"waits: {error}"
            if why != self.notifier.status:
                self.say(str(error))
            self.status.waiting(str(error))
            self.notifier.waiting(why, 10 * RETRY_S)
            time.sleep(RETRY_S)

    def stream(self, once: bool = False) -> None:
        """Stream until a device fails, or only until sound flows, which raises `_FlowingError`."""
        from edge_se.live.drift import DriftControl
        from edge_se.live.stream import Settings, Stream, format_summary

        settings = self.settings
        devices = self._devices()
        layout = devices.layout

        def frame_done() -> None:
            if devices.played_s >= PROVEN_S:
                if once:
                    raise _FlowingError
                self.notifier.flowing()
                self.status.running(stream, devices)

        asked = Settings(
            layout.rate,
            layout.channels,
            layout.format,
            settings.channel or None,
            settings.max_lag,
            settings.full_band,
        )
        waits = self.buffering
        drift = None
        if devices.two_clocks:
            drift = DriftControl(waits.target_s, waits.tolerance_s, waits.period_s)
        stream = Stream(self.enhancer, devices, devices, asked, self.say, frame_done, drift=drift)
        devices.open()
        try:
            stream.pump()
        finally:
            devices.close()
            self.status.ended(stream, devices)
            summary = stream.summary()
            if summary["frames"] and not once:
                self.say(f"{format_summary(summary)}, {devices.xruns} overruns and underruns")

    def _devices(self) -> "Devices":
        from edge_se.live.alsa import alsa_devices
        from edge_se.live.pcm import Pcm
        from edge_se.live.pulse import virtual_devices

        settings = self.settings
        layout = Pcm(settings.rate, settings.channels, settings.format)
        if self.virtual is not None:
            return virtual_devices(settings.capture, self.virtual, layout)
        return alsa_devices(settings.capture, settings.playback, layout, self.buffering)

    @property
    def buffering(self) -> "Buffering":
        """What waits on the way to the loudspeaker."""
        from edge_se.live.devices import Buffering

        return Buffering(self.settings.buffer_ms * 1e-3)

    def say(self, text: str) -> None:
        """Tell people."""
        self.console.say(f"edge-se: {text}")


def _require_regular(path: Path) -> None:
    """Raise UserError where a status would go into a pipe or a device, whose reader may be slow."""
    if str(path) == STANDARD or (path.exists() and not path.is_file()):
        raise UserError(f"--status {path} is no file; give the name of a file, which is replaced")
