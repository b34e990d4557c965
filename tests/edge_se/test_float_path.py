"""What the float signal path writes for the step and makes of its mask, by kinds of both."""

import numpy as np
import pytest

from edge_se.engines.float_path import FloatPath
from edge_se.manifest import Manifest, Tensors, TensorSpec
from edge_se.signal import Signal
from edge_se.stft import Stft

LOGARITHMIC = Signal(16000, 512, 256, "hann", features="log_magnitude", mask="real")


def manifest(signal: Signal, features: TensorSpec, mask: TensorSpec) -> Manifest:
    return Manifest("any", "any", signal, Tensors(features, mask), states=())


@pytest.fixture
def hops() -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, (6, 256)).astype(np.float32)


def test_logarithms_of_magnitudes_are_written_and_floored(hops):
    features, gains = np.zeros((1, 257), np.float32), np.zeros((1, 257), np.float32)
    spec = TensorSpec(0, (1, 257))
    path, stft = FloatPath(manifest(LOGARITHMIC, spec, spec), features, gains), Stft(LOGARITHMIC)

    path.analyse(np.zeros(256, np.float32))
    np.testing.assert_allclose(features, -12)

    stft.analyse(np.zeros(256, np.float32))
    for hop in hops:
        path.analyse(hop)
        expected = np.log10(np.abs(stft.analyse(hop)))
        np.testing.assert_allclose(features[0], expected, atol=1e-4)


def test_a_level_is_added_to_logarithms():
    loud = np.random.default_rng(0).normal(0, 0.5, (60, 256)).astype(np.float32)
    spec = TensorSpec(0, (1, 257))
    given = [np.zeros((1, 257), np.float32) for _ in range(2)]
    signals = (
        LOGARITHMIC,
        Signal(*(16000, 512, 256, "hann"), features="log_magnitude", mask="real", level_dbfs=-30.0),
    )
    paths = [
        FloatPath(manifest(signal, spec, spec), features, np.zeros((1, 257), np.float32))
        for signal, features in zip(signals, given, strict=True)
    ]

    for hop in loud:
        for path in paths:
            path.analyse(hop)

    difference = given[1] - given[0]
    octaves = difference.mean() / np.log10(2)
    assert octaves == pytest.approx(round(octaves), abs=1e-4) and octaves < 0
    np.testing.assert_allclose(difference, difference.mean(), atol=1e-5)


def test_features_are_quantized_and_a_quantized_real_mask_is_a_gain(hops):
    features, gains = np.zeros((1, 257), np.int8), np.full((1, 257), -64, np.int8)
    of_features, of_gains = (
        TensorSpec(0, (1, 257), "int8", 0.05, 20),
        TensorSpec(0, (1, 257), "int8", 1 / 256, -128),
    )
    path = FloatPath(manifest(LOGARITHMIC, of_features, of_gains), features, gains)
    stft, output = Stft(LOGARITHMIC), np.zeros((6, 256), np.float32)

    for hop, out in zip(hops, output, strict=True):
        path.analyse(hop)
        expected = np.log10(np.abs(stft.analyse(hop))) / 0.05 + 20
        assert np.abs(features[0] - np.clip(expected, -128, 127)).max() <= 0.51
        path.synthesise(out)

    np.testing.assert_allclose(output[1:], hops[:-1] / 4, atol=1e-6)
