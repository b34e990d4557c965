"""The one-frame step in a TFLite interpreter, with views of its tensors held between frames."""

import importlib
import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.engines import RUNTIMES
from edge_se.errors import UserError
from edge_se.manifest import Manifest, StateSpec, TensorSpec, require_frames
from edge_se.model_file import read_manifest
from edge_se.states import StateCache

# Module of the interpreter and package on the index, by runtime.
_PACKAGES = {
    "ai_edge_litert": ("ai_edge_litert.interpreter", "ai-edge-litert"),
    "tflite_runtime": ("tflite_runtime.interpreter", "tflite-runtime"),
    "tensorflow": ("tensorflow.lite.python.interpreter", "tensorflow"),
}


@dataclass(frozen=True)
class Runtime:
    """An importable TFLite interpreter: its name and module."""

    name: str
    module: Any

    def version(self) -> str:
        """Version of the installed package."""
        from importlib.metadata import PackageNotFoundError, version

        try:
            return version(_PACKAGES[self.name][1])
        except PackageNotFoundError:  # under another name, as tensorflow-cpu
            return str(getattr(importlib.import_module(self.name), "__version__", "unknown"))


def _import_runtime(name: str) -> Runtime | None:
    module = _PACKAGES[name][0]
    try:
        return Runtime(name, importlib.import_module(module))
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        return None


def find_runtime(name: str | None = None) -> Runtime:
    """The first TFLite runtime that is installed, or the named one.

    Raises:
        UserError: It is not installed or can't work with the installed NumPy.
    """
    if name is not None and name not in RUNTIMES:
        raise UserError(f"there is no TFLite runtime {name!r}; choose from {', '.join(RUNTIMES)}")
    candidates = map(_import_runtime, RUNTIMES if name is None else [name])
    runtime = next((candidate for candidate in candidates if candidate), None)
    if runtime is None:
        package = _PACKAGES[name or "ai_edge_litert"][1]
        what = f"the TFLite runtime {name}" if name else "a TFLite runtime"
        raise UserError(f"{what} is not installed; pip install {package}")
    if runtime.name == "tflite_runtime" and int(np.__version__.split(".")[0]) >= 2:
        # It was built against NumPy 1 and dies inside the interpreter's constructor with NumPy 2.
        raise UserError('tflite-runtime works with NumPy 1 only; pip install "numpy<2"')
    return runtime


def cannot_run(runtime: Runtime, path: Path, error: Exception) -> UserError:
    """What to say when a runtime raises for a model."""
    reason = " ".join(str(error).split())
    return UserError(
        f"{runtime.name} {runtime.version()} can't run {path} ({reason}); update it or choose "
        "another runtime"
    )


def create_interpreter(runtime: Runtime, path: Path, delegate: bool = True) -> Any:
    """An interpreter with one thread and its tensors allocated.

    Args:
        runtime: As `find_runtime` gives it.
        path: Of the .tflite.
        delegate: False leaves the default delegate (XNNPACK) out.

    Raises:
        UserError: The runtime can't run this model.
    """
    options = {}
    if not delegate:
        resolver = runtime.module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        options["experimental_op_resolver_type"] = resolver
    try:
        with warnings.catch_warnings():
            # TensorFlow announces that its interpreter will move; it is chosen last, or on purpose.
            warnings.filterwarnings("ignore", message=r"(?s).*tf\.lite\.Interpreter is deprecated")
            interpreter = runtime.module.Interpreter(
                model_path=os.fsencode(path),  # names need not be UTF-8
                num_threads=1,
                **options,
            )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise cannot_run(runtime, path, error) from None
    if not callable(getattr(getattr(interpreter, "_interpreter", None), "Invoke", None)):
        raise UserError(
            f"{runtime.name} {runtime.version()} has an interpreter unknown to this edge-se; "
            f"install another version or choose another runtime"
        )
    return interpreter


def has_delegate(interpreter: Any) -> bool:
    """Whether the default delegate, XNNPACK, took any part of the graph."""
    nodes = interpreter._interpreter
    # Delegated partitions are appended to the list of operators.
    return any(_is_delegate(nodes, index) for index in reversed(range(nodes.NumNodes())))


