"""The stream of training batches: batch `k` is a pure function of the clips, the seed and `k`.

A run that resumes at step `k` therefore sees exactly the batches that it would have seen, whatever
the number of worker processes.
"""

import hashlib
import signal
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from edge_se.ending import ENDING_SIGNALS
from edge_se.errors import UserError
from edge_se.signal import Signal
from quant.audio.clips import Clip, SkippedClip, iterate_clips, matches, require_clips
from quant.training.accidents import AccidentSettings, with_accidents
from quant.training.augment import AugmentSettings, augmented_mixture

Batch = tuple[torch.Tensor, torch.Tensor]
# Made ahead by all workers together, to even out how long batches take.
BATCHES_AHEAD = 8


@dataclass(frozen=True)
class Corpus:
    """Clips held in memory as `int16` [n] arrays at `rate` Hz, with their names."""

    names: tuple[str, ...]
    clips: tuple[np.ndarray, ...]
    rate: int
    skipped: tuple[SkippedClip, ...] = ()

    @property
    def minutes(self) -> float:
        """Length of all clips in minutes."""
        return sum(len(clip) for clip in self.clips) / self.rate / 60


def load_corpus(folder: Path, paths: Sequence[Path], rate: int) -> Corpus:
    """Read clips into memory, in 2 bytes a sample; unusable ones are skipped by name.

    Raises:
        UserError: no clip is usable.
    """
    names, clips, skipped = [], [], []
    for result in iterate_clips(paths, rate):
        if isinstance(result, Clip):
            names.append(result.path.relative_to(folder).as_posix())
            samples = np.rint(np.clip(result.samples, -1, 1) * 32767)
            clips.append(samples.astype(np.int16))
        else:
            skipped.append(result)
    require_clips(folder, len(clips), skipped, minimum_clips=1)
    return Corpus(tuple(names), tuple(clips), rate, tuple(skipped))


def joined(corpora: Sequence[Corpus]) -> Corpus:
    """The clips of several corpora of one rate, in their order."""
    return Corpus(
        tuple(name for corpus in corpora for name in corpus.names),
        tuple(clip for corpus in corpora for clip in corpus.clips),
        corpora[0].rate,
        tuple(clip for corpus in corpora for clip in corpus.skipped),
    )


def hold_out(
    folders: Sequence[Path], corpus: Corpus, patterns: Sequence[str] | None
) -> tuple[Corpus, Corpus]:
    """Split a corpus into clips to train on and clips to validate on.

    Args:
        folders: where the clips are from, for the error message.
        corpus: the usable clips.
        patterns: globs on the names of files to hold out; None holds out one clip in 20 by a hash
            of its name, a random choice that is the same on every machine.

    Raises:
        UserError: either part would be empty.
    """
    paths = [Path(name) for name in corpus.names]
    if patterns is None:
        order = sorted(paths, key=lambda path: hashlib.sha256(path.name.encode()).digest())
        held_out = set(order[: max(1, len(paths) // 20)])
    else:
        held_out = {path for path in paths if matches(path, patterns)}
    if not 0 < len(held_out) < len(paths):
        raise UserError(
            f"{' and '.join(map(str, folders))} needs clips both to train on and to hold out for "
            f"validation, but of its {len(paths)} clips {len(held_out)} would be held out."
        )
    return (
        _part(corpus, [path not in held_out for path in paths]),
        _part(corpus, [path in held_out for path in paths]),
    )


def _part(corpus: Corpus, chosen: Sequence[bool]) -> Corpus:
    names, clips = compress(corpus.names, chosen), compress(corpus.clips, chosen)
    return Corpus(tuple(names), tuple(clips), corpus.rate)


class MixtureStream(Dataset[Batch]):
    """Batches of random mixtures, by number."""

    def __init__(
        self,
        speech: Corpus,
        noise: Corpus,
        batch_size: int,
        seconds: float,
        seed: int,
        settings: AugmentSettings,
        accidents: AccidentSettings,
        signal: Signal,
    ) -> None:
        """Mix speech and noise, at the signal's rate both, for a file that hears the signal."""
        self._speech = list(speech.clips)
        self._noise = list(noise.clips)
        self._batch_size = batch_size
        self._rate = speech.rate
        self._length = round(seconds * self._rate)
        self._seed = seed
        self._settings = settings
        self._accidents = accidents
        self._signal = signal

    def __getitem__(self, number: int) -> Batch:
        """Return batch `number`: noisy and target, `float32` [batch, samples] each."""
        random = np.random.default_rng([self._seed, number])
        pairs = [
            augmented_mixture(
                *(self._speech, self._noise, self._length, random, self._settings, self._rate)
            )
            for _ in range(self._batch_size)
        ]
        # After all of them, so that the other mixtures are what they are without accidents.
        pairs = [with_accidents(*pair, random, self._accidents, self._signal) for pair in pairs]
        noisy, target = (np.stack(signals) for signals in zip(*pairs, strict=True))
        return torch.from_numpy(noisy), torch.from_numpy(target)


class _From:
    """Endless batch numbers from a first one."""

    def __init__(self, first: int) -> None:
        self._first = first

    def __iter__(self) -> Iterator[int]:
        number = self._first
        while True:
            yield number
            number += 1


def batches(
    stream: MixtureStream, first: int, workers: int, pinned: bool = False
) -> Iterable[Batch]:
    """Yield batches `first`, `first + 1`, ... without end, made ahead in worker processes.

    Args:
        stream: what makes a batch of a number.
        first: number of the first batch.
        workers: processes that make batches ahead; 0 makes them in this process.
        pinned: put them into memory that a GPU copies from by itself.
    """
    return DataLoader(
        stream,
        batch_size=None,
        sampler=_From(first),
        num_workers=workers,
        prefetch_factor=max(2, BATCHES_AHEAD // workers) if workers else None,
        pin_memory=pinned,
        worker_init_fn=_leave_signals_to_the_parent,
        # Workers draw nothing from it, but the loader would otherwise draw from the global state,
        # which a checkpoint saves.
        generator=torch.Generator(),
    )


def _leave_signals_to_the_parent(_: int) -> None:
    # They reach the whole process group; the parent finishes its step and ends the workers.
    for number in ENDING_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
