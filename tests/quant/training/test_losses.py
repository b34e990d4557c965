"""The training loss has the values that its definition gives by hand."""

import numpy as np
import pytest
import torch

from quant.networks.gtcrn.model import SIGNAL
from quant.training.losses import hybrid_loss, log_si_snr
from quant.training.spectra import to_samples, to_spectrogram


def samples(seed, length=4096):
    return 0.1 * torch.randn(2, length, generator=torch.Generator().manual_seed(seed))


def test_si_snr_of_a_known_ratio():
    clean = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    enhanced = torch.tensor([[3.0, 0.3, 0.0, 0.0]])

    assert log_si_snr(enhanced, clean).item() == pytest.approx(2.0, abs=1e-4)  # 20 dB


def test_si_snr_does_not_depend_on_the_scale():
    enhanced, clean = samples(1), samples(2)

    torch.testing.assert_close(log_si_snr(5 * enhanced, clean), log_si_snr(enhanced, clean))


def test_perfect_speech_leaves_only_the_si_snr_term():
    clean = to_spectrogram(samples(1), SIGNAL)

    loss = hybrid_loss(clean, clean, SIGNAL)

    wave = to_samples(clean, SIGNAL)
    assert loss.item() == pytest.approx(-log_si_snr(wave, wave).mean().item(), abs=1e-6)


def test_the_loss_is_the_authors_formula():
    enhanced, clean = (
        to_spectrogram(samples(seed), SIGNAL).double().contiguous() for seed in (1, 2)
    )

    loss = hybrid_loss(enhanced.float(), clean.float(), SIGNAL)

    one, two = (torch.view_as_complex(spectrogram).numpy() for spectrogram in (enhanced, clean))
    one_compressed, two_compressed = (s * np.abs(s) ** -0.7 for s in (one, two))
    real = np.mean((one_compressed.real - two_compressed.real) ** 2)
    imaginary = np.mean((one_compressed.imag - two_compressed.imag) ** 2)
    magnitude = np.mean((np.abs(one) ** 0.3 - np.abs(two) ** 0.3) ** 2)
    ratio = (
        log_si_snr(to_samples(enhanced.float(), SIGNAL), to_samples(clean.float(), SIGNAL))
        .mean()
        .item()
    )
    expected = 30 * (real + imaginary) + 70 * magnitude - ratio
    assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_silence_gives_finite_gradients():
    enhanced = torch.zeros(1, 257, 9, 2, requires_grad=True)

    hybrid_loss(enhanced, torch.zeros(1, 257, 9, 2), SIGNAL).backward()

    assert enhanced.grad is not None
    assert torch.isfinite(enhanced.grad).all()


def test_a_spectrogram_turns_back_into_its_samples():
    wave = samples(3, length=5000)

    torch.testing.assert_close(to_samples(to_spectrogram(wave, SIGNAL), SIGNAL, length=5000), wave)
