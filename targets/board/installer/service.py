"""The live stream as a service of the user's systemd."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from .bundle import UNIT
from .environment import runtime
from .errors import RefusedError
from .files import write_whole
from .processes import run, say
from .rights import keep_serving, tell_priority
from .unit import unit_for, user_unit, write_unit

CHECK_S = 60
SETTINGS_TEXT = """\
# The live stream of edge-se. After a change: systemctl --user restart edge-se
# Devices, as `~/edge-se/current/env/bin/python -m edge_se live --list-devices` names them.
capture = "default"
playback = "default"
# What both are opened with, as 48000 and 2 for many USB microphones under their hw: names.
rate = 16000
channels = 1
format = "s16le"
# The channel to enhance, from 1 on; 0 for the mean of all.
channel = 0
# Who listens, where it is not people; or attenuate nothing by more than so many dB, and mix in a
# share of the input, 0 to 1.
# listener = "recogniser"
# max_attenuation = 12
# mix = 0.1
# A network of your own in place of the deployed one.
# model = "/home/pi/mine.tflite"
"""


def user_settings() -> Path:
    """The file in which a person says which devices the live stream is for."""
    return Path.home() / ".config" / "edge-se" / "live.toml"


def serve(root: Path) -> None:
    """Have the live stream run with the release that is current now."""
    folder = root / "current"
    unit = unit_for(folder)
    if not user_settings().exists():
        user_settings().parent.mkdir(parents=True, exist_ok=True)
        write_whole(user_settings(), SETTINGS_TEXT)
    stop_service()
    say("trying the sound devices")
    command = [*runtime(folder), "live", "--check", "--model", folder]
    try:
        run([*command, "--settings", user_settings()], "the live stream", timeout=CHECK_S)
    except RefusedError as error:
        raise RefusedError(f"{error}; the board's {user_settings()} says which it uses") from None
    say("restarting the service")
    write_unit(unit)
    run(["systemctl", "--user", "reset-failed", UNIT], "preparing the service", check=False)
    try:
        run(["systemctl", "--user", "restart", UNIT], "restarting the service", timeout=CHECK_S)
    except RefusedError as error:
        raise RefusedError(f"{error}; systemd says: {service_state()}") from None


def enable_service() -> None:
    """Have the live stream run from now on, at each boot."""
    run(["systemctl", "--user", "enable", UNIT], "enabling the service")
    keep_serving()
    tell_priority()


def service_state() -> str:
    """What systemd knows of the service, on one line."""
    question = ["systemctl", "--user", "show", UNIT, "--property=Result,ExecMainStatus,StatusText"]
    return " ".join(run(question, "asking systemd", check=False).decode(errors="replace").split())


def is_serving() -> bool:
    """Whether the live stream runs now."""
    if not user_unit().is_file() or shutil.which("systemctl") is None:
        return False
    state = run(["systemctl", "--user", "is-active", UNIT], "asking systemd", check=False)
    return state.strip() in (b"active", b"activating")


def stop_service() -> None:
    """End the live stream, which uses the devices and the processor."""
    if is_serving():
        run(["systemctl", "--user", "stop", UNIT], "stopping the service")


def start_service(verb: str) -> None:
    """Have the live stream start again as it was, without waiting until its devices are there."""
    run(["systemctl", "--user", "--no-block", verb, UNIT], f"{verb}ing the service", check=False)


@contextlib.contextmanager
def without_service() -> Iterator[None]:
    """Have the live stream rest meanwhile, so that what is measured is the release alone."""
    serving = is_serving()
    if serving:
        say("stopping the live stream while the release is measured")
        stop_service()
    try:
        yield
    finally:
        if serving:
            start_service("start")


def restore_service(unit: str | None) -> None:
    """Have systemd as it was before: with this unit, or with none."""
    try:
        if unit is not None:
            write_unit(unit)
            start_service("restart")
        elif user_unit().is_file():
            run(["systemctl", "--user", "disable", "--now", UNIT], "disabling the service")
            user_unit().unlink()
    except RefusedError as error:  # what led here is what has to be told
        say(str(error))
