"""Fine-tuning against rounding: a known answer on one operator, and GTCRN."""

import math
from dataclasses import replace
from itertools import repeat

import pytest
import torch

from calib_data import clips_folder
from edge_se.errors import UserError
from quant.audio.clips import CalibrationClips, hold_out, read_calibration_clips
from quant.audio.frames import analyse, features
from quant.graph import operators as ops
from quant.graph.encoding import Precision, assign_encodings
from quant.graph.execute import run_sequence, run_step
from quant.graph.graph import Graph
from quant.graph.recipes import find_recipe
from quant.graph.simulate import FakeQuantizer
from quant.networks.gtcrn.model import SIGNAL
from quant.networks.registry import DEFAULT, find_network
from quant.ptq.pipeline import build_quantized, calibrate_checkpoint, find_ranges, noisy_clips
from quant.training.recovery import Adjustments, RecoverySettings, fine_tune, recover
from tests.helpers.running import at_every_level
from tests.helpers.small_graphs import constant_of

QUICK = RecoverySettings(
    steps=2,
    batch_size=1,
    seconds=0.25,
    warmup_steps=1,
    validate_every=1,
    least_gain=0.0,
    validation_clips=2,
    validation_seconds=0.5,
)


def one_linear() -> Graph:
    """Two inputs; the second's fixed weight of 0.0049 can only be stored as 0 or 1/127."""
    graph = Graph()
    x = graph.input("x", (1, 2))
    weight = torch.tensor([[1.0, 0.0049]])
    graph.output(ops.linear(graph, x, weight, torch.tensor([0.5], requires_grad=True), "y"))
    return graph


def test_the_bias_learns_what_rounding_the_weight_has_changed():
    graph = one_linear()
    ranges = {"x": (-100.0, 100.0), "y": (-2.0, 2.0)}
    encodings = assign_encodings(graph, lambda _: Precision.INT8, ranges, Precision.INT8)
    x, wanted = torch.tensor([[[0.0, 100.0]]]), 0.5 + 0.49

    def loss(_) -> torch.Tensor:
        hook = FakeQuantizer(graph, encodings, lambda _: Precision.INT8)
        ((y,), _) = run_step(graph, {"x": x}, {}, hook)
        return (y - wanted).square().sum()

    settings = replace(QUICK, steps=40, learning_rate=0.05)
    adjustments = Adjustments(graph)
    with torch.enable_grad():
        outcome = fine_tune(adjustments, loss, repeat((x, None)), (x, None), settings)
        adjustments.apply()

    rounded = 100 / 127 - 0.49  # by how much the stored weight gives too much
    bias = graph.operators[0].inputs[2].constant
    assert bias is not None and float(bias.detach()) == pytest.approx(0.5 - rounded, abs=0.02)
    assert outcome.before == pytest.approx(rounded**2, rel=0.1)
    assert outcome.after < 0.01 * outcome.before


def test_weights_that_make_it_worse_are_not_kept():
    graph = one_linear()
    adjustments = Adjustments(graph)

    def loss(batch) -> torch.Tensor:
        # Training pulls the bias up, validation wants it where it is.
        wanted = 9.0 if batch[1] is None else 0.5
        return (constant_of(graph.operators[0].inputs[2]) - wanted).square().sum()

    with torch.enable_grad():
        outcome = fine_tune(
            adjustments,
            loss,
            repeat((torch.zeros(1), None)),
            (torch.zeros(1), torch.zeros(1)),
            replace(QUICK, steps=5),
        )
        adjustments.apply()

    assert outcome.steps > 0 and outcome.kept_step == 0
    assert float(constant_of(graph.operators[0].inputs[2])) == 0.5


def test_a_gain_too_small_to_trust_is_not_kept():
    graph = one_linear()
    adjustments = Adjustments(graph)

    def loss(_) -> torch.Tensor:
        return (constant_of(graph.operators[0].inputs[2]) - 0.6).square().sum()

    batch, settings = (torch.zeros(1), None), replace(QUICK, steps=5, learning_rate=0.05)
    with torch.enable_grad():
        strict = fine_tune(adjustments, loss, repeat(batch), batch, replace(settings, least_gain=1))
        lenient = fine_tune(adjustments, loss, repeat(batch), batch, settings)

    assert strict.kept_step == 0 and strict.after == strict.before
    assert lenient.kept_step > 0 and lenient.after < lenient.before


