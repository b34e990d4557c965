"""The penalty on attention that hangs on states of other times."""

from dataclasses import replace

import pytest
import torch

from edge_se.errors import UserError
from quant.networks.registry import find_network
from quant.training.fading import FORGOTTEN, GAP, FadingPenalty, continued, difference
from quant.training.fast_layers import use_fast_layers
from quant.training.loop import Budget, RunOptions, Trainer, TrainingSettings

LONG = TrainingSettings(batch_size=2, seconds=2.2, warmup_steps=2, fading_weight=100.0)
MEMORY = "decoder.de_convs.0.tra.att_gru.weight_hh_l0"


def memory_and_gate() -> tuple[torch.nn.GRU, torch.nn.Linear]:
    torch.manual_seed(0)
    return torch.nn.GRU(3, 6, batch_first=True), torch.nn.Linear(6, 3)


def set_update(memory: torch.nn.GRU, bias: float) -> None:
    """Let a memory's update gate be the sigmoid of a bias: how much of a state stays."""
    weights = memory.state_dict()
    for name in ("weight_ih_l0", "weight_hh_l0", "bias_hh_l0"):
        weights[name][6:12] = 0
    weights["bias_ih_l0"][6:12] = bias


def measured(memory: torch.nn.GRU, gate: torch.nn.Linear) -> torch.Tensor:
    energies = torch.rand(2, 3 * GAP + 5, 3, generator=torch.Generator().manual_seed(1))
    return difference(memory, gate, energies, memory(energies)[0])


def test_a_state_is_continued_as_torch_does():
    memory, _ = memory_and_gate()
    inputs, state = torch.randn(4, 7, 3), torch.randn(4, 6)

    expected, _ = memory(inputs, state[None])

    torch.testing.assert_close(continued(memory, inputs, state), expected)


def test_a_memory_that_forgets_costs_nothing_and_one_that_does_not_costs():
    memory, gate = memory_and_gate()
    set_update(memory, -20.0)
    forgets = measured(memory, gate)
    set_update(memory, 5.0)
    keeps = measured(memory, gate)

    assert forgets < 1e-12
    assert keeps > 1e-6


def test_gates_are_those_after_a_gap_and_after_another_clip():
    memory, gate = memory_and_gate()
    energies = torch.rand(2, 3 * GAP, 3)
    states = memory(energies)[0]

    total = torch.zeros(())
    for clip in range(2):
        for start in (GAP, 2 * GAP):
            span = energies[clip : clip + 1, start : start + GAP]
            missed = states[clip, start - GAP - 1] if start > GAP else torch.zeros(6)
            for state in (missed, states[1 - clip, start - 1]):
                found = gate(memory(span, state[None, None])[0])[0, FORGOTTEN:].sigmoid()
                usual = gate(states[clip, start : start + GAP])[FORGOTTEN:].sigmoid()
                total = total + (found - usual).square().mean() / 8

    torch.testing.assert_close(difference(memory, gate, energies, states), total)


@pytest.mark.parametrize(("name", "memories"), [("gtcrn", 6), ("ul_unas", None)])
def test_every_attention_that_is_trained_is_watched(name, memories):
    model = find_network(name).create()
    use_fast_layers(model)
    penalty = FadingPenalty(model)
    signal = find_network(name).signal(model)

    with torch.inference_mode():  # as validation runs it
        model.eval()(torch.zeros(1, signal.bins, 2, 2))
    model.train()(torch.rand(2, signal.bins, 2 * GAP, 2))

    assert len(penalty._differences) == (memories or len(penalty._differences)) > 0
    penalty.take().backward()
    weights = [w for key, w in model.named_parameters() if "a_gru" in key or "att_gru" in key]
    assert weights and all(weight.grad is not None for weight in weights)


def test_a_run_learns_to_forget(tmp_path, speech, noise):
    learnt: list[torch.Tensor] = []
    for weight in (0.0, 100.0):
        torch.manual_seed(3)
        (out := tmp_path / str(weight)).mkdir()
        settings = replace(LONG, fading_weight=weight)
        options = RunOptions(out, Budget(steps=2), workers=0)
        run = Trainer(find_network("gtcrn").create(), settings, options)
        run.run(speech, noise, [], {})
        learnt.append(run.model.state_dict()[MEMORY])

    assert not torch.equal(*learnt)


def test_mixtures_that_are_too_short_are_refused(tmp_path):
    settings = replace(LONG, seconds=2.0)

    with pytest.raises(UserError, match="128 frames, which 2 s don't have"):
        Trainer(find_network("gtcrn").create(), settings, RunOptions(tmp_path, Budget(steps=1)))


def test_only_the_weights_that_are_named_are_trained(tmp_path, speech, noise):
    torch.manual_seed(3)
    settings = replace(LONG, only=("decoder.de_convs.0.tra.*",), outlier_weight=0.5)
    options = RunOptions(tmp_path, Budget(steps=2), workers=0)
    run = Trainer(find_network("gtcrn").create(), settings, options)
    before = {name: value.clone() for name, value in run.model.state_dict().items()}

    run.run(speech, noise, [], {})

    after = run.model.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
    assert MEMORY in changed
    assert all(name.startswith("decoder.de_convs.0.tra.") for name in changed)


def test_no_such_weights_are_refused(tmp_path):
    settings = replace(LONG, only=("coder.*",))

    with pytest.raises(UserError, match="no weight is named coder"):
        Trainer(find_network("gtcrn").create(), settings, RunOptions(tmp_path, Budget(steps=1)))


def test_a_network_without_attention_that_is_trained_is_refused(tmp_path):
    settings = replace(LONG, fading_weight=1.0, only=("encoder.en_convs.0.*",))

    with pytest.raises(UserError, match="no attention with a memory"):
        Trainer(find_network("gtcrn").create(), settings, RunOptions(tmp_path, Budget(steps=1)))
