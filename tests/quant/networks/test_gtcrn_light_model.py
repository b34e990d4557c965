"""GTCRN-Light equals upstream's, and sees the future only when it is not causal."""

import numpy as np
import pytest
import torch

from quant.networks.checkpoint import load_checkpoint
from quant.networks.gtcrn_light.model import GTCRNLight
from tests.helpers.running import randomize

TRAINED_PARAMETERS = 5_540
LOOKAHEAD = 22  # frames: dilations 1, 2, 5 twice, and one of each gate


@pytest.fixture(scope="module")
def path(assets):
    return assets / "gtcrn_light" / "gtcrn_light_v3.tar"


def test_spectra_equal_the_reference_output(path, assets):
    reference = np.load(assets / "reference" / "gtcrn_reference.npz")
    model = load_checkpoint(path, "gtcrn_light").model

    with torch.no_grad():
        enhanced = model(torch.from_numpy(reference["noisy_spec"])[None])[0].numpy()

    assert np.abs(enhanced - reference["gtcrn_light_v3_spec"]).max() < 1e-5


def test_filter_bank_equals_the_checkpoints(path):
    loaded, built = load_checkpoint(path, "gtcrn_light").model, GTCRNLight()

    assert isinstance(loaded, GTCRNLight)
    torch.testing.assert_close(loaded.erb.merging, built.erb.merging)
    torch.testing.assert_close(loaded.erb.splitting, built.erb.splitting)


def test_number_of_trained_parameters():
    parameters = sum(parameter.numel() for parameter in GTCRNLight().parameters())

    assert parameters == TRAINED_PARAMETERS


@pytest.mark.parametrize(("causal", "lookahead"), [(True, 0), (False, LOOKAHEAD)])
def test_a_mask_depends_on_no_frame_beyond_the_lookahead(causal, lookahead, frames):
    model = randomize(GTCRNLight(causal=causal), 0).double()
    frames = frames.double().requires_grad_()

    # A gradient tells what a mask depends on even where the effect is below a sum's rounding.
    model.mask(frames.transpose(1, 2))[:, :, 60].sum().backward()

    used = frames.grad.abs().amax(dim=(0, 2, 3)).nonzero()
    assert int(used[-1]) == 60 + lookahead
