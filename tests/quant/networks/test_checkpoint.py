"""Checkpoints of any honest form load; all others get one sentence, and nothing is executed."""

import hashlib
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from edge_se.errors import UserError
from quant.networks.checkpoint import load_checkpoint, network_metadata
from quant.networks.registry import find_network


@pytest.fixture
def weights(random_network):
    return OrderedDict(
        (name, tensor.clone()) for name, tensor in random_network.state_dict().items()
    )


def save(path, content):
    torch.save(content, path)
    return path


def complaint(path):
    """The error of loading a file; it must be one sentence, in one line, that names the file."""
    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    message = str(error.value)
    assert "\n" not in message and path.name in message
    return message


def assert_equal_weights(checkpoint, weights):
    loaded = checkpoint.model.state_dict()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize("key", [None, "model", "state_dict", "model_state_dict"])
def test_state_dict_loads_alone_or_under_a_usual_key(tmp_path, weights, key):
    content = weights if key is None else {"epoch": 3, key: weights, "optimizer": {"lr": 1e-3}}

    checkpoint = load_checkpoint(save(tmp_path / "network.pt", content))

    assert_equal_weights(checkpoint, weights)


def test_safetensors_load(tmp_path, weights):
    save_file(weights, tmp_path / "network.safetensors")

    checkpoint = load_checkpoint(tmp_path / "network.safetensors")

    assert_equal_weights(checkpoint, weights)


def test_weights_of_data_parallel_training_load(tmp_path, weights):
    wrapped = {f"module.{name}": tensor for name, tensor in weights.items()}

    checkpoint = load_checkpoint(save(tmp_path / "network.pt", wrapped))

    assert_equal_weights(checkpoint, weights)


def test_checkpoint_says_where_it_came_from(tmp_path, weights):
    path = save(tmp_path / "network.pt", weights)

    checkpoint = load_checkpoint(path)

    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert (checkpoint.architecture, checkpoint.name) == ("gtcrn", "network.pt")
    assert checkpoint.sha256 == digest


def test_metadata_names_the_network(tmp_path):
    network = find_network("gtcrn_light").create(causal=True)
    metadata = network_metadata("gtcrn_light", {"causal": True})
    save_file(network.state_dict(), tmp_path / "light.safetensors", metadata)

    checkpoint = load_checkpoint(tmp_path / "light.safetensors")

    assert (checkpoint.architecture, checkpoint.options) == ("gtcrn_light", {"causal": True})


def test_given_options_go_before_those_of_the_metadata(tmp_path):
    network = find_network("gtcrn_light").create(causal=True)
    metadata = network_metadata("gtcrn_light", {"causal": True})
    save_file(network.state_dict(), tmp_path / "light.safetensors", metadata)

    checkpoint = load_checkpoint(tmp_path / "light.safetensors", causal=False)

    assert checkpoint.options == {"causal": False}


def test_another_architecture_than_the_metadata_names_is_refused(tmp_path, weights):
    save_file(weights, tmp_path / "network.safetensors", network_metadata("gtcrn", {}))

    with pytest.raises(UserError, match="holds a gtcrn, not a gtcrn_light"):
        load_checkpoint(tmp_path / "network.safetensors", "gtcrn_light")


def test_an_unknown_option_is_named():
    with pytest.raises(UserError, match=r"gtcrn_light has no option 'casual'; .* causal"):
        find_network("gtcrn_light").create(casual=True)


def test_network_is_in_evaluation_mode(default_checkpoint):
    assert not any(module.training for module in default_checkpoint.model.modules())


def test_official_checkpoints_load(official, official_path):
    weights = torch.load(official_path, map_location="cpu", weights_only=True)["model"]

    assert_equal_weights(official, weights)


def test_a_missing_file_is_named(tmp_path):
    assert "No such file" in complaint(tmp_path / "network.pt")


def test_a_folder_is_refused(tmp_path):
    assert "Is a directory" in complaint(tmp_path)


@pytest.mark.parametrize("suffix", [".tar", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"\x80\x02}q\x00."])
def test_what_is_no_checkpoint_is_refused(tmp_path, suffix, content):
    path = tmp_path / f"network{suffix}"
    path.write_bytes(content)

    assert "network" in complaint(path)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.001, 0.3, 0.9, 0.999])
def test_a_truncated_file_is_refused(tmp_path, weights, form, share):
    path = tmp_path / ("network.safetensors" if form == "safetensors" else "network.tar")
    if form == "safetensors":
        save_file(weights, path)
    else:
        torch.save(weights, path, _use_new_zipfile_serialization=form == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])

    assert "truncated" in complaint(path) or "not a complete" in complaint(path)


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {"model": {"weight": 3}}, 7])
def test_a_file_without_tensors_is_refused(tmp_path, content):
    assert "holds no state dict" in complaint(save(tmp_path / "network.pt", content))


def test_tensors_that_have_no_names_are_refused(tmp_path):
    path = save(tmp_path / "network.pt", {0: torch.zeros(2), 1: torch.ones(3)})

    assert "holds no state dict" in complaint(path)


def test_a_damaged_pickle_is_refused(tmp_path, weights):
    path = save(tmp_path / "network.pt", weights)
    content = path.read_bytes()
    start = content.index(b"_rebuild_tensor_v2")
    path.write_bytes(content[:start] + b"R" * 60 + content[start + 60 :])

    assert "can be loaded safely" in complaint(path)


def test_weights_that_are_not_finite_are_named(tmp_path, weights):
    weights["dpgrnn1.intra_fc.bias"][3] = torch.nan

    message = complaint(save(tmp_path / "network.pt", weights))

    assert "not finite: dpgrnn1.intra_fc.bias;" in message


def test_missing_keys_are_named(tmp_path, weights):
    del weights["dpgrnn1.intra_fc.weight"]
    del weights["dpgrnn1.intra_fc.bias"]

    message = complaint(save(tmp_path / "network.pt", weights))

    assert "dpgrnn1.intra_fc.weight, dpgrnn1.intra_fc.bias missing" in message


def test_keys_of_the_wrong_shape_are_named_with_both_shapes(tmp_path, weights):
    weights["dpgrnn1.intra_fc.bias"] = torch.zeros(17)

    message = complaint(save(tmp_path / "network.pt", weights))

    assert "dpgrnn1.intra_fc.bias [17] instead of [16] of the wrong shape" in message


def test_a_network_is_known_by_its_keys(assets):
    checkpoint = load_checkpoint(assets / "gtcrn_light" / "gtcrn_light_v3.tar")

    assert checkpoint.network.name == "gtcrn_light"


def test_another_network_is_told_from_the_one_asked_for(assets):
    with pytest.raises(UserError) as error:
        load_checkpoint(assets / "gtcrn_light" / "gtcrn_light_v3.tar", "gtcrn")

    message = str(error.value)
    assert "is no gtcrn checkpoint" in message
    assert "268 more missing" in message and "123 more unknown" in message


class Exploit:
    """Its pickle creates a file when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path, weights):
    target = tmp_path / "executed"
    path = save(tmp_path / "network.pt", {"model": weights, "extra": Exploit(target)})

    message = complaint(path)

    assert "holds more than weights" in message
    assert not target.exists()
