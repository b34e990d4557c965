"""Statistics are over every frame of every clip, each clip from zero states."""

import numpy as np
import pytest
import torch

from quant.audio.frames import analyse, features
from quant.graph import operators as ops
from quant.graph.graph import Graph
from quant.graph.scale_classes import ScaleClasses
from quant.networks.gtcrn.model import SIGNAL
from quant.networks.ul_unas.model import SIGNAL as UL_UNAS
from quant.ptq.calibration import CLIPS_AT_ONCE, batches, calibrate


def clip(seed: int, length: int = 4000, level: float = 0.1) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


@pytest.fixture
def clips():
    """More than go together, the loudest first and the quietest last."""
    return [clip(seed, 4000, 1 / (1 + seed)) for seed in range(2 * CLIPS_AT_ONCE + 1)]


@pytest.fixture
def doubling() -> Graph:
    graph = Graph()
    x = graph.input("features", (3, 257))
    graph.output(ops.add(graph, x, x, "doubled"))
    return graph


def all_features(clips) -> torch.Tensor:
    return torch.cat(
        [features(analyse(torch.from_numpy(samples)[None], SIGNAL), SIGNAL) for samples in clips]
    )


def test_extremes_are_over_all_frames_of_all_clips(doubling, clips):
    statistics = calibrate(doubling, clips, SIGNAL)

    low, high = statistics.extremes["doubled"]
    expected = 2 * all_features(clips)
    assert (low, high) == pytest.approx((float(expected.min()), float(expected.max())))


def test_digital_silence_claims_no_range_of_logarithms():
    graph = Graph()
    graph.output(ops.sigmoid(graph, graph.input("features", (1, 257)), "mask"))
    silence = np.zeros(8000, np.float32)

    low, high = calibrate(graph, [np.concatenate([silence, clip(0)])], UL_UNAS).extremes["features"]

    assert low == -5.0
    assert 0 < high < 2


def test_frames_are_counted(doubling, clips):
    statistics = calibrate(doubling, clips, SIGNAL)

    assert statistics.frames == all_features(clips).shape[:2].numel()


def test_samples_are_sorted_and_have_the_distribution_of_all_values(doubling, clips):
    statistics = calibrate(doubling, clips, SIGNAL)

    samples, expected = statistics.samples["features"], all_features(clips).numpy()
    levels = [2, 10, 50, 90, 98]
    assert (np.diff(samples) >= 0).all()
    np.testing.assert_allclose(
        np.percentile(samples, levels), np.percentile(expected, levels), rtol=0.1
    )


def test_calibration_is_reproducible(doubling, clips):
    first, second = (calibrate(doubling, clips, SIGNAL).samples["doubled"] for _ in range(2))

    np.testing.assert_array_equal(first, second)


def test_states_are_carried_within_a_clip_and_start_from_zero_in_the_next():
    graph = Graph()
    total = ops.mean(graph, graph.input("features", (3, 257)), (0, 1), "mean")
    before = graph.recurrent_state("memory", (1, 1))
    after = ops.add(graph, before, ops.multiply(graph, total, total, "energy"), "sum")
    graph.carry(before, after)
    graph.output(after)
    same = [clip(0)] * (CLIPS_AT_ONCE + 1)

    statistics = calibrate(graph, same, SIGNAL)

    energies = all_features(same[:1]).mean(dim=(2, 3)).square()
    assert statistics.extremes["sum"][1] == pytest.approx(float(energies.sum()), rel=1e-4)


def test_means_of_the_inputs_of_weighted_operators(clips):
    graph = Graph()
    x = graph.input("features", (3, 257))
    graph.output(ops.linear(graph, x, torch.ones(2, 257), None, "sum"))

    statistics = calibrate(graph, clips, SIGNAL)

    expected = all_features(clips).mean(dim=(0, 1, 2))
    torch.testing.assert_close(statistics.input_means[x], expected)


def test_what_is_only_moved_is_not_measured(clips):
    graph = Graph()
    x = graph.input("features", (3, 257))
    graph.output(ops.reshape(graph, x, (257, 3), "moved"))

    assert set(calibrate(graph, clips, SIGNAL).extremes) == {"features"}


def test_repeated_steps_are_measured_together(clips):
    graph = Graph()
    x = graph.input("features", (3, 257))
    for row in range(3):
        with graph.scope("row", repeated=row):
            x = ops.add(graph, x, x, "doubled")
    graph.output(x)

    low, _ = calibrate(graph, clips, SIGNAL).extremes["row.doubled"]

    assert low == pytest.approx(8 * float(all_features(clips).min()))


def test_channels_that_can_be_rescaled_are_measured(clips):
    graph = Graph()
    x = graph.input("features", (3, 257))
    weight = torch.zeros(2, 257)
    weight[:, 1] = torch.tensor([1.0, 10.0])
    y = ops.linear(graph, x, weight, None, "scalable")
    graph.output(ops.linear(graph, y, torch.ones(1, 2), None, "sum"))

    statistics = calibrate(graph, clips, SIGNAL, ScaleClasses(graph))

    magnitudes = statistics.magnitudes[y]
    assert set(statistics.magnitudes) == {y}
    assert magnitudes[1] == pytest.approx(10 * magnitudes[0], rel=1e-5)


def test_clips_are_batched_by_length_and_cut_to_the_shortest():
    lengths = [900, 500, 700] + [1000] * CLIPS_AT_ONCE

    shapes = [tuple(batch.shape) for batch in batches([clip(0, length) for length in lengths])]

    assert shapes == [(CLIPS_AT_ONCE, 500), (3, 1000)]


def test_progress_ends_with_all_clips(doubling, clips):
    seen = []

    calibrate(doubling, clips, SIGNAL, progress=lambda done, total: seen.append((done, total)))

    assert seen == [(8, 17), (16, 17), (17, 17)]


def test_what_follows_a_limit_is_measured_as_it_saturates(clips):
    graph = Graph()
    x = ops.add(
        graph, graph.input("features", (3, 257)), graph.constant(torch.ones(1, 1), "one"), "x"
    )
    graph.output(ops.multiply(graph, x, x, "squared"))

    assert calibrate(graph, clips, SIGNAL).extremes["squared"][1] > 2.25
    statistics = calibrate(graph, clips, SIGNAL, limits={"x": (0.0, 1.5)})

    assert statistics.extremes["x"] == pytest.approx((0.0, 1.5))
    assert statistics.extremes["squared"][1] == pytest.approx(2.25)


def test_values_with_a_known_range_do_not_saturate_elsewhere(clips):
    graph = Graph()
    opened = ops.sigmoid(graph, graph.input("features", (3, 257)), "opened")
    graph.output(ops.add(graph, opened, opened, "twice"))

    statistics = calibrate(graph, clips, SIGNAL, limits={"opened": (0.0, 0.25)})

    assert statistics.extremes["twice"][1] > 0.5
