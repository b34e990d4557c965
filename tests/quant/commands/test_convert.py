"""`edge-se convert` as a user types it."""

import json
import wave

import numpy as np
import pytest

from edge_se import Enhancer


@pytest.fixture
def recording(tmp_path, noisy):
    """One second of a noisy clip as a 16-bit WAV file."""
    path = tmp_path / "noisy.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((32767 * noisy[0][:16000]).astype("<i2").tobytes())
    return path


def test_the_runtime_takes_what_it_writes(typed, main, recording, tmp_path):
    converted = typed("convert", "--out", "step.onnx")
    _, description, _ = main("inspect", "step.onnx", "--json", "-")
    enhanced, *_ = main("enhance", recording, "enhanced.wav", "--model", "step.onnx")
    measured, *_ = main(
        "benchmark", "--model", "step.onnx", "--seconds", "1", "--json", "result.json"
    )

    assert converted.stdout.startswith("wrote step.onnx: gtcrn from gtcrn.safetensors, float, ")
    assert converted.stderr == ""
    operators = json.loads(description)["operators"]
    assert {operator["precision"] for operator in operators} == {"float32"}
    with wave.open(str(tmp_path / "enhanced.wav")) as file:
        assert file.getnframes() == 16000
    assert json.loads((tmp_path / "result.json").read_text())["model"]["engine"] == "onnxruntime"
    assert (enhanced, measured) == (0, 0)


def test_official_checkpoints_are_converted(main, official_path, noisy, tmp_path):
    code, *_ = main("convert", official_path, "--out", "step.onnx")

    assert code == 0
    enhanced = Enhancer(tmp_path / "step.onnx").enhance(noisy[0])
    assert 0 < np.abs(enhanced).max() <= 1.5


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nowhere.tar",), "cannot read checkpoint nowhere.tar: No such file"),
        (("text.tar",), "text.tar is not a checkpoint that can be loaded safely"),
        (("--architecture", "gtcrm"), "unknown architecture 'gtcrm'"),
        (("--out", "step.tflite"), "step.tflite has to end in .onnx"),
        (("--out", "nowhere/step.onnx"), "there is no folder nowhere"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_nothing_is_written(
    main, tmp_path, arguments, complaint
):
    (tmp_path / "text.tar").write_text("no checkpoint")

    code, _, errors = main("convert", "--out", "step.onnx", *arguments)

    assert code == 2
    assert errors.startswith(f"edge-se: error: {complaint}")
    assert errors.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["text.tar"]
