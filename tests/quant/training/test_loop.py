"""A run that is interrupted and resumed ends exactly where an uninterrupted one does."""

import json
import signal
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from edge_se.ending import ENDING_SIGNALS
from edge_se.errors import UserError
from quant.networks.checkpoint import load_checkpoint
from quant.networks.registry import find_network
from quant.training.accidents import AccidentSettings
from quant.training.checkpoint import Progress, read_tensors, write_tensors
from quant.training.loop import Budget, RunOptions, Trainer, TrainingSettings
from quant.training.validation import Scores, validation_mixtures

SETTINGS = TrainingSettings(batch_size=2, seconds=0.25, warmup_steps=2)


def trainer(out, steps=4, settings=SETTINGS, teacher=None, **options):
    out.mkdir(exist_ok=True)
    torch.manual_seed(3)
    run_options = RunOptions(out, Budget(steps=steps), workers=0, **options)
    return Trainer(find_network(settings.architecture).create(), settings, run_options, teacher)


@pytest.mark.parametrize("architecture", ["gtcrn", "ul_unas"])
def test_a_resumed_run_is_bit_identical(tmp_path, speech, noise, interrupt_after, architecture):
    settings = replace(SETTINGS, architecture=architecture)
    whole = trainer(tmp_path / "whole", settings=settings)
    whole.run(speech, noise, [], {})

    first = trainer(tmp_path / "parts", settings=settings)
    interrupt_after(first, 2)
    reason = first.run(speech, noise, [], {})
    torch.manual_seed(99)  # whatever state a new process starts with
    second = trainer(tmp_path / "parts", settings=settings)
    second.resume()
    second.run(speech, noise, [], {})

    assert "Interrupted" in reason
    expected = load_file(tmp_path / "whole" / "last.safetensors")
    actual = load_file(tmp_path / "parts" / "last.safetensors")
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


@pytest.mark.parametrize("number", ENDING_SIGNALS)
def test_each_signal_that_asks_for_an_end_saves_the_run(
    tmp_path, speech, noise, interrupt_after, number
):
    run, previous = trainer(tmp_path), signal.signal(number, signal.SIG_DFL)
    interrupt_after(run, 2, number)

    try:
        reason = run.run(speech, noise, [], {})
    finally:
        signal.signal(number, previous)

    assert "Interrupted" in reason
    assert run.progress.step == 2
    second = trainer(tmp_path)
    second.resume()
    assert second.progress.step == 2


def test_a_killed_run_goes_on_from_where_it_was_last_saved(tmp_path, speech, noise, monkeypatch):
    monkeypatch.setattr("quant.training.loop.SAVED_EVERY_SECONDS", 0.0)
    whole = trainer(tmp_path / "whole")
    whole.run(speech, noise, [], {})

    killed = trainer(tmp_path / "parts")
    take_step = killed.step

    def until_killed(noisy, clean):
        if killed.progress.step == 3:
            raise RuntimeError("killed")
        return take_step(noisy, clean)

    monkeypatch.setattr(killed, "step", until_killed)
    with pytest.raises(RuntimeError):
        killed.run(speech, noise, [], {})
    second = trainer(tmp_path / "parts")
    second.resume()
    assert second.progress.step == 3
    second.run(speech, noise, [], {})

    expected = load_file(tmp_path / "whole" / "last.safetensors")
    actual = load_file(tmp_path / "parts" / "last.safetensors")
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_a_run_trains_the_weights_and_their_average(tmp_path, speech, noise):
    run = trainer(tmp_path)
    start = {name: value.clone() for name, value in run.model.state_dict().items()}

    run.run(speech, noise, [], {})

    name = "encoder.en_convs.0.conv.weight"
    weights = run.model.state_dict()[name]
    assert not torch.equal(weights, start[name])
    assert not torch.equal(run.average[name], start[name])
    assert not torch.equal(run.average[name], weights)


@pytest.mark.parametrize("name", ["si_snr_weight", "perceptual_weight", "outlier_weight"])
def test_every_weight_changes_what_is_learnt(tmp_path, speech, noise, name):
    weights: list[torch.Tensor] = []
    change: dict[str, Any] = {name: 5.0}
    for settings in (SETTINGS, replace(SETTINGS, **change)):
        run = trainer(tmp_path / str(len(weights)), settings=settings)
        run.run(speech, noise, [], {})
        weights.append(run.model.state_dict()["encoder.en_convs.0.conv.weight"])

    assert not torch.equal(*weights)


