"""Checkpoint files: reading them safely, and saying plainly what is wrong with a bad one."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_se import strict_json
from edge_se.errors import UserError, reason, some
from edge_se.file_kinds import kind_of
from edge_se.manifest import Chunk
from edge_se.signal import Signal
from quant.graph.graph import Graph
from quant.networks.network import Network, StateDict
from quant.networks.registry import NETWORKS, find_network
from quant.networks.weights import misfits, read_weights, window_of, without_unread

# Key of a safetensors file's metadata: JSON of the architecture and its options.
NETWORK_KEY = "edge_se_network"


@dataclass(frozen=True)
class Checkpoint:
    """A loaded network and where its weights came from.

    Attributes:
        model: in evaluation mode.
        network: what it is one of.
        name: of the file.
        sha256: of the file.
        options: of the network, those that are not the default's.
        notes: what was done to find its weights in the file, for people.
    """

    model: nn.Module
    network: Network
    name: str
    sha256: str
    options: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

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

    Reads a state dict, bare or under any key, with the prefixes and wrappings that training tools
    put on it, and safetensors. Pickles are read with weights only: nothing in the file is executed.

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
            f"cannot read checkpoint {path}: {reason(error)}; check the path"
        ) from error
    found = read_weights(path, content, _known_names())
    state_dict = found.weights
    stated, stated_options = _stated_network(path, content)
    if architecture is not None and stated not in (None, architecture):
        find_network(architecture)
        raise UserError(f"{path} holds a {stated}, not a {architecture}; leave --architecture out")
    named = architecture or stated
    network = find_network(named) if named else nearest_network(state_dict)[0]
    options = network.options(state_dict) | stated_options | options
    model = network.create(**options)
    took: tuple[str, ...] = ()
    if not network.separates:
        window, beside = _beside(state_dict, network.signal(model), options)
        if beside:
            del state_dict[window]
            options |= beside
            model = network.create(**options)
            took = (_told(network.signal(model), "hop" in options),)
    state_dict, left_out = without_unread(state_dict, model.state_dict())
    _check_keys(path, network, state_dict, model.state_dict(), recognised=not named)
    _check_finite(path, state_dict)
    model.load_state_dict(state_dict)
    digest = hashlib.sha256(content).hexdigest()
    notes = (*found.notes, *took, *left_out)
    return Checkpoint(model.eval(), network, path.name, digest, options, notes)


def _beside(
    weights: StateDict, signal: Signal, options: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Name of the window beside the weights, and what of it nobody gave and changes a signal."""
    usual = {"window_function": signal.window_function, "window_length": signal.window}
    window, found = window_of(weights, signal.points)
    changed = {name: value for name, value in found.items() if value != usual[name]}
    return window, {name: value for name, value in changed.items() if name not in options}


def _told(signal: Signal, hop_was_given: bool) -> str:
    window = f"took {signal.window_function} of {signal.window} samples for the window"
    hop = f" and hops of {signal.hop} (or name them: --network-option hop=N)"
    unsure = signal.window != signal.points and not hop_was_given
    return f"{window}, whose values are beside the weights" + (hop if unsure else "")


def _known_names() -> set[str]:
    """Names of the weights of all networks, as they are built without options."""
    return {name for network in NETWORKS.values() for name in _names(network)}


@cache
def _names(network: Network) -> frozenset[str]:
    with torch.device("meta"):
        return frozenset(network.create().state_dict())


def _stated_network(path: Path, content: bytes) -> tuple[str | None, dict[str, Any]]:
    """Architecture and options that a safetensors file's metadata states, if it does."""
    if kind_of(content) != "a safetensors file":
        return None, {}
    # The format: the header's length in 8 bytes, then the header, JSON.
    length = int.from_bytes(content[:8], "little")
    try:
        text = strict_json.parse(content[8 : 8 + length]).get("__metadata__", {}).get(NETWORK_KEY)
        if text is None:
            return None, {}
        network = strict_json.parse(text)
        name, options = network["architecture"], network["options"]
        if not (isinstance(name, str) and isinstance(options, dict)):
            raise ValueError("it names no architecture and options")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"{path} says of its network what can't be understood ({error}); take {NETWORK_KEY} "
            "out of its metadata, or make the file again"
        ) from None
    return name, options


def _check_keys(
    path: Path,
    network: Network,
    found: Mapping[str, Tensor],
    expected: Mapping[str, Tensor],
    recognised: bool,
) -> None:
    faults = misfits(found, expected)
    if faults:
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
        raise UserError(f"{path} is no {network.name} checkpoint: {faults}; {advice}")


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
            f"{path} holds weights that are not finite: {some(broken)}; its training "
            "diverged or the file is damaged, so take another one"
        )
