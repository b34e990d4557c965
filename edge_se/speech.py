"""Whether a frame holds speech, told by what the mask leaves of it: no second network.

The mask leaves most of the energy of frames with speech, and hardly anything of others. The share
was turned into a probability on mixtures of training audio (docs/results.md).
"""

import numpy as np
from numpy.typing import NDArray

from edge_se.signal import Signal

# The odds of speech are these times the share to that power.
ODDS, POWER = 21.0, 0.75
# Sound as soft as this counts as half of what is heard: of such sound networks leave all.
SOFT_DBFS = -65.0


def soft_energy(signal: Signal) -> float:
    """Energy of the spectrum, summed over its bins, of noise at `SOFT_DBFS`."""
    window = signal.analysis_window()
    return float(signal.points / 2 * np.square(window).sum() * 10 ** (SOFT_DBFS / 10))


def speech_probability(
    spectrum: NDArray[np.complexfloating], mask: NDArray[np.complexfloating], soft: float
) -> float:
    """Probability, 0 to 1, that a frame holds speech.

    Args:
        spectrum: Of the frame, complex [bins].
        mask: Of the frame, of full strength, complex [bins].
        soft: What `soft_energy` says.
    """
    heard = np.square(np.abs(spectrum).astype(np.float64))
    left = float((heard * np.square(np.abs(mask))).sum())
    odds = float(ODDS * (left / (float(heard.sum()) + soft)) ** POWER)
    return odds / (1 + odds)
