"""Checkpoints of any honest form load; all others get one sentence, and nothing is executed."""

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
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


def prefixed(weights, prefix):
    return {f"{prefix}{name}": tensor for name, tensor in weights.items()}


def cast(weights, dtype):
    return {n: t.to(dtype) if t.is_floating_point() else t for n, t in weights.items()}


def streaming(weights):
    """As upstream's streaming network names and keeps them."""
    renamed = {}
    for name, tensor in weights.items():
        layer, _, last = name.rpartition(".")
        if ".depth_conv." in name and "de_convs" in name:
            tensor = tensor.flip(-2, -1) if last == "weight" else tensor
            name = f"{layer}.ConvTranspose2d.{last}"
        elif ".depth_conv." in name:
            name = f"{layer}.Conv2d.{last}"
        renamed[name] = tensor
    return renamed


WHOLE = {
    "numpy": lambda w: {
        "model": w,
        "loss": np.float64(0.3),
        "best": np.float32(3),
        "n": np.int64(1),
    },
    "numpy array": lambda w: {"model": w, "history": np.arange(3.0), "done": np.bool_(True)},
    "lightning": lambda w: {"state_dict": prefixed(w, "model."), "epoch": 3},
    "compiled": lambda w: prefixed(w, "_orig_mod."),
    "compiled inside": lambda w: {
        n.replace("encoder.", "encoder._orig_mod."): t for n, t in w.items()
    },
    "nested": lambda w: {"state_dict": prefixed(w, "net.module._orig_mod.")},
    "generator": lambda w: {"discriminator": {"c.weight": torch.ones(3)}, "generator": w},
    "ema": lambda w: {"ema": {"shadow": w}, "step": torch.tensor(3)},
    "no counters": lambda w: {n: t for n, t in w.items() if "num_batches" not in n},
    "beside": lambda w: {**w, "stft.window": torch.ones(512), "total_ops": torch.zeros(1)},
    "losses": lambda w: {**prefixed(w, "net."), "mel_loss.weight": torch.ones(3, 3)},
    "double": lambda w: cast(w, torch.float64),
    "streaming": streaming,
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("form", WHOLE)
def test_whole_networks_are_found_as_people_keep_them(tmp_path, weights, form, legacy):
    path = tmp_path / "network.pt"
    torch.save(WHOLE[form](weights), path, _use_new_zipfile_serialization=not legacy)

    checkpoint = load_checkpoint(path)

    floats = {n: t for n, t in weights.items() if t.is_floating_point()}
    assert checkpoint.architecture == "gtcrn"
    assert_equal_weights(checkpoint, floats)
    told = form in ("numpy", "numpy array", "no counters", "double")
    assert bool(checkpoint.notes) is not told


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_weights_in_half_precision_load(tmp_path, weights, dtype):
    halves = cast(weights, dtype)

    checkpoint = load_checkpoint(save(tmp_path / "network.pt", halves))

    assert_equal_weights(checkpoint, cast(halves, torch.float32))
    assert checkpoint.options == {}


def test_what_was_done_is_told(tmp_path, weights):
    content = {"state_dict": {**prefixed(weights, "model."), "loss.window": torch.ones(512)}}

    notes = load_checkpoint(save(tmp_path / "network.pt", content)).notes

    assert notes == (
        "took the prefix 'model.' off the names of the weights",
        "left out loss.window, which have not that prefix",
    )


def test_a_layer_more_is_not_left_out(tmp_path, weights):
    weights["post_filter.weight"] = torch.ones(3, 3)

    assert "post_filter.weight unknown" in complaint(save(tmp_path / "network.pt", weights))


def test_a_whole_module_is_refused(tmp_path, random_network):
    assert "holds more than weights (quant.networks.gtcrn.model.GTCRN" in complaint(
        save(tmp_path / "network.pt", random_network)
    )


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\x08\x08\x12\x07pytorch", "an ONNX model"),
        (b"\x1c\0\0\0TFL3" + bytes(30), "a TFLite model"),
        (b"\x7fELF\2\1\1", "a compiled library"),
        (b"<!DOCTYPE html>\n<html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"RIFF\0\0\0\0WAVE", "an audio file"),
        (b"\x1f\x8b" + bytes(30), "a gzip archive"),
        (b"", "an empty file"),
    ],
)
def test_what_is_no_checkpoint_is_called_by_its_name(tmp_path, content, kind):
    path = tmp_path / "network.pt"
    path.write_bytes(content)

    assert f"is {kind}" in complaint(path)


@pytest.mark.parametrize(
    "told",
    [
        *("", "[]", "{}", "{", "[" * 5000, '{"architecture": 3, "options": {}}'),
        *('{"architecture": "gtcrn", "options": []}', '{"architecture": "x", "options": {}}'),
        *(
            f'{{"architecture": "gtcrn", "options": {options}}}'
            for options in ('{"channels": "x"}', '{"channels": -3}', '{"window": 0}', '{"y": 1}')
        ),
    ],
)
def test_metadata_that_is_not_ours_is_refused(tmp_path, weights, told):
    path = tmp_path / "network.safetensors"
    save_file(weights, path, {"edge_se_network": told})

    with pytest.raises(UserError) as error:
        load_checkpoint(path)
    assert "\n" not in str(error.value)


def test_metadata_of_others_is_passed_over(tmp_path, weights):
    save_file(weights, tmp_path / "network.safetensors", {"format": "pt", "config": "{"})

    assert_equal_weights(load_checkpoint(tmp_path / "network.safetensors"), weights)


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
    assert "246 more missing" in message and "113 more unknown" in message


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
