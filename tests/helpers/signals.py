"""Signals of other shapes than the embedded network's."""

import numpy as np

from edge_se.signal import WINDOW_FUNCTIONS, Signal

TRANSFORMS = [(512, 256), (960, 480), (400, 160), (512, 128), (400, 250), (1536, 768)]
SIGNALS = [
    Signal(16000, window, hop, function)
    for window, hop in TRANSFORMS
    for function in WINDOW_FUNCTIONS
]


def name(signal: Signal) -> str:
    return f"{signal.window}/{signal.hop} {signal.window_function}"


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, count).astype(np.float32)
