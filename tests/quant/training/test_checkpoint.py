"""Weights of runs: their state is a checkpoint too, and several have a mean."""

import pytest
import torch

from edge_se.errors import UserError
from quant.checkpoints import default_checkpoint_path
from quant.networks.checkpoint import load_checkpoint, network_metadata
from quant.networks.registry import find_network
from quant.training.checkpoint import Progress, save_state, write_tensors
from quant.training.mean import take_mean


def times(factor: float, model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """A network's state with all that is trained times a factor."""
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    state = model.state_dict().items()
    return {name: factor * value if name in trained else value.clone() for name, value in state}


def test_a_run_starts_from_the_mean_of_several_checkpoints(tmp_path):
    model = load_checkpoint(default_checkpoint_path()).model
    paths = []
    for factor in (1, 2):
        paths.append(tmp_path / f"{factor}.safetensors")
        write_tensors(paths[-1], times(factor, model), network_metadata("gtcrn", {}))
    first, *others = map(load_checkpoint, paths)

    take_mean(first, others)

    for name, weight in times(1.5, model).items():
        torch.testing.assert_close(first.model.state_dict()[name], weight)


def test_networks_that_differ_have_no_mean(tmp_path):
    other = find_network("gtcrn").create(window_function="hann")
    path = tmp_path / "other.safetensors"
    options = {"window_function": "hann"}
    write_tensors(path, other.state_dict(), network_metadata("gtcrn", options))

    with pytest.raises(UserError, match=r"gtcrn\.safetensors is a gtcrn and other\.safetensors a "):
        take_mean(load_checkpoint(default_checkpoint_path()), [load_checkpoint(path)])


def test_the_state_of_a_run_is_a_checkpoint_of_its_averaged_weights(tmp_path):
    options = {"window_function": "hann", "hop": 128}
    model = find_network("gtcrn").create(**options)
    averaged = times(0.5, model)
    settings = {"architecture": "gtcrn", "network_options": options}
    path = tmp_path / "last.safetensors"
    optimizer = torch.optim.Adam(model.parameters())
    save_state(path, model, averaged, {}, optimizer, Progress(), settings)

    checkpoint = load_checkpoint(path)

    assert (checkpoint.signal.window_function, checkpoint.signal.hop) == ("hann", 128)
    for name, weight in checkpoint.model.named_parameters():
        torch.testing.assert_close(weight.detach(), averaged[name])
