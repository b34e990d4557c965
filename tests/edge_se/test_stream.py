"""The stream command: what comes out of the pipe, and what it says at the end."""

import json
import os
import pty
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from edge_se import Enhancer


def stream(model, data, *arguments, cwd):
    command = [sys.executable, "-m", "edge_se", "stream", "--model", str(model), *arguments]
    return subprocess.run(command, input=data, capture_output=True, cwd=cwd, timeout=60)


def pcm(samples) -> np.ndarray:
    return np.clip(np.rint(samples * 32768), -32768, 32767).astype("<i2")


@pytest.mark.parametrize("count", [0, 1, 255, 256, 257, 32123])
def test_output_is_the_enhanced_input_behind_by_the_latency(tiny_int8, noise, tmp_path, count):
    samples = pcm(noise[:count])

    result = stream(tiny_int8, samples.tobytes(), cwd=tmp_path)

    assert result.returncode == 0, result.stderr
    enhancer = Enhancer(tiny_int8)
    expected = enhancer.enhance(samples.astype(np.float32) / 32768)
    output = np.frombuffer(result.stdout, "<i2")
    assert len(output) == count + enhancer.latency_samples
    np.testing.assert_array_equal(output[enhancer.latency_samples :], pcm(expected))


@pytest.mark.parametrize("rate", [44100, 48000])
def test_at_other_rates_it_gives_what_a_file_does(noise, tmp_path, rate):
    result = stream(
        "gtcrn", noise.tobytes(), "--rate", str(rate), "--format", "f32le", cwd=tmp_path
    )

    assert result.returncode == 0, result.stderr
    output = np.frombuffer(result.stdout, np.float32)
    expected = Enhancer("gtcrn").enhance(noise, rate)
    np.testing.assert_allclose(output[len(output) - len(noise) :], expected, atol=1e-6)
    assert 0.0219 < (len(output) - len(noise)) / rate < 0.0221


def test_a_summary_tells_times_and_missed_deadlines(tiny_int8, noise, tmp_path):
    result = stream(tiny_int8, pcm(noise).tobytes(), "--json", "summary.json", cwd=tmp_path)

    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["frames"] == len(noise) // 256
    assert list(summary["frame_us"]) == ["p50", "p95", "p99", "max"]
    assert list(summary["frame_us"].values()) == sorted(summary["frame_us"].values())
    assert f"of {summary['frames']} deadlines missed" in result.stderr.decode()


def start(model, cwd, *arguments):
    command = [sys.executable, "-m", "edge_se", "stream", "--model", str(model), *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe)


def test_every_frame_comes_out_before_the_next_goes_in(tiny_int8, noise, tmp_path):
    with start(tiny_int8, tmp_path) as process:
        for frame in pcm(noise[:2560]).reshape(-1, 256):
            os.write(process.stdin.fileno(), frame.tobytes())
            assert len(process.stdout.read(512)) == 512
        process.stdin.close()
        process.stdin = None
        process.communicate(timeout=30)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_the_stream_with_its_summary(tiny_int8, noise, tmp_path, number):
    with start(tiny_int8, tmp_path) as process:
        os.write(process.stdin.fileno(), pcm(noise[:512]).tobytes())
        process.stdout.read(1024)  # so that at least the first frame is counted
        process.send_signal(number)
        _, messages = process.communicate(timeout=30)

    assert process.returncode == 0
    assert b"real-time factor" in messages


def test_a_listener_that_leaves_gets_no_traceback(tiny_int8, noise, tmp_path):
    with start(tiny_int8, tmp_path) as process:
        process.stdout.close()
        process.stdout = None
        _, messages = process.communicate(pcm(noise).tobytes(), timeout=30)

    assert process.returncode == 141
    assert b"Traceback" not in messages


def test_a_terminal_is_no_audio_device(tiny_int8, tmp_path):
    controller, terminal = pty.openpty()
    command = [sys.executable, "-m", "edge_se", "stream", "--model", str(tiny_int8)]

    result = subprocess.run(command, stdin=terminal, capture_output=True, cwd=tmp_path, timeout=60)

    os.close(controller)
    os.close(terminal)
    assert result.returncode == 2
    assert result.stderr.startswith(b"edge-se: error: raw audio from standard input would be the")


