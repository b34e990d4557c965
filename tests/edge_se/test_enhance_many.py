"""`edge-se enhance` on folders, many inputs and pipes, with whatever lies in them."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from edge_se import Enhancer
from edge_se.audio.enhancing import enhance_blocks, enhance_file
from edge_se.errors import UserError
from edge_se.parallel import do_all
from tests.helpers.waiting import wait_for

SAMPLES = (0.1 * np.random.default_rng(0).standard_normal((3000, 1))).astype(np.float32)


def clip(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, SAMPLES, 16000, format="WAV")
    return path


def names(folder: Path) -> list[bytes]:
    return sorted(os.fsencode(path.name) for path in folder.iterdir())


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000, 96000])
@pytest.mark.parametrize("length", [100_001, 1, 0])
def test_blocks_give_what_the_whole_file_gives(tiny_float, rate, length):
    recording = 0.1 * np.random.default_rng(0).standard_normal((length, 2)).astype(np.float32)
    enhancers = [Enhancer(tiny_float), Enhancer(tiny_float)]

    blocks = np.array_split(recording, 7)
    found = np.concatenate(list(enhance_blocks(enhancers, blocks, rate, full_band=False)))

    assert found.shape == recording.shape
    for channel in range(2):
        whole = enhancers[0].enhance(recording[:, channel], rate, full_band=False)
        np.testing.assert_allclose(found[:, channel], whole, atol=2e-6)


@pytest.mark.parametrize("rate", [8000, 11025, 44100, 48000, 96000])
def test_a_file_is_resampled_enhanced_and_resampled(tiny_float, rate):
    """Against another resampler, with sound that both leave as it is."""
    noise = 0.1 * np.random.default_rng(0).standard_normal(6000).astype(np.float32)
    recording = soxr.resample(noise, 6000, rate)
    enhancer = Enhancer(tiny_float)

    found = enhancer.enhance(recording, rate, full_band=False)

    enhanced = enhancer.enhance(soxr.resample(recording, rate, 16000))
    expected = soxr.resample(enhanced, 16000, rate)[: len(recording)]
    middle = slice(rate // 10, -rate // 10)
    error, expected = found[middle] - expected[middle], expected[middle]
    spectra = np.abs(np.fft.rfft([error, expected])) ** 2
    below = np.fft.rfftfreq(len(error), 1 / rate) < min(6900, 0.43 * rate)
    assert spectra[0, below].sum() < 1e-8 * spectra[1, below].sum()


@pytest.mark.parametrize("value", [0.0, 1e-40])
def test_silence_and_denormals_stay_silent(tiny_float, value):
    blocks = [np.full((5000, 1), value, np.float32)]
    found = np.concatenate(list(enhance_blocks([Enhancer(tiny_float)], blocks, 48000)))
    assert found.shape == (5000, 1)
    assert np.abs(found).max() < 1e-6


def test_an_empty_file_stays_empty_and_says_so_where_a_format_can_not_be(tiny_float, tmp_path):
    soundfile.write(tmp_path / "in.wav", np.zeros((0, 1)), 16000)

    enhance_file(lambda n: [Enhancer(tiny_float)], tmp_path / "in.wav", tmp_path / "out.wav")
    assert soundfile.info(tmp_path / "out.wav").frames == 0

    with pytest.raises(UserError, match=r"can't hold a recording without samples; use \.wav"):
        enhance_file(lambda n: [Enhancer(tiny_float)], tmp_path / "in.wav", tmp_path / "out.flac")


def test_a_folder_of_everything(edge_se, tiny_int8, tmp_path):
    folder = tmp_path / "in"
    clip(folder / "a.wav")
    clip(folder / "deep" / "b.wav")
    clip(folder / "._a.wav").with_name(".tmp.wav").write_bytes(b"")
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.wav")).write_bytes(
        (folder / "a.wav").read_bytes()
    )
    (folder / "phone.m4a").write_bytes(b"x")
    (folder / "bad.wav").write_bytes(b"x")
    (folder / "gone.wav").symlink_to("nowhere")
    (folder / "loop.wav").symlink_to("loop.wav")
    (folder / "self").symlink_to(".")
    os.mkfifo(folder / "fifo.wav")

    result = edge_se("enhance", "in", "out", "--model", tiny_int8, "--jobs", 2)

    assert result.returncode == 2
    assert names(tmp_path / "out") == [b"a.wav", b"deep", b"\xff.wav"]
    # LiteRT of another process may say something within a line.
    assert re.findall(r"\[(\d)/8\] ", result.stderr) == list("12345678")
    for words in (
        "phone.m4a: .m4a files can't be read here; convert it: ffmpeg -i phone.m4a phone.wav",
        "in/bad.wav can't be read as audio",
        "in/gone.wav is a link to a file that is not there",
        "in/loop.wav can't be read (Too many levels of symbolic links)",
        "fifo.wav: it is no file",
        "edge-se: error: 5 of 8 files could not be enhanced",
    ):
        assert words in result.stderr


def test_several_inputs_go_into_a_folder(edge_se, tiny_int8, tmp_path):
    clip(tmp_path / "a.wav")
    clip(tmp_path / "b.wav")

    result = edge_se("enhance", "a.wav", "b.wav", "--model", tiny_int8, "n" * 300, "out")

    assert result.returncode == 2
    assert "(File name too long)" in result.stderr
    assert names(tmp_path / "out") == [b"a.wav", b"b.wav"]


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("a.wav", "x/a.wav", "out"), "would both be written to out/a.wav"),
        (("a.wav", "x/a.wav", "a.wav"), "there are 2 inputs, so the output has to be one"),
        (("x/b.wav", "a.wav", "x"), "x/a.wav is an input itself"),
        (("a.wav", "-", "out"), "standard input is one recording"),
        (("a.wav", "out.opus", "--jobs", "0"), "0 is not 1 or more"),
        (("a.raw", "out.wav"), "have no header that says how to read them"),
        (("", "out.wav"), "its value is empty"),
        (("a.wav", "nowhere/out.wav"), "there is no folder nowhere"),
    ],
)
def test_mistakes_are_told_before_any_work(edge_se, tmp_path, arguments, complaint):
    clip(tmp_path / "a.wav")
    clip(tmp_path / "a.raw")
    clip(tmp_path / "x" / "a.wav")
    clip(tmp_path / "x" / "b.wav")
    if "x/b.wav" in arguments:
        arguments = ("x/a.wav", *arguments)

    result = edge_se("enhance", *arguments)

    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("format_", "source"), [("WAV", "-"), ("FLAC", "/dev/stdin")])
def test_pipes(tmp_path, tiny_int8, format_, source):
    content = io.BytesIO()
    soundfile.write(content, SAMPLES, 16000, format=format_)
    command = [sys.executable, "-m", "edge_se", "enhance", source, "-", "--model", str(tiny_int8)]

    result = subprocess.run(
        command, input=content.getvalue(), capture_output=True, check=True, timeout=60
    )

    samples, rate = soundfile.read(io.BytesIO(result.stdout), dtype="float32")
    expected = Enhancer(tiny_int8).enhance(soundfile.read(io.BytesIO(content.getvalue()))[0])
    assert rate == 16000
    np.testing.assert_allclose(samples, expected, atol=0.51 / 32768)


def test_a_closed_standard_error_loses_nothing(tmp_path, tiny_int8):
    clip(tmp_path / "in" / "a.wav")
    clip(tmp_path / "in" / "b.wav")
    command = f"exec {sys.executable} -m edge_se enhance in out --model {tiny_int8} 2>&-"

    result = subprocess.run(["sh", "-c", command], cwd=tmp_path, timeout=60, check=False)

    assert result.returncode == 0
    assert names(tmp_path / "out") == [b"a.wav", b"b.wav"]


def prepare():
    def work(task: int, report) -> str:
        report(0.5)
        if task == 1:
            raise UserError("bad")
        if task == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return f"did {task}"

    return work


def prepare_badly():
    raise UserError("no model")


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_bad_task_and_a_dead_process_lose_no_other(jobs):
    shares: list[float] = []

    outcomes = list(do_all(prepare, range(5), jobs, shares.append))

    assert [outcome.summary for outcome in outcomes] == ["did 0", None, None, "did 3", "did 4"]
    assert [outcome.error for outcome in outcomes[1:3]] == [
        "bad",
        "the process that worked on it died (Killed)",
    ]
    assert shares[-1] == 1.0


def test_a_model_that_can_not_be_loaded_is_told_once():
    with pytest.raises(UserError, match="no model"):
        list(do_all(prepare_badly, range(5), 2, lambda share: None))


def test_a_signal_to_all_processes_leaves_nothing_half_written(tiny_float, tmp_path):
    (tmp_path / "in").mkdir()
    for name in "ab":  # half an hour each, so that they are not done before the signal comes
        soundfile.write(tmp_path / "in" / f"{name}.wav", np.zeros(30_000_000, np.int16), 16000)
    command = [sys.executable, "-m", "edge_se", "enhance", "in", "out", "--jobs", "2"]
    with subprocess.Popen(
        [*command, "--model", str(tiny_float)], cwd=tmp_path, start_new_session=True
    ) as process:
        wait_for(lambda: len([*tmp_path.glob("out/.*.tmp")]) == 2)
        os.killpg(process.pid, signal.SIGTERM)

        assert process.wait(timeout=60) == 128 + signal.SIGTERM

    assert [*(tmp_path / "out").iterdir()] == []


def test_a_pipe_without_a_reader_is_refused_before_the_work(edge_se, tiny_float, tmp_path):
    clip(tmp_path / "in.wav")
    os.mkfifo(tmp_path / "out.wav")

    result = edge_se("enhance", "in.wav", "out.wav", "--model", tiny_float)

    assert result.returncode == 2
    assert "out.wav can't be written to" in result.stderr
    assert "start its reader first" in result.stderr


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_a_closed_standard_output_is_refused_before_the_work(tiny_float, tmp_path, name):
    clip(tmp_path / "in.wav")
    line = f"{sys.executable} -m edge_se enhance in.wav {name} --model {tiny_float} >&-"

    result = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, stderr=subprocess.PIPE, text=True, timeout=60
    )

    assert result.returncode == 2
    assert result.stderr.startswith("edge-se: error: standard output is closed")
