"""A microphone that other programs see, on desktops with PipeWire.

By PulseAudio's protocol, which it speaks: `parec` records, and `pactl` makes a source that reads a
pipe. Both follow the clock of the server, so they can't drift apart.
"""

import array
import contextlib
import fcntl
import os
import re
import subprocess
import tempfile
import termios
from pathlib import Path

from edge_se.errors import UserError, printable
from edge_se.live.devices import Capture, DeviceError, Devices, Program
from edge_se.live.pcm import Pcm

FORMATS = {"s16le": "s16le", "s24le": "s24le", "s24_3le": "s24le", "s32le": "s32le"}
FORMATS["f32le"] = "float32le"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
HINT = "sudo apt install pulseaudio-utils"
CAPTURE_S = 0.016
# What may wait for a program that records. Where nothing is taken for so many writes, nobody does,
# and only the newest samples are kept.
WAITING_S = 0.1
IDLE_WRITES = 4
# Makes the source, says so, and takes it away when the one who started this has gone, however that
# was: then the pipe to it is closed.
KEEPER = """
trap '' INT TERM HUP
folder=$1
shift
module=$(pactl load-module "$@") || exit 1
echo ready
cat >/dev/null
pactl unload-module "$module"
rm -rf "$folder"
"""
PATIENCE_S = 10.0


def virtual_devices(capture: str, name: str, layout: Pcm) -> Devices:
    """A microphone, and one that others will see, to be opened.

    Args:
        capture: The sound server's name of a source; "default" for the one in use.
        name: Of the new one.
        layout: Of the samples of both.

    Raises:
        UserError: The programs are not installed, or there is a source of that name.
        DeviceError: No sound server answers.
    """
    sources = list_sources()
    if name in sources:
        raise UserError(f"there is a microphone {name!r} already; give another name")
    # Asked for before there is the new one, which would hear itself.
    source = _ask("get-default-source").strip() if capture == "default" else capture
    command = ["parec", "--raw", f"--device={source}", f"--format={FORMATS[layout.format]}"]
    command += [f"--rate={layout.rate}", f"--channels={layout.channels}"]
    command += [f"--latency-msec={round(1e3 * CAPTURE_S)}"]
    program = Program(tuple(command), "capture", source, HINT, list_sources)
    return Devices(
        lambda: Capture(program), lambda: VirtualMicrophone(name, layout), layout, two_clocks=False
    )


def list_sources() -> list[str]:
    """Names of the microphones that a sound server has; DeviceError where none answers."""
    lines = _ask("list", "short", "sources").splitlines()
    return [printable(line.split("\t")[1]) for line in lines if "\t" in line]


class VirtualMicrophone:
    """A source of the sound server's, into which samples are written.

    Attributes:
        written: Bytes so far.
        xruns: None are told.
    """

    xruns = 0

    def __init__(self, name: str, layout: Pcm) -> None:
        """Make it; it goes away when it is closed, or this process ends.

        Raises:
            DeviceError: The sound server does not make it.
        """
        self._most = round(WAITING_S * layout.rate) * layout.frame_bytes
        self._bytes_s = layout.rate * layout.frame_bytes
        self.written = self._left = self._idle = 0
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        self._folder = tempfile.TemporaryDirectory(
            prefix="edge-se-",
            dir=runtime,
            ignore_cleanup_errors=True,  # the keeper may be first
        )
        path = Path(self._folder.name, "sound")
        module = ["module-pipe-source", f"source_name={name}", f"file={path}"]
        module += [f"format={FORMATS[layout.format]}", f"rate={layout.rate}"]
        module += [f"channels={layout.channels}", f"source_properties=device.description={name}"]
        self._keeper = subprocess.Popen(
            ["sh", "-c", KEEPER, "edge-se", self._folder.name, *module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._keeper.stdout and self._keeper.stderr, "both are pipes"
        if self._keeper.stdout.readline() != "ready\n":
            why = self._keeper.stderr.read().strip().rpartition(": ")[2] or "it gives no reason"
            self._dismiss()
            raise DeviceError(
                f"the sound server makes no microphone {name!r} ({printable(why)}); it needs "
                "module-pipe-source"
            )
        # The server has made the pipe. Open for reading too, it never blocks and never breaks.
        self._pipe = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def write(self, data: bytes) -> None:
        """Give samples to who records; where nobody does, the old ones make place."""
        waiting = self.waiting
        self._idle = self._idle + 1 if waiting and waiting == self._left else 0
        if self._idle >= IDLE_WRITES or waiting + len(data) > self._most:
            with contextlib.suppress(BlockingIOError):  # somebody was faster
                os.read(self._pipe, waiting)
        with contextlib.suppress(BlockingIOError):
            os.write(self._pipe, data)
        self._left = self.waiting
        self.written += len(data)

    @property
    def waiting(self) -> int:
        """Bytes that wait for who records."""
        count = array.array("i", [0])
        fcntl.ioctl(self._pipe, termios.FIONREAD, count)
        return count[0]

    @property
    def delay_s(self) -> float:
        """How long samples wait for who records; not what comes behind."""
        return self.waiting / self._bytes_s

    def close(self) -> None:
        """Take it away."""
        self._dismiss()
        os.close(self._pipe)

    def _dismiss(self) -> None:
        assert self._keeper.stdin, "it is a pipe"
        with contextlib.suppress(BrokenPipeError):
            self._keeper.stdin.close()
        try:
            self._keeper.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:  # the server hangs
            self._keeper.kill()
            self._keeper.wait()
        self._folder.cleanup()


def _ask(*question: str) -> str:
    """What `pactl` answers; DeviceError where no server does."""
    try:
        result = subprocess.run(
            ["pactl", *question],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError:
        raise UserError(f"pactl can't be started; install it: {HINT}") from None
    except subprocess.TimeoutExpired:
        raise DeviceError("the sound server does not answer") from None
    if result.returncode:
        why = printable(result.stderr.strip().rpartition(": ")[2])
        raise DeviceError(
            f"no sound server answers ({why}); a virtual microphone needs pipewire-pulse"
        )
    return result.stdout
