"""What the tests of the fixed-point path share: paths without a model, and a float64 reference."""

from dataclasses import replace
from typing import Any

import numpy as np

from edge_se.engines.fixed_path import FixedPath
from edge_se.manifest import BandMerging, Manifest, Tensors, TensorSpec
from edge_se.signal import Signal

SIGNAL = Signal(16000, 512, 256)
BINS, HOP, WINDOW = SIGNAL.bins, SIGNAL.hop, SIGNAL.window
FEATURES = TensorSpec(0, (3, BINS), "int8", 0.05, -3)
# Above 65 bins, bands of one to six overlapping ones, and one of no bin but the last.
BANDS = BandMerging(
    bound=0.5,
    ratio=16,
    alike=65,
    first=(65, *range(66, 252, 3), 256),
    weights=((32768,), *(((9000, 20000, 32768, 30000, 17000, 1),) * 62), (7,)),
)
BAND_FEATURES = TensorSpec(0, (6, BANDS.count), "int8", 3 / 128, -40)
MASK = TensorSpec(1, (2, BINS), "int8", 0.011, 5)
# What a network hears and gives that takes logarithms.
LOGARITHMIC = Signal(16000, 512, 256, "hann", "log_magnitude", "real")
LOGARITHMS = TensorSpec(0, (1, BINS), "int8", 8 / 255, 64)
GAINS = TensorSpec(1, (1, BINS), "int8", 1 / 256, -128)


def manifest(
    features: TensorSpec = FEATURES,
    mask: TensorSpec = MASK,
    level_dbfs: float | None = None,
    front_end: str = "attenuate",
    signal: Signal = SIGNAL,
    **changes: Any,
) -> Manifest:
    signal = replace(signal, level_dbfs=level_dbfs, front_end=front_end)
    return Manifest("none", "int8", signal, Tensors(features, mask), (), **changes)


def buffers(described: Manifest) -> tuple[np.ndarray, np.ndarray]:
    """The step's input and output."""
    signals = described.tensors
    return (
        np.zeros(signals.features.shape, signals.features.dtype),
        np.zeros(signals.mask.shape, signals.mask.dtype),
    )


def passing_mask(spec: TensorSpec = MASK) -> np.ndarray:
    """A mask [2, 257] as stored: gains of 0.6 to 1.3, about 1 on average, and all phases."""
    bins = np.arange(BINS)
    gain = 0.95 + 0.35 * np.cos(bins / 7)
    mask = gain * np.exp(1j * 4 * np.sin(bins / 11))
    stored = np.rint(np.stack([mask.real, mask.imag]) / spec.scale) + spec.zero_point
    return stored.astype(spec.dtype)


def stream(path: FixedPath, samples: np.ndarray) -> np.ndarray:
    """A signal (int16 [hops * 256]) through a path, the mask being what its buffer holds."""
    output = np.empty_like(samples)
    for start in range(0, len(samples), HOP):
        path.analyse(samples[start : start + HOP])
        path.synthesise(output[start : start + HOP])
    return output


def reference(
    samples: np.ndarray, mask: np.ndarray, spec: TensorSpec = MASK, signal: Signal = SIGNAL
) -> np.ndarray:
    """The same in float64, unrounded, in steps of an int16 sample."""
    real, *imaginary = (mask.astype(np.float64) - spec.zero_point) * spec.scale
    gains = real + 1j * sum(imaginary)
    window, synthesis = signal.analysis_window(), signal.synthesis_window()
    padded = np.concatenate([np.zeros(HOP), samples.astype(np.float64)])
    output = np.zeros(len(padded))
    for start in range(0, len(samples), HOP):
        spectrum = np.fft.rfft(padded[start : start + WINDOW] * window)
        segment = np.fft.irfft(spectrum * gains) * synthesis
        output[start : start + WINDOW] += segment
    return output[: len(samples)]


def snr_db(expected: np.ndarray, actual: np.ndarray) -> float:
    """Ratio of the energies of `expected` and of the difference."""
    error = np.square(expected - actual).sum()
    return float(10 * np.log10(np.square(expected).sum() / error))


def at_level(samples: np.ndarray, dbfs: float) -> np.ndarray:
    """A float signal scaled to an RMS of `dbfs`, as int16, whole hops of it."""
    scaled = samples * 32768 * 10 ** (dbfs / 20) / np.sqrt(np.mean(np.square(samples)))
    whole = len(scaled) // HOP * HOP
    return np.clip(np.rint(scaled[:whole]), -32768, 32767).astype(np.int16)
