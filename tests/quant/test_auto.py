"""`auto` takes the cheapest recipe on a board that is near enough to the float network."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from calib_data import clips_folder
from quant.auto import (
    MARGIN,
    Candidate,
    Decision,
    choose,
    choose_recipe,
    format_decision,
    needed_snr_db,
    split_clips,
    within_budget,
    worth_recovering,
)
from quant.clips import CalibrationClips, read_calibration_clips
from quant.costs.table import Cost, find_board
from quant.judge import JudgedClips, Loss, Quality
from quant.pipeline import noisy_clips
from quant.recipes import RECIPES
from quant.recovery import Recovered, hold_out

CLIPS, SAMPLES = 2, 20000


@pytest.fixture(scope="module")
def clips() -> tuple[list[np.ndarray], JudgedClips]:
    heard, judged = split_clips(read_calibration_clips(clips_folder()), CLIPS, SAMPLES)
    return [clip[:16000] for clip in noisy_clips(heard)[:2]], judged


@pytest.fixture(scope="module")
def decided(default_checkpoint, clips) -> Decision:
    """Any loss is within the budget."""
    return choose_recipe(default_checkpoint, *clips, 1e6, find_board("pi4"))


def quality(snr_db: float = 20.0, **losses: float) -> Quality:
    found = {name: Loss(mean, 0.0, 8, max(mean, 0.0)) for name, mean in losses.items()}
    return Quality(snr_db, snr_db, snr_db, {}, found, np.zeros((1, 1)))


def test_a_smaller_budget_needs_a_higher_snr():
    assert needed_snr_db(0.01) > needed_snr_db(0.02) > needed_snr_db(0.1)


def test_with_clean_speech_every_loss_counts():
    budget = 0.02 * MARGIN
    near = quality(pesq=0.01, stoi=0.001, si_snr_db=0.1)

    assert within_budget(near, budget)
    assert not within_budget(near, 0.02)
    assert not within_budget(quality(pesq=0.03, stoi=0.001, si_snr_db=0.1), budget)
    assert not within_budget(quality(pesq=0.01, stoi=0.001, si_snr_db=0.6), budget)


def test_what_some_clips_gain_does_not_pay_for_what_others_lose():
    steady = quality(pesq=0.01, stoi=0.0, si_snr_db=0.0)
    lucky = replace(steady, losses=steady.losses | {"pesq": Loss.of(np.array([0.1, -0.2]))})

    assert lucky.losses["pesq"].mean < 0 and lucky.losses["pesq"].lost == pytest.approx(0.05)
    assert within_budget(steady, 0.02 * MARGIN)
    assert not within_budget(lucky, 0.02 * MARGIN)


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
    # A float signal alone would give up its two parts for nothing.
    assert all(recipe.splits for recipe in mixed)


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


def candidate(name: str, instructions: float, snr_db: float, size: int = 100) -> Candidate:
    cost = Cost(instructions, {}, 0.0, 0)
    return Candidate(RECIPES[name], Calibrated(), {}, quality(snr_db), cost, size)


def test_recovered_weights_are_taken_only_where_they_bring_it_nearer():
    front, dynamic = candidate("int8_float_front", 1.0, 20.0), candidate("dynamic", 2.0, 35.0)
    recovery = Recovered(Calibrated(), 80, 60, 1.0, 0.5)
    better, worse = (
        replace(front, recovered=recovery, quality=quality(snr_db)) for snr_db in (23.0, 19.0)
    )
    budget = 0.02  # 21.2 dB

    assert choose([front, dynamic], budget, 200) is dynamic
    assert choose([front, dynamic, better], budget, 200) is better
    assert choose([front, dynamic, worse], budget, 200) is dynamic
    assert choose([front, better, worse], 1.0, 200) is better
    assert better.name == "int8_float_front, recovered"


def test_recovery_is_spent_only_where_it_can_change_the_choice():
    front, int8 = candidate("int8_float_front", 2.0, 20.0), candidate("int8", 3.0, 18.0)
    cheap, dear = candidate("dynamic", 1.0, 35.0), candidate("dynamic", 4.0, 35.0)

    assert worth_recovering([front, int8, dear], dear, 0.02, 200) is front
    assert worth_recovering([front, int8], front, 1.0, 200) is front
    assert worth_recovering([front, int8, cheap], cheap, 0.02, 200) is None
    assert worth_recovering([replace(front, size=300), int8, dear], dear, 0.02, 200) is int8
    hopeless = replace(front, quality=quality(10.0))
    assert worth_recovering([hopeless, dear], dear, 0.02, 200) is None


def test_the_cheapest_static_candidate_is_tried_again_recovered(default_checkpoint, clips):
    def recovery(calibrated, recipe, ranges) -> Recovered:
        return Recovered(calibrated, 80, 60, 1.0, 0.5)

    board = find_board("pi4")
    decision = choose_recipe(default_checkpoint, *clips, 1e6, board, recovery=recovery)

    *others, again = decision.candidates
    first = next(c for c in others if c.recipe is again.recipe)
    assert again.recovered is not None and again.cost == first.cost
    assert again.quality.compressed_snr_db == first.quality.compressed_snr_db
    assert again.name in format_decision(decision)


def test_candidates_are_judged_by_voices_that_recovery_holds_out():
    whole = read_calibration_clips(clips_folder())
    voices = np.stack([clip.samples[:SAMPLES] for clip in hold_out(whole)[1].clean])
    voices /= np.linalg.norm(voices, axis=1, keepdims=True)

    heard, judged = split_clips(whole, len(voices) + 2, SAMPLES)

    assert heard is whole and judged.clean is not None
    clean = judged.clean / np.linalg.norm(judged.clean, axis=1, keepdims=True)
    found = (clean @ voices.T).argmax(axis=1)
    assert (clean @ voices.T).max(axis=1) == pytest.approx(1.0, abs=1e-3)
    assert set(found) == set(range(len(voices)))


def test_it_is_said_plainly_where_float_would_be_faster():
    chosen = candidate("int8", 2e6, 20.0)
    decision = Decision(chosen, (chosen,), find_board("pi4"), 0.02, Cost(1e6, {}, 0.0, 0), 200)

    assert decision.float_is_faster
    assert "Float would be faster on Raspberry Pi 4 Model B" in format_decision(decision)


def test_noisy_clips_are_split_in_two():
    whole = read_calibration_clips(clips_folder())
    clips = CalibrationClips(noisy=whole.clean[:10])

    heard, judged = split_clips(clips, CLIPS, SAMPLES)

    assert len(heard.noisy) == 8
    assert judged.clean is None
    assert judged.noisy.shape == (CLIPS, SAMPLES)
