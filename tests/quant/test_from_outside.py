"""A network, an engine and a board that are not of this project, and documents that say how."""

import json
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

import quant
import targets.boards
from edge_se import Enhancer, engines
from edge_se.engines.loop import FrameLoop
from edge_se.errors import UserError
from edge_se.manifest import Manifest, Tensors, TensorSpec
from edge_se.model_file import find_model, read_manifest
from edge_se.signal import Signal
from edge_se.states import StateCache
from quant.audio.frames import analyse, apply_mask, features, synthesize
from quant.evaluation.metrics import snr
from quant.networks.checkpoint import Checkpoint, load_checkpoint
from quant.networks.network import Network, StateDict
from quant.networks.registry import NETWORKS, register
from tests.helpers.running import randomize
from tests.helpers.tiny_model import tiny_flatbuffer
from tests.helpers.toy_network import Toy, toy_network

DOCUMENTS = Path(__file__).resolve().parents[2] / "docs"

# A network -----------------------------------------------------------------------------------

# Windows of 25 ms every 10 ms, as speech recognizers have them.
HEARS = Signal(sample_rate=16000, window=400, hop=160, window_function="hann")


def toy_options(weights: StateDict) -> dict:
    bias = weights.get("narrow.bias")
    return {} if bias is None or len(bias) == 16 else {"units": len(bias)}


TOY = toy_network(HEARS, options=toy_options)


@pytest.fixture
def toy(tmp_path):
    """A trained toy of 24 units in a checkpoint that does not say what it is."""
    register(TOY)
    network = randomize(Toy(HEARS, units=24), seed=0)
    torch.save(network.state_dict(), tmp_path / "toy.pt")
    yield network
    NETWORKS.pop("toy", None)


