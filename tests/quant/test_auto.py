"""`auto` takes the cheapest recipe on a board that is near enough to the float network."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from calib_data import clips_folder
from quant.auto import (
    Candidate,
    Decision,
    choose_recipe,
    format_decision,
    needed_snr_db,
    split_clips,
    within_budget,
)
from quant.clips import CalibrationClips, read_calibration_clips
from quant.costs.table import Cost, find_board
from quant.judge import JudgedClips, Loss, Quality
from quant.recipes import RECIPES

CLIPS, SAMPLES = 2, 20000


@pytest.fixture(scope="module")
def clips() -> tuple[list[np.ndarray], JudgedClips]:
    noisy, judged = split_clips(read_calibration_clips(clips_folder()), CLIPS, SAMPLES)
    return [clip[:16000] for clip in noisy[:2]], judged


@pytest.fixture(scope="module")
def decided(default_checkpoint, clips) -> Decision:
    """Any loss is within the budget."""
    return choose_recipe(default_checkpoint, *clips, 1e6, find_board("pi4"))


def quality(snr_db: float = 20.0, **losses: float) -> Quality:
    found = {name: Loss(mean, 0.0, 8) for name, mean in losses.items()}
    return Quality(snr_db, snr_db, snr_db, {}, found, np.zeros((1, 1)))


def test_a_smaller_budget_needs_a_higher_snr():
    assert needed_snr_db(0.01) > needed_snr_db(0.02) > needed_snr_db(0.1)


def test_with_clean_speech_every_loss_counts():
    near = quality(pesq=0.01, stoi=0.001, si_snr_db=0.1)

    assert within_budget(near, 0.02)
    assert not within_budget(quality(pesq=0.03, stoi=0.001, si_snr_db=0.1), 0.02)
    assert not within_budget(quality(pesq=0.01, stoi=0.001, si_snr_db=0.6), 0.02)


def test_luck_with_few_clips_does_not_decide():
    lucky = quality(pesq=0.0, stoi=0.0, si_snr_db=0.0)
    unsure = replace(lucky, losses=lucky.losses | {"pesq": Loss(0.0, 0.05, 8)})

    assert within_budget(lucky, 0.02)
    assert not within_budget(unsure, 0.02)


def test_without_clean_speech_the_snr_counts():
    needed = needed_snr_db(0.02)

    assert within_budget(quality(needed + 0.1), 0.02)
    assert not within_budget(quality(needed - 0.1), 0.02)


def test_a_generous_budget_takes_the_cheapest(decided):
    assert decided.chosen.cost.instructions == min(
        candidate.cost.instructions for candidate in decided.candidates
    )


def test_a_budget_out_of_reach_takes_the_nearest_to_float(default_checkpoint, clips):
    decision = choose_recipe(default_checkpoint, *clips, 1e-30, find_board("pi4"))

    nearest = max(c.quality.compressed_snr_db for c in decision.candidates)
    assert decision.chosen.quality.compressed_snr_db == nearest


def test_all_kinds_of_candidates_are_tried(decided):
    names = [candidate.recipe.name for candidate in decided.candidates]
    mixed = [c.recipe for c in decided.candidates if c.recipe.name.endswith("_float")]

    assert {"int8", "dynamic"} <= set(names)
    assert [len(recipe.overrides) for recipe in mixed] == [1, 2, 3]


def test_the_choice_is_never_slower_and_worse_than_another(decided):
    assert not any(other.beats(decided.chosen) for other in decided.candidates)


def test_the_reasons_are_data_and_text(decided):
    content, text = decided.to_dict(), format_decision(decided)

    verdicts = {entry["name"]: entry["verdict"] for entry in content["candidates"]}
    assert content["board"] == "pi4"
    assert verdicts[content["chosen"]].startswith("chosen")
    assert all(name in text for name in (*verdicts, "float", "Raspberry Pi 4"))


@dataclass
class Calibrated:
    """Stands for a calibrated graph where none is needed."""


def test_it_is_said_plainly_where_float_would_be_faster():
    cost = Cost(2e6, {}, 0.0, 0)
    chosen = Candidate(RECIPES["int8"], Calibrated(), {}, quality(), cost, 100)
    decision = Decision(chosen, (chosen,), find_board("pi4"), 0.02, Cost(1e6, {}, 0.0, 0), 200)

    assert decision.float_is_faster
    assert "Float would be faster on Raspberry Pi 4 Model B" in format_decision(decision)


def test_noisy_clips_are_split_in_two():
    whole = read_calibration_clips(clips_folder())
    clips = CalibrationClips(noisy=whole.clean[:10])

    calibration, judged = split_clips(clips, CLIPS, SAMPLES)

    assert len(calibration) == 8
    assert judged.clean is None
    assert judged.noisy.shape == (CLIPS, SAMPLES)
