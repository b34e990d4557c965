"""The probability of speech: what it is told by, of which frame, and the file it is written to."""

import csv

import numpy as np
import pytest
import soundfile

from edge_se import Enhancer
from edge_se.signal import Signal
from edge_se.speech import soft_energy, speech_probability
from tests.helpers.tiny_model import SIGNAL, write_tiny


def probability(share: float) -> float:
    odds = 21 * share**0.75
    return odds / (1 + odds)


@pytest.mark.parametrize("share", [0, 1e-4, 0.01, 0.25, 1])
def test_it_is_told_by_the_share_of_energy_that_the_mask_leaves(share):
    random = np.random.default_rng(0)
    spectrum = random.standard_normal(257) + 1j * random.standard_normal(257)
    mask = np.full(257, 1j * share**0.5)

    found = speech_probability(spectrum, mask, 0.0)

    assert found == pytest.approx(probability(share), rel=1e-6)


def test_noise_too_soft_to_tell_counts_half_at_its_level():
    samples = 10 ** (-65 / 20) * np.random.default_rng(0).standard_normal((2000, 512))
    for signal in (SIGNAL, Signal(16000, 512, 256, "hann")):
        spectra = np.fft.rfft(samples * signal.analysis_window())
        energy = np.square(np.abs(spectra)).sum(1).mean()

        assert soft_energy(signal) == pytest.approx(energy, rel=0.02)


@pytest.mark.parametrize("level", [1, 1e-6])
def test_silence_is_none_whatever_came_before(tiny, noise, level):
    enhancer = Enhancer(tiny)
    assert enhancer.speech_probability == 0
    for frame in noise[:2560].reshape(-1, 256):
        enhancer.process(level * frame)
    assert (enhancer.speech_probability > 0.5) == (level == 1)

    for _ in range(2):
        enhancer.process(np.zeros(256, np.float32))

    assert enhancer.speech_probability == 0


@pytest.mark.parametrize("stft", ["float", "fixed"])
def test_both_transforms_tell_the_same(tiny_int8, noise, stft):
    float_path, other = Enhancer(tiny_int8, stft="float"), Enhancer(tiny_int8, stft=stft)
    other.max_attenuation_db, other.mix = 3, 0.5  # which change nothing

    for frame in noise[:5120].reshape(-1, 256):
        float_path.process(frame), other.process(frame)
        assert other.speech_probability == pytest.approx(float_path.speech_probability, abs=2e-3)


def heard(enhancer: Enhancer, samples: np.ndarray, frames: int) -> list[float]:
    padded = np.pad(samples, (0, frames * 256 - len(samples)))
    found = []
    for frame in padded.astype(np.float32).reshape(-1, 256):
        enhancer.process(frame)
        found.append(enhancer.speech_probability)
    return found


@pytest.mark.parametrize("lookahead", [0, 2])
def test_enhance_writes_a_row_for_each_frame(edge_se, tmp_path, noise, lookahead):
    model = write_tiny(tmp_path / "model.tflite", lookahead_frames=lookahead)
    soundfile.write(tmp_path / "in.wav", noise, 16000, subtype="FLOAT")

    result = edge_se("enhance", "in.wav", "out.wav", "--model", model, "--vad", "speech.csv")

    assert result.returncode == 0, result.stderr
    header, *rows = csv.reader((tmp_path / "speech.csv").open())
    assert header == ["seconds", "speech"]
    times, values = np.array(rows, float).T
    count = -(-len(noise) // 256)
    np.testing.assert_allclose(times, np.arange(count) * 0.016, atol=1e-4)
    expected = heard(Enhancer(model), noise, count + lookahead)[lookahead:]
    np.testing.assert_allclose(values, expected, atol=1e-4)


def test_rows_have_the_time_of_their_windows_middle(edge_se, tmp_path, noise):
    model = write_tiny(tmp_path / "model.tflite", signal=Signal(16000, 512, 128))
    soundfile.write(tmp_path / "in.wav", noise, 16000, subtype="FLOAT")

    result = edge_se("enhance", "in.wav", "out.wav", "--model", model, "--vad", "speech.csv")

    assert result.returncode == 0, result.stderr
    _, *rows = csv.reader((tmp_path / "speech.csv").open())
    # The window of the first frame ends at 128 samples; that of the second has its middle at 0.
    np.testing.assert_allclose([float(time) for time, _ in rows[:3]], [0, 0.008, 0.016])


def test_channels_have_a_column_each(edge_se, tmp_path, noise, tiny_float):
    both = np.stack([noise, 1e-5 * noise], axis=1)
    soundfile.write(tmp_path / "in.wav", both, 16000, subtype="FLOAT")

    result = edge_se("enhance", "in.wav", "out.wav", "--model", tiny_float, "--vad", "speech.csv")

    assert result.returncode == 0, result.stderr
    header, *rows = csv.reader((tmp_path / "speech.csv").open())
    assert header == ["seconds", "speech_1", "speech_2"]
    loud, soft = np.array(rows, float)[5:, 1:].T
    assert loud.min() > 0.5 > soft.max()


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["in.wav", "in.wav", "out", "--vad", "speech.csv"], "of one recording"),
        (["folder", "out", "--vad", "speech.csv"], "of one recording"),
        (["in.wav", "out.wav", "--vad", "in.wav"], "would overwrite"),
        (["in.wav", "out.wav", "--vad", "out.wav"], "would overwrite"),
        (["in.wav", "out.wav", "--vad", "nowhere/speech.csv"], "nowhere"),
        (["in.wav", "out.wav", "--vad", "-"], "--vad writes a file; give it a name"),
    ],
)
def test_a_log_that_can_t_be_written_is_told_before_the_work(
    edge_se, tmp_path, noise, tiny_float, arguments, complaint
):
    (tmp_path / "folder").mkdir()
    for name in ("in.wav", "folder/a.wav", "folder/b.wav"):
        soundfile.write(tmp_path / name, noise, 16000)

    result = edge_se("enhance", *arguments, "--model", tiny_float)

    assert result.returncode == 2
    assert complaint in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out.wav").exists() and not (tmp_path / "speech.csv").exists()
