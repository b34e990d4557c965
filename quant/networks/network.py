"""What a network is to the pipeline: how to build, describe and quantize it, in one object."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from edge_se.errors import UserError
from edge_se.manifest import Chunk
from edge_se.signal import Signal
from quant.graph.graph import Graph
from quant.graph.range_rules import RangeRule
from quant.graph.recipes import Recipe

# Names of weights and the weights.
StateDict = Mapping[str, Tensor]


def no_options(weights: StateDict) -> dict[str, Any]:
    """Options of a network that has none, or whose weights don't tell them."""
    return {}


def own_signal(model: Any) -> Signal:
    """What a module hears that says so itself."""
    return cast(Signal, model.signal)


@dataclass(frozen=True)
class Network:
    """Everything that the pipeline has to know of one network.

    Functions are named ones of modules: records are sent to other processes.

    Attributes:
        name: on the command line and in manifests.
        build: makes the torch module, freshly initialised, with upstream's state-dict names; its
            parameters are the network's options.
        describe: describes the trained module as a graph: of one frame, called with the module and
            `split` (see `step`), or of a separator's window, called with the module and its frames.
        range_rules: percentiles for the ranges of its values; the first rule that matches counts.
        scopes: patterns that name the part of the network which an operator belongs to, by the
            first group of the first that is found in the operator's name.
        recipes: its own recipes beside the common ones; `auto` tries them too.
        options: options that a state dict tells; none where it is of another network.
        signal: what a module of it hears; that of its attribute `signal`, unless said otherwise.
        separates: it separates whole recordings window by window, instead of enhancing frames.
    """

    name: str
    build: Callable[..., nn.Module]
    describe: Callable[[Any, Any], Graph]
    range_rules: tuple[RangeRule, ...]
    scopes: tuple[str, ...]
    recipes: tuple[Recipe, ...] = ()
    options: Callable[[StateDict], dict[str, Any]] = no_options
    signal: Callable[[Any], Signal] = own_signal
    separates: bool = False

    def create(self, **options: Any) -> nn.Module:
        """Build the network, freshly initialised.

        Raises:
            UserError: it has no such option, or an option has none of its values.
        """
        known = list(inspect.signature(self.build).parameters)
        for option in options:
            if option not in known:
                has = f"its options are {', '.join(known)}" if known else "it has none"
                raise UserError(f"{self.name} has no option {option!r}; {has}")
        return self.build(**options)

    def step(self, model: nn.Module, split: bool = False) -> Graph:
        """Describe one frame of a trained network: features and states in, mask and states out.

        The graph's constants are differentiable functions of the network's parameters.

        Args:
            model: of this network.
            split: compute the same in a way that 8 bits hold better, with features in two parts,
                at the price of some operators more.

        Raises:
            UserError: the network does not run frame by frame.
        """
        if self.separates:
            raise UserError(
                f"{self.name} separates whole recordings and has no streaming step; "
                "quantize it, and run it by edge-se separate"
            )
        return self.describe(model, split)

    def window(self, model: nn.Module) -> Graph:
        """Describe one window of a trained separator.

        The input, `features`, is [1, frames, n_fft / 2 + 1, 2]: magnitudes of both channels, the
        recording's largest being 1. The output, the mask of the accompaniment, is
        [1, frames - 2 * offset, n_fft / 2 + 1, 2].

        Raises:
            UserError: the network is no separator.
        """
        if not self.separates:
            raise UserError(f"{self.name} enhances frame by frame, and is no separator")
        return self.describe(model, self.chunk(model).frames)

    def chunk(self, model: nn.Module) -> Chunk:
        """What a separator takes at once."""
        return Chunk(cast(int, model.window_frames), cast(int, model.offset))
