"""Levels, silence and long running of real files; the fast test runs a short minute."""

import numpy as np
import pytest

from calib_data import clips_folder
from quant.audio.clips import read_calibration_clips
from quant.evaluation.judge import JudgedClips
from quant.evaluation.robustness import LEVELS_DBFS, measure_robustness
from quant.graph.recipes import find_recipe
from quant.networks.registry import DEFAULT
from quant.ptq.pipeline import build_float, build_quantized, find_ranges


@pytest.fixture
def files(default_checkpoint, calibrated, tmp_path):
    """The embedded network in float and in INT8."""
    recipe = find_recipe("int8", DEFAULT.recipes)
    ranges = find_ranges(calibrated, recipe)
    contents = {
        "float": build_float(default_checkpoint),
        "int8": build_quantized(calibrated, recipe, ranges, {}),
    }
    for name, content in contents.items():
        (tmp_path / f"{name}.tflite").write_bytes(content)
    return tuple(tmp_path / f"{name}.tflite" for name in contents)


def judged(count: int, seconds: float) -> JudgedClips:
    return JudgedClips.of(read_calibration_clips(clips_folder(), 16000), 5, count, seconds)


def test_a_file_loses_nothing_to_itself(files):
    found = measure_robustness(files[0], files[0], judged(2, 1.5), minutes=1)

    reached = np.array([case.level_dbfs for case in found.levels])
    assert reached[:3] == pytest.approx(LEVELS_DBFS[:3])
    lost = np.array(LEVELS_DBFS[3:]) - reached[3:]  # where peaks are cut off
    assert (lost > 0).all() and (lost < 2).all()
    for case in (*found.levels, found.silence):
        assert case.pesq_loss is not None and case.pesq_loss.mean == 0.0
    assert found.minutes_db == (100.0,)
    assert found.saturation == {}


@pytest.mark.slow
def test_int8_does_not_drift_and_its_states_are_watched(files):
    floating, quantized = files
    found = measure_robustness(floating, quantized, judged(4, 3.0), minutes=10)

    assert abs(found.drift_db) < 1.0
    assert len(found.saturation) > 10
    assert all(0 <= share < 0.5 for share in found.saturation.values())
    for case in found.levels:
        assert case.pesq_loss is not None and np.isfinite(case.pesq_loss.mean)
