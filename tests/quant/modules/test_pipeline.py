"""Modules of one's own through litert-torch and litert-quantizer, to files that the loop runs."""

import copy
import functools
import json
import re
import shutil

import numpy as np
import pytest
import soundfile
import torch

import quant
from edge_se import Enhancer
from edge_se.errors import UserError
from edge_se.model_file import read_manifest
from quant.graph.encoding import Precision
from quant.graph.recipes import RECIPES, Override, Recipe
from quant.modules.calibration import FloatFrame, frames_of, observe
from quant.modules.export import export, lower
from quant.modules.own import load_own_module
from quant.modules.pipeline import enhanced, lower_module, make_module
from quant.modules.step_file import parse, tied
from quant.ptq.proof import snr_db, speech
from quant.report import collect
from tests.quant.modules.conftest import EXAMPLES

# 16-bit activations run on TFLite's reference kernels.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:XNNPACK took none")]
LEAST_SNR_DB = {"float": 60.0, "dynamic": 25.0, "int8": 20.0, "int16x8": 40.0}
DTYPES = {"float": "float32", "dynamic": "float32", "int8": "int8", "int16x8": "int16"}


def test_the_float_file_is_the_module(masker):
    assert masker.error < 1e-5


@pytest.mark.parametrize("precision", LEAST_SNR_DB)
def test_every_precision_runs_near_the_module(masker, few_clips, tmp_path, precision):
    made = make_module(masker, RECIPES[precision], few_clips)

    path = tmp_path / "m.tflite"
    path.write_bytes(made.content)
    manifest = read_manifest(path)
    dtype = DTYPES[precision]
    assert {manifest.tensors.features.dtype, manifest.tensors.mask.dtype} == {dtype}
    assert {state.dtype for state in manifest.states} == {dtype}
    assert [state.name for state in manifest.states] == ["past", "hidden"]
    assert manifest.recipe["route"] == "litert"
    assert not made.float_scopes
    samples = speech(16000)
    expected = enhanced(masker.own, manifest.signal, samples)
    assert snr_db(Enhancer(path).enhance(samples), expected) >= LEAST_SNR_DB[precision]


def test_statistics_are_of_all_frames_with_states_carried(masker, few_clips):
    frame = FloatFrame(masker.content, masker.places, masker.own)
    signal = masker.own.signal

    statistics = observe(frame, masker.own, signal, few_clips[:2])

    hidden = []
    for clip in few_clips[:2]:
        states = masker.own.initial
        for features in frames_of(clip, signal):
            _, *states = masker.own.step(torch.from_numpy(features), states)
            hidden.append(states[1].numpy())
    assert statistics.frames == len(hidden)
    low, high = statistics.extremes["hidden"]
    assert low == pytest.approx(np.min(hidden), abs=1e-4)
    assert high == pytest.approx(np.max(hidden), abs=1e-4)
    assert statistics.extremes["hidden.next"] == statistics.extremes["hidden"]
    assert np.array_equal(statistics.samples["hidden.next"], statistics.samples["hidden"])


def test_states_of_other_scales_are_tied_at_the_end(masker, few_clips):
    made = make_module(masker, RECIPES["int8"], few_clips)
    model = parse(made.content)
    graph = model.subgraphs[0]
    state = graph.tensors[graph.inputs[masker.places.inputs[2]]]
    state.quantization = copy.deepcopy(state.quantization)
    state.quantization.scale = state.quantization.scale * np.float32(1.5)
    from quant.graph.tflite import pack

    again = parse(tied(pack(model), masker.places)).subgraphs[0]

    taken = again.tensors[again.inputs[masker.places.inputs[2]]]
    given = again.tensors[again.outputs[masker.places.outputs[2]]]
    assert taken.quantization.scale[0] == given.quantization.scale[0] == state.quantization.scale[0]
    assert len(again.operators) == len(graph.operators) + 1


