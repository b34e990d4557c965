"""What a module of one's own has to be, and what is said where it is not."""

import re

import numpy as np
import pytest
import torch
from torch import nn

import quant
from edge_se.errors import UserError
from edge_se.signal import Signal
from quant.modules.own import load_own_module
from quant.networks.checkpoint import load_checkpoint
from quant.networks.gtcrn.model import GTCRN
from tests.quant.modules.conftest import EXAMPLES


def test_a_module_is_built_and_described(written):
    own = load_own_module(written())

    assert own.architecture == "Smoothed"
    assert own.signal == Signal(16000, 64, 32, features="log_magnitude", mask="real")
    assert own.state_names == ("smooth",)
    assert [list(state.shape) for state in own.initial] == [[1, 33]]
    described = own.describe()
    assert (described["name"], described["function"]) == ("net.py", "build")
    assert not own.module.training
    first, (state,) = own.run(torch.ones(3, 1, 33))
    assert first.shape == (3, 1, 33)
    np.testing.assert_allclose(state, 0.875)  # half, three quarters, seven eighths


def test_a_checkpoint_is_loaded_under_any_wrapping(written, tmp_path):
    source = written()
    weights = {
        name: tensor + 1 for name, tensor in load_own_module(source).module.state_dict().items()
    }
    torch.save(
        {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in weights.items()}},
        tmp_path / "w.pt",
    )

    own = load_own_module(source, tmp_path / "w.pt")

    assert torch.equal(own.module.state_dict()["gains.bias"], weights["gains.bias"])
    assert own.name == "w.pt"
    assert own.describe()["module"]["name"] == "net.py"


def test_what_is_shared_among_gpus_is_the_module_itself(written):
    own = load_own_module(written(("return Smoothed()", "return nn.DataParallel(Smoothed())")))

    assert (own.architecture, own.state_names) == ("Smoothed", ("smooth",))


def test_weights_of_another_precision_become_float32(written, tmp_path):
    weights = load_own_module(written()).module.state_dict()
    torch.save({"model": {k: v.bfloat16() for k, v in weights.items()}}, tmp_path / "w.pt")

    loaded = load_own_module(written(), tmp_path / "w.pt").module.state_dict()

    for name, tensor in loaded.items():
        assert torch.equal(tensor, weights[name].bfloat16().float())


def test_a_pickled_module_is_refused_and_not_run(written, tmp_path):
    torch.save(nn.Linear(33, 33), tmp_path / "w.pt")

    with pytest.raises(UserError, match=r"more than weights .* as a whole pickled"):
        load_own_module(written(), tmp_path / "w.pt")


FILES = [
    ("net.py", "FILE.py:FUNCTION"),
    (":build", "FILE.py:FUNCTION"),
    ("gone.py:build", "there is no file gone.py"),
    ("net.py:other", "has no function other"),
    ("net.txt:build", "no Python file"),
]


@pytest.mark.parametrize(("source", "words"), FILES)
def test_a_file_that_can_t_be_used_is_named(written, tmp_path, monkeypatch, source, words):
    written()
    (tmp_path / "net.txt").write_text("x")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UserError, match=re.escape(words)):
        load_own_module(source)


