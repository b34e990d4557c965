"""Checkpoint files: reading them safely, and saying plainly what is wrong with a bad one."""

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from edge_se.errors import UserError
from edge_se.manifest import Chunk
from edge_se.signal import Signal
from quant.graph.graph import Graph
from quant.networks.network import Network
from quant.networks.registry import NETWORKS, find_network

# Keys under which training scripts of this family keep the weights.
STATE_DICT_KEYS = ("model", "state_dict", "model_state_dict")
# Key of a safetensors file's metadata: JSON of the architecture and its options.
NETWORK_KEY = "edge_se_network"
NAMED_AT_MOST = 3  # keys that an error message spells out


@dataclass(frozen=True)
class Checkpoint:
    """A loaded network and where its weights came from.

    Attributes:
        model: in evaluation mode.
        network: what it is one of.
        name: of the file.
        sha256: of the file.
        options: of the network, those that are not the default's.
    """

    model: nn.Module
    network: Network
    name: str
    sha256: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def architecture(self) -> str:
        """Name of its network."""
        return self.network.name

    @property
    def signal(self) -> Signal:
        """What it hears."""
        return self.network.signal(self.model)

    @property
    def chunk(self) -> Chunk | None:
        """What it takes at once, if it is a separator."""
        return self.network.chunk(self.model) if self.network.separates else None

    def step(self, split: bool = False) -> Graph:
        """One frame as a graph; see `Network.step`."""
        return self.network.step(self.model, split)

    def graph(self, split: bool = False) -> Graph:
        """One frame, or one window of a separator; see `Network.step` and `Network.window`."""
        return self.network.window(self.model) if self.network.separates else self.step(split)

    def describe(self) -> dict[str, Any]:
        """What a model file's manifest says of it."""
        description: dict[str, Any] = {"name": self.name, "sha256": self.sha256}
        return description | ({"options": dict(self.options)} if self.options else {})


def network_metadata(architecture: str, options: Mapping[str, Any]) -> dict[str, str]:
    """What a safetensors file's metadata says of its network, so that it need not be named."""
    network = {"architecture": architecture, "options": dict(options)}
    return {NETWORK_KEY: json.dumps(network)}


def load_checkpoint(path: Path, architecture: str | None = None, **options: Any) -> Checkpoint:
    """Load a checkpoint into a network in evaluation mode.

    Reads the authors' training checkpoints (`{"model": state_dict, ...}`), a bare state dict, and
    safetensors. Pickles are read with weights only: nothing in the file is executed.

    Args:
        path: of the file.
        architecture: name of the network; None for what the file's metadata says, or else the one
            whose weights have these names.
        options: of the network; those that the file tells need not be given.

    Raises:
        UserError: the file is missing, truncated, not a checkpoint, of another network, or holds
            weights that are not finite.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read checkpoint {path}: {error.strerror or error}; check the path"
        ) from error
    state_dict = _unpickle(path, content) if path.suffix != ".safetensors" else _read(path, content)
    stated, stated_options = _stated_network(path, content)
    if architecture is not None and stated not in (None, architecture):
        find_network(architecture)
        raise UserError(f"{path} holds a {stated}, not a {architecture}; leave --architecture out")
    named = architecture or stated
    network = find_network(named) if named else nearest_network(state_dict)[0]
    options = network.options(state_dict) | stated_options | options
    model = network.create(**options)
    _check_keys(path, network, state_dict, model.state_dict(), recognised=not named)
    _check_finite(path, state_dict)
    model.load_state_dict(state_dict)
    digest = hashlib.sha256(content).hexdigest()
    return Checkpoint(model.eval(), network, path.name, digest, options)


def _stated_network(path: Path, content: bytes) -> tuple[str | None, dict[str, Any]]:
    """Architecture and options that a safetensors file's metadata states, if it does."""
    if path.suffix != ".safetensors":
        return None, {}
    # The format: the header's length in 8 bytes, then the header, JSON.
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    text = header.get("__metadata__", {}).get(NETWORK_KEY)
    if text is None:
        return None, {}
    network = json.loads(text)
    return network["architecture"], network["options"]


def _read(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return load_safetensors(content)
    except SafetensorError as error:
        raise UserError(
            f"{path} is not a complete safetensors file ({error}); export or download it again"
        ) from error


def _unpickle(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        loaded = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises nearly anything on damaged files
        raise UserError(
            f"{path} is not a checkpoint that can be loaded safely: it is truncated, not a PyTorch "
            "file, or holds more than weights; save its state dict again with torch.save"
        ) from error
    if isinstance(loaded, dict):
        for key in STATE_DICT_KEYS:
            if isinstance(loaded.get(key), dict):
                loaded = loaded[key]
                break
    if not isinstance(loaded, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in loaded.items()
    ):
        raise UserError(
            f"{path} holds no state dict; expected tensors by name, alone or under the key 'model'"
        )
    return {key.removeprefix("module."): value for key, value in loaded.items()}


def _check_keys(
    path: Path,
    network: Network,
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    recognised: bool,
) -> None:
    faults = {
        "missing": [key for key in expected if key not in found],
        "unknown": [key for key in found if key not in expected],
        "of the wrong shape": [
            f"{key} {list(found[key].shape)} instead of {list(expected[key].shape)}"
            for key in expected
            if key in found and found[key].shape != expected[key].shape
        ],
    }
    parts = [f"{_spell_out(keys)} {fault}" for fault, keys in faults.items() if keys]
    if parts:
        nearest, share = nearest_network(found)
        if recognised or nearest is network:
            advice = (
                f"of the known layouts this is the nearest ({share:.0%} of the names), so it is "
                "another version of this network, was built with other options, or is another one"
            )
        else:
            advice = (
                f"the nearest known layout is that of {nearest.name} ({share:.0%} of the names); "
                "name its network with --architecture"
            )
        raise UserError(f"{path} is no {network.name} checkpoint: {'; '.join(parts)}; {advice}")


def nearest_network(weights: Mapping[str, Tensor]) -> tuple[Network, float]:
    """The network whose state dict has most names in common with these weights, and their share.

    The share is of all names of either, 0 to 1.
    """
    shares = {name: _share(network, weights) for name, network in NETWORKS.items()}
    nearest = max(shares, key=lambda name: shares[name])
    return NETWORKS[nearest], shares[nearest]


def _share(network: Network, weights: Mapping[str, Tensor]) -> float:
    told = {name: value for name, value in network.options(weights).items() if value is not None}
    with torch.device("meta"):
        try:
            model = network.create(**told)
        except UserError:  # sizes of weights that are another network's
            model = network.create()
    known = model.state_dict().keys()
    return len(known & weights.keys()) / len(known | weights.keys())


def _check_finite(path: Path, weights: dict[str, Tensor]) -> None:
    broken = [key for key, tensor in weights.items() if not torch.isfinite(tensor).all()]
    if broken:
        raise UserError(
            f"{path} holds weights that are not finite: {_spell_out(broken)}; its training "
            "diverged or the file is damaged, so take another one"
        )


def _spell_out(keys: list[str]) -> str:
    rest = len(keys) - NAMED_AT_MOST
    return ", ".join(keys[:NAMED_AT_MOST]) + (f" and {rest} more" if rest > 0 else "")
