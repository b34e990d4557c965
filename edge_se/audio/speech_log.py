"""A recording's probability of speech as a CSV file: a row a frame, a column a channel."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from edge_se.enhancer import Enhancer
from edge_se.files import written_beside


class SpeechLog:
    """Writes rows as frames come, those of the channels one after another or in turn.

    A row begins with the time of the middle of its frame's window, in seconds.
    """

    def __init__(self, file: IO[str], enhancers: Sequence[Enhancer]) -> None:
        """Write the header to a text file; one enhancer a channel."""
        first = enhancers[0]
        signal = first.manifest.signal
        self._file, self._hop_seconds = file, signal.hop / signal.sample_rate
        self._first_seconds = (signal.hop - signal.window / 2) / signal.sample_rate
        self._columns: list[deque[float]] = [deque() for _ in enhancers]
        # Frames before the recording, whose masks come first where they lag.
        self._frame = -first.manifest.lookahead_frames
        self.hearers = [self._hearer(*pair) for pair in zip(enhancers, self._columns, strict=True)]
        numbers = range(1, len(enhancers) + 1)
        names = ["speech"] if len(enhancers) == 1 else [f"speech_{number}" for number in numbers]
        file.write(",".join(["seconds", *names]) + "\n")

    @staticmethod
    def _hearer(enhancer: Enhancer, column: deque[float]) -> Callable[[], None]:
        """What is called after each of an enhancer's frames."""
        return lambda: column.append(enhancer.speech_probability)

    def write(self, seconds: float) -> None:
        """Write the rows that are complete, up to the recording's length as far as it is known."""
        while all(self._columns):
            row = [column.popleft() for column in self._columns]
            time = self._first_seconds + self._frame * self._hop_seconds
            self._frame += 1
            if 0 <= time < seconds:
                self._file.write(",".join(f"{value:.4f}" for value in (time, *row)) + "\n")


@contextmanager
def speech_log(path: Path | None, enhancers: Sequence[Enhancer]) -> Iterator[SpeechLog | None]:
    """A log whose file is there once it is whole; None where no path is given."""
    if path is None:
        yield None
        return
    with written_beside(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yield SpeechLog(file, enhancers)