def test_what_is_near_enough_is_left_as_it_is():
    graph = one_linear()
    adjustments = Adjustments(graph)

    def loss(_) -> torch.Tensor:
        return (constant_of(graph.operators[0].inputs[2]) - 0.6).square().sum()

    batch, settings = (torch.zeros(1), None), replace(QUICK, steps=5)
    with torch.enable_grad():
        near = fine_tune(adjustments, loss, repeat(batch), batch, replace(settings, least_loss=1.0))
        far = fine_tune(adjustments, loss, repeat(batch), batch, replace(settings, least_loss=0.0))

    assert (near.steps, near.kept_step) == (0, 0) and near.after == near.before < 1.0
    assert far.steps == 5


def test_zeros_are_structure_and_repeated_steps_share_their_weights(default_checkpoint):
    with torch.enable_grad():
        graph = find_network("gtcrn").step(default_checkpoint.model)
        adjustments = Adjustments(graph)
        before = {
            v: v.constant for op in graph.operators for v in op.inputs if v.constant is not None
        }
        for change in adjustments.changes.values():
            change.data.fill_(0.1)
        adjustments.apply()

    shared = [v for v in before if v.range_key == "dpgrnn1.intra.row.hidden.weight"]
    assert len({id(v.constant) for v in shared}) == 1 and len(shared) == 32
    for value, constant in before.items():
        assert torch.equal(constant_of(value)[constant == 0], constant[constant == 0])
    bands = [v for v in before if v.name.startswith(("merge", "split"))]
    assert all(torch.equal(constant_of(v), before[v]) for v in bands)
    assert not torch.equal(constant_of(shared[0]), before[shared[0]])


@pytest.mark.slow
def test_recovery_leaves_the_teacher_alone_and_is_never_worse(default_checkpoint, tmp_path):
    clips = read_calibration_clips(clips_folder(), 16000)
    recipe = find_recipe("int8", DEFAULT.recipes)
    noisy = noisy_clips(clips)[:4]
    calibrated = calibrate_checkpoint(default_checkpoint, noisy, at_every_level(recipe))
    weights = {k: v.clone() for k, v in default_checkpoint.model.state_dict().items()}
    ranges = find_ranges(calibrated, recipe)
    before = build_quantized(calibrated, recipe, ranges, {})

    # A step on a quarter of a second gains nothing in a network that 8 bits hold well.
    settings = replace(QUICK, steps=4, batch_size=4, seconds=1.0, learning_rate=1e-4)
    recovered = recover(calibrated, recipe, ranges, clips, settings)

    assert recovered.kept_step > 0 and recovered.loss_after < recovered.loss_before
    for key, weight in default_checkpoint.model.state_dict().items():
        assert torch.equal(weight, weights[key])
    assert build_quantized(recovered.calibrated, recipe, ranges, {}) != before
    assert build_quantized(calibrated, recipe, ranges, {}) == before
    # The float step behind it is still nearly the network.
    inputs = {
        "features": features(analyse(torch.from_numpy(noisy[0][:16000])[None], SIGNAL), SIGNAL)
    }
    with torch.no_grad():
        (mask,) = run_sequence(recovered.calibrated.graph, inputs)
        (wanted,) = run_sequence(find_network("gtcrn").step(default_checkpoint.model), inputs)
    assert (mask - wanted).abs().mean() < 0.05


def test_a_file_whose_weights_need_no_recovery_is_that_without_it(default_checkpoint):
    clips = read_calibration_clips(clips_folder(), 16000)
    recipe = find_recipe("int8", DEFAULT.recipes)
    calibrated = calibrate_checkpoint(
        default_checkpoint, noisy_clips(clips)[:4], at_every_level(recipe)
    )
    ranges = find_ranges(calibrated, recipe)
    unneeded = replace(QUICK, least_loss=math.inf)

    recovered = recover(calibrated, recipe, ranges, clips, unneeded)

    assert recovered.kept_step == 0
    found = build_quantized(recovered.calibrated, recipe, ranges, {})
    assert found == build_quantized(calibrated, recipe, ranges, {})


def test_held_out_clips_are_others():
    clips = read_calibration_clips(clips_folder(), 16000)

    training, held_out = hold_out(clips)

    for kind in ("clean", "noise"):
        kept, out = ({c.path for c in getattr(part, kind)} for part in (training, held_out))
        assert kept and out and not kept & out
        assert len(kept | out) == len(getattr(clips, kind))


def test_too_few_clips_are_one_clear_line():
    clean = read_calibration_clips(clips_folder(), 16000).clean[:3]

    with pytest.raises(UserError, match="only 3 clean clips"):
        hold_out(CalibrationClips(clean=clean))


def test_only_rounded_activations_are_recovered():
    static = {
        name for name in ("float", "dynamic", "int8", "int16x8") if find_recipe(name).is_static
    }

    assert static == {"int8", "int16x8"}
