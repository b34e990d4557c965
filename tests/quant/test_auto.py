"""`auto` takes the cheapest recipe that is near enough to the float network."""

import numpy as np
import pytest

from calib_data import clips_folder
from quant.auto import CANDIDATES, choose_recipe, needed_snr_db, split_clips
from quant.clips import read_calibration_clips


@pytest.fixture(scope="module")
def clips() -> tuple[list[np.ndarray], list[np.ndarray]]:
    noisy, judged = split_clips(read_calibration_clips(clips_folder()))
    return [clip[:32000] for clip in noisy[:2]], [clip[:24000] for clip in judged[:2]]


def test_a_smaller_budget_needs_a_higher_snr():
    assert needed_snr_db(0.01) > needed_snr_db(0.02) > needed_snr_db(0.1)


def test_a_generous_budget_takes_the_cheapest(default_checkpoint, clips):
    chosen, tried = choose_recipe(default_checkpoint, *clips, quality_budget=1e6)

    assert chosen.recipe.name == CANDIDATES[0]
    assert len(tried) == 1


def test_a_budget_out_of_reach_takes_the_nearest_to_float(default_checkpoint, clips):
    chosen, tried = choose_recipe(default_checkpoint, *clips, quality_budget=1e-30)

    assert len(tried) == len(CANDIDATES)
    assert chosen.snr_db == max(snr_db for _, snr_db in tried)
