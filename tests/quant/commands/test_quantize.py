"""`edge-se quantize` as a user types it, on a folder of his own clips."""

import json
import shutil
from functools import partial

import numpy as np
import pytest
import soundfile

from edge_se import Enhancer
from edge_se.model_file import read_manifest
from quant.training.recovery import RecoverySettings

# 16-bit activations run on TFLite's reference kernels.
pytestmark = pytest.mark.filterwarnings("ignore:XNNPACK took none")


@pytest.fixture
def clips(tmp_path, noisy):
    """Noisy clips as people have them: other rates, several channels, and one that is broken."""
    folder = tmp_path / "clips"
    folder.mkdir()
    forms = [(8000, 1, "wav"), (44100, 2, "wav"), (16000, 6, "flac"), (48000, 1, "flac")]
    for index, (rate, channels, suffix) in enumerate(forms):
        samples = np.repeat(noisy[index][:, None], channels, axis=1)
        soundfile.write(folder / f"clip_{index}.{suffix}", samples[: rate * 3 // 4], rate)
    (folder / "broken.wav").write_bytes(b"RIFF")
    return folder


def test_a_folder_of_clips_makes_a_model(typed, clips, tmp_path):
    result = typed("quantize", "--calibration-clips", clips, "--out", "model.tflite")

    assert result.returncode == 0, result.stderr
    chosen = read_manifest(tmp_path / "model.tflite").precision
    assert f"wrote model.tflite: gtcrn from gtcrn.safetensors, {chosen}, " in result.stdout
    assert "on Raspberry Pi 4 Model B" in result.stdout.replace("On ", "on ")
    assert "broken.wav: can't be read as audio" in result.stderr
    calibration = read_manifest(tmp_path / "model.tflite").calibration
    # The fourth clip is kept to judge by.
    assert (calibration["clips"], calibration["skipped"]) == (3, 1)


@pytest.mark.parametrize(
    ("precision", "dtype"),
    [
        ("int8", "int8"),
        ("int8_float_ends", "float32"),
        ("int8_float_coders", "float32"),
        ("int16x8", "int16"),
        ("dynamic", "float32"),
        ("float", "float32"),
    ],
)
def test_every_precision_makes_a_model_that_runs(main, clips, noisy, tmp_path, precision, dtype):
    code, output, _ = main(
        *("quantize", "--calibration-clips", clips, "--precision", precision),
        *("--recover", "0", "--out", "model.tflite"),
    )

    assert code == 0
    assert f"gtcrn.safetensors, {precision}, " in output
    manifest = read_manifest(tmp_path / "model.tflite")
    assert manifest.tensors.features.dtype == dtype
    assert manifest.stft == ("float" if dtype == "float32" else "fixed")
    assert (manifest.signal.level_dbfs, manifest.signal.front_end) == (-25.0, "follow")
    enhanced = Enhancer(tmp_path / "model.tflite").enhance(noisy[0])
    assert 0 < np.abs(enhanced).max() <= 1.5


@pytest.mark.parametrize(
    ("options", "level"),
    [
        (("--precision", "int8", "--level-dbfs", "-40"), -40.0),
        (("--precision", "int8", "--keep-level"), None),
        (("--precision", "float", "--level-dbfs", "-27"), -27.0),
    ],
)
def test_levels_are_heard_as_asked_for(main, clips, noisy, tmp_path, options, level):
    quantize = ("quantize", "--calibration-clips", clips, "--recover", "0", "--out", "m.tflite")
    code, _, errors = main(*quantize, *options)

    assert code == 0, errors
    manifest = read_manifest(tmp_path / "m.tflite")
    assert manifest.signal.level_dbfs == level
    assert np.isfinite(Enhancer(tmp_path / "m.tflite").enhance(noisy[0])).all()


@pytest.mark.parametrize("option", [("--level-dbfs", "-40"), ("--keep-level",)])
def test_auto_sees_to_levels_by_itself(main, tmp_path, option):
    code, _, errors = main("quantize", *option, "--out", "m.tflite")

    assert code != 0 and f"name a precision beside {option[0]}" in errors
    assert not list(tmp_path.iterdir())


def test_official_checkpoints_are_quantized_reproducibly(main, official_path, clips, tmp_path):
    quantize = ("quantize", official_path, "--precision", "int8", "--recover", "0")
    for name in ("first.tflite", "second.tflite"):
        main(*quantize, "--calibration-clips", clips, "--out", name)

    first, second = (tmp_path / name for name in ("first.tflite", "second.tflite"))
    assert first.read_bytes() == second.read_bytes()
    assert read_manifest(first).checkpoint["name"] == official_path.name


@pytest.mark.parametrize("method", ["min-max", "percentile", "mse"])
def test_every_range_method_makes_a_model_with_ranges_of_its_own(main, clips, tmp_path, method):
    quantize = ("quantize", "--precision", "int8", "--calibration-clips", clips)
    main(*quantize, "--out", "model.tflite", "--range-method", method, "--save-ranges", "r.json")
    main(*quantize, "--out", "again.tflite", "--save-ranges", "default.json")

    ranges = json.loads((tmp_path / "r.json").read_text())
    default = json.loads((tmp_path / "default.json").read_text())
    assert Enhancer(tmp_path / "model.tflite").manifest.precision == "int8"
    assert (ranges == default) is (method == "percentile")


def test_saved_ranges_give_the_same_file_and_edited_ones_another(main, clips, tmp_path):
    quantize = ("quantize", "--precision", "int8", "--calibration-clips", clips)
    main(*quantize, "--out", "first.tflite", "--save-ranges", "ranges.json")
    (tmp_path / "edited.json").write_text(json.dumps({"encoder.1.activation": [-9.0, 9.0]}))

    main(*quantize, "--out", "second.tflite", "--ranges", "ranges.json")
    main(*quantize, "--out", "third.tflite", "--ranges", "edited.json")

    first, second, third = (
        (tmp_path / f"{name}.tflite").read_bytes() for name in ("first", "second", "third")
    )
    assert first == second
    assert first != third


@pytest.mark.slow
def test_recovery_on_noisy_clips_says_what_it_did(main, clips, noisy, tmp_path, monkeypatch):
    monkeypatch.setattr("quant.quantized.RecoverySettings", partial(RecoverySettings, steps=4))
    code, _, errors = main(
        *("quantize", "--calibration-clips", clips, "--precision", "int8"),
        *("--recover", "0.5", "--out", "model.tflite"),
    )

    assert code == 0, errors
    recovery = read_manifest(tmp_path / "model.tflite").calibration["recovery"]
    before, after = recovery["validation_loss"]
    assert recovery["steps"] > 0 and after <= before
    enhanced = Enhancer(tmp_path / "model.tflite").enhance(noisy[0])
    assert np.isfinite(enhanced).all() and enhanced.any()


@pytest.mark.slow
@pytest.mark.parametrize("odd", ["units", "soft"])
def test_odd_levels_among_clips_make_no_file_that_is_worse(main, noisy, tmp_path, odd):
    folder = tmp_path / "odd"
    folder.mkdir()
    gain = 10 ** (-30 / 20) if odd == "soft" else 1.0  # the clips are at -25 dBFS
    for index, samples in enumerate(noisy[:4]):
        soundfile.write(folder / f"{index}.wav", gain * samples, 16000, subtype="FLOAT")
    if odd == "units":
        soundfile.write(folder / "units.wav", 32768 * noisy[0], 16000, subtype="FLOAT")

    code, _, errors = main(
        *("quantize", "--calibration-clips", folder, "--precision", "int8"),
        *("--recover", "0", "--out", "model.tflite"),
    )

    assert code == 0, errors
    assert ("units.wav: holds samples of up to 32768" in errors) == (odd == "units"), errors
    # In the runtime that the bound was measured in: C has the reference kernels' bits.
    found, expected = (
        Enhancer(model, engine="tflite").enhance(gain * noisy[5])
        for model in (tmp_path / "model.tflite", None)
    )
    error = found - expected
    assert 10 * np.log10(np.sum(expected**2) / np.sum(error**2)) > 8


def test_too_few_clips_to_hold_some_out_are_not_recovered_with(main, clips, tmp_path):
    sources = sorted(clips.glob("clip_*"))
    for kind, paths in (("clean", [sources[0]] * 4), ("noise", sources[1:2])):
        (tmp_path / "pairs" / kind).mkdir(parents=True)
        for number, path in enumerate(paths):
            shutil.copy(path, tmp_path / "pairs" / kind / f"{number}{path.suffix}")

    quantize = ("quantize", "--calibration-clips", "pairs", "--precision", "int8")
    code, _, errors = main(*quantize, "--out", "model.tflite")
    assert code == 0 and "no recovery: too few clips" in errors
    assert "recovery" not in read_manifest(tmp_path / "model.tflite").calibration

    code, _, errors = main(*quantize, "--recover", "1", "--out", "asked.tflite")
    assert code == 2 and "there are only 1 noise clips" in errors


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nowhere.tar",), "cannot read checkpoint nowhere.tar: No such file"),
        (("few/0.wav",), "few/0.wav is an audio file, not a checkpoint"),
        (("--calibration-clips", "nowhere"), "nowhere is not a folder"),
        (("--calibration-clips", "few"), "few has 3 usable clips, at least 4 needed"),
        (("--calibration-clips", "empty"), "empty holds no audio file that can be read here"),
        (("--ranges", "nowhere.json"), "cannot read ranges nowhere.json"),
        (("--ranges", "typo.json"), "there is a range for featurs, which is no tensor"),
        (("--save-ranges", "nowhere/ranges.json"), "there is no folder nowhere"),
        (("--ranges", "typo.json", "--precision", "auto"), "--ranges needs a --precision"),
        (("--save-ranges", "r.json", "--precision", "float"), "--save-ranges needs a --precision"),
        (("--recover", "1", "--precision", "dynamic"), "--recover is for activations in 8 or 16"),
        (("--out", "model.onnx"), "model.onnx has to end in .tflite"),
        (("--out", "nowhere/model.tflite"), "there is no folder nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(
    main, clips, tmp_path, arguments, complaint
):
    (clips / "broken.wav").unlink()
    (tmp_path / "empty").mkdir()
    (tmp_path / "few").mkdir()
    for index in range(3):
        shutil.copy(clips / "clip_0.wav", tmp_path / "few" / f"{index}.wav")
    (tmp_path / "typo.json").write_text('{"featurs": [-1, 1]}')
    before = sorted(tmp_path.rglob("*"))

    code, _, errors = main(
        *("quantize", "--precision", "int8", "--calibration-clips", clips),
        *("--out", "model.tflite", *arguments),
    )

    assert code == 2
    message = errors.splitlines()[-1]
    assert message.startswith(f"edge-se: error: {complaint}")
    assert sorted(tmp_path.rglob("*")) == before
