"""The U-shaped GTCRN: its fusions do what they are called, its options are checked."""

import pytest
import torch

from edge_se.errors import UserError
from quant.networks.gtcrn_unet.model import FUSIONS, MIXED, Fusion, GTCRNUNet, interpolate_bands
from tests.helpers.running import randomize


def features(bands, seed):
    return torch.randn(2, 16, 5, bands, generator=torch.Generator().manual_seed(seed))


def fused(kind, skip, x):
    with torch.no_grad():
        return randomize(Fusion(kind), 0)(skip, x)


def test_fusion_none_leaves_the_skip_out():
    assert torch.equal(fused("none", features(33, 0), features(33, 1)), features(33, 1))


def test_fusion_add_sums():
    expected = features(33, 0) + features(33, 1)

    assert torch.equal(fused("add", features(33, 0), features(33, 1)), expected)


def test_fusion_concat_is_a_convolution_of_both():
    fusion = randomize(Fusion("concat"), 0)
    assert fusion.conv is not None and fusion.conv.bias is not None
    weight, bias = fusion.conv.weight[:, :, 0, 0], fusion.conv.bias
    skip, x = features(33, 0), features(33, 1)

    expected = torch.einsum("oc,bctf->botf", weight, torch.cat([skip, x], 1))
    expected = expected + bias[:, None, None]
    torch.testing.assert_close(fusion(skip, x), expected)


@pytest.mark.parametrize(("kind", "gates"), [("attention", 1), ("gated", 16)])
def test_fusion_by_gates_lies_between_both_features(kind, gates):
    skip, x = features(33, 0), features(33, 1)

    share = (fused(kind, skip, x) - x) / (skip - x)

    assert share.min() > 0 and share.max() < 1
    conv = Fusion(kind).conv
    assert conv is not None and conv.out_channels == gates


def test_a_skip_of_other_bands_is_interpolated():
    skip = torch.arange(33.0).expand(1, 16, 2, 33)

    torch.testing.assert_close(interpolate_bands(skip, 65)[0, 0, 0], torch.arange(65.0) / 2)


@pytest.mark.parametrize("fusion", FUSIONS)
def test_the_network_has_the_fusions_asked_for(fusion):
    kinds = tuple(module.kind for module in GTCRNUNet(fusion=fusion).fusions)

    assert kinds == (MIXED if fusion == "mixed" else (fusion,) * 6)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [({"fusion": "product"}, "no fusion 'product'"), ({"up_sampling_after": 7}, "0 to 6")],
)
def test_other_options_are_refused(options, complaint):
    with pytest.raises(UserError, match=complaint):
        GTCRNUNet(**options)
