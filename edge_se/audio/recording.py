"""Whole recordings in memory, for short ones."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge_se.audio.formats import PCM_16
from edge_se.audio.reading import AudioFile
from edge_se.audio.writing import writing


@dataclass(frozen=True)
class Recording:
    """An audio file's content.

    Attributes:
        samples: float32 [n, channels], nominally in [-1, 1].
        rate: In Hz.
        subtype: Sample format in libsndfile's terms, as "PCM_16".
    """

    samples: NDArray[np.float32]
    rate: int
    subtype: str = PCM_16


def read(path: Path) -> Recording:
    """Read an audio file.

    Raises:
        UserError: There is no such file, it is no audio this installation can read, or its samples
            are not finite or far beyond full scale.
    """
    with AudioFile(path) as file:
        return Recording(np.concatenate(list(file.blocks())), file.rate, file.subtype)


def write(path: Path, recording: Recording) -> None:
    """Write an audio file, whole or not at all, in the format that the suffix of `path` names.

    The recording's subtype is kept where that format has it; values beyond [-1, 1] are clipped by
    integer formats.

    Raises:
        UserError: The suffix names no format this installation can write, or the format can't hold
            the recording.
    """
    count, channels = recording.samples.shape
    with writing(path, recording.rate, channels, recording.subtype, count) as writer:
        writer.write(recording.samples)
