"""Test vectors of the fixed-point path: integers only, for implementations in any language.

`python tests/edge_se/fixed_vectors.py` writes them anew.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from edge_se.engines.fixed_path import FeatureScale, FixedPath, MaskScale
from tests.helpers.fixed_signals import BINS, FEATURES, HOP, MASK, buffers, manifest

VECTORS = Path(__file__).parent / "fixed_vectors.json"
# Quiet, full scale, silent, one impulse, and loud after it: every exponent changes.
AMPLITUDES = (40, 32767, 0, 1, 9000)


def _random(count: int, seed: int) -> np.ndarray:
    """Numbers in [-1, 1) of a linear congruential generator, the same everywhere."""
    state, values = seed, []
    for _ in range(count):
        state = (1103515245 * state + 12345) % 2**31
        values.append(state / 2**30 - 1)
    return np.array(values)


def _inputs() -> tuple[np.ndarray, np.ndarray]:
    samples = np.rint(_random(HOP * len(AMPLITUDES), 1).reshape(-1, HOP).T * AMPLITUDES).T
    samples[3] = 0
    samples[3, 100] = -32768
    mask = np.rint(127 * _random(2 * BINS, 2)).reshape(2, BINS)
    return samples.astype(np.int16), mask.astype(np.int8)


def compute() -> dict[str, Any]:
    """Parameters, inputs, and what the path makes of them."""
    samples, mask = _inputs()
    described = manifest()
    features, buffer = buffers(described)
    path = FixedPath(described, features, buffer)
    buffer[...] = mask
    frames = []
    for frame in samples:
        out = np.empty(HOP, np.int16)
        path.analyse(frame)
        path.synthesise(out)
        frames.append(
            {
                "samples": frame.tolist(),
                "exponent": int(path._exponents[-1]),
                "spectrum": path._spectra[-1].tolist(),
                "features": features.tolist(),
                "output": out.tolist(),
            }
        )
    scale, mask_scale = FeatureScale(FEATURES), MaskScale(MASK)
    return {
        "features": {
            "multiplier": scale.multiplier,
            "exponent": scale.exponent,
            "zero_point": scale.zero_point,
        },
        "mask": {
            "exponent": mask_scale.exponent,
            "zero_point": mask_scale.zero_point,
            "window": mask_scale.window.tolist(),
            "values": mask.tolist(),
        },
        "frames": frames,
    }


if __name__ == "__main__":
    VECTORS.write_text(json.dumps(compute(), separators=(",", ":")) + "\n")
