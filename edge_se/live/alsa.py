"""A microphone and a loudspeaker through ALSA's own programs, `arecord` and `aplay`."""

import contextlib
import io
import os
import subprocess
import threading

from edge_se.errors import UserError, printable
from edge_se.live.pcm import Pcm
from edge_se.live.pipes import InputPipe, OutputPipe

# ALSA's names of the formats.
FORMATS = {"s16le": "S16_LE", "s24le": "S24_3LE", "s24_3le": "S24_3LE", "s32le": "S32_LE"}
FORMATS["f32le"] = "FLOAT_LE"
CAPTURE_PERIOD_S, CAPTURE_BUFFER_S = 0.008, 0.064
PLAYBACK_PERIOD_S = 0.004  # the step in which it is seen how much waits
# What waits before `aplay` when it is given more, on average, and how far that may be off.
TARGET_S, TOLERANCE_S = 0.012, 0.007
SILENT_S = 10.0  # a microphone that gives nothing for so long has failed
SECONDS_TO_END = 2.0


class DeviceError(UserError):
    """A device can't be opened, or has gone; the message says which, why, and what there is."""


class _End:
    """One end of the stream: the program that serves a device.

    Attributes:
        process: Of the program.
        xruns: How often it said that its buffer overran or ran empty.
    """

    def __init__(self, command: list[str], role: str, device: str, stdin: int, stdout: int) -> None:
        self._program, self._role, self._device = command[0], role, device
        self.xruns, self._last = 0, ""
        try:
            self.process = subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
                bufsize=0,
            )
        except OSError:
            raise UserError(
                f"{command[0]} can't be started; install it: sudo apt install alsa-utils"
            ) from None
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        """Take in what the program says, for months if need be."""
        assert self.process.stderr is not None, "it is a pipe"
        with self.process.stderr as messages:
            for line in io.TextIOWrapper(messages, errors="replace"):
                if "run!!!" in line:
                    self.xruns += 1
                elif line.strip():
                    self._last = line.strip()

    def close(self) -> None:
        """End the program."""
        self.process.terminate()
        try:
            self.process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def failure(self, why: str = "") -> DeviceError:
        """What went wrong with the device, and which ones there are."""
        if not why:  # it has ended, or is about to
            self._listener.join(SECONDS_TO_END)
        reason = why or self._last.rpartition(": ")[2] or "it has gone"
        names = ", ".join(list_devices(self._program)) or "none"
        return DeviceError(
            f"the {self._role} device {self._device!r} failed ({printable(reason)}); "
            f"there are: {names}"
        )


class AlsaDevices:
    """A capture and a playback device, opened together."""

    def __init__(self, capture: str, playback: str, layout: Pcm, buffer_s: float) -> None:
        """Open both.

        Args:
            capture: ALSA's name, as `plughw:1,0`.
            playback: As `capture`.
            layout: Of the samples of both.
            buffer_s: Of the loudspeaker, which is kept full.

        Raises:
            UserError: The programs are not installed.
        """
        self.layout = layout
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        self._bytes_s = layout.rate * layout.frame_bytes
        self._buffer_s = max(buffer_s, 2 * PLAYBACK_PERIOD_S)
        self._capture = _start(
            "arecord",
            "capture",
            capture,
            layout,
            CAPTURE_PERIOD_S,
            CAPTURE_BUFFER_S,
            stdin=null,
            stdout=pipe,
        )
        try:
            self._playback = _start(
                "aplay",
                "playback",
                playback,
                layout,
                PLAYBACK_PERIOD_S,
                self._buffer_s,
                stdin=pipe,
                stdout=null,
            )
        except BaseException:
            self._capture.close()
            raise
        assert self._capture.process.stdout and self._playback.process.stdin, "both are pipes"
        self._input = InputPipe(self._capture.process.stdout.fileno(), "the microphone")
        self._output = OutputPipe(self._playback.process.stdin.fileno(), "the loudspeaker")
        self._written = 0
        self._open = False
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
        """As `OutputPipe.write`; raises DeviceError where the loudspeaker fails.

        It is given silence first, by which all that can be full is full when sound comes. Until it
        takes that, which it does once it is open, sound is lost, and not late for ever.
        """
        if not self._written:
            full = self._buffer_s + PLAYBACK_PERIOD_S + TARGET_S
            self._pass_on(bytes(round(full * self.layout.rate) * self.layout.frame_bytes))
        self._open = self._open or self.waiting < self._written
        if self._open:
            self._pass_on(data)
        elif self._playback.process.poll() is not None:
            raise self._playback.failure()

    def _pass_on(self, data: bytes) -> None:
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
        return (self._written - self.waiting) / self._bytes_s

    @property
    def delay_s(self) -> float:
        """How late the next sample is heard: behind the pipe are a period and a full buffer."""
        return self.waiting / self._bytes_s + PLAYBACK_PERIOD_S + self._buffer_s

    @property
    def xruns(self) -> int:
        """How often a buffer overran at the microphone or ran empty at the loudspeaker."""
        return self._capture.xruns + self._playback.xruns

    def close(self) -> None:
        """Close both."""
        for stream in (self._capture.process.stdout, self._playback.process.stdin):
            with contextlib.suppress(BrokenPipeError):
                if stream is not None:
                    stream.close()
        self._capture.close()
        self._playback.close()


def card_of(device: str) -> str:
    """The card that a name says, as `1` in `plughw:1,0`; empty where it says none."""
    kind, _, rest = device.partition(":")
    if kind not in ("hw", "plughw", "sysdefault", "dmix", "dsnoop"):
        return ""
    return rest.split(",")[0].removeprefix("CARD=")


def have_one_clock(capture: str, playback: str) -> bool:
    """Whether two devices are known to be of one card."""
    return card_of(capture) == card_of(playback) != ""


def _start(
    program: str,
    role: str,
    device: str,
    layout: Pcm,
    period_s: float,
    buffer_s: float,
    stdin: int,
    stdout: int,
) -> _End:
    period, buffer = round(period_s * layout.rate), round(buffer_s * layout.rate)
    command = [program, "-q", "-D", device, "-t", "raw", "-f", FORMATS[layout.format]]
    command += ["-r", str(layout.rate), "-c", str(layout.channels)]
    command += [f"--period-size={period}", f"--buffer-size={buffer}"]
    return _End(command, role, device, stdin, stdout)


def list_devices(program: str) -> list[str]:
    """Names of the devices that `arecord` or `aplay` can open; none where it is missing."""
    try:
        result = subprocess.run([program, "-L"], capture_output=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = result.stdout.decode(errors="replace").splitlines()
    names = [line for line in lines if line and not line[0].isspace()]
    return [printable(name) for name in names if name != "null"][:20]