def test_pipes_that_do_not_block_are_waited_for(tiny_int8, noise, tmp_path):
    samples = pcm(noise)
    source, target = os.pipe(), os.pipe()
    for descriptor in (source[0], target[1]):
        os.set_blocking(descriptor, False)
    command = [sys.executable, "-m", "edge_se", "stream", "--model", str(tiny_int8)]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=source[0], stdout=target[1], stderr=subprocess.PIPE
    ) as process:
        os.close(source[0])
        os.close(target[1])
        data, output = samples.tobytes(), b""
        for start in range(0, len(data), 1001):  # odd, and no frame
            os.write(source[1], data[start : start + 1001])
            if start < 2 * 1001:
                time.sleep(0.3)  # so that it finds nothing, at first and within a frame
        os.close(source[1])
        while block := os.read(target[0], 3):
            output += block
        os.close(target[0])
        _, messages = process.communicate(timeout=30)

    assert process.returncode == 0, messages
    expected = Enhancer(tiny_int8).enhance(samples.astype(np.float32) / 32768)
    np.testing.assert_array_equal(np.frombuffer(output, "<i2")[256:], pcm(expected))


def test_half_a_sample_at_the_end_is_left_out_and_told(tiny_int8, noise, tmp_path):
    data = pcm(noise[:300]).tobytes()

    result = stream(tiny_int8, data[:-1], cwd=tmp_path)

    assert result.stdout == stream(tiny_int8, data[:-2], cwd=tmp_path).stdout
    assert b"warning: the input ended inside a sample" in result.stderr


@pytest.mark.parametrize(
    ("redirection", "complaint"),
    [
        ("<&-", "raw audio from standard input is closed"),
        (">&- < /dev/zero", "raw audio to standard output is closed"),
        ("< /dev/zero > /dev/full", "standard output can't be written (No space left on device)"),
        ("--json - < /dev/zero > out", "standard output is taken by the audio"),
        ("--json /dev/stdout < /dev/zero | cat", "standard output is taken by the audio"),
        ("--json out < /dev/zero > out", "standard output is taken by the audio"),
    ],
)
def test_ends_that_do_not_fit_are_one_sentence(tiny_int8, tmp_path, redirection, complaint):
    line = f"{sys.executable} -m edge_se stream --model {tiny_int8} {redirection}"

    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert result.returncode == 2
    assert f"edge-se: error: {complaint}" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_audio_and_the_summary_may_both_be_thrown_away(tiny_int8, tmp_path):
    line = f"{sys.executable} -m edge_se stream --model {tiny_int8} --json /dev/null > /dev/null"

    result = subprocess.run(["bash", "-c", line], stdin=subprocess.DEVNULL, timeout=60)

    assert result.returncode == 0


def test_two_signals_at_once_end_it_once(tiny_int8, noise, tmp_path):
    with start(tiny_int8, tmp_path, "--json", "summary.json") as process:
        os.write(process.stdin.fileno(), pcm(noise[:512]).tobytes())
        process.stdout.read(1024)
        process.send_signal(signal.SIGSTOP)  # so that it finds all of them together
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        _, messages = process.communicate(timeout=30)

    assert process.returncode == 0, messages
    assert messages.count(b"\n") == messages.count(b"INFO") + 1, messages
    assert json.loads((tmp_path / "summary.json").read_text())["frames"] in (1, 2)


def test_sound_goes_on_where_nobody_can_be_told(tiny_int8, noise, tmp_path):
    data = pcm(noise).tobytes()[:-1]  # of which there is something to tell
    (tmp_path / "in").write_bytes(data)
    line = f"{sys.executable} -m edge_se stream --model {tiny_int8} < in 2> /dev/full"

    result = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, stdout=subprocess.PIPE, timeout=60, check=True
    )

    assert result.stdout == stream(tiny_int8, data, cwd=tmp_path).stdout
