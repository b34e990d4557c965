"""The embedded clips, one by one."""

from pathlib import Path

import numpy as np

from quant.audio.clips import Clip, read_clip


def samples_of(path: Path) -> np.ndarray:
    """A clip's samples at 16 kHz, float32; it is known to be usable."""
    clip = read_clip(path, 16000)
    assert isinstance(clip, Clip), clip
    return clip.samples
