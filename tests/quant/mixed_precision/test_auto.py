"""`auto` takes the cheapest recipe on a board that is near enough to the float network."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from calib_data import clips_folder
from quant.audio.clips import CalibrationClips, Clip, hold_out, read_calibration_clips
from quant.evaluation.judge import JudgedClips, Loss, Quality
from quant.graph.recipes import find_recipe
from quant.mixed_precision.auto import (
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
from quant.mixed_precision.costs import Cost, find_board
from quant.networks.registry import DEFAULT
from quant.ptq.pipeline import build_quantized, noisy_clips
from quant.training.recovery import Recovered
from tests.helpers.running import nothing_calibrated

CLIPS, SECONDS = 2, 1.25
SAMPLES = 20000


@pytest.fixture(scope="module")
def clips() -> tuple[list[np.ndarray], JudgedClips]:
    heard, judged = split_clips(read_calibration_clips(clips_folder(), 16000), CLIPS, SECONDS)
    return [clip[:16000] for clip in noisy_clips(heard)[:2]], judged


@pytest.fixture(scope="module")
def decided(default_checkpoint, clips) -> Decision:
    """Any loss is within the budget."""
    heard, judged = clips
    return choose_recipe(default_checkpoint, heard, judged, 1e6, find_board("pi4"))


@pytest.mark.slow
def test_two_processes_find_what_one_does(default_checkpoint, clips, decided):
    heard, judged = clips
    threads = torch.get_num_threads()
    torch.set_num_threads(2 if threads == 1 else 1)
    try:
        again = choose_recipe(default_checkpoint, heard, judged, 1e6, find_board("pi4"))
    finally:
        torch.set_num_threads(threads)

    assert again.to_dict() == decided.to_dict()
    for one, other in zip(again.candidates, decided.candidates, strict=True):
        assert one.ranges == other.ranges
        content, expected = (
            build_quantized(c.calibrated, c.recipe, c.ranges, {}) for c in (one, other)
        )
        assert content == expected


def quality(snr_db: float = 20.0, **losses: float) -> Quality:
    found = {name: Loss(mean, 0.0, 8) for name, mean in losses.items()}
    return Quality(snr_db, snr_db, found)


def test_a_smaller_budget_needs_a_higher_snr():
    assert needed_snr_db(0.01) > needed_snr_db(0.02) > needed_snr_db(0.1)


def test_with_clean_speech_every_loss_counts():
    near = quality(pesq=0.01, stoi=0.001, si_snr_db=0.1)

    assert within_budget(near, 0.02)
    assert not within_budget(near, 0.005)
    assert not within_budget(quality(pesq=0.03, stoi=0.001, si_snr_db=0.1), 0.02)
    assert not within_budget(quality(pesq=0.01, stoi=0.001, si_snr_db=0.6), 0.02)


def test_a_loss_counts_with_its_standard_error():
    steady = quality(pesq=0.01, stoi=0.0, si_snr_db=0.0)
    wavering = replace(steady, losses=steady.losses | {"pesq": Loss.of(np.array([0.1, -0.1]))})

    assert wavering.losses["pesq"].mean == 0 and wavering.losses["pesq"].error > 0.05
    assert within_budget(steady, 0.02)
    assert not within_budget(wavering, 0.02)


def test_without_clean_speech_the_snr_counts():
    needed = needed_snr_db(0.02)

    assert within_budget(quality(needed + 0.1), 0.02)
    assert not within_budget(quality(needed - 0.1), 0.02)


def test_a_generous_budget_takes_the_cheapest(decided):
    assert decided.chosen.cost.instructions == min(
        candidate.cost.instructions for candidate in decided.candidates
    )


def test_candidates_are_static_from_all_to_the_middle_and_dynamic(decided):
    names = [candidate.recipe.name for candidate in decided.candidates]

    assert names == ["int8", "int8_float_ends", "int8_float_coders", "dynamic"]
    snrs = [candidate.quality.compressed_snr_db for candidate in decided.candidates]
    assert snrs == sorted(snrs)


def test_the_choice_is_never_slower_and_worse_than_another(decided):
    assert not any(other.beats(decided.chosen) for other in decided.candidates)


def test_the_reasons_are_data_and_text(decided):
    content, text = decided.to_dict(), format_decision(decided)

    verdicts = {entry["name"]: entry["verdict"] for entry in content["candidates"]}
    assert content["board"] == "pi4"
    assert verdicts[content["chosen"]].startswith("chosen")
    assert all(name in text for name in (*verdicts, "float", "Raspberry Pi 4"))


def candidate(name: str, instructions: float, snr_db: float, size: int = 100) -> Candidate:
    cost = Cost(instructions, {}, 0.0, 0)
    recipe = find_recipe(name, DEFAULT.recipes)
    return Candidate(recipe, nothing_calibrated(), {}, quality(snr_db), cost, size)


def test_recovered_weights_are_taken_only_where_they_bring_it_nearer():
    ends, dynamic = candidate("int8_float_ends", 1.0, 22.0), candidate("dynamic", 2.0, 35.0)
    recovery = Recovered(nothing_calibrated(), 80, 60, 1.0, 0.5)
    better, worse = (
        replace(ends, recovered=recovery, quality=quality(snr_db)) for snr_db in (25.0, 21.0)
    )
    budget = 0.02  # 24.1 dB

    assert choose([ends, dynamic], budget, 200) is dynamic
    assert choose([ends, dynamic, better], budget, 200) is better
    assert choose([ends, dynamic, worse], budget, 200) is dynamic
    assert choose([ends, better, worse], 1.0, 200) is better
    assert better.name == "int8_float_ends, recovered"


def test_recovery_is_spent_only_where_it_can_change_the_choice():
    ends, coders = (
        candidate("int8_float_ends", 2.0, 23.0),
        candidate("int8_float_coders", 3.0, 25.0),
    )
    cheap, dear = candidate("dynamic", 1.0, 35.0), candidate("dynamic", 4.0, 35.0)

    assert worth_recovering([ends, coders, dear], dear, 0.01, 200) is coders
    assert worth_recovering([ends, coders], coders, 0.01, 200) is coders
    # One of them will do as it is, or is not cheaper.
    assert worth_recovering([ends, coders, dear], ends, 1.0, 200) is None
    assert worth_recovering([ends, coders, cheap], cheap, 0.01, 200) is None
    large = replace(coders, size=300)
    assert worth_recovering([ends, large, dear], dear, 0.02, 200) is ends
    hopeless = replace(ends, quality=quality(10.0))
    assert worth_recovering([hopeless, dear], dear, 0.02, 200) is None


def test_out_of_reach_the_nearest_is_taken_and_a_static_one_tried_recovered(
    default_checkpoint, clips, monkeypatch
):
    def recovery(calibrated, recipe, ranges) -> Recovered:
        return Recovered(calibrated, 80, 60, 1.0, 0.5)

    monkeypatch.setattr("quant.mixed_precision.auto.RECOVERABLE", 1e9)
    heard, judged = clips
    board = find_board("pi4")
    decision = choose_recipe(default_checkpoint, heard, judged, 1e-9, board, recovery=recovery)

    *others, again = decision.candidates
    first = next(c for c in others if c.recipe is again.recipe)
    assert again.recovered is not None and again.cost == first.cost
    assert again.quality.compressed_snr_db == first.quality.compressed_snr_db
    assert again.name in format_decision(decision)
    nearest = max(c.quality.compressed_snr_db for c in decision.candidates)
    assert decision.chosen.quality.compressed_snr_db == nearest


def test_candidates_are_judged_by_voices_that_recovery_holds_out():
    time = np.arange(16000) / 16000
    tones = [np.sin(2 * np.pi * 300 * (1 + i) * time).astype(np.float32) for i in range(8)]
    voices = tuple(Clip(Path(f"{i}.wav"), tone, 16000) for i, tone in enumerate(tones))
    whole = replace(read_calibration_clips(clips_folder(), 16000), clean=voices)

    heard, judged = split_clips(whole, 6, 3.0)

    assert heard is whole and judged.clean is not None
    assert judged.clean.shape == (6, 48000)
    pitches = [300 * (1 + i) for i, clip in enumerate(voices) if clip in hold_out(whole)[1].clean]
    assert len(pitches) == 2
    for stream in judged.clean:
        spectrum = np.abs(np.fft.rfft(stream)) ** 2
        # Each stream has both, one after the other, equally loud but for where it was cut.
        shares = [spectrum[3 * p - 9 : 3 * p + 10].sum() / spectrum.sum() for p in pitches]
        assert sum(shares) > 0.95 and min(shares) > 0.2


def test_it_is_said_plainly_where_float_would_be_faster():
    chosen = candidate("int8", 2e6, 20.0)
    decision = Decision(chosen, (chosen,), find_board("pi4"), 0.02, Cost(1e6, {}, 0.0, 0), 200)

    assert decision.float_is_faster
    assert "Float would be faster on Raspberry Pi 4 Model B" in format_decision(decision)


def test_noisy_clips_are_split_in_two():
    whole = read_calibration_clips(clips_folder(), 16000)
    clips = CalibrationClips(noisy=whole.clean[:10])

    heard, judged = split_clips(clips, CLIPS, SECONDS)

    assert len(heard.noisy) == 8
    assert judged.clean is None
    assert judged.noisy.shape == (CLIPS, SAMPLES)