@pytest.fixture(scope="module")
def clips(noisy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("clips")
    for index, samples in enumerate(noisy[:4]):
        soundfile.write(folder / f"{index}.wav", samples, 16000)
    return folder


@torch.no_grad()
def offline(network: Toy, samples: np.ndarray) -> np.ndarray:
    spectra = analyse(torch.from_numpy(samples)[None], HEARS)
    mask = network.mask(features(spectra, HEARS).transpose(1, 2)).transpose(1, 2)
    return synthesize(apply_mask(spectra, mask, HEARS), len(samples), HEARS)[0].numpy()


@pytest.mark.parametrize(("precision", "least_snr"), [("float", 90), ("int8", 15)])
def test_a_registered_network_is_quantized_and_enhances(
    main, toy, clips, noisy, tmp_path, precision, least_snr
):
    soundfile.write(tmp_path / "noisy.wav", noisy[4], 16000, "FLOAT")

    made = main(
        *("quantize", "toy.pt", "--calibration-clips", clips, "--precision", precision),
        *("--level-dbfs", 0, "--out", "toy.tflite"),
    )
    ran = main("enhance", "noisy.wav", "out.wav", "--model", "toy.tflite")
    shown = main("inspect", "toy.tflite")

    assert (made[0], ran[0], shown[0]) == (0, 0, 0), made[2] + ran[2]
    manifest = read_manifest(tmp_path / "toy.tflite")
    assert (manifest.architecture, manifest.checkpoint["options"]) == ("toy", {"units": 24})
    assert (manifest.signal.window, manifest.signal.hop) == (400, 160)
    assert manifest.latency_samples == 240
    assert [state.shape for state in manifest.states] == [(1, 1, 1, 24)]
    enhanced = soundfile.read(tmp_path / "out.wav")[0]
    assert snr(enhanced, offline(toy, noisy[4])) > least_snr


def test_python_takes_a_registered_network_too(toy, clips, tmp_path):
    quantized = quant.quantize(tmp_path / "toy.pt", clips, "int8")

    assert isinstance(quantized.checkpoint, Checkpoint)
    assert quantized.checkpoint.network is TOY
    assert quantized.manifest.tensors.features.shape == (3, HEARS.bins)
    assert np.isfinite(quantized.ranges["widen"]).all()


def test_it_trains_on_windows_of_its_own(main, toy, tmp_path, monkeypatch):
    def forward(network: Toy, spectrum: Tensor) -> Tensor:
        spectra = torch.view_as_complex(spectrum.transpose(1, 2).contiguous())
        mask = network.mask(features(spectra, HEARS).transpose(1, 2)).transpose(1, 2)
        enhanced = apply_mask(spectra, mask, HEARS)
        return torch.view_as_real(enhanced).transpose(1, 2)

    monkeypatch.setattr(Toy, "forward", forward)
    random = np.random.default_rng(0)
    for kind in ("clean", "noise"):
        (tmp_path / kind).mkdir()
        for number in range(3):
            samples = 0.1 * random.standard_normal(16000)
            soundfile.write(tmp_path / kind / f"{number}.wav", samples, 16000)

    code, _, errors = main(
        *("train", "--architecture", "toy", "--clean", "clean", "--noise", "noise"),
        *("--out", "run", "--steps", 1, "--batch-size", 2, "--seconds", 0.2),
        *("--validation-mixtures", 2, "--threads", 1),
    )

    assert code == 0, errors
    trained = load_checkpoint(tmp_path / "run" / "best.safetensors")
    assert trained.network is TOY and trained.signal == HEARS


def test_an_unknown_network_is_refused_with_the_known_ones(main, toy, clips, tmp_path):
    code, _, errors = main(
        *("quantize", "toy.pt", "--architecture", "tay", "--precision", "float"),
        *("--out", "toy.tflite"),
    )

    assert code == 2
    assert errors == (
        "edge-se: error: unknown architecture 'tay'; choose one of: cascaded_aspp, "
        "cascaded_lstm, gtcrn, gtcrn_light, gtcrn_unet, toy, ul_unas\n"
    )
    assert not (tmp_path / "toy.tflite").exists()


def test_without_it_its_checkpoint_is_refused_in_one_sentence(main, toy, tmp_path):
    del NETWORKS["toy"]

    code, _, errors = main("quantize", "toy.pt", "--precision", "float", "--out", "toy.tflite")

    (message,) = errors.splitlines()
    assert code == 2 and message.startswith("edge-se: error: toy.pt is no ")
    assert not (tmp_path / "toy.tflite").exists()


# An engine -----------------------------------------------------------------------------------


class Half:
    """A one-frame step whose mask is a half, whatever it hears."""

    def __init__(self, path: Path) -> None:
        self.manifest = Manifest.from_json(path.read_text(), str(path))
        if self.manifest.states:
            raise UserError(f"{path} has states, which the engine half has not")
        bins = self.manifest.signal.bins
        self.features = np.zeros((3, bins), np.float32)
        self.mask = np.zeros((2, bins), np.float32)
        self.cache = StateCache((), (), ())

    def run(self) -> None:
        self.mask[0] = 0.5

    def describe(self) -> dict:
        return {"engine": "half", "runtime": "numpy", "runtime_version": "1", "threads": 1}


@pytest.fixture
def half(tmp_path):
    """A model file of an engine that is registered, at 44.1 kHz."""
    engines.register("half", ".half", lambda path, stft: FrameLoop(Half(path), stft))
    signal = Signal(44100, 1024, 256)
    manifest = Manifest(
        architecture="half",
        precision="float",
        signal=signal,
        tensors=Tensors(
            TensorSpec("features", (3, signal.bins)), TensorSpec("mask", (2, signal.bins))
        ),
        states=(),
    )
    (tmp_path / "model.half").write_text(manifest.to_json())
    yield tmp_path / "model.half"
    del engines.ENGINES["half"], engines._LOADERS["half"]


def test_a_registered_engine_runs_a_model(half, noisy):
    enhancer = Enhancer(half)

    enhanced = enhancer.enhance(noisy[0])

    assert (enhancer.sample_rate, enhancer.hop_size, enhancer.latency_samples) == (44100, 256, 768)
    np.testing.assert_allclose(enhanced, noisy[0] / 2, atol=1e-6)
    assert enhancer.describe()["engine"] == "half"
    assert Enhancer(half, engine="half").manifest == enhancer.manifest


def test_the_command_line_knows_a_registered_engine(half, noisy, main, tmp_path):
    soundfile.write(tmp_path / "noisy.wav", noisy[0], 44100, "FLOAT")

    ran = main("enhance", "noisy.wav", "out.wav", "--model", "model.half", "--engine", "half")
    timed = main("benchmark", "--model", "model.half", "--seconds", 0.1)
    shown = main("inspect", "model.half")

    assert (ran[0], timed[0], shown[0]) == (0, 0, 0), ran[2] + timed[2] + shown[2]
    enhanced = soundfile.read(tmp_path / "out.wav")[0]
    np.testing.assert_allclose(enhanced, noisy[0] / 2, atol=1e-6)
    assert "half by default" in shown[1] and "44100 Hz" in shown[1]


def test_a_file_that_does_not_fit_is_one_sentence(half, main):
    half.write_text(tiny_flatbuffer("float32")[1].to_json())

    code, _, errors = main("benchmark", "--model", "model.half")

    assert (code, errors) == (
        2,
        "edge-se: error: model.half has states, which the engine half has not\n",
    )


def test_an_unknown_engine_is_refused_with_the_known_ones(half, tmp_path):
    (tmp_path / "model.third").write_text("")

    with pytest.raises(UserError, match=r"has to end in \.tflite or \.onnx or \.so or \.half"):
        Enhancer(tmp_path / "model.third")
    with pytest.raises(UserError, match=r"there is no engine 'third'; choose from tflite, .*half"):
        Enhancer(half, engine="third")


# A board -------------------------------------------------------------------------------------


@pytest.fixture
def rock5(tmp_path_factory, monkeypatch):
    """The board that the document adds."""
    (snippet,) = blocks("add-a-board.md", "toml")
    path = tmp_path_factory.mktemp("boards") / "boards.toml"
    path.write_text(targets.boards.BOARDS_FILE.read_text() + "\n" + snippet)
    monkeypatch.setattr(targets.boards, "BOARDS_FILE", path)
    targets.boards.load_boards.cache_clear()
    yield "rock5"
    targets.boards.load_boards.cache_clear()


def test_the_documents_board_is_listed_and_recognised(rock5, main):
    code, output, _ = main("boards", "--json", "-")

    entry = {entry["board"]: entry for entry in json.loads(output)}[rock5]
    assert code == 0
    assert (entry["name"], entry["core"]) == ("Radxa Rock 5B", "Arm Cortex-A76")
    assert entry["instructions_per_second"] == [1.3 * 2.4e9, 2.4 * 2.4e9]
    found = targets.boards.detect_board("aarch64", 64, "Radxa ROCK 5B")
    assert found.key == rock5 and found.default_python == "3.11"
    assert targets.boards.required_wheels(found, "3.11")


def test_auto_takes_it_once_it_is_counted(rock5, main, tmp_path):
    code, _, errors = main("quantize", "--board", rock5, "--out", "m.tflite")

    assert code == 2
    assert errors.splitlines()[-1].startswith(
        "edge-se: error: no instructions were counted for the board 'rock5'; choose one of: zero2, "
    )
    assert not (tmp_path / "m.tflite").exists()


# Documents -----------------------------------------------------------------------------------


def blocks(document: str, language: str) -> list[str]:
    text = (DOCUMENTS / document).read_text(encoding="utf-8")
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", text, re.DOTALL | re.MULTILINE)


def test_the_document_says_all_fields_of_a_network():
    text = (DOCUMENTS / "add-a-network.md").read_text(encoding="utf-8")
    section = text.partition("## What the fields are")[2].partition("\n## ")[0]

    described = set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE))

    assert described == {field.name for field in fields(Network)}
    (record,) = (block for block in blocks("add-a-network.md", "python") if "MINE =" in block)
    given = set(re.findall(r"^ +(\w+)=", record, re.MULTILINE))
    assert given <= described
    for line in re.findall(r"^ *(from (?:quant|edge_se)\S* import .*)$", record, re.MULTILINE):
        if "mine" not in line:
            exec(line)  # an import that fails says what is wrong


