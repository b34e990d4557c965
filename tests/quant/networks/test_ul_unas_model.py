"""UL-UNAS equals upstream's, and sees no future."""

import numpy as np
import pytest
import torch

from edge_se.signal import Signal
from quant.audio.frames import features
from quant.networks.checkpoint import load_checkpoint
from quant.networks.ul_unas.model import SIGNAL
from quant.training.spectra import to_samples, to_spectrogram


@pytest.fixture(scope="module")
def reference(assets):
    return np.load(assets / "reference" / "ul_unas_reference.npz")


@pytest.fixture(scope="module")
def upstream(assets):
    return load_checkpoint(assets / "ul_unas" / "model_trained_on_dns3.tar")


def spectra(spectrogram):
    """[bins, T, 2] to [1, T, bins]."""
    return torch.view_as_complex(torch.from_numpy(spectrogram)).T[None]


@torch.no_grad()
def test_mask_equals_the_reference(upstream, reference):
    heard = features(spectra(reference["spec"]), SIGNAL)

    mask = upstream.model.mask(heard.transpose(1, 2))[0, 0].numpy().T

    assert np.abs(mask - reference["mask"]).max() < 1e-5


@torch.no_grad()
def test_enhanced_samples_equal_the_reference(upstream, reference):
    noisy = torch.from_numpy(reference["wav"])[None]

    spectrogram = to_spectrogram(noisy, upstream.signal)
    enhanced = to_samples(upstream.model(spectrogram), upstream.signal)[0].numpy()

    np.testing.assert_allclose(spectrogram[0].numpy(), reference["spec"], atol=1e-5)
    # Upstream's last part of a hop is silent.
    expected = reference["enhanced"][: len(enhanced)]
    np.testing.assert_allclose(enhanced, expected, atol=2e-6)


def test_a_checkpoint_is_recognised_by_its_keys(upstream):
    assert upstream.architecture == "ul_unas"
    assert upstream.signal == Signal(
        *(16000, 512, 256, "hann"), features="log_magnitude", mask="real"
    )


@torch.no_grad()
def test_a_future_frame_changes_no_past_mask(upstream, reference):
    heard = features(spectra(reference["spec"]), SIGNAL).transpose(1, 2)
    changed = heard.clone()
    changed[:, :, 100:] += 1

    before, after = (upstream.model.mask(x) for x in (heard, changed))

    torch.testing.assert_close(before[:, :, :100], after[:, :, :100], rtol=0, atol=1e-6)
    assert (before - after)[:, :, 100:].abs().max() > 0.1
