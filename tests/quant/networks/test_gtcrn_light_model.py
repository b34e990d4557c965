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
    model, frames = randomize(GTCRNLight(causal=causal), 0).double(), frames.double()
    changed = frames.clone()
    changed[:, 100:] += 1

    with torch.no_grad():
        before, after = (model.mask(x.transpose(1, 2)) for x in (frames, changed))

    different = (before - after).abs().amax(dim=(0, 1, 3)) > 0
    assert int(different.nonzero()[0]) == 100 - lookahead
