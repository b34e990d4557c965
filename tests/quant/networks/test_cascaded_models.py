"""Both separators give what upstream's code gives with the same weights."""

import numpy as np
import pytest
import torch

from edge_se.errors import UserError
from edge_se.separator import Aggressiveness
from quant.networks.cascaded.lstm import CascadedNet
from quant.networks.checkpoint import load_checkpoint
from quant.networks.registry import find_network
from tests.helpers.separators import REFERENCE_OPTIONS, fill_by_rule

TOLERANCE = 1e-4


def load_separator(name, assets):
    """A separator with the reference's weights, and the reference."""
    content = np.load(assets / "reference" / f"{name}_reference.npz")
    return fill_by_rule(
        find_network(name).create(**REFERENCE_OPTIONS[name]), int(content["seed"])
    ), content


@pytest.fixture(scope="module", params=sorted(REFERENCE_OPTIONS))
def separator(request, assets):
    """Each separator and its reference in turn."""
    return load_separator(request.param, assets)


def largest_error(found, wanted):
    return float((found - torch.from_numpy(wanted)).abs().max())


@torch.no_grad()
def test_mask_equals_upstream(separator):
    network, content = separator
    mask = network(torch.from_numpy(content["mag"]))
    assert largest_error(mask, content["mask"]) < TOLERANCE


@torch.no_grad()
def test_cropped_mask_equals_upstream(separator):
    network, content = separator
    mask = network.predict_mask(torch.from_numpy(content["mag"]))
    assert largest_error(mask, content["mask_cropped"]) < TOLERANCE


@torch.no_grad()
def test_aggressive_prediction_equals_upstream(assets):
    network, content = load_separator("cascaded_aspp", assets)
    aggressiveness = Aggressiveness(
        int(content["aggressive_split_bin"]), float(content["aggressive_value"])
    )
    predicted = network.predict(torch.from_numpy(content["mag"]), aggressiveness)
    assert largest_error(predicted, content["predicted_aggressive"]) < TOLERANCE


def test_state_dict_has_upstreams_names(separator):
    network, content = separator
    names = {name for name in network.state_dict() if not name.endswith("num_batches_tracked")}
    assert names == set(content["keys"])


@pytest.mark.parametrize(("name", "outputs"), [("cascaded_aspp", 3), ("cascaded_lstm", 2)])
def test_training_mode_gives_auxiliary_masks(name, outputs):
    network = find_network(name).create(**REFERENCE_OPTIONS[name]).train()
    masks = network(torch.rand(1, 2, 257, 32))
    assert [mask.shape for mask in masks] == [(1, 2, 257, 32)] * outputs


def test_activation_and_dropout_are_options():
    network = find_network("cascaded_lstm").create(
        **REFERENCE_OPTIONS["cascaded_lstm"], activation="leaky_relu"
    )
    assert isinstance(network, CascadedNet)
    assert isinstance(network.stg1_high_band_net.dec1.block.conv[2], torch.nn.LeakyReLU)
    with pytest.raises(UserError, match="no activation 'gelu'"):
        find_network("cascaded_aspp").create(encoder_activation="gelu")


def test_n_fft_that_bands_cannot_be_halved_from_is_refused():
    with pytest.raises(UserError, match="multiple of 64"):
        find_network("cascaded_aspp").create(n_fft=480)


def test_widths_are_read_off_the_weights(tmp_path):
    network = find_network("cascaded_lstm").create(n_fft=256, nout=8, nout_lstm=16)
    torch.save(network.state_dict(), tmp_path / "small.pth")
    loaded = load_checkpoint(tmp_path / "small.pth", "cascaded_lstm").model
    assert isinstance(loaded, CascadedNet)
    assert loaded.state_dict().keys() == network.state_dict().keys()
    assert (loaded.n_fft, loaded.out.weight.shape[1]) == (256, 8)


def test_unknown_layout_is_told_the_nearest_known_one(tmp_path):
    network = find_network("cascaded_aspp").create(n_fft=256)
    weights = {name.replace("bottleneck", "neck"): t for name, t in network.state_dict().items()}
    torch.save(weights, tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"cascaded_aspp .* this is the nearest \(9\d%"):
        load_checkpoint(tmp_path / "other.pth")
