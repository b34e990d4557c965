"""The variants in the performance table differ in time and bytes, not in what they do."""

import numpy as np
import pytest
import torch

from benchmarks.graph_choices import CHOICES, PlainLoop
from edge_se import Enhancer
from quant.ptq.pipeline import build_float


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return (0.05 * np.random.default_rng(0).standard_normal((40, 256))).astype(np.float32)


@pytest.fixture(scope="module")
def variants(default_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("choices")
    paths = {name: folder / f"{index}.tflite" for index, name in enumerate(CHOICES)}
    for name, path in paths.items():
        with CHOICES[name](), torch.no_grad():
            path.write_bytes(build_float(default_checkpoint))
    return paths


def outputs(process, samples: np.ndarray) -> np.ndarray:
    enhanced = np.empty_like(samples)
    for frame, out in zip(samples, enhanced, strict=True):
        process(frame, out)
    return enhanced


def test_all_choices_give_the_same_samples(variants, samples):
    enhanced = [outputs(Enhancer(path).process, samples) for path in variants.values()]

    assert np.abs(enhanced[0]).max() > 1e-4
    for other in enhanced[1:]:
        np.testing.assert_allclose(other, enhanced[0], atol=1e-6)


def test_all_choices_give_another_file(variants):
    contents = {path.read_bytes() for path in variants.values()}

    assert len(contents) == len(CHOICES)


def test_the_plain_loop_gives_the_same_samples(variants, samples):
    path = variants["as it is"]

    np.testing.assert_allclose(
        outputs(PlainLoop(path).process, samples),
        outputs(Enhancer(path).process, samples),
        atol=1e-6,
    )
