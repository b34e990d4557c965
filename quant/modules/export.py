"""From a module to the float TFLite file of its frame: torch.export, then litert-torch.

An operator that litert-torch can't lower is found by lowering operators alone, and named with the
line of the module that asked for it.
"""

import contextlib
import importlib.metadata
import importlib.util
import io
import json
import logging
import os
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram

from edge_se.errors import UserError
from quant.modules.own import OwnModule, is_own, told

Progress = Callable[[str, int, int], None]
TIMEOUT_S = 3600
_TOO_LONG = 400
_NEEDED = ("litert_torch", "litert_quantizer")


@dataclass(frozen=True)
class Replacement:
    """What to write instead of an operator that litert-torch 0.10 refuses.

    Attributes:
        pattern: of the operator's name.
        advice: what it is used for, and what to write.
        refused: whether litert-torch refuses this use of it, as far as is known.
    """

    pattern: str
    advice: str
    refused: Callable[[fx.Node], bool] = lambda node: True


def _has_stride(node: fx.Node) -> bool:
    """Whether a convolution, all of whose arguments stand by position, skips anything."""
    stride = node.args[3] if len(node.args) > 3 else 1
    return isinstance(stride, Sequence) and any(step != 1 for step in stride)


def _is_deep(node: fx.Node) -> bool:
    """Whether an operator's first argument has more than three dimensions."""
    source = node.args[0]
    return isinstance(source, fx.Node) and len(_shape(source) or ()) > 3


REPLACEMENTS = (
    Replacement(
        r"^conv_transpose",
        "a transposed convolution with a stride: put zeros between the inputs and convolve with "
        "the kernel turned round, as `upsampled` in examples/modules/gtcrn_stream.py",
        _has_stride,
    ),
    Replacement(
        r"^linear$",
        "a linear layer on more than three dimensions: flatten to two first, as "
        "layer(x.reshape(-1, x.shape[-1])).reshape(...)",
        _is_deep,
    ),
    Replacement(r"^unfold", "Tensor.unfold: torch.stack of slices, or nn.Unfold"),
    Replacement(
        r"complex|^real$|^imag$|polar|fft|stft|angle",
        "complex numbers and transforms: the frame loop transforms; the module gets real numbers "
        "as features, and multiplies real and imaginary parts",
    ),
    Replacement(
        r"col2im|scatter|index_add|index_put",
        "values that are added up, or written, at indices: multiply by a constant matrix that does "
        "so, or write out the parts and torch.cat them",
    ),
    Replacement(r"sort|topk|median|quantile", "sorting: a mean, a maximum or a smoothed value"),
)


@dataclass(frozen=True)
class Refused:
    """An operator that can't be lowered: its name, the module's line, and why."""

    operator: str
    place: str
    reason: str

    def __str__(self) -> str:
        known = next((r for r in REPLACEMENTS if re.search(r.pattern, self.operator)), None)
        words = f"{self.operator} at {self.place}"
        return f"{words} (instead of {known.advice})" if known else f"{words} ({self.reason})"


def require_litert() -> None:
    """Raise UserError unless the extra `litert` is installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        names = " and ".join(name.replace("_", "-") for name in missing)
        raise UserError(
            f'a module of your own needs {names}, not installed here; pip install "edge-se[litert]"'
        )


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what tools say to them: torch's own layers, graphs, each operator that stays float.

    What goes wrong they raise.
    """
    logging.disable(logging.CRITICAL)
    said = io.StringIO()
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(said),
            contextlib.redirect_stderr(said),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def export(own: OwnModule) -> ExportedProgram:
    """The frame of a module as torch.export sees it.

    Raises:
        UserError: it can't be exported.
    """
    examples = (torch.zeros(own.features_shape), *(state.clone() for state in own.initial))
    try:
        with quiet():
            program = torch.export.export(own.module, examples, strict=False)
    except Exception as error:  # torch.export raises of all kinds
        raise UserError(
            f"{own.architecture} can't be exported: {told(error)}; forward may not choose by the "
            "values of tensors, nor take them as Python numbers (float(x), x.item())"
        ) from error
    return program


def lower(own: OwnModule, program: ExportedProgram, progress: Progress) -> bytes:
    """The float TFLite file of a module's frame.

    Raises:
        UserError: an operator of it can't be lowered.
    """
    suspects = [node for node in _operators(program) if _is_suspect(node)]
    refused = _refused(program, suspects, progress, "operators")
    if refused:
        raise UserError(_cannot(own, refused))
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        folder = Path(name)
        torch.export.save(program, folder / "frame.pt2")
        progress("conversion", 0, 1)
        ((_, reason),) = _lowered(folder, ["frame"])
        if reason is None:
            progress("conversion", 1, 1)
            return (folder / "frame.tflite").read_bytes()
    others = [node for node in _operators(program) if not _is_suspect(node)]
    refused = _refused(program, others, progress, "search for the operator")
    # Some fail only beside others: then those are named that are known to.
    refused = refused or [Refused(_name(node), _place(node), reason) for node in suspects]
    raise UserError(_cannot(own, refused or [Refused("its graph", "no single line", reason)]))


def _cannot(own: OwnModule, refused: Sequence[Refused]) -> str:
    version = importlib.metadata.version("litert-torch")
    what = "; ".join(dict.fromkeys(map(str, refused)))
    return f"litert-torch {version} can't lower {own.architecture}: {what}; see docs/own-network.md"