def test_layers_that_a_recipe_leaves_float_are_listed(masker, few_clips):
    recipe = Recipe("mine", Precision.INT8, (Override("GRU_gru", Precision.FLOAT),))

    made = make_module(masker, recipe, few_clips)

    assert made.float_scopes["gru"]["TANH"] == 1
    with pytest.raises(UserError, match=r"'lstm' of the recipe mine matches no operator .* gru"):
        make_module(masker, Recipe("mine", Precision.INT8, (Override("lstm", Precision.FLOAT),)))


def test_a_report_has_what_the_files_and_the_float_frame_tell(
    masker, few_clips, tmp_path, monkeypatch
):
    (tmp_path / "clips").mkdir()
    for number, clip in enumerate(few_clips[:4]):
        soundfile.write(tmp_path / "clips" / f"{number}.wav", clip[:16000], 16000)
    monkeypatch.setattr("quant.quantized.lower_module", lambda own, progress: masker)
    briefly = functools.partial(collect.measure_robustness, minutes=1)
    monkeypatch.setattr(collect, "measure_robustness", briefly)
    quantized = quant.quantize(None, tmp_path / "clips", "int8", module=masker.own.module)

    quantized.report(tmp_path / "report")

    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["sensitivity"] is None
    assert report["to_float"]["output_snr_db"] > 20
    assert report["model"]["recipe"]["route"] == "litert"
    assert report["clipping"].keys() == report["ranges"].keys() == quantized.ranges.keys()
    assert all(share < 0.2 for share in report["clipping"].values())
    assert "ConvGruMasker" in (tmp_path / "report" / "report.html").read_text()


def test_what_is_written_at_indices_stays_float_beside_8_bits(written, few_clips):
    source = written(
        (
            "return torch.sigmoid(self.gains(smooth))",
            "y = smooth.clone(); y[:, torch.tensor([1, 5])] = features[:, :2]; "
            "return torch.sigmoid(self.gains(y))",
        )
    )

    made = make_module(lower_module(load_own_module(source)), RECIPES["int8"], few_clips[:1])

    assert made.snr_db > 15
    assert [list(kinds) for kinds in made.float_scopes.values()] == [["STABLEHLO_SCATTER"]]


def test_a_command_makes_what_enhances(main, written, tmp_path):
    samples = speech(16000)
    soundfile.write(tmp_path / "noisy.wav", samples, 16000)
    options = ("--module", written(), "--out", "m.tflite", "--save-ranges", "ranges.json")

    made = main("quantize", *options, "--precision", "int8")
    ran = main("enhance", "noisy.wav", "out.wav", "--model", "m.tflite")
    shown = main("inspect", "m.tflite")
    timed = main("benchmark", "--model", "m.tflite", "--seconds", "0.2")

    assert (made[0], ran[0], shown[0], timed[0]) == (0, 0, 0, 0), made[2] + ran[2]
    assert "wrote m.tflite: Smoothed from net.py, int8" in made[1]
    assert "output against the module's: SNR" in made[2]
    assert "Smoothed" in shown[1]
    assert '"smooth"' in (tmp_path / "ranges.json").read_text()
    own = load_own_module(written())
    expected = enhanced(own, read_manifest(tmp_path / "m.tflite").signal, samples)
    assert snr_db(soundfile.read(tmp_path / "out.wav", dtype="float32")[0], expected) > 15


def test_onnx_is_the_module_too(main, written, tmp_path):
    source = written()

    code, output, errors = main("convert", "--module", source, "--out", "m.onnx")

    assert code == 0, errors
    assert "wrote m.onnx: Smoothed from net.py" in output
    own, samples = load_own_module(source), speech(16000)
    found = Enhancer(tmp_path / "m.onnx").enhance(samples)
    assert snr_db(found, enhanced(own, own.signal, samples)) > 60


