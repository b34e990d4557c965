"""Loading somebody's own module, and checking that it is what a frame loop can run.

The module is a program of its owner: it is executed.
"""

import contextlib
import hashlib
import importlib.util
import inspect
import math
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from edge_se.errors import UserError, reason, some
from edge_se.manifest import LARGEST_SIZE
from edge_se.signal import FEATURE_ROWS, MASK_ROWS, Signal
from quant.networks.weights import misfits, read_weights, without_unread

CONTRACT = "see docs/own-network.md"
FEATURES, MASK = "features", "mask"
_PROBE_SEED = 0


@dataclass(frozen=True)
class OwnModule:
    """A module that enhances one frame at a time, and where it came from.

    Attributes:
        module: in evaluation mode; `forward(features, *states) -> (mask, *states)`.
        signal: what it hears.
        initial: the states before the first frame, float32.
        state_names: of those, in order.
        name: of the file that its weights came from.
        description: what a manifest says of that.
        notes: what was done to find its weights, for people.
    """

    module: nn.Module
    signal: Signal
    initial: tuple[Tensor, ...]
    state_names: tuple[str, ...]
    name: str
    description: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def architecture(self) -> str:
        """Name of its class."""
        return type(self.module).__name__

    @property
    def features_shape(self) -> tuple[int, int]:
        """Rows and bins that it hears."""
        return FEATURE_ROWS[self.signal.features], self.signal.bins

    @property
    def mask_shape(self) -> tuple[int, int]:
        """Rows and bins that it gives."""
        return MASK_ROWS[self.signal.mask], self.signal.bins

    def describe(self) -> dict[str, Any]:
        """What a model file's manifest says of its weights."""
        return dict(self.description)

    def run(self, features: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """All frames of a clip in turn, from the first states on.

        Args:
            features: [frames, rows, bins].

        Returns:
            Masks [frames, rows, bins], and the states after the last frame.
        """
        states: Sequence[Tensor] = self.initial
        masks = []
        with frame_by_frame():
            for frame in features:
                mask, *states = self.step(frame, states)
                masks.append(mask)
        return torch.stack(masks), tuple(states)

    def step(self, features: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """One frame: the mask and the next states."""
        given = self.module(features, *states)
        return (given,) if isinstance(given, Tensor) else tuple(given)


@contextlib.contextmanager
def frame_by_frame() -> Iterator[None]:
    """How torch runs single frames: they are too small to be shared between threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            yield
    finally:
        torch.set_num_threads(threads)


def load_own_module(source: str | nn.Module, checkpoint: Path | None = None) -> OwnModule:
    """Build a module, load its weights, and check it.

    Args:
        source: "my_network.py:build", a Python file and the function that builds the module; or the
            module itself.
        checkpoint: file with its weights; None to take it as it was built.

    Raises:
        UserError: there is no such file, function or module, or it breaks the contract.
    """
    if isinstance(source, nn.Module):
        module, name = source, type(source).__name__
        description: dict[str, Any] = {"name": name}
    else:
        module, path, function = _built(source)
        name = path.name
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        description = {"name": name, "sha256": digest, "function": function}
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        module = module.module  # what is shared among GPUs
    _check_dtypes(module)
    notes: tuple[str, ...] = ()
    if checkpoint is not None:
        digest, notes = _load_weights(module, checkpoint)
        description = {"name": checkpoint.name, "sha256": digest, "module": description}
        name = checkpoint.name
    _check_finite(module, name)
    module.eval().requires_grad_(False)
    signal = _signal_of(module)
    own = OwnModule(
        module, signal, _initial_states(module), _state_names(module), name, description, notes
    )
    _check_frames(own)
    return own


# The file ---------------------------------------------------------------------------------------


def _built(source: str) -> tuple[nn.Module, Path, str]:
    file, separator, function = source.rpartition(":")
    if not separator or not file or not function.isidentifier():
        raise UserError(f"--module takes FILE.py:FUNCTION, as in my_network.py:build, not {source}")
    path = Path(file)
    if not path.is_file():
        raise UserError(f"there is no file {path}; --module takes FILE.py:FUNCTION")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise UserError(f"{path} is no Python file; its name has to end in .py")
    loaded = importlib.util.module_from_spec(spec)
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)  # as `python my_network.py` has it, for files beside it
    before = sys.modules.get(path.stem)
    sys.modules[path.stem] = loaded
    try:
        spec.loader.exec_module(loaded)
        build = getattr(loaded, function, None)
        if not callable(build):
            raise UserError(f"{path} has no function {function}; it has to return the module")
        module = build()
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        raise UserError(f"{path} can't be run: {told(error)}") from error
    finally:
        sys.path.remove(folder)
        if before is not None:
            sys.modules[path.stem] = before
    if not isinstance(module, nn.Module):
        raise UserError(
            f"{function}() of {path} returns {_a(module)}, but has to return a torch.nn.Module"
        )
    return module, path, function


def told(error: BaseException) -> str:
    """An exception in one sentence, with the last line of somebody's own code that led to it."""
    reason = " ".join(str(error).split()) or "no reason given"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own(frame.filename)]
    place = f" at {Path(own[-1].filename).name} line {own[-1].lineno}" if own else ""
    return f"{type(error).__name__}{place} ({_shortened(reason)})"


def is_own(file: str) -> bool:
    """Whether a source file is the module's owner's: neither ours, torch's nor Python's."""
    libraries = ("site-packages", "dist-packages", str(Path(__file__).parents[2] / "quant"))
    standard = str(Path(inspect.__file__).parent)
    inside = any(part in file for part in libraries) or file.startswith(standard)
    return not inside and not file.startswith("<")


def _shortened(text: str, most: int = 300) -> str:
    return text if len(text) <= most else text[:most] + " ..."


def _a(value: Any) -> str:
    return f"a {type(value).__name__}"


def _load_weights(module: nn.Module, path: Path) -> tuple[str, tuple[str, ...]]:
    """Load a checkpoint into a module; its SHA-256 and notes on how it was read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read checkpoint {path}: {reason(error)}; check the path"
        ) from error
    expected = module.state_dict()
    found = read_weights(path, content, set(expected))
    weights, left_out = without_unread(found.weights, expected)
    faults = misfits(weights, expected)
    if faults:
        raise UserError(
            f"the weights in {path} don't fit {type(module).__name__}: {faults}; take "
            "the checkpoint of this module, or build the module with the options of its training"
        )
    module.load_state_dict(weights)
    return hashlib.sha256(content).hexdigest(), (*found.notes, *left_out)


def _check_dtypes(module: nn.Module) -> None:
    if isinstance(module, torch.jit.ScriptModule):
        raise UserError(
            f"{module.original_name} is compiled by torch.jit, which torch.export does not take; "
            "return the module as it is before torch.jit.script or torch.jit.trace"
        )
    others = {
        name: parameter.dtype
        for name, parameter in module.named_parameters()
        if parameter.dtype is not torch.float32
    }
    if others:
        raise UserError(
            f"{type(module).__name__} holds {some([f'{n} as {d}' for n, d in others.items()])}; "
            "weights are torch.float32 before they are quantized: return module.float(), and "
            "multiply real and imaginary parts apart"
        )


def _check_finite(module: nn.Module, name: str) -> None:
    broken = [
        key
        for key, tensor in module.state_dict().items()
        if tensor.is_floating_point() and not torch.isfinite(tensor).all()
    ]
    if broken:
        raise UserError(
            f"{name} holds weights that are not finite: {some(broken)}; its training diverged or "
            "the file is damaged, so take another one"
        )


# The contract -----------------------------------------------------------------------------------


def _signal_of(module: nn.Module) -> Signal:
    signal, what = getattr(module, "signal", None), type(module).__name__
    if not isinstance(signal, Signal):
        has = "no attribute signal" if signal is None else f"a signal that is {_a(signal)}"
        raise UserError(
            f"{what} has {has}; give it signal = edge_se.signal.Signal(sample_rate=16000, "
            f"window=512, hop=256), what it hears ({CONTRACT})"
        )
    if fault := signal.fault():
        raise UserError(f"the signal of {what} can't be run: {fault}")
    if signal.features not in FEATURE_ROWS or signal.mask not in MASK_ROWS:
        raise UserError(
            f"the signal of {what} has features and masks of whole recordings; a frame loop knows "
            f"features of {', '.join(FEATURE_ROWS)} and masks of {', '.join(MASK_ROWS)}"
        )
    return signal


def _initial_states(module: nn.Module) -> tuple[Tensor, ...]:
    what = type(module).__name__
    if not callable(getattr(module, "initial_states", None)):
        raise UserError(
            f"{what} has no method initial_states(), which returns the states before the first "
            f"frame ({CONTRACT})"
        )
    try:
        states = module.initial_states()  # type: ignore[operator]
    except Exception as error:
        raise UserError(f"initial_states() of {what} fails: {told(error)}") from error
    if not isinstance(states, tuple | list):
        raise UserError(f"initial_states() of {what} returns {_a(states)}, not a tuple of tensors")
    for number, state in enumerate(states):
        if not isinstance(state, Tensor):
            raise UserError(f"state {number} of initial_states() is {_a(state)}, not a tensor")
        if state.dtype is not torch.float32:
            raise UserError(
                f"state {number} of initial_states() is {state.dtype}; states are torch.float32"
            )
        if not state.dim() or not 0 < state.numel() <= LARGEST_SIZE:
            raise UserError(
                f"state {number} of initial_states() has the shape {list(state.shape)}; a state has"
                " at least one dimension, and at least one element"
            )
        if not torch.isfinite(state).all():
            raise UserError(f"state {number} of initial_states() is not finite")
        if (state != state.flatten()[0]).any():
            raise UserError(
                f"state {number} of initial_states() holds different values; a model file resets a "
                "state to one value, so keep the others in a buffer of the module and add them"
            )
    return tuple(state.detach().clone() for state in states)


def _state_names(module: nn.Module) -> tuple[str, ...]:
    """Names that `forward` has for its states, or numbered ones."""
    what = type(module).__name__
    count = len(_initial_states(module))
    parameters = list(inspect.signature(module.forward).parameters.values())
    try:
        inspect.signature(module.forward).bind(*range(count + 1))
    except TypeError:
        names = ", ".join(parameter.name for parameter in parameters)
        raise UserError(
            f"forward of {what} takes ({names}), but has to take the features and the {count} "
            f"states of initial_states() ({CONTRACT})"
        ) from None
    positional = [
        parameter.name
        for parameter in parameters[1:]
        if parameter.kind is not inspect.Parameter.VAR_POSITIONAL
    ]
    if len(positional) < count or {FEATURES, MASK} & set(positional):
        return tuple(f"state{number}" for number in range(count))
    return tuple(positional[:count])


def _check_frames(own: OwnModule) -> None:
    """Run the module on a few frames; UserError where a frame loop could not."""
    random = torch.Generator().manual_seed(_PROBE_SEED)
    first, second = (torch.randn(own.features_shape, generator=random) for _ in range(2))
    before = [state.clone() for state in own.initial]
    with frame_by_frame():
        _check_steps(own, first, second, before)


def _check_steps(own: OwnModule, first: Tensor, second: Tensor, before: Sequence[Tensor]) -> None:
    one = _checked_step(own, first, own.initial)
    for name, state, kept in zip(own.state_names, own.initial, before, strict=True):
        if not torch.equal(state, kept):
            raise UserError(
                f"forward of {own.architecture} writes into its argument {name} in place; return a "
                "new tensor instead, as torch.cat([cache[:, 1:], frame], dim=1) makes one"
            )
    two = _checked_step(own, second, one[1:])
    _checked_step(own, torch.zeros(own.features_shape), two[1:])
    again = _checked_step(own, first, own.initial)
    if not all(torch.equal(a, b) for a, b in zip(one, again, strict=True)):
        raise UserError(
            f"{own.architecture} gives another mask for the same features and states; what it "
            "remembers has to be in its states, and nothing in it may be random"
        )


def _checked_step(own: OwnModule, features: Tensor, states: Sequence[Tensor]) -> tuple[Tensor, ...]:
    what, shape = own.architecture, list(own.features_shape)
    try:
        given: Any = own.module(features, *states)
    except Exception as error:
        raise UserError(
            f"forward of {what} fails on the features of one frame, {shape}, and its states: "
            f"{told(error)}"
        ) from error
    results = (given,) if isinstance(given, Tensor) else given
    count = 1 + len(own.initial)
    if not isinstance(results, tuple | list) or len(results) != count:
        got = f"{len(results)} values" if isinstance(results, tuple | list) else _a(results)
        raise UserError(
            f"forward of {what} returns {got}; it has to return the mask and {count - 1} states"
        )
    expected = (own.mask_shape, *(tuple(state.shape) for state in own.initial))
    for name, result, size in zip((MASK, *own.state_names), results, expected, strict=True):
        if not isinstance(result, Tensor) or result.dtype is not torch.float32:
            kind = result.dtype if isinstance(result, Tensor) else _a(result)
            raise UserError(f"forward of {what} returns {name} as {kind}, not as torch.float32")
        if tuple(result.shape) != size:
            hint = (
                f"a {own.signal.mask} mask of one frame"
                if name == MASK
                else "a state has one shape, the same for every frame"
            )
            raise UserError(
                f"forward of {what} returns {name} with the shape {list(result.shape)} instead of "
                f"{list(size)}: {hint}"
            )
        if not torch.isfinite(result).all():
            raise UserError(
                f"forward of {what} returns {name} with values that are not finite, for "
                f"{'silence' if not features.any() else 'noise'}; guard logarithms, divisions and "
                "square roots"
            )
    return tuple(results)


def largest_difference(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value where that exceeds 1."""
    difference = float((found - expected).abs().max())
    return difference / max(1.0, float(expected.abs().max())) if math.isfinite(difference) else 9e9
