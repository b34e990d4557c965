"""A stream of raw samples through an enhancer, which drops what is too old to be heard.

What waits before the enhancer and behind it is the lag that a listener hears. Where it is more than
so many hops, or does not become short for seconds, as after a disturbance, the oldest samples that
were not enhanced yet are discarded, of a live source only.
"""

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edge_se.errors import UserError
from edge_se.live import pcm
from edge_se.live.drift import DriftControl
from edge_se.live.pace import WINDOW_S, Pace, Surplus
from edge_se.live.path import LivePath

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer

MAX_LAG_HOPS = 6
# What may wait all the time, besides the hop that goes out, and what is left of what is more.
MOST_SURPLUS_S, KEPT_SURPLUS_S = 0.024, 0.008
# How long a source that has piled something up is watched, before any of it is heard.
LONGEST_LOOK_S = 1.5 * WINDOW_S
DRAINED = 1 << 20  # bytes that are taken at once, of a source that never ends either


class Source(Protocol):
    """Where bytes come from; see `edge_se.live.pipes.InputPipe`."""

    is_file: bool

    def read(self, patience_s: float | None) -> bytes | None: ...  # noqa: D102


class Sink(Protocol):
    """Where bytes go to; see `edge_se.live.pipes.OutputPipe`."""

    is_file: bool

    def write(self, data: bytes) -> None: ...  # noqa: D102

    @property
    def waiting(self) -> int: ...  # noqa: D102


@dataclass(frozen=True)
class Settings:
    """What was asked for; None for what a header says, or else one channel at the model's rate.

    Attributes:
        rate: In Hz.
        channels: How many.
        format: One of `pcm.FORMATS`.
        channel: Which channel to enhance, from 1 on; None for their mean.
        max_lag: Hops that may wait; 0 for any number; None for `MAX_LAG_HOPS` of a live source.
        full_band: Whether what lies above the model's band comes out too.
    """

    rate: int | None = None
    channels: int | None = None
    format: str | None = None
    channel: int | None = None
    max_lag: int | None = None
    full_band: bool = True


