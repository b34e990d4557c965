"""A microphone and a loudspeaker through programs that serve them, as `arecord` and `aplay`."""

import contextlib
import io
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from edge_se.errors import UserError, printable
from edge_se.live.pcm import Pcm
from edge_se.live.pipes import InputPipe, OutputPipe
from edge_se.live.priority import give_precedence

CAPTURE_PERIOD_S = 0.008
SILENT_S = 10.0  # a microphone that gives nothing for so long has failed
SECONDS_TO_END = 2.0


class DeviceError(UserError):
    """A device can't be opened, or has gone; the message says which, why, and what there is."""


@dataclass(frozen=True)
class Buffering:
    """What waits on the way to the loudspeaker, all of which makes sound late.

    Attributes:
        buffer_s: Of the loudspeaker, which is kept full.
    """

    buffer_s: float

    @property
    def period_s(self) -> float:
        """The step in which `aplay` takes samples, by which it is seen how much waits."""
        return min(self.buffer_s / 4, 0.004)

    @property
    def target_s(self) -> float:
        """What waits before `aplay` when it is given more, on average.

        It only has to show how much waits; the full buffer behind it is what late hops live on.
        """
        return min(0.4 * self.buffer_s, 0.007)

    @property
    def tolerance_s(self) -> float:
        """How far that may be off."""
        return 0.6 * self.target_s

    @property
    def full_s(self) -> float:
        """All of it, when a hop has been taken in."""
        return self.buffer_s + self.period_s + self.target_s


@dataclass(frozen=True)
class Program:
    """A program that records into a pipe, or plays what comes through one.

    Attributes:
        command: What to start.
        role: "capture" or "playback".
        device: Its name.
        hint: How to install it.
        names: Gives the names of the devices that there are.
    """

    command: tuple[str, ...]
    role: str
    device: str
    hint: str
    names: Callable[[], list[str]]


class _End:
    """One end of the stream: the program that serves a device.

    Attributes:
        process: Of the program.
        xruns: How often it said that its buffer overran or ran empty.
    """

    def __init__(self, program: Program, stdin: int, stdout: int) -> None:
        self._program = program
        self.xruns, self._last = 0, ""
        try:
            self.process = subprocess.Popen(
                program.command,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env={**os.environ, "LC_ALL": "C"},
                bufsize=0,
            )
        except OSError:
            raise UserError(
                f"{program.command[0]} can't be started; install it: {program.hint}"
            ) from None
        give_precedence(self.process.pid)
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
        names = ", ".join(self._program.names()) or "none"
        return DeviceError(
            f"the {self._program.role} device {self._program.device!r} failed "
            f"({printable(reason)}); there are: {names}"
        )


class Capture:
    """A microphone, through a program that records into a pipe."""

    def __init__(self, program: Program) -> None:
        """Start it; UserError where it is not installed."""
        self._end = _End(program, subprocess.DEVNULL, subprocess.PIPE)
        assert self._end.process.stdout, "it is a pipe"
        self._pipe = self._end.process.stdout
        self._input = InputPipe(self._pipe.fileno(), "the microphone")

    def read(self, patience_s: float | None) -> bytes | None:
        """As `InputPipe.read`; raises DeviceError where the microphone fails."""
        data = self._input.read(SILENT_S if patience_s is None else patience_s)
        if data is None and patience_s is None:
            raise self._end.failure(f"no samples for {SILENT_S:g} s")
        if data == b"":
            raise self._end.failure()
        return data

    @property
    def xruns(self) -> int:
        """How often its buffer overran."""
        return self._end.xruns

    def close(self) -> None:
        """Close it."""
        self._pipe.close()
        self._end.close()


class Playback(Protocol):
    """Where enhanced sound goes: a loudspeaker, or another program's microphone."""

    def write(self, data: bytes) -> None:
        """Take samples; raises DeviceError where that fails."""

    @property
    def waiting(self) -> int:
        """Bytes that have not been taken yet."""

    @property
    def written(self) -> int:
        """Bytes so far."""

    @property
    def delay_s(self) -> float:
        """How late the next sample is heard."""

    @property
    def xruns(self) -> int:
        """How often it ran empty."""

    def close(self) -> None:
        """Close it."""


