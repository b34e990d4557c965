"""Small made-up corpora: speech-like and noise-like, quick to make and to train on."""

import signal

import numpy as np
import pytest
import soundfile

from quant.training.data import Corpus


def speech_like(seed, seconds=2.0):
    """Return a voiced, syllable-like signal, float [n] at 16 kHz."""
    random = np.random.default_rng(seed)
    times = np.arange(round(16000 * seconds)) / 16000
    pitch = random.uniform(100, 220) * (1 + 0.05 * np.sin(2 * np.pi * 2 * times))
    phase = 2 * np.pi * np.cumsum(pitch) / 16000
    voice = sum(np.sin(k * phase) / k for k in range(1, 20))
    syllables = np.clip(np.sin(2 * np.pi * 3 * times + random.uniform(0, 6)), 0, 1)
    return 0.1 * voice * syllables


def noise_like(seed, seconds=2.0):
    """Return white noise, float [n] at 16 kHz."""
    return 0.05 * np.random.default_rng(seed).standard_normal(round(16000 * seconds))


def _corpus(make, count):
    clips = tuple((32767 * make(seed)).astype(np.int16) for seed in range(count))
    return Corpus(tuple(f"{number}.wav" for number in range(count)), clips, 16000)


@pytest.fixture(scope="session")
def speech() -> Corpus:
    """Three clips of 2 s."""
    return _corpus(speech_like, 3)


@pytest.fixture(scope="session")
def noise() -> Corpus:
    """Two clips of 2 s."""
    return _corpus(noise_like, 2)


@pytest.fixture
def training_folders(tmp_path):
    """Folders clean/ and noise/ of WAV files, and their parent folder."""
    for name, make, count in (("clean", speech_like, 4), ("noise", noise_like, 3)):
        (tmp_path / name).mkdir()
        for seed in range(count):
            soundfile.write(tmp_path / name / f"{name}_{seed}.wav", make(seed), 16000)
    return tmp_path


@pytest.fixture
def interrupt_after():
    """A function that makes a run get a signal in the step of this number."""

    def interrupt(run, steps, number=signal.SIGTERM):
        take_step = run.step

        def step(noisy, clean):
            loss = take_step(noisy, clean)
            if run.progress.step == steps:
                signal.raise_signal(number)
            return loss

        run.step = step

    return interrupt
