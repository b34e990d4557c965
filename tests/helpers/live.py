"""A world with a clock of its own: sources, sinks and an enhancer that gives back its input."""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

HOP, RATE = 256, 16000


class Echo:
    """An enhancer of int16 that changes nothing and knows no delay."""

    hop_size, sample_rate, latency_samples = HOP, RATE, 0
    sample_dtype = np.dtype(np.int16)
    manifest = SimpleNamespace(algorithmic_latency_ms=16.0)

    def reset(self) -> None:
        pass

    def process(self, frame: np.ndarray, out: np.ndarray) -> None:
        out[...] = frame


class World:
    """Time, which passes when somebody waits.

    Attributes:
        now: In seconds.
    """

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now


class FakeSource:
    """Bytes that arrive at times, in a pipe of limited size whose overflow is lost.

    Args:
        world: Whose time it is.
        arrivals: (second, bytes), in order; the end comes with the last one.
        capacity: Bytes that the pipe holds; what does not fit is lost, as a sound card's is.
    """

    is_file = False

    def __init__(
        self, world: World, arrivals: list[tuple[float, bytes]], capacity: int = 1 << 16
    ) -> None:
        self._world, self._arrivals, self._capacity = world, list(arrivals), capacity
        self._pipe = b""

    def _arrive(self) -> None:
        while self._arrivals and self._arrivals[0][0] <= self._world.now:
            _, data = self._arrivals.pop(0)
            self._pipe += data if len(self._pipe) + len(data) <= self._capacity else b""

    def read(self, patience_s: float | None) -> bytes | None:
        self._arrive()
        if not self._pipe and self._arrivals:
            next_s = self._arrivals[0][0]
            if patience_s is not None and self._world.now + patience_s < next_s:
                self._world.now += patience_s
                return None
            self._world.now = next_s
            self._arrive()
        data, self._pipe = self._pipe[: 1 << 16], self._pipe[1 << 16 :]
        return data


class EagerSource:
    """Bytes as fast as they are taken, or `speed` times as fast as real time."""

    is_file = False

    def __init__(self, world: World, data: bytes, speed: float = 0.0, block: int = 1 << 16) -> None:
        self._world, self._data, self._block = world, data, block
        self._pause = block / (2 * RATE * speed) if speed else 0.0
        self._ready = 0.0

    def read(self, patience_s: float | None) -> bytes | None:
        if self._ready > self._world.now:
            if patience_s is not None and self._world.now + patience_s < self._ready:
                self._world.now += patience_s
                return None
            self._world.now = self._ready
        self._ready = max(self._ready, self._world.now) + self._pause
        data, self._data = self._data[: self._block], self._data[self._block :]
        return data


class Speaker:
    """Plays hops at real time from the first one on, out of a pipe.

    Args:
        world: Whose time it is.
        capacity: Bytes that the pipe holds.
        stall: Seconds that pass before what is written is taken.
        speed: Of its clock.

    Attributes:
        written: What came, in order.
        played_s: When each of it began to sound.
    """

    is_file = False

    def __init__(
        self,
        world: World,
        capacity: int = 1 << 16,
        stall: Callable[[], float] = lambda: 0.0,
        speed: float = 1.0,
    ) -> None:
        self._world, self._stall, self._bytes_s = world, stall, 2 * RATE * speed
        self._most_s = capacity / self._bytes_s
        self._end = 0.0  # when all that was written has been played
        self.written: list[bytes] = []
        self.played_s: list[float] = []

    def write(self, data: bytes) -> None:
        self._world.now += self._stall()
        self._end = max(self._end, self._world.now)
        self.played_s.append(self._end)
        self.written.append(data)
        self._end += len(data) / self._bytes_s
        self._world.now = max(self._world.now, self._end - self._most_s)

    @property
    def waiting(self) -> int:
        return max(round((self._end - self._world.now) * self._bytes_s), 0)

    @property
    def output(self) -> bytes:
        return b"".join(self.written)


class Microphone:
    """Hops of what `wave` gives from the n-th sample on, as a card's clock brings them.

    Args:
        world: Whose time it is.
        wave: Samples of int16 from sample numbers.
        seconds: How long, in hops.
        ppm: By which its clock is fast.
    """

    is_file = False

    def __init__(
        self,
        world: World,
        wave: Callable[[np.ndarray], np.ndarray],
        seconds: float,
        ppm: float = 0.0,
        late: Callable[[], float] = lambda: 0.0,
    ) -> None:
        self._world, self._wave, self._late = world, wave, late
        self._rate = RATE * (1 + ppm * 1e-6)
        self._next, self._hops = 0, round(seconds * RATE / HOP)

    def read(self, patience_s: float | None) -> bytes | None:
        if self._next == self._hops:
            return b""
        ready = (self._next + 1) * HOP / self._rate
        if patience_s is not None and self._world.now + patience_s < ready:
            self._world.now += patience_s
            return None
        self._world.now = max(self._world.now, ready + self._late())
        start = self._next * HOP
        self._next += 1
        return self._wave(np.arange(start, start + HOP)).astype("<i2").tobytes()


class Card:
    """A loudspeaker behind a pipe and a program that feeds it period by period, as `aplay` does.

    It starts once its buffer is full, and again after each underrun.

    Attributes:
        xruns: How often it ran empty.
        waits: What was found waiting in the pipe, in seconds.
        output: What was written.
    """

    is_file = False

    def __init__(
        self,
        world: World,
        period_s: float,
        buffer_s: float,
        ppm: float = 0.0,
        silence_s: float = 0.0,
    ) -> None:
        self._world, self._silence_s = world, silence_s
        self._rate = RATE * (1 + ppm * 1e-6)
        self._period, self._buffer = round(period_s * RATE), round(buffer_s * RATE)
        self._fed = 0  # samples that went into the buffer
        self._start: float | None = None  # when the sample `_base` began to sound
        self._base = 0
        self.xruns = 0
        self.waits: list[float] = []
        self.written: list[bytes] = []
        self._count = 0

    def _run(self) -> None:
        whole = self._count // self._period * self._period
        if self._start is None:
            self._fed = min(whole, self._base + self._buffer)
            if self._fed == self._base + self._buffer:
                self._start = self._world.now
            return
        played = self._base + int((self._world.now - self._start) * self._rate)
        if played > whole:
            self.xruns += 1
            self._start, self._base, self._fed = None, whole, whole
            return
        room = (played - self._base) // self._period * self._period + self._base
        self._fed = min(whole, room + self._buffer)

    def write(self, data: bytes) -> None:
        if not self.written and self._silence_s:  # what Devices begins with
            self._count = round(self._silence_s * RATE)
        self._run()
        self.written.append(data)
        self._count += len(data) // 2
        self._run()

    @property
    def waiting(self) -> int:
        self._run()
        # The program holds the period that does not fit.
        held = self._period if self._count - self._fed >= self._period else 0
        waiting = 2 * (self._count - self._fed - held)
        self.waits.append(waiting / 2 / RATE)
        return waiting

    @property
    def output(self) -> bytes:
        return b"".join(self.written)