def test_the_document_s_signal_is_one():
    (signal,) = (b for b in blocks("add-a-network.md", "python") if b.startswith("Signal("))

    found = eval(signal, {"Signal": Signal})

    written = set(re.findall(r"^ +(\w+)=", signal, re.MULTILINE))
    assert written == {field.name for field in fields(Signal)}
    assert found.bins == found.window // 2 + 1


def test_the_manifest_of_the_document_has_the_fields_of_one_that_was_made():
    (example,) = map(json.loads, blocks("reference/manifest.md", "json"))
    made = json.loads(read_manifest(find_model("gtcrn")).to_json())

    assert list(example) == list(made)
    assert set(example["signal"]) == set(made["signal"])
    assert set(example["recipe"]) == set(made["recipe"])
    assert set(example["states"][0]) == set(made["states"][0])
    for tensor in ("features", "mask"):
        assert set(example["tensors"][tensor]) == set(made["tensors"][tensor])
    bands = example["bands"]  # cut short, which the features are not
    example["tensors"]["features"]["shape"] = [6, bands["alike"] + len(bands["first"])]
    assert Manifest.from_json(json.dumps(example), "the example").precision == "int8"
    text = (DOCUMENTS / "reference" / "manifest.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in (*made, *made["signal"], *made["states"][0]))
