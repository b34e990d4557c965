"""A separator from its checkpoint to separated stems, by the commands that a user types."""

import json

import numpy as np
import pytest
import soundfile
import torch

import quant
from edge_se.errors import UserError
from edge_se.inspection import inspect_model
from edge_se.model_file import read_manifest
from quant.networks.registry import find_network
from tests.helpers.separators import SMALL_OPTIONS, fill_by_rule

RATE = 8000
OPTIONS = {"sample_rate": RATE, "hop": 48}
WINDOWS = {"cascaded_aspp": 400, "cascaded_lstm": 192}


def option(name, value):
    return "--network-option", f"{name}={value}"


def write_mixtures(folder, count=3, rate=RATE, channels=2):
    """Tones in noise, two seconds each."""
    folder.mkdir()
    random = np.random.default_rng(0)
    time = np.arange(2 * rate) / rate
    for index in range(count):
        tone = 0.2 * np.sin(2 * np.pi * (300 + 200 * index) * time) * np.sin(3 * time) ** 2
        noise = 0.02 * random.standard_normal((len(time), channels))
        soundfile.write(folder / f"{index}.wav", tone[:, None] + noise, rate)
    return folder


@pytest.fixture(params=sorted(SMALL_OPTIONS))
def architecture(request):
    return request.param


@pytest.fixture
def quantize(main, tmp_path, architecture):
    """Run `quantize` on a small separator; gives the file and what was printed."""
    model = fill_by_rule(find_network(architecture).create(**SMALL_OPTIONS[architecture]))
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    given = OPTIONS | {"window_frames": WINDOWS[architecture]}
    if architecture == "cascaded_aspp":
        given["n_fft"] = 128
    options = [word for name, value in given.items() for word in option(name, value)]

    def run(name, *arguments):
        command = ("quantize", "weights.pth", *options)
        code, printed, errors = main(*command, "--out", name, *arguments)
        assert code == 0, errors
        return tmp_path / name, printed + errors

    return run


def test_int8_is_static_per_channel_and_near_float(quantize, architecture, tmp_path):
    clips = write_mixtures(tmp_path / "clips")

    path, printed = quantize("int8.tflite", "--calibration-clips", clips)

    manifest = read_manifest(path)
    assert "mask SNR to the float network" in printed
    assert manifest.precision == "int8"
    assert manifest.quality["mask_snr_db"] > 20
    assert (manifest.signal.sample_rate, manifest.signal.window, manifest.signal.hop) == (
        RATE,
        128,
        48,
    )
    assert (manifest.tensors.features.dtype, manifest.tensors.mask.dtype) == ("int8", "int8")
    computed = {
        operator["operator"]: operator["precision"]
        for operator in inspect_model(path)["operators"]
        if operator["operator"] not in ("DEQUANTIZE", "RESHAPE")
    }
    stays_float = {name for name, precision in computed.items() if precision == "float32"}
    with_lstm = architecture == "cascaded_lstm"
    assert stays_float == ({"BIDIRECTIONAL_SEQUENCE_LSTM"} if with_lstm else set())


@pytest.mark.parametrize(
    "architecture",
    ["cascaded_lstm", pytest.param("cascaded_aspp", marks=pytest.mark.slow)],
    indirect=True,
)
def test_evaluate_and_inspect_work_on_separators(quantize, main, tmp_path):
    mixtures = write_mixtures(tmp_path / "mix", count=2)
    path, _ = quantize("dynamic.tflite", "--precision", "dynamic", "--calibration-clips", mixtures)
    reference, _ = quantize("float.tflite", "--precision", "float")

    code, printed, errors = main(
        *("evaluate", "--model", path, "--reference", reference, "--noisy", mixtures),
        *("--clean", mixtures, "--checkpoint", "weights.pth", "--json", "scores.json"),
    )

    assert code == 0, errors
    assert "mask SNR" in printed and "at seams" in printed
    clips = json.loads((tmp_path / "scores.json").read_text())["clips"]
    assert [clip["name"] for clip in clips] == ["0.wav", "1.wav"]
    assert clips[0]["mask_snr_db"] > 20
    code, printed, _ = main("inspect", path)
    assert code == 0 and "cropped by" in printed
    code, _, errors = main("evaluate", "--model", path, "--noisy", mixtures, "--mix", 0.5)
    assert code == 2 and "--mix means nothing to" in errors


@pytest.mark.parametrize("architecture", ["cascaded_lstm"], indirect=True)
def test_mono_clips_of_another_rate_calibrate_too(quantize, tmp_path):
    clips = write_mixtures(tmp_path / "clips", count=1, rate=16000, channels=1)
    path, _ = quantize("int8.tflite", "--calibration-clips", clips)
    assert read_manifest(path).calibration["clips"] == 1


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--level-dbfs", "-20"), "--level-dbfs means nothing to cascaded_lstm"),
        (("--recover", "1"), "--recover means nothing to cascaded_lstm"),
        (("--mix", "0.5"), "--mix means nothing to cascaded_lstm"),
        (("--max-attenuation", "12"), "--max-attenuation means nothing to cascaded_lstm"),
        (("--precision", "int8_float_ends"), "unknown precision 'int8_float_ends'"),
        (option("hop", 100), "hop of 100 samples is not between 1 and half the n_fft"),
        (option("window_frames", 150), "multiple of 16 above 128"),
    ],
)
def test_options_that_do_not_fit_are_refused(main, tmp_path, arguments, complaint):
    model = find_network("cascaded_lstm").create(**SMALL_OPTIONS["cascaded_lstm"])
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    precision = () if "--precision" in arguments else ("--precision", "int8")

    code, _, errors = main(
        *("quantize", "weights.pth", "--out", "x.tflite"),
        *(*precision, *arguments),
    )

    assert code == 2
    assert complaint in errors
    assert not (tmp_path / "x.tflite").exists()


def test_an_enhancer_has_no_windows(main):
    code, _, errors = main("quantize", *option("window_frames", 256), "--out", "x.tflite")
    assert code == 2
    assert "gtcrn has no option 'window_frames'" in errors


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"ranges": {}}, "are for enhancers"),
        ({"recovery_minutes": 1.0}, "are for enhancers"),
        ({"recovery_clean_weight": 1.0}, "are for enhancers"),
    ],
)
def test_so_they_are_from_python(tmp_path, options, complaint):
    model = find_network("cascaded_lstm").create(**SMALL_OPTIONS["cascaded_lstm"])
    torch.save(model.state_dict(), tmp_path / "weights.pth")

    with pytest.raises(UserError, match=complaint):
        quant.quantize(tmp_path / "weights.pth", precision="int8", **options)
