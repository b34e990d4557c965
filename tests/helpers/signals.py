"""Signals of other shapes than the embedded network's."""

import numpy as np

from edge_se.signal import WINDOW_FUNCTIONS, Signal

TRANSFORMS = [(512, 256), (960, 480), (400, 160), (512, 128), (400, 250), (1536, 768)]
FILLED_UP = [(400, 160, 512), (400, 200, 402), (512, 256, 1024)]
SIGNALS = [
    Signal(16000, window, hop, function, n_fft=points[0] if points else None)
    for window, hop, *points in [*TRANSFORMS, *FILLED_UP]
    for function in WINDOW_FUNCTIONS
]


def name(signal: Signal) -> str:
    points = "" if signal.n_fft is None else f" in {signal.n_fft}"
    return f"{signal.window}/{signal.hop}{points} {signal.window_function}"


def noise(count: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-1, 1, count).astype(np.float32)
