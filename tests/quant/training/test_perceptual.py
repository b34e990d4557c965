"""The perceptual loss: properties of the auditory model, and agreement with PESQ itself."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from calib_data import clips_folder
from quant.audio.mixing import mix
from quant.evaluation.metrics import pesq_wb
from quant.networks.gtcrn.model import SIGNAL
from quant.training.perceptual import perceptual_loss
from quant.training.spectra import to_spectrogram
from tests.helpers.clips import samples_of


def spectrogram(samples: np.ndarray) -> torch.Tensor:
    return to_spectrogram(torch.from_numpy(samples.astype(np.float32))[None], SIGNAL)


@pytest.fixture(scope="module")
def speech() -> list[np.ndarray]:
    paths = sorted((clips_folder() / "clean").iterdir())[:20:4]
    return [samples_of(path)[:48000] for path in paths]


@pytest.fixture(scope="module")
def noise() -> list[np.ndarray]:
    paths = sorted((clips_folder() / "noise").iterdir())[:20:4]
    return [np.resize(samples_of(path), 48000) for path in paths]


def test_speech_is_no_distance_from_itself_at_any_level(speech):
    clean = spectrogram(speech[0])

    assert float(perceptual_loss(clean, clean, SIGNAL)) == pytest.approx(0, abs=0.02)
    assert float(perceptual_loss(0.1 * clean, clean, SIGNAL)) == pytest.approx(0, abs=0.02)


def test_the_level_of_neither_counts(speech, noise):
    mixture = mix(speech[0], noise[0], 5, -25)
    noisy, clean = spectrogram(mixture.noisy), spectrogram(mixture.clean)

    expected = float(perceptual_loss(noisy, clean, SIGNAL))

    assert expected > 0.5
    assert float(perceptual_loss(8 * noisy, clean, SIGNAL)) == pytest.approx(expected, rel=1e-3)
    assert float(perceptual_loss(noisy, clean / 8, SIGNAL)) == pytest.approx(expected, rel=1e-3)


def test_it_orders_mixtures_as_pesq_does(speech, noise):
    scores, losses = [], []
    for clean, disturbance in zip(speech, noise, strict=True):
        for snr_db in (0, 10, 20, 30):
            mixture = mix(clean, disturbance, snr_db, -25)
            scores.append(pesq_wb(mixture.noisy, mixture.clean))
            loss = perceptual_loss(spectrogram(mixture.noisy), spectrogram(mixture.clean), SIGNAL)
            losses.append(float(loss))

    # P.862.2's mapping from raw scores to the scale of opinion, inverted.
    raw = (4.6607 - np.log(4 / (np.array(scores) - 0.999) - 1)) / 1.3669
    assert np.corrcoef(raw, losses)[0, 1] < -0.95


def test_what_is_added_is_worse_than_what_is_missing(speech):
    clean = spectrogram(speech[0])
    band = torch.zeros(1, 257, 1, 1)
    band[:, 64:96] = 1  # 2 to 3 kHz, on and off: slow changes are forgiven
    switched = band * (torch.arange(clean.shape[2]) // 4 % 2)[:, None]

    missing = perceptual_loss(clean * (1 - 0.9 * switched), clean, SIGNAL)
    added = perceptual_loss(clean * (1 + 9 * switched), clean, SIGNAL)

    assert float(added) > 1.5 * float(missing) > 0


def test_gradients_are_finite_in_silence_and_bursts(speech):
    clean = spectrogram(speech[0])
    for enhanced in (torch.zeros_like(clean), 1e3 * torch.randn_like(clean), 1e-6 * clean):
        for target in (clean, torch.zeros_like(clean)):
            given = enhanced.clone().requires_grad_()
            loss = perceptual_loss(given, target, SIGNAL)
            loss.backward()
            assert torch.isfinite(loss) and given.grad is not None
            assert torch.isfinite(given.grad).all()


def test_gradient_steps_make_noisy_speech_sound_better(speech, noise):
    mixture = mix(speech[1], noise[1], 5, -25)
    noisy, clean = spectrogram(mixture.noisy), spectrogram(mixture.clean)
    gains = torch.zeros(1, 257, clean.shape[2], 1, requires_grad=True)
    optimizer = torch.optim.Adam([gains], lr=0.1)
    before = float(perceptual_loss(noisy, clean, SIGNAL))
    for _ in range(30):
        optimizer.zero_grad()
        perceptual_loss(noisy * torch.sigmoid(gains), clean, SIGNAL).backward()
        optimizer.step()

    after = perceptual_loss(noisy * torch.sigmoid(gains), clean, SIGNAL).item()

    assert after < 0.7 * before


@pytest.mark.parametrize(("rate", "window"), [(8000, 64), (16000, 64), (16000, 128), (48000, 960)])
def test_it_is_finite_for_every_window(speech, rate, window):
    signal = replace(SIGNAL, sample_rate=rate, window=window, hop=window // 2)
    clean = to_spectrogram(torch.from_numpy(speech[0])[None], signal)

    assert float(perceptual_loss(clean, clean, signal)) == pytest.approx(0, abs=0.02)
    assert 0.1 < float(perceptual_loss(0 * clean, clean, signal)) < 4.5
