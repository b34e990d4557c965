"""GTCRN equals upstream's, and sees no future."""

import numpy as np
import pytest
import torch

from edge_se.errors import UserError
from quant.networks.gtcrn.model import GTCRN, erb_filter_bank
from quant.networks.registry import find_network

TRAINED_PARAMETERS = 23_669  # the paper's 23.7 K; the band matrices are fixed


@pytest.fixture(scope="module")
def reference(assets):
    return np.load(assets / "reference" / "gtcrn_reference.npz")


def test_spectra_equal_the_reference_outputs(official, reference):
    kind = "dns3" if "dns3" in official.name else "vctk"
    expected = reference[f"gtcrn_{kind}_spec"]

    with torch.no_grad():
        enhanced = official.model(torch.from_numpy(reference["noisy_spec"])[None])[0].numpy()

    assert np.abs(enhanced - expected).max() < 1e-5 * np.abs(expected).max()


def test_filter_bank_equals_the_checkpoints(official):
    erb = official.model.erb

    torch.testing.assert_close(erb_filter_bank(), erb.erb_fc.weight.detach())
    torch.testing.assert_close(erb_filter_bank().T, erb.ierb_fc.weight.detach())


def test_bands_of_the_filter_bank_add_up_to_one():
    torch.testing.assert_close(erb_filter_bank().sum(dim=0), torch.ones(192))


def test_number_of_trained_parameters():
    trained = [parameter for parameter in GTCRN().parameters() if parameter.requires_grad]

    assert sum(parameter.numel() for parameter in trained) == TRAINED_PARAMETERS


def test_forward_applies_the_mask(random_network):
    spectrum = torch.randn(1, 257, 7, 2, generator=torch.Generator().manual_seed(0))
    real, imaginary = spectrum.transpose(1, 2).unbind(dim=-1)
    magnitude = torch.sqrt(real**2 + imaginary**2 + 1e-12)

    with torch.no_grad():
        mask = random_network.mask(torch.stack([magnitude, real, imaginary], dim=1))
        enhanced = torch.view_as_complex(random_network(spectrum))

    expected = torch.complex(real, imaginary) * torch.complex(mask[:, 0], mask[:, 1])
    torch.testing.assert_close(enhanced.transpose(1, 2), expected)


def test_a_future_frame_changes_no_past_mask(random_network, frames):
    changed = frames.clone()
    changed[:, 100:] += 1

    with torch.no_grad():
        before, after = (random_network.mask(x.transpose(1, 2)) for x in (frames, changed))

    torch.testing.assert_close(before[:, :, :100], after[:, :, :100], rtol=0, atol=1e-6)
    assert (before - after)[:, :, 100:].abs().max() > 0.1


def test_an_unknown_architecture_is_named():
    with pytest.raises(UserError, match=r"unknown architecture 'gtcrm'; choose one of: .*gtcrn"):
        find_network("gtcrm").create()
