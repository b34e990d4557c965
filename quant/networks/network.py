"""What a network is to the pipeline: how to build, describe and quantize it, in one object."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

from torch import Tensor, nn

from edge_se.errors import UserError
from edge_se.manifest import Chunk
from edge_se.signal import WINDOW_FUNCTIONS, Signal
from quant.graph.graph import Graph
from quant.graph.range_rules import RangeRule
from quant.graph.recipes import Recipe

# Names of weights and the weights.
StateDict = Mapping[str, Tensor]
# Options that every network of frames has: its transform in training, which no weight tells.
TRANSFORM_OPTIONS = ("hop", "window_function", "window_length")


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

        Args:
            options: of the network, and `TRANSFORM_OPTIONS` unless it is a separator.

        Raises:
            UserError: it has no such option, or none can be built with those values.
        """
        of_transform = () if self.separates else TRANSFORM_OPTIONS
        known = [*inspect.signature(self.build).parameters, *of_transform]
        for option in options:
            if option not in known:
                raise UserError(
                    f"{self.name} has no option {option!r}; its options are {', '.join(known)}"
                )
        of_network = {name: value for name, value in options.items() if name not in of_transform}
        transform = {name: options[name] for name in of_transform if name in options}
        try:
            model = self.build(**of_network)
            if transform:
                cast(Any, model).signal = _transformed(self.signal(model), **transform)
        except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise UserError(
                f"no {self.name} can be built with the options {options} ({reason})"
            ) from None
        return model

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


def _transformed(signal: Signal, window_length: Any = None, **transform: Any) -> Signal:
    """A signal of another hop or analysis window, in as many points as before.

    The hop is half of a window of another length where nothing else is said.
    """
    if window_length is not None:
        points = signal.points
        if type(window_length) is not int or window_length % 2 or not 0 < window_length <= points:
            raise UserError(
                f"a window of {window_length} samples does not fit {points} points; take an even "
                f"number up to {points}"
            )
        n_fft = None if window_length == points else points
        signal = replace(signal, window=window_length, hop=window_length // 2, n_fft=n_fft)
    changed = replace(signal, **transform)
    hop, most = changed.hop, signal.window // 2  # beyond, samples are hardly in any window
    if type(hop) is not int or not 0 < hop <= most:
        raise UserError(
            f"a hop of {hop} samples does not fit windows of {signal.window}; take a whole number "
            f"up to {most}"
        )
    if changed.window_function not in WINDOW_FUNCTIONS:
        raise UserError(
            f"there is no window function {changed.window_function!r}; choose one of: "
            f"{', '.join(WINDOW_FUNCTIONS)}"
        )
    return changed
