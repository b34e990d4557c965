"""The runtime's commands as a user types them."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import soundfile

from edge_se import Enhancer
from edge_se.audio import AudioFile
from edge_se.commands.inspect import format_description
from edge_se.inspection import inspect_model
from tests.helpers.fixed_signals import BANDS
from tests.helpers.tiny_model import write_tiny


@pytest.fixture
def clip(tmp_path, noise):
    path = tmp_path / "in.wav"
    soundfile.write(path, np.round(noise * 32768).astype(np.int16), 16000)
    return path


def error(result) -> str:
    """The one line on standard error of a command that failed because of its user."""
    assert result.returncode == 2
    lines = [line for line in result.stderr.splitlines() if not line.startswith("INFO:")]
    assert lines[-1].startswith("edge-se: error: ")
    return lines[-1].removeprefix("edge-se: error: ")


def test_enhance_writes_what_the_enhancer_gives(edge_se, clip, tiny_int8, tmp_path):
    result = edge_se("enhance", "in.wav", "out.wav", "--model", tiny_int8)

    assert result.returncode == 0, result.stderr
    samples, rate = soundfile.read(tmp_path / "out.wav", dtype="float32")
    expected = Enhancer(tiny_int8).enhance(soundfile.read(clip, dtype="float32")[0])
    assert rate == 16000
    np.testing.assert_allclose(samples, expected, atol=0.51 / 32768)


def test_enhance_has_a_model_built_in(edge_se, clip, tmp_path, noise):
    result = edge_se("enhance", "in.wav", "out.wav")

    assert result.returncode == 0, result.stderr
    output, _ = soundfile.read(tmp_path / "out.wav")
    assert np.mean(output**2) < 0.1 * np.mean(noise**2)


@pytest.mark.parametrize("suffix", [".mp3", ".ogg", ".opus", ".flac", ".aiff"])
def test_enhance_makes_a_wav_file_of_any_other(edge_se, tiny_int8, tmp_path, noise, suffix):
    """Libsndfile says that WAV may hold samples of MP3, and fails to write them."""
    rate = 48000 if suffix == ".opus" else 16000
    format_ = {".opus": "OGG"}.get(suffix)
    subtype = {".opus": "OPUS"}.get(suffix)
    soundfile.write(tmp_path / f"in{suffix}", noise, rate, subtype, format=format_)

    result = edge_se("enhance", f"in{suffix}", "out.wav", "--model", tiny_int8)

    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    info = soundfile.info(tmp_path / "out.wav")
    assert (info.format, info.subtype, info.samplerate) == ("WAV", "PCM_16", rate)
    with AudioFile(tmp_path / f"in{suffix}") as file:
        assert info.frames == sum(map(len, file.blocks()))


def test_enhance_mirrors_a_folder(edge_se, tiny_int8, tmp_path, noise):
    for name in ("in/a.wav", "in/deep/b.flac"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / name, np.stack([noise, noise], axis=1), 48000)
    (tmp_path / "in" / "notes.txt").write_text("no audio")

    result = edge_se("enhance", "in", "out", "--model", tiny_int8)

    assert result.returncode == 0, result.stderr
    written = sorted(p.relative_to(tmp_path) for p in (tmp_path / "out").rglob("*.*"))
    assert list(map(str, written)) == ["out/a.wav", "out/deep/b.flac"]
    info = soundfile.info(tmp_path / "out" / "deep" / "b.flac")
    assert (info.frames, info.channels, info.samplerate) == (len(noise), 2, 48000)
    assert "[2/2]" in result.stderr


def test_enhance_goes_on_after_a_bad_file(edge_se, clip, tiny_int8, tmp_path):
    (tmp_path / "bad.wav").write_text("no audio")

    result = edge_se("enhance", ".", "out", "--model", tiny_int8)

    assert error(result) == "1 of 2 files could not be enhanced: bad.wav"
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["in.wav"]


def test_enhance_puts_a_file_into_an_existing_folder(edge_se, clip, tiny_int8, tmp_path):
    (tmp_path / "out").mkdir()

    edge_se("enhance", "in.wav", "out", "--model", tiny_int8)

    assert (tmp_path / "out" / "in.wav").is_file()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("absent.wav", "out.wav"), "there is no file or folder absent.wav"),
        (("in.wav", "in.wav"), "in.wav is the input itself"),
        (("in.wav", "out.xyz"), "out.xyz has no suffix of a known audio format"),
        ((".", "in.wav"), ". is a folder, so the output has to be one"),
        ((".", "."), ". is the input folder itself"),
        (("empty", "out"), "empty has no audio files"),
        (("in.wav", "out.wav", "--model", "absent.tflite"), "there is no model file"),
        (("in.wav", "out.wav", "--model", "in.wav"), "in.wav is no model file"),
        (
            ("in.wav", "out.wav", "--model", "net.tar"),
            "net.tar is a checkpoint by its name; make a model file of it first: edge-se quantize "
            "net.tar --out net.tflite",
        ),
        (("in.wav", "out.wav", "--engine", "onnxruntime"), "the engine onnxruntime runs .onnx"),
    ],
)
def test_enhance_says_what_is_wrong(edge_se, clip, tiny_int8, tmp_path, arguments, complaint):
    (tmp_path / "empty").mkdir()
    before = sorted(tmp_path.rglob("*"))
    model = () if "--model" in arguments else ("--model", tiny_int8)

    result = edge_se("enhance", *arguments, *model)

    assert error(result).startswith(complaint)
    assert sorted(tmp_path.rglob("*")) == before


def test_benchmark_writes_its_report(edge_se, tiny, tmp_path):
    result = edge_se("benchmark", "--model", tiny, "--seconds", 2, "--json", "report.json")

    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert set(report["frame_us"]) == {"p5", "p50", "p95", "p99", "max"}
    assert set(report["stage_us"]) == {"analysis", "model", "synthesis"}
    assert {"load_s", "peak_rss_mb", "machine", "model", "versions"} <= set(report)
    assert (report["frames"], report["hop_ms"], report["latency_ms"]) == (125, 16, 32)
    assert report["model"]["precision"] in ("float", "int8")


def test_benchmark_counts_the_frames_of_a_file(edge_se, clip, tiny_int8):
    result = edge_se("benchmark", "--model", tiny_int8, "--audio", "in.wav", "--json", "-")

    assert json.loads(result.stdout)["frames"] == 126


def test_benchmark_exits_1_above_the_real_time_factor(edge_se, tiny_int8):
    result = edge_se("benchmark", "--model", tiny_int8, "--seconds", 1, "--max-rtf", 1e-9)

    assert result.returncode == 1
    assert "real-time factor" in result.stderr


def test_benchmark_exits_0_below_the_real_time_factor(edge_se, tiny_int8):
    result = edge_se("benchmark", "--model", tiny_int8, "--seconds", 1, "--max-rtf", 1e9)

    assert result.returncode == 0


def test_benchmark_paces_frames(edge_se, tiny_int8):
    result = edge_se("benchmark", "--model", tiny_int8, "--seconds", 0.5, "--paced", "--json", "-")

    report = json.loads(result.stdout)
    assert report["frames"] == 31
    assert set(report["wake_up_us"]) == {"p5", "p50", "p95", "p99", "max"}


def test_benchmark_draws_a_histogram(edge_se, tiny_int8, tmp_path):
    edge_se("benchmark", "--model", tiny_int8, "--seconds", 1, "--histogram", "times.png")

    assert (tmp_path / "times.png").read_bytes().startswith(b"\x89PNG")


def test_benchmark_refuses_a_nonsensical_length(edge_se, tiny_int8):
    result = edge_se("benchmark", "--model", tiny_int8, "--seconds", -1)

    assert result.returncode == 2
    assert "-1 is not a positive number" in result.stderr


def test_inspect_shows_states_operators_size_and_latency(edge_se, tiny_int8):
    result = edge_se("inspect", tiny_int8)

    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "latency      32 ms algorithmic; output lags input by 256 samples" in lines
    assert "TFLite Micro    yes" in lines and "Ethos-U55       yes" in lines
    assert "smoother.cache  1x257  int8   0.015625    -128        0.25" in lines
    assert "MUL            int8       3" in lines


def test_inspect_tells_of_bands(tiny_int8):
    description = inspect_model(tiny_int8)
    assert "bands" not in format_description(description)

    description["manifest"]["bands"] = asdict(BANDS)

    shown = format_description(description)
    assert "imaginary of 129 bands, in two parts (up to 0.5, and beyond)" in shown


def test_inspect_tells_of_levels(tiny_int8):
    description = inspect_model(tiny_int8)
    assert "levels" not in format_description(description)

    description["manifest"]["signal"]["level_dbfs"] = -27.0

    shown = format_description(description)
    assert "levels       attenuated beyond -15 dBFS" in shown

    description["manifest"]["signal"]["front_end"] = "follow"
    shown = format_description(description)
    assert "levels       as it is from -45 to -15 dBFS, knocks and DC held off" in shown

    description["manifest"]["signal"]["features"] = "log_magnitude"  # which are never amplified
    shown = format_description(description)
    assert "levels       attenuated beyond -15 dBFS, knocks and DC held off" in shown


def test_inspect_gives_the_manifest_as_json(edge_se, tmp_path):
    model = write_tiny(tmp_path / "m.tflite", "int8", quality={"pesq": 1.5})

    description = json.loads(edge_se("inspect", model, "--json", "-").stdout)

    assert description["manifest"]["quality"] == {"pesq": 1.5}
    assert description["state_bytes"] == 257


def test_inspect_refuses_what_is_no_model(edge_se, clip):
    assert error(edge_se("inspect", "in.wav")).startswith("in.wav is no model file")


@pytest.mark.parametrize("command", [("inspect",), ("benchmark", "--seconds", "0.1", "--model")])
def test_a_strangers_model_can_t_speak_to_the_terminal(edge_se, tmp_path, command):
    model = write_tiny(tmp_path / "model.tflite", architecture="\x1b]0;title\x07")

    result = edge_se(*command, model)

    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout and r"\x1b]0;title\x07" in result.stdout