def _lowered(folder: Path, names: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Why each of the programs in a folder could not be lowered, or None, in a process apart."""
    waiting = list(names)
    while waiting:
        command = [sys.executable, "-m", "quant.modules.lowering", str(folder), *waiting]
        paths = os.pathsep.join(filter(None, sys.path))
        try:
            result = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                env={**os.environ, "PYTHONPATH": paths},
            )
        except subprocess.TimeoutExpired:
            raise UserError(f"litert-torch did not finish within {TIMEOUT_S} s") from None
        for line in result.stdout.splitlines():
            answer = json.loads(line)
            waiting.remove(answer["name"])
            reason = answer["reason"]
            yield answer["name"], None if reason is None else _in_short(reason)
        if waiting and result.returncode == 0:
            raise UserError("litert-torch ended without an answer; run it again")
        if waiting:
            lines = [line for line in result.stderr.splitlines() if line.strip()]
            last = _in_short(lines[-1]) if lines else "no word"
            yield waiting.pop(0), f"it ended with status {result.returncode}: {last}"


def _in_short(reason: str) -> str:
    """The part of a converter's message that says what is wrong, on one line."""
    words = " ".join(reason.split())
    words = re.sub(r"While executing.*", "", words)
    words = re.sub(r"^ValueError: Failed to run converter passes: \S+ error: ", "", words)
    return words if len(words) <= _TOO_LONG else words[:_TOO_LONG] + " ..."


# One operator alone -----------------------------------------------------------------------------


class _Alone(nn.Module):
    """One operator of a graph, its weights and its other arguments fixed."""

    def __init__(self, node: fx.Node, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._node = node
        self._weights = [source.name for source in _sources(node) if source.name in weights]
        for name in self._weights:
            self.register_buffer(name, weights[name].detach())

    def forward(self, *tensors: Tensor) -> Any:
        """Every tensor that the operator reads and that is no weight, in order."""
        given = iter(tensors)
        arguments, keywords = fx.map_arg(
            (self._node.args, self._node.kwargs),
            lambda node: getattr(self, node.name) if node.name in self._weights else next(given),
        )
        assert callable(self._node.target)
        results = self._node.target(*arguments, **keywords)
        flat = results if isinstance(results, tuple | list) else [results]
        return tuple(result for result in flat if isinstance(result, Tensor))


def _operators(program: ExportedProgram) -> list[fx.Node]:
    """Operators of a program, the first of each that differ in kind, shapes or settings."""
    found: dict[str, fx.Node] = {}
    for node in program.graph.nodes:
        if node.op != "call_function" or not isinstance(node.target, torch._ops.OpOverload):
            continue
        inputs = [_example(source) for source in _sources(node)]
        if not inputs or any(tensor is None for tensor in inputs):
            continue
        arguments = fx.map_arg((node.args, node.kwargs), lambda source: str(_shape(source)))
        found.setdefault(f"{node.target} {arguments}", node)
    return list(found.values())


def _sources(node: fx.Node) -> list[fx.Node]:
    """Every node that an operator reads, in the order in which `_Alone` takes them."""
    sources: list[fx.Node] = []
    fx.map_arg((node.args, node.kwargs), lambda source: sources.append(source))
    return sources


def _shape(node: fx.Node) -> tuple[int, ...] | None:
    value = node.meta.get("val")
    return tuple(value.shape) if isinstance(value, Tensor) else None


def _example(node: fx.Node) -> Tensor | None:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return None
    return torch.zeros(tuple(value.shape), dtype=value.dtype)


def _name(node: fx.Node) -> str:
    return str(node.target).removeprefix("aten.").partition(".")[0]


def _is_suspect(node: fx.Node) -> bool:
    return any(re.search(r.pattern, _name(node)) and r.refused(node) for r in REPLACEMENTS)


def _weights(program: ExportedProgram) -> dict[str, Tensor]:
    """Parameters and buffers of a program, by the names of their nodes."""
    signature = program.graph_signature
    names = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    return {
        node: program.state_dict[name] for node, name in names.items() if name in program.state_dict
    }


def _refused(
    program: ExportedProgram, nodes: Sequence[fx.Node], progress: Progress, stage: str
) -> list[Refused]:
    """Which operators of a program can't be lowered, each tried alone."""
    if not nodes:
        return []
    weights = _weights(program)
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        folder, tried = Path(name), {}
        for number, node in enumerate(nodes):
            sources = [source for source in _sources(node) if source.name not in weights]
            examples = tuple(_example(source) for source in sources)
            try:
                with quiet():
                    alone = torch.export.export(_Alone(node, weights), examples, strict=False)
            except Exception:  # it means something only beside others: then they are refused
                continue
            torch.export.save(alone, folder / f"{number}.pt2")
            tried[str(number)] = node
        refused = []
        progress(stage, 0, len(tried))
        for done, (label, reason) in enumerate(_lowered(folder, list(tried)), 1):
            progress(stage, done, len(tried))
            if reason is not None:
                node = tried[label]
                refused.append(Refused(_name(node), _place(node), reason))
    return refused


def _place(node: fx.Node) -> str:
    """The line of somebody's own module that asked for an operator, and the layer."""
    trace = str(node.meta.get("stack_trace") or "")
    frames = re.findall(r'File "([^"]+)", line (\d+), in \S+\n\s+([^\n]*)', trace)
    own = [frame for frame in frames if is_own(frame[0])]
    layers = node.meta.get("nn_module_stack") or {}
    layer = next((path for path, _ in reversed(list(layers.values())) if path), "")
    layer = f", layer {layer}" if layer else ""
    if not own:
        return f"no line known{layer}"
    file, line, code = own[-1]
    return f"{Path(file).name} line {line} `{code.strip()}`{layer}"
