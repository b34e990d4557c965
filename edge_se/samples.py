"""What samples have to be like, whether they come from a file or through the API."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Full scale is 1. Mixes that were never limited exceed it by some 10 or 20 dB, no recording by
# 30 dB; samples in 16-bit units do as soon as they are above -60 dBFS.
LOUDEST = 32.0
# Float samples are cut off 60 dB above full scale: beyond anything that was recorded, and below
# what makes a network's squares overflow. `SAMPLE_LIMIT` of core/float_kernels.h is the same.
SAMPLE_LIMIT = 1024.0
# Hops below this RMS, half a step of 32-bit samples, count as silence: products of what they become
# would be denormal numbers, which take processors many times as long.
FAINTEST = 2.0**-30


def complain(samples: NDArray[Any]) -> str | None:
    """What is wrong with floating-point samples, to follow "it holds"; None if nothing is."""
    peak = float(np.abs(samples).max(initial=0.0))
    if peak <= LOUDEST:
        return None
    if not np.isfinite(peak):
        return "NaN or infinite samples; repair it first"
    units = "16-bit units; divide by 32768" if peak <= 2**16 else "other units; scale them"
    return (
        f"samples of up to {peak:.6g}, far beyond full scale, which is 1.0: they seem to be in "
        f"{units} first"
    )