def test_the_best_checkpoint_is_an_ordinary_one_with_its_history(tmp_path, speech, noise):
    run = trainer(tmp_path)

    run.run(speech, noise, validation_mixtures(speech, noise, 2, 1.0, seed=0), {"command": "x"})

    load_checkpoint(tmp_path / "best.safetensors")
    with safe_open(tmp_path / "best.safetensors", "pt") as file:
        record = json.loads(file.metadata()["edge_se_training"])
    assert record["command"] == "x"
    assert record["step"] == 4
    assert record["validation"]["pesq"] == run.progress.best
    entry = json.loads((tmp_path / "history.jsonl").read_text().splitlines()[-1])
    assert entry["step"] == 4


def test_training_stops_when_validation_no_longer_improves(tmp_path, speech, noise, monkeypatch):
    scores = iter([1.5, 1.4, 1.3, 1.2, 1.1])
    monkeypatch.setattr(
        "quant.training.loop.score_model",
        lambda *_: Scores(pesq=next(scores), si_snr=9.0),
    )
    run = trainer(tmp_path, steps=100, validate_every=1, patience=2)

    reason = run.run(speech, noise, [object()], {})

    assert "No better for 2 validations" in reason
    assert (run.progress.step, run.progress.best, run.progress.best_step) == (3, 1.5, 1)


def test_resuming_with_other_settings_says_which(tmp_path, speech, noise):
    trainer(tmp_path, steps=1).run(speech, noise, [], {})

    with pytest.raises(UserError, match="trained with batch_size 2, not 3"):
        trainer(tmp_path, settings=replace(SETTINGS, batch_size=3)).resume()


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_run_from_before_accidents_and_todays_mixtures_goes_on_with_them(
    tmp_path, speech, noise, share
):
    first = trainer(tmp_path, steps=2)
    first.run(speech, noise, [], {})
    last = tmp_path / "last.safetensors"
    tensors, metadata = read_tensors(last)
    state = json.loads(metadata["training"])
    del state["settings"]["accidents"], state["settings"]["augment"]["like_recorded_probability"]
    state["settings"]["augment"]["noise_speed"] = [0.7, 1.4]
    write_tensors(last, tensors, {"training": json.dumps(state)})

    settings = replace(SETTINGS, accidents=AccidentSettings(share=share))
    second = trainer(tmp_path, steps=3, settings=settings)
    second.resume()

    assert second.progress == first.progress
    before, after = first.optimizer.state, second.optimizer.state
    assert len(after) == len(before) > 0
    for one, other in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert all(torch.equal(after[other][key], before[one][key]) for key in before[one])
    second.run(speech, noise, [], {})
    with pytest.raises(UserError, match="trained with accidents"):
        trainer(tmp_path, settings=replace(SETTINGS, accidents=AccidentSettings(share=1))).resume()


def test_resuming_from_nothing_or_from_other_files_is_an_error(tmp_path, speech, noise):
    with pytest.raises(UserError, match="to resume from"):
        trainer(tmp_path).resume()
    (tmp_path / "last.safetensors").write_bytes(b"torn off")
    with pytest.raises(UserError, match="cannot be read"):
        trainer(tmp_path).resume()
    trainer(tmp_path / "run", steps=1).run(speech, noise, [], {})
    (tmp_path / "run" / "best.safetensors").rename(tmp_path / "last.safetensors")
    with pytest.raises(UserError, match="not a training state"):
        trainer(tmp_path).resume()


def test_the_learning_rate_warms_up_and_falls_to_its_end():
    settings = TrainingSettings(learning_rate=1e-3, final_learning_rate=1e-5, warmup_steps=10)
    budget = Budget(steps=1000)

    rates = [settings.learning_rate_at(Progress(step=step), budget) for step in range(1001)]

    assert rates[0] == pytest.approx(1e-4, rel=1e-3)
    assert max(rates) == pytest.approx(1e-3, rel=1e-2)
    assert rates[500] == pytest.approx((1e-3 + 1e-5) / 2)
    assert rates[1000] == pytest.approx(1e-5)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))


def test_a_budget_in_minutes_counts_training_time():
    budget = Budget(minutes=2)

    assert budget.fraction(Progress(seconds=30)) == 0.25
    assert budget.fraction(Progress(seconds=500)) == 1


def test_a_run_that_diverges_says_so_and_keeps_what_was_saved(tmp_path, speech, noise):
    run = trainer(tmp_path, steps=2)
    run.run(speech, noise, [], {})
    saved = (tmp_path / "last.safetensors").read_bytes()
    further = trainer(tmp_path, steps=4)
    further.resume()
    next(further.model.parameters()).data.fill_(float("nan"))

    with pytest.raises(UserError, match=r"diverged before step 4.* lower --learning-rate"):
        further.run(speech, noise, [], {})

    assert (tmp_path / "last.safetensors").read_bytes() == saved