class Loudspeaker:
    """A loudspeaker, through a program that plays what comes through a pipe.

    Attributes:
        written: Bytes of sound so far, without the silence before it.
    """

    def __init__(self, program: Program, layout: Pcm, buffering: Buffering) -> None:
        """Start it.

        Args:
            program: Which takes samples a period at a time.
            layout: Of the samples.
            buffering: How much waits.

        Raises:
            UserError: The program is not installed.
        """
        self._end = _End(program, subprocess.PIPE, subprocess.DEVNULL)
        assert self._end.process.stdin, "it is a pipe"
        self._pipe = self._end.process.stdin
        self._output = OutputPipe(self._pipe.fileno(), "the loudspeaker")
        self._layout, self._buffering = layout, buffering
        self._begun = False
        self.written = 0

    def write(self, data: bytes) -> None:
        """As `OutputPipe.write`; raises DeviceError where the loudspeaker fails.

        It is given silence first, by which all that can be full is full when sound comes, and which
        lasts until some comes, whenever it begins to play. Until then, sound is lost, and not late
        for ever.
        """
        if not self._begun:
            self._begun = True
            self._pass_on(bytes(self._size(self._buffering.full_s) + len(data)))
        surplus = 0
        if not self.written:
            frame, target = self._layout.frame_bytes, self._size(self._buffering.target_s)
            surplus = max(self._output.waiting - target, 0) // frame * frame
        if surplus < len(data):
            self._pass_on(data[surplus:])
            self.written += len(data) - surplus
        elif self._end.process.poll() is not None:
            raise self._end.failure()

    def _size(self, seconds: float) -> int:
        """Bytes of so many seconds."""
        return round(seconds * self._layout.rate) * self._layout.frame_bytes

    def _pass_on(self, data: bytes) -> None:
        try:
            self._output.write(data)
        except BrokenPipeError:
            raise self._end.failure() from None

    @property
    def waiting(self) -> int:
        """Bytes that the loudspeaker has not taken yet; none before the first sound."""
        return self._output.waiting if self.written else 0

    @property
    def delay_s(self) -> float:
        """How late the next sample is heard: behind the pipe are a period and a full buffer."""
        waiting_s = self.waiting / (self._layout.rate * self._layout.frame_bytes)
        return waiting_s + self._buffering.period_s + self._buffering.buffer_s

    @property
    def xruns(self) -> int:
        """How often it ran empty."""
        return self._end.xruns

    def close(self) -> None:
        """Close it."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe.close()
        self._end.close()


class Devices:
    """Where sound comes from and where it goes, as both ends of a stream, once they are open.

    Attributes:
        layout: Of the samples of both.
        two_clocks: Whether they may drift apart.
    """

    is_file = False

    def __init__(
        self,
        capture: Callable[[], Capture],
        playback: Callable[[], Playback],
        layout: Pcm,
        two_clocks: bool,
    ) -> None:
        """Be ready to open both."""
        self.layout, self.two_clocks = layout, two_clocks
        self._open_capture, self._open_playback = capture, playback

    def open(self) -> None:
        """Open both; UserError where a program is not installed, DeviceError where one fails.

        A stream that is not ready by then hears late what is recorded meanwhile, or never.
        """
        # In this order, since PulseAudio moves who records its default source to a new default one,
        # which a microphone that is made here may be.
        self._playback = self._open_playback()
        try:
            self._capture = self._open_capture()
        except BaseException:
            self._playback.close()
            raise
        self.read, self.write = self._capture.read, self._playback.write

    @property
    def waiting(self) -> int:
        """Bytes that have not been taken yet."""
        return self._playback.waiting

    @property
    def played_s(self) -> float:
        """Seconds of sound that were taken, which they are not before the device is open."""
        taken = self._playback.written - self._playback.waiting
        return taken / (self.layout.rate * self.layout.frame_bytes)

    @property
    def delay_s(self) -> float:
        """How late the next sample that is written is heard."""
        return self._playback.delay_s

    @property
    def xruns(self) -> int:
        """How often a buffer overran at the microphone or ran empty at the loudspeaker."""
        return self._capture.xruns + self._playback.xruns

    def close(self) -> None:
        """Close both."""
        self._capture.close()
        self._playback.close()