def delegated_share(interpreter: Any) -> float:
    """Share of the graph's operators that the default delegate, XNNPACK, took, 0 to 1.

    The interpreter keeps the original operators in its list and appends one node per partition that
    a delegate took. The operators of a partition are those met on the way back from its outputs to
    its inputs.
    """
    nodes = interpreter._interpreter
    partitions = [index for index in range(nodes.NumNodes()) if _is_delegate(nodes, index)]
    originals = [index for index in range(nodes.NumNodes()) if index not in set(partitions)]
    producer = {int(tensor): index for index in originals for tensor in nodes.NodeOutputs(index)}
    taken: set[int] = set()
    for partition in partitions:
        borders = {int(tensor) for tensor in nodes.NodeInputs(partition)}
        waiting = [int(tensor) for tensor in nodes.NodeOutputs(partition)]
        while waiting:
            tensor = waiting.pop()
            operator = producer.get(tensor)
            if tensor not in borders and operator is not None and operator not in taken:
                taken.add(operator)
                waiting += [int(source) for source in nodes.NodeInputs(operator)]
    return len(taken) / len(originals) if originals else 0.0


def _is_delegate(nodes: Any, index: int) -> bool:
    return "delegate" in nodes.NodeName(index).lower()


class TfliteStep:
    """The one-frame step in a TFLite interpreter; see `edge_se.engines.loop.Step`."""

    run: Callable[[], None]

    def __init__(self, path: Path, runtime: str | None = None) -> None:
        """Load and check a model.

        Raises:
            UserError: The model, its manifest or the runtime don't fit each other.
        """
        self.manifest = read_manifest(path)
        require_frames(self.manifest, path)
        chosen = find_runtime(runtime)
        self._interpreter = create_interpreter(chosen, path)
        check_tensors(self._interpreter, self.manifest, path)
        # The public invoke() refuses to run while views of tensors are held; holding them is safe,
        # since memory moves only when tensors are allocated anew, which nothing here does again.
        self.run = self._interpreter._interpreter.Invoke
        try:
            self.run()  # whatever is set up late is set up before views are taken
        except (ValueError, RuntimeError) as error:
            raise cannot_run(chosen, path, error) from None
        self.features = self._view(self.manifest.tensors.features.tensor)
        self.mask = self._view(self.manifest.tensors.mask.tensor)
        states = self.manifest.states
        self.cache = StateCache(
            states,
            [self._view(state.input) for state in states],
            [self._view(state.output) for state in states],
        )
        self._runtime = chosen
        if not has_delegate(self._interpreter):
            warnings.warn(
                f"XNNPACK took none of the operators of {path.name} in {chosen.name} "
                f"{chosen.version()}: it runs on slower kernels",
                RuntimeWarning,
                stacklevel=2,
            )

    def describe(self) -> dict[str, Any]:
        """Engine, runtime and its version, threads, share of operators that XNNPACK took."""
        return {
            "engine": "tflite",
            "runtime": self._runtime.name,
            "runtime_version": self._runtime.version(),
            "threads": 1,
            "xnnpack_share": round(delegated_share(self._interpreter), 4),
        }

    def _view(self, tensor: int | str) -> NDArray[Any]:
        view: NDArray[Any] = self._interpreter.tensor(tensor)()
        return view


def check_tensors(interpreter: Any, manifest: Manifest, path: Path) -> None:
    """Compare the manifest with the interpreter's tensors; UserError where they differ."""
    inputs = {int(detail["index"]): detail for detail in interpreter.get_input_details()}
    outputs = {int(detail["index"]): detail for detail in interpreter.get_output_details()}
    signals, states = manifest.tensors, manifest.states
    _check_tensor(path, "features", signals.features, signals.features.tensor, inputs)
    _check_tensor(path, "mask", signals.mask, signals.mask.tensor, outputs)
    for state in states:
        _check_tensor(path, f"input of state {state.name}", state, state.input, inputs)
        _check_tensor(path, f"output of state {state.name}", state, state.output, outputs)
    named = {signals.features.tensor, *(state.input for state in states)}
    if named != set(inputs) or len(named) != len(states) + 1:
        raise UserError(
            f"{path} has {len(inputs)} inputs, of which its manifest names {len(named)}; "
            f"make the model again"
        )


def _check_tensor(
    path: Path,
    what: str,
    spec: TensorSpec | StateSpec,
    tensor: int | str,
    tensors: Mapping[int, Mapping[str, Any]],
) -> None:
    detail = tensors.get(tensor) if isinstance(tensor, int) else None
    if detail is None:
        raise UserError(f"{path}: the manifest's {what} (tensor {tensor}) is not in the graph")
    shape, dtype = tuple(int(n) for n in detail["shape"]), np.dtype(detail["dtype"]).name
    scale, zero_point = detail["quantization"]
    found = (shape, dtype, np.float32(scale), int(zero_point))
    expected = (spec.shape, spec.dtype, np.float32(spec.scale), spec.zero_point)
    if found != expected:
        names = ("shape", "dtype", "scale", "zero point")
        which = next(i for i in range(4) if found[i] != expected[i])
        raise UserError(
            f"{path}: the manifest gives {what} the {names[which]} {expected[which]}, the graph "
            f"has {found[which]}; make the model again"
        )
