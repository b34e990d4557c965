"""Whether a source keeps real time, as a microphone does, or comes as fast as it is taken.

What a microphone has piled up is old, and is better lost than heard late; of a file nothing may be
lost. The bytes tell nothing, so their arrival is watched, in windows of a second: a live source
brings a second of samples in a second, and has to be waited for.
"""

WINDOW_S = 1.0
# A live source brings a whole buffer at once, now and then a bit later than it should.
PROMOTION_S, DEMOTION_S = 0.03, 0.1
LARGEST_BUFFER_S = 0.25
FEWEST_ARRIVALS = 3


class Pace:
    """Judges a source by when its samples arrive.

    Attributes:
        live: True once a window was real time's, False while samples come faster, None before
            either is known.
        buffer: Most samples that came at once in the last window when they were waited for: how
            old a live source's samples are when they come, whatever is done.
    """

    def __init__(self, rate: int) -> None:
        """Watch a source of so many samples a second; the first arrival only starts the clock."""
        self.live: bool | None = None
        self.buffer = 0
        self._rate = rate
        self._start: float | None = None
        self._seconds = self._largest = 0.0  # that arrived in this window, and at once
        self._waits = self._buffer = 0

    def arrived(self, samples: int, now: float, waited: bool) -> None:
        """Take note of an arrival.

        Args:
            samples: How many per channel.
            now: When, in seconds.
            waited: Whether there was nothing before, so that it had to be waited for.
        """
        if self._start is None:
            self._begin(now)
            return
        seconds = samples / self._rate
        self._seconds += seconds
        self._largest = max(self._largest, seconds)
        if waited:
            self._waits += 1
            self._buffer = max(self._buffer, samples)
        elapsed = now - self._start
        early = self._seconds - elapsed
        if early > self._largest + DEMOTION_S:
            self.live = False
            self._begin(now)
        elif elapsed >= WINDOW_S:
            near = abs(early) <= min(self._largest, LARGEST_BUFFER_S) + PROMOTION_S
            if near and waited and self._waits >= FEWEST_ARRIVALS:
                self.live = True
            self.buffer = self._buffer
            self._begin(now)

    def _begin(self, now: float) -> None:
        self._start, self._seconds, self._largest = now, 0.0, 0.0
        self._waits = self._buffer = 0


class Surplus:
    """What waits all the time, which only makes sound late: it is left over from a disturbance."""

    def __init__(self, window_s: float = 2.0) -> None:
        """Take for surplus what has waited for so long."""
        self._window = window_s
        self._since: float | None = None  # more than what may wait has waited
        self._least = 0

    def found(self, waiting: int, allowed: int, now: float) -> int:
        """The least that waited, once it was more than what is allowed for long enough; else 0.

        Args:
            waiting: Right before more goes out.
            allowed: So much may wait all the time.
            now: In seconds.
        """
        if waiting <= allowed:
            self._since = None
            return 0
        if self._since is None:
            self._since, self._least = now, waiting
        self._least = min(self._least, waiting)
        if now - self._since < self._window:
            return 0
        self._since = None
        return self._least
