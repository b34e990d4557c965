"""Curves through a few random points."""

import numpy as np


def stretched(points: np.ndarray, length: int) -> np.ndarray:
    """Points [n] stretched to [length], with straight lines between them."""
    return np.interp(np.linspace(0, len(points) - 1, length), np.arange(len(points)), points)