# What is replaced, by what, and words of the one sentence.
FAULTS = {
    "syntax": ("def build():", "def build(:", "SyntaxError"),
    "import": (
        "import torch\n",
        "import torch, missing_package\n",
        "ModuleNotFoundError at net.py line 2",
    ),
    "exit": ("def build():", "raise SystemExit(3)\ndef build():", "SystemExit at net.py"),
    "raises": ("return Smoothed()", "return Smoothed(3)", "TypeError at net.py line 24"),
    "no module": (
        "return Smoothed()",
        "return 3",
        "returns a int, but has to return a torch.nn.Module",
    ),
    "arguments": (
        "def build():",
        "def build(size):",
        "missing 1 required positional argument: 'size'",
    ),
    "half": (
        "return Smoothed()",
        "return Smoothed().half()",
        "gains.weight as torch.float16, gains.bias as torch.float16; weights are torch.float32",
    ),
    "complex": (
        "self.gains = ",
        "self.w = nn.Parameter(torch.ones(2, dtype=torch.complex64)); self.gains = ",
        "holds w as torch.complex64",
    ),
    "compiled": (
        "return Smoothed()",
        "return torch.jit.trace(nn.Linear(2, 2), torch.ones(2))",
        "Linear is compiled by torch.jit",
    ),
    "no signal": ("signal = Signal", "unheard = Signal", "has no attribute signal"),
    "other signal": (
        "signal = Signal(16000",
        "signal = dict(a=1) or Signal(16000",
        "a signal that is a dict",
    ),
    "rate": ("Signal(16000", "Signal(0", "its sample rate is 0"),
    "fractional": (
        "Signal(16000",
        "Signal(16000.0",
        "its sample_rate is 16000.0, not a whole number",
    ),
    "odd window": ("16000, 64", "16000, 65", "its window of 65 samples is not an even"),
    "long hop": ("64, 32", "64, 64", "its hop of 64 samples is not between 1 and 63"),
    "points": ("64, 32", "64, 32, n_fft=63", "its n_fft of 63 is not an even number from 64"),
    "level": ("64, 32", "64, 32, level_dbfs='loud'", "its level_dbfs is 'loud', not a number"),
    "front end": ("64, 32", "64, 32, front_end='none'", "knows only 'attenuate' or 'follow'"),
    "feature kind": (
        '"log_magnitude"',
        '"mel"',
        "its features is 'mel', and this edge-se knows only 'magnitude_real_imaginary'",
    ),
    "separator": ('"log_magnitude"', '"stereo_magnitude"', "of whole recordings"),
    "mask kind": (
        'mask="real"',
        'mask="ideal"',
        "its mask is 'ideal', and this edge-se knows only 'complex'",
    ),
    "no states": ("def initial_states", "def states", "no method initial_states"),
    "states fail": (
        "return (torch.zeros(1, 33),)",
        "return self.missing",
        "initial_states() of Smoothed fails",
    ),
    "bare state": ("return (torch.zeros(1, 33),)", "return torch.zeros(1, 33)", "not a tuple"),
    "no tensor": ("(torch.zeros(1, 33),)", "(0.0,)", "is a float, not a tensor"),
    "double": ("torch.zeros(1, 33)", "torch.zeros(1, 33).double()", "torch.float64"),
    "scalar": ("torch.zeros(1, 33)", "torch.zeros(())", "at least one dimension"),
    "empty": ("torch.zeros(1, 33)", "torch.zeros(0, 33)", "at least one element"),
    "NaN state": ("torch.zeros(1, 33)", "torch.zeros(1, 33) / 0", "is not finite"),
    "ramp": ("torch.zeros(1, 33)", "torch.arange(33.0)[None]", "different values"),
    "signature": ("features, smooth)", "features)", "forward of Smoothed takes (features)"),
    "required": ("features, smooth)", "features, smooth, more)", "takes (features, smooth, more)"),
    "keywords": ("features, smooth)", "features, *, smooth)", "takes (features, smooth), but has"),
    "dictionary": (
        "return torch.sigmoid(self.gains(smooth)), smooth",
        "return {'mask': smooth, 'state': smooth}",
        "returns a dict; it has to return the mask and 1 states",
    ),
    "nested": (", smooth\n", ", (smooth,)\n", "returns smooth as a tuple"),
    "dropout": ("0.5 * features", "nn.functional.dropout(features)", "nothing in it may be random"),
    "one result": (", smooth\n", "\n", "it has to return the mask and 1 states"),
    "nothing": ("return torch.sigmoid(self.gains(smooth)), smooth", "pass", "a NoneType"),
    "mask shape": (
        "torch.sigmoid(self.gains(smooth))",
        "smooth[:, :32]",
        "[1, 32] instead of [1, 33]",
    ),
    "mask dtype": ("torch.sigmoid(self.gains(smooth))", "smooth.half()", "torch.float16"),
    "state grows": (
        "0.5 * features",
        "0.5 * features; return smooth, torch.cat([smooth, smooth])",
        "one shape, the same for every frame",
    ),
    "whole clip": (
        "smooth = 0.5 * smooth",
        "features = features.reshape(100, 1, 33)[0]; smooth = 0.5 * smooth",
        "frame, [1, 33], and its states: RuntimeError at net.py line 18",
    ),
    "logarithm": ("torch.sigmoid(self.gains(smooth))", "smooth.log()", "not finite, for noise"),
    "division": (
        "torch.sigmoid(self.gains(smooth))",
        "features / features",
        "not finite, for silence",
    ),
    "in place": (
        "smooth = 0.5 * smooth",
        "smooth += 1; smooth = 0.5 * smooth",
        "argument smooth in place",
    ),
    "memory": (
        "smooth = 0.5 * smooth",
        "self.n = getattr(self, 'n', 0) + 1; smooth = self.n * smooth + self.n",
        "another mask for the same",
    ),
    "random": (
        "return torch.sigmoid(self.gains(smooth))",
        "return torch.rand(1, 33)",
        "another mask",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_breaks_the_contract_is_one_sentence(written, fault):
    old, new, words = FAULTS[fault]

    with pytest.raises(UserError, match=re.escape(words)) as raised:
        load_own_module(written((old, new)))

    assert "\n" not in str(raised.value)


WEIGHTS = {
    "gains.bias missing": lambda weights: weights.pop("gains.bias"),
    "more unknown": lambda weights: weights.update(more=torch.zeros(2)),
    "gains.bias [4] instead of [33]": lambda weights: weights.update(
        {"gains.bias": torch.zeros(4)}
    ),
    "not finite: gains.bias": lambda weights: weights["gains.bias"].fill_(torch.nan),
}


@pytest.mark.parametrize("words", WEIGHTS)
def test_weights_that_don_t_fit_are_named(written, tmp_path, words):
    weights = load_own_module(written()).module.state_dict()
    WEIGHTS[words](weights)
    torch.save(weights, tmp_path / "w.pt")

    with pytest.raises(UserError, match=re.escape(words)):
        load_own_module(written(), tmp_path / "w.pt")


def test_what_means_nothing_to_a_module_is_refused(main, written):
    refused = {
        ("net.tar",): "by --checkpoint",
        ("--recover", "1"): "--recover means nothing to Smoothed",
        ("--report", "report", "--precision", "float"): "--report compares with float",
        ("--architecture", "gtcrn"): "are of networks of this project",
        ("--level-dbfs", "-25"): "name a precision beside --level-dbfs",
    }
    for options, words in refused.items():
        code, _, errors = main("quantize", "--module", written(), "--out", "m.tflite", *options)

        assert (code, words in errors) == (2, True), errors

    code, _, errors = main("quantize", "--checkpoint", "w.pt", "--out", "m.tflite")

    assert (code, "of a --module" in errors) == (2, True), errors


def test_python_refuses_a_network_beside_a_module(written):
    with pytest.raises(UserError, match="beside a module there is no network of ours"):
        quant.quantize(module=written(), architecture="gtcrn")


def test_the_authors_weights_stream_as_our_network(assets, frames):
    path = assets / "gtcrn" / "model_trained_on_dns3.tar"
    ours = load_checkpoint(path).model
    assert isinstance(ours, GTCRN)
    own = load_own_module(f"{EXAMPLES / 'gtcrn_stream.py'}:build", path)

    masks, _ = own.run(frames[0, :120])

    with torch.no_grad():
        expected = ours.mask(frames[:, :120].transpose(1, 2)).transpose(1, 2)[0]
    assert float((masks - expected).abs().max()) < 1e-4
