"""A microphone and a loudspeaker through ALSA's own programs, `arecord` and `aplay`."""

import contextlib
import os
import subprocess
import tempfile
from dataclasses import dataclass
from typing import IO

from edge_se.errors import UserError, printable
from edge_se.live.pcm import Pcm
from edge_se.live.pipes import InputPipe, OutputPipe

# ALSA's names of the formats.
FORMATS = {"s16le": "S16_LE", "s24le": "S24_3LE", "s24_3le": "S24_3LE", "s32le": "S32_LE"}
FORMATS["f32le"] = "FLOAT_LE"
PERIOD_S, BUFFER_S = 0.016, 0.064
SILENT_S = 10.0  # a microphone that gives nothing for so long has failed
SECONDS_TO_END = 2.0


class DeviceError(UserError):
    """A device can't be opened, or has gone; the message says which, why, and what there is."""


@dataclass(frozen=True)
class _End:
    """One end of the stream: the program that serves a device."""

    program: str
    role: str
    device: str
    process: "subprocess.Popen[bytes]"
    messages: IO[bytes]

    def close(self) -> None:
        """End the program, and what it has said."""
        self.process.terminate()
        try:
            self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.messages.close()

    def failure(self, why: str = "") -> DeviceError:
        """What went wrong with the device, and which ones there are."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(0.0 if why else SECONDS_TO_END)
        self.messages.seek(0)
        said = self.messages.read().decode(errors="replace").strip().splitlines()
        reason = why or (said[-1].rpartition(": ")[2] if said else "it has gone")
        names = ", ".join(list_devices(self.program)) or "none"
        return DeviceError(
            f"the {self.role} device {self.device!r} failed ({printable(reason)}); "
            f"there are: {names}"
        )


class AlsaDevices:
    """A capture and a playback device, opened together."""

    def __init__(self, capture: str, playback: str, layout: Pcm) -> None:
        """Open both.

        Args:
            capture: ALSA's name, as `plughw:1,0`.
            playback: As `capture`.
            layout: Of the samples of both.

        Raises:
            UserError: The programs are not installed.
        """
        self.layout = layout
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        self._capture = _start("arecord", "capture", capture, layout, stdin=null, stdout=pipe)
        try:
            self._playback = _start("aplay", "playback", playback, layout, stdin=pipe, stdout=null)
        except BaseException:
            self._capture.close()
            raise
        assert self._capture.process.stdout and self._playback.process.stdin, "both are pipes"
        self._input = InputPipe(self._capture.process.stdout.fileno(), "the microphone")
        self._output = OutputPipe(self._playback.process.stdin.fileno(), "the loudspeaker")
        self._written = 0
        self.is_file = False

    def read(self, patience_s: float | None) -> bytes | None:
        """As `InputPipe.read`; raises DeviceError where the microphone fails."""
        data = self._input.read(SILENT_S if patience_s is None else patience_s)
        if data is None and patience_s is None:
            raise self._capture.failure(f"no samples for {SILENT_S:g} s")
        if data == b"":
            raise self._capture.failure()
        return data

    def write(self, data: bytes) -> None:
        """As `OutputPipe.write`; raises DeviceError where the loudspeaker fails."""
        try:
            self._output.write(data)
        except BrokenPipeError:
            raise self._playback.failure() from None
        self._written += len(data)

    @property
    def waiting(self) -> int:
        """Bytes that the loudspeaker has not taken yet."""
        return self._output.waiting

    @property
    def played_s(self) -> float:
        """Seconds of sound that the loudspeaker has taken, which it does not before it is open."""
        return (self._written - self.waiting) / (self.layout.rate * self.layout.frame_bytes)

    def close(self) -> None:
        """Close both."""
        for stream in (self._capture.process.stdout, self._playback.process.stdin):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()
        self._capture.close()
        self._playback.close()


def _start(program: str, role: str, device: str, layout: Pcm, stdin: int, stdout: int) -> _End:
    period, buffer = round(PERIOD_S * layout.rate), round(BUFFER_S * layout.rate)
    command = [program, "-q", "-D", device, "-t", "raw", "-f", FORMATS[layout.format]]
    command += ["-r", str(layout.rate), "-c", str(layout.channels)]
    command += [f"--period-size={period}", f"--buffer-size={buffer}"]
    messages = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the end)
    environment = {**os.environ, "LC_ALL": "C"}
    try:
        process = subprocess.Popen(
            command, stdin=stdin, stdout=stdout, stderr=messages, env=environment, bufsize=0
        )
    except OSError:
        messages.close()
        raise UserError(
            f"{program} can't be started; install it: sudo apt install alsa-utils"
        ) from None
    return _End(program, role, device, process, messages)


def list_devices(program: str) -> list[str]:
    """Names of the devices that `arecord` or `aplay` can open; none where it is missing."""
    try:
        result = subprocess.run([program, "-L"], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = result.stdout.decode(errors="replace").splitlines()
    names = [line for line in lines if line and not line[0].isspace()]
    return [printable(name) for name in names if name != "null"][:20]
