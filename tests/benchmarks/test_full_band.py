"""Speech at 48 kHz, beside noise of the whole band."""

import numpy as np
import pytest
import soundfile

from benchmarks.full_band import RATE, read_speech, with_noise
from edge_se.errors import UserError


def test_speech_is_put_together_without_the_noise_that_lies_beside_it(tmp_path):
    tone = np.sin(np.arange(RATE) / 10)
    for name, level in (("a.wav", 0.1), ("b.wav", 0.1), ("Noise.wav", 0.9)):
        soundfile.write(tmp_path / name, level * tone, RATE, "PCM_16")

    speech = read_speech(tmp_path)

    assert speech.shape == (2 * RATE,)
    assert abs(speech.std() - 0.05) < 1e-4


def test_other_rates_are_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(100), 16000)

    with pytest.raises(UserError, match="give recordings at 48000 Hz"):
        read_speech(tmp_path)
    with pytest.raises(UserError, match="there is no WAV file"):
        read_speech(tmp_path / "empty")


def test_the_noise_is_as_loud_as_it_is_said_and_lies_above_8_khz_too():
    speech = np.random.default_rng(1).standard_normal(2 * RATE).astype(np.float32)

    noise = with_noise(speech, 5.0) - speech

    assert abs(20 * np.log10(speech.std() / noise.std()) - 5) < 0.01
    powers = np.abs(np.fft.rfft(noise)) ** 2
    octaves = [powers[2 * low : 4 * low].mean() for low in (1000, 2000, 4000, 8000)]
    assert np.diff(10 * np.log10(octaves)) == pytest.approx(-3, abs=0.5)