class Stream:
    """Pumps bytes from a source through an enhancer into a sink."""

    def __init__(
        self,
        enhancer: "Enhancer",
        source: Source,
        sink: Sink,
        settings: Settings,
        say: Callable[[str], object],
        frame_done: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
        drift: DriftControl | None = None,
    ) -> None:
        """Be ready to pump, with all that can be computed before; nothing is read yet.

        Args:
            enhancer: Ready for its first frame.
            source: Of raw samples, or of a WAV file.
            sink: Gets raw samples of the same layout.
            settings: What was asked for.
            say: Is told what was discarded, the first time.
            frame_done: Called whenever samples have gone out.
            clock: In seconds.
            drift: Keeps what waits in the sink where it should be; None to leave samples alone.
        """
        self._drift = drift
        self._enhancer, self._source, self._sink = enhancer, source, sink
        self._settings, self._say, self._frame_done = settings, say, frame_done
        self._clock = clock
        self._queue = bytearray()
        self._ended = False
        self._left: int | None = None  # bytes until a WAV file's samples end
        self._discarded = self._surplus_left = 0  # bytes
        self._surplus = Surplus()
        self._told_live: bool | None = None  # without being watched
        if settings.max_lag is not None:
            self._told_live = settings.max_lag > 0
        elif source.is_file or sink.is_file:
            self._told_live = False
        self._layout = pcm.Pcm(
            settings.rate or enhancer.sample_rate,
            settings.channels or 1,
            settings.format or "s16le",
        )
        # Of bytes, until a header has told how many make a sample.
        self._pace = Pace(self._layout.rate * self._layout.frame_bytes)
        self._path = self._new_path()
        self._hop = 0  # bytes; where that is no whole number of samples, nearly

    def pump(self) -> None:
        """Read, enhance and write until the input ends.

        Raises:
            UserError: An end fails, or what comes is not what was asked for.
            BrokenPipeError: Nobody takes the output any more.
        """
        self._open()
        layout = self._layout
        if (self._settings.channel or 1) > layout.channels:
            raise UserError(
                f"there is no channel {self._settings.channel} in {layout}; give --channels, or "
                "another --channel"
            )
        seconds = self._enhancer.hop_size / self._enhancer.sample_rate
        self._hop = max(round(seconds * layout.rate), 1) * layout.frame_bytes
        self._look()
        if self._live:
            self._begin_with_a_hop(self._path)
        while self._fill(needed := self._path.needed * layout.frame_bytes):
            self._drain()
            if self._live:
                self._watch_lag()
            if self._surplus_left:
                self._discard()
                continue
            hop = bytes(self._queue[:needed])
            del self._queue[:needed]
            self._put(self._path.push(layout.decode(hop), self._speed()))
        self._end()

    def summary(self) -> dict[str, Any]:
        """What was counted so far, ready for JSON."""
        rate = self._layout.rate * self._layout.frame_bytes
        return {
            **self._path.times.summary(),
            "latency_ms": round(1e3 * self._latency_s(), 3),
            "discarded_s": round(self._discarded / rate, 3),
            "discarded_hops": self._discarded // self._hop if self._hop else 0,
        }

    @property
    def latency_s(self) -> float:
        """How far the last sample that was written lagged then.

        It has not waited for the rest of its hop, as the first one has, which is heard before it.
        """
        return self._latency_s() - self._enhancer.hop_size / self._enhancer.sample_rate

    def _latency_s(self) -> float:
        model_s = self._enhancer.latency_samples / self._enhancer.sample_rate
        hop_s = self._enhancer.manifest.algorithmic_latency_ms * 1e-3 - model_s
        return hop_s + self._path.latency_s

    @property
    def drift_ppm(self) -> float:
        """By how much the source's clock was found to be faster than the sink's."""
        return self._drift.drift_ppm if self._drift is not None else 0.0

    def levels(self) -> tuple[float, float]:
        """RMS of what was enhanced and of what came out since the last call, in dBFS."""
        return self._path.heard.read(), self._path.given.read()

    def _speed(self) -> float:
        """How fast to play the next hop, so that it neither piles up nor runs out."""
        if self._drift is None:
            return 1.0
        bytes_s = self._layout.rate * self._layout.frame_bytes
        return self._drift.speed(self._sink.waiting / bytes_s, self._hop / bytes_s)

    def _new_path(self) -> LivePath:
        """One for samples as they are laid out, as far as that is known."""
        return LivePath(
            self._enhancer,
            self._layout.rate,
            self._layout.channels,
            self._settings.channel,
            self._drift is not None,
            self._settings.full_band,
        )

    def _open(self) -> None:
        """Read what may be a header, and find out how samples are laid out."""
        while not self._ended and len(self._queue) < pcm.HEAD:
            self._take(None)
        if not pcm.is_wav(bytes(self._queue[: pcm.HEAD])):
            return
        while (header := pcm.find_header(bytes(self._queue))) is None:
            if self._ended:
                raise UserError("standard input is a WAV file that ends within its header")
            self._take(None)
        for name in ("rate", "channels", "format"):
            asked, found = getattr(self._settings, name), getattr(header.pcm, name)
            if asked is not None and asked != found:
                raise UserError(
                    f"standard input is a WAV file of {header.pcm}, against --{name} {asked}; "
                    f"leave --{name} out"
                )
        if header.pcm != self._layout:
            self._layout = header.pcm
            self._path = self._new_path()
        del self._queue[: header.start]
        if header.size is not None:
            self._left = header.size - len(self._queue)
            self._cut()
        self._pace = Pace(self._layout.rate * self._layout.frame_bytes)

    @property
    def _live(self) -> bool | None:
        """Whether the source is live; None while it is not known."""
        return self._pace.live if self._told_live is None else self._told_live

    @property
    def _may_discard(self) -> bool:
        """Whether the source may be live, as far as is known."""
        return self._live is not False

    def _look(self) -> None:
        """Watch a source that has piled something up, until it is clear whether it is live."""
        end = self._clock() + LONGEST_LOOK_S
        self._drain()
        while (
            self._live is None
            and not self._ended
            and self._lag > 2 * self._hop
            and (left := end - self._clock()) > 0
        ):
            self._take(left)
        if self._live and not self._ended:
            self._surplus_left = max(self._lag - self._hop, 0)
            self._discard()

    def _begin_with_a_hop(self, path: LivePath) -> None:
        """Let hops be full at the end of what a sound card brings at once, by silence before."""
        late = path.needed - self._hop // self._layout.frame_bytes
        path.push(np.zeros((late, self._layout.channels), np.float32))

    def _fill(self, count: int) -> bool:
        """Wait for so many bytes; False where the input ended before."""
        while not self._ended and len(self._queue) < count:
            self._take(None)
        return len(self._queue) >= count

    def _drain(self) -> None:
        """Take all that is there, as long as the source may be live."""
        while self._may_discard and not self._ended and len(self._queue) < DRAINED:
            if not self._take(0):
                break

    def _take(self, patience_s: float | None) -> bool:
        """Read once into the queue; False if nothing came."""
        data = self._source.read(0)
        waited = data is None
        if waited and patience_s != 0:
            data = self._source.read(patience_s)
        if data is None:
            return False
        self._ended = not data
        self._pace.arrived(len(data), self._clock(), waited)
        self._queue += data
        if self._left is not None:
            self._left -= len(data)
            self._cut()
        return True

    def _cut(self) -> None:
        """Leave out what follows the samples of a WAV file."""
        assert self._left is not None, "only a WAV file that knows its size has an end"
        if self._left <= 0:
            self._ended = True
            del self._queue[len(self._queue) + self._left :]
            self._left = 0

    @property
    def _most(self) -> int:
        """Bytes that may wait, besides what the source brings at once."""
        hops = self._settings.max_lag
        return (MAX_LAG_HOPS if hops is None else hops) * self._hop

    @property
    def _lag(self) -> int:
        """Bytes that wait before the enhancer and behind it, besides what comes at once."""
        return len(self._queue) + self._sink.waiting - self._pace.buffer

    def _watch_lag(self) -> None:
        """Find out how much has to be discarded: of a lag that is too long, or is never needed."""
        if self._surplus_left:
            return
        bytes_s = self._layout.rate * self._layout.frame_bytes
        going = max(self._hop - self._pace.buffer, 0)  # the hop, as far as it is still in the lag
        allowed = round(MOST_SURPLUS_S * bytes_s)
        surplus = self._surplus.found(self._lag - going, allowed, self._clock())
        if self._lag > self._most:
            self._surplus_left = self._lag - self._most // 2
        elif surplus:
            # Whole hops: a part of one would be waited for from then on.
            self._surplus_left = surplus - round(KEPT_SURPLUS_S * bytes_s)
            self._surplus_left -= self._surplus_left % self._hop

    def _discard(self) -> None:
        """Discard the oldest samples that are not enhanced yet, as far as they are surplus."""
        frame = self._layout.frame_bytes
        old = min(self._surplus_left, len(self._queue)) // frame * frame
        if old and not self._discarded:
            seconds = self._surplus_left / (self._layout.rate * frame)
            self._say(f"discarded {seconds:.2f} s that had piled up, so as not to lag")
        self._surplus_left = self._surplus_left - old if old else 0
        del self._queue[:old]
        self._discarded += old

    def _put(self, samples: Any) -> None:
        if len(samples):
            self._sink.write(self._layout.encode(samples))
            self._frame_done()

    def _end(self) -> None:
        """What came of a last hop, and what is still inside, pushed out by silence."""
        whole = len(self._queue) // self._layout.frame_bytes * self._layout.frame_bytes
        if whole != len(self._queue):
            warnings.warn("the input ended inside a sample, which is left out", stacklevel=1)
        if whole:
            self._put(self._path.push(self._layout.decode(bytes(self._queue[:whole]))))
        self._put(self._path.finish())


def format_summary(summary: dict[str, Any]) -> str:
    """One line for people."""
    if not summary["frames"]:
        return "the stream ended before its first frame"
    times = ", ".join(f"{name} {value:g}" for name, value in summary["frame_us"].items())
    discarded = summary["discarded_s"]
    return (
        f"{summary['frames']} frames ({summary['seconds']:.1f} s), {times} µs per frame, "
        f"real-time factor {summary['rtf']:.4f}, "
        f"{summary['deadline_misses']} of {summary['frames']} deadlines missed, "
        f"{summary['latency_ms']:g} ms algorithmic latency"
        + (f", {discarded:.2f} s discarded so as not to lag" if discarded else "")
    )