def test_python_takes_a_module_itself(masker, monkeypatch):
    monkeypatch.setattr("quant.quantized.lower_module", lambda own, progress: masker)

    quantized = quant.quantize(module=masker.own.module, precision="float")

    assert quantized.manifest.architecture == "ConvGruMasker"
    assert quantized.manifest.quality["largest_error"] < 1e-5


# What is replaced in the smallest module, and what is said of each.
KNOWN = (
    [
        (
            "nn.Linear(33, 33)",
            "nn.ConvTranspose2d(8, 1, (1, 5), (1, 2), (0, 2)); self.deep = nn.Linear(33, 33)",
        ),
        (
            "self.gains(smooth)",
            "self.gains(smooth[None, None, :, :17].expand(1, 8, 1, 17))[0, 0]"
            " + self.deep(torch.stack([smooth, -smooth])[None])[0, 1]",
        ),
        (
            "0.5 * features",
            "0.5 * features.sort(-1).values"
            " + torch.zeros(1, 33).scatter_add(1, torch.arange(33)[None] // 2, features)"
            " + nn.functional.fold(features[None], (1, 33), (1, 1))[0, 0]",
        ),
    ],
    (
        r"sort at net\.py line \d+ .*\(instead of sorting: a mean",
        r"scatter_add at net\.py line \d+ .*\(instead of values that are added up",
        r"col2im at net\.py line \d+ .*\(instead of values that are added up",
        r"conv_transpose2d at net\.py line \d+ .*layer gains \(instead of .* put zeros between",
        r"linear at net\.py line \d+ .*layer deep \(instead of a linear layer on more than three",
    ),
)
UNKNOWN = (
    [("torch.sigmoid(", "torch.special.erfinv(0.1 * ")],
    (r"erfinv at net\.py line \d+ .*Lowering not found",),
)


@pytest.mark.parametrize(("replacements", "words"), [KNOWN, UNKNOWN], ids=["known", "unknown"])
def test_operators_that_can_t_be_lowered_are_named_with_their_lines(written, replacements, words):
    own = load_own_module(written(*replacements))

    with pytest.raises(UserError) as raised:
        lower(own, export(own), lambda stage, done, total: None)

    assert re.match(r"litert-torch [\d.]+ can't lower Smoothed: ", str(raised.value))
    for pattern in words:
        assert re.search(pattern, str(raised.value)), str(raised.value)


def test_a_choice_by_values_can_t_be_exported(written):
    own = load_own_module(
        written(("smooth = 0.5", "smooth = smooth if features.sum() > 1e9 else 0.5"))
    )

    with pytest.raises(UserError, match=r"can't be exported: .* at net\.py line 18"):
        export(own)


# GTCRN of 17 bins: all of its operators, and its layers over bands have 3 steps instead of 33.
NARROW = """
import gtcrn_stream as whole
from edge_se.signal import Signal

whole.LOW_BANDS, whole.HIGH_BANDS, whole.BINS, whole.DEEP_BANDS = 5, 4, 17, 3


def build():
    whole.torch.manual_seed(0)
    network = whole.build()
    network.signal = Signal(2000, 32, 16)
    return network
"""


def test_gtcrn_as_upstream_streams_it_is_exact_and_survives_8_bits(tmp_path, few_clips):
    shutil.copy(EXAMPLES / "gtcrn_stream.py", tmp_path)
    (tmp_path / "narrow.py").write_text(NARROW)
    own = load_own_module(f"{tmp_path / 'narrow.py'}:build")

    lowered = lower_module(own)
    made = make_module(lowered, RECIPES["int8"], [clip[:8000] for clip in few_clips[:2]])

    assert lowered.error < 1e-4
    assert made.snr_db > 8
    assert not made.float_scopes
    path = tmp_path / "m.tflite"
    path.write_bytes(made.content)
    names = [state.name for state in read_manifest(path).states]
    assert names == ["conv_cache", "tra_cache", "inter_cache"]
