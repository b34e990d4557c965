"""The one-frame step in onnxruntime, on buffers bound once."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.errors import UserError
from edge_se.manifest import Manifest, StateSpec, TensorSpec, require_frames
from edge_se.model_file import read_manifest
from edge_se.states import StateCache


def load_onnxruntime() -> Any:
    """onnxruntime, told to keep quiet: newer ones report sessions to Microsoft.

    Whoever wants that sets ORT_DISABLE_TELEMETRY to 0.

    Raises:
        ModuleNotFoundError: It is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def create_session(path: Path) -> Any:
    """An onnxruntime session with one thread.

    Raises:
        UserError: There is no such file, it is no ONNX model or onnxruntime is not installed.
    """
    if not path.is_file():
        raise UserError(f"there is no model file {path}")
    try:
        onnxruntime = load_onnxruntime()
    except ModuleNotFoundError:
        raise UserError(
            f"{path} needs onnxruntime, which is not installed; pip install onnxruntime"
        ) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's exceptions share no base but this
        reason = " ".join(str(error).split())
        raise UserError(f"onnxruntime can't run {path} ({reason})") from None


class OnnxStep:
    """The one-frame step in onnxruntime; see `edge_se.engines.loop.Step`."""

    def __init__(self, path: Path) -> None:
        """Load and check a model.

        Raises:
            UserError: The model and its manifest don't fit each other, or onnxruntime is missing.
        """
        self.manifest = read_manifest(path)
        require_frames(self.manifest, path)
        session = create_session(path)
        _check_tensors(session, self.manifest, path)
        self._session = session
        self._binding = session.io_binding()
        self._values: list[Any] = []  # a bound OrtValue must outlive its binding
        signals, states = self.manifest.tensors, self.manifest.states
        self.features = self._bind(signals.features, signals.features.tensor, output=False)
        self.mask = self._bind(signals.mask, signals.mask.tensor, output=True)
        self.cache = StateCache(
            states,
            [self._bind(state, state.input, output=False) for state in states],
            [self._bind(state, state.output, output=True) for state in states],
        )

    def run(self) -> None:
        """Compute one frame from the bound inputs into the bound outputs."""
        self._session.run_with_iobinding(self._binding)

    def describe(self) -> dict[str, Any]:
        """Engine, runtime and its version, threads."""
        return {
            "engine": "onnxruntime",
            "runtime": "onnxruntime",
            "runtime_version": load_onnxruntime().__version__,
            "threads": 1,
        }

    def _bind(self, spec: TensorSpec | StateSpec, name: int | str, output: bool) -> NDArray[Any]:
        """Bind an array, which onnxruntime uses in place, to an input or output; return it."""
        array = np.zeros(spec.shape, spec.dtype)
        value = load_onnxruntime().OrtValue.ortvalue_from_numpy(array)
        self._values.append(value)
        bind = self._binding.bind_ortvalue_output if output else self._binding.bind_ortvalue_input
        bind(name, value)
        return array


def _check_tensors(session: Any, manifest: Manifest, path: Path) -> None:
    """Compare the manifest with the session's inputs and outputs; UserError where they differ."""
    found = {
        node.name: (tuple(node.shape), node.type)
        for node in (*session.get_inputs(), *session.get_outputs())
    }
    types = {"float32": "tensor(float)", "int8": "tensor(int8)", "int16": "tensor(int16)"}
    expected: dict[int | str, tuple[tuple[int, ...], str]] = {}
    for spec in (manifest.tensors.features, manifest.tensors.mask):
        expected[spec.tensor] = (spec.shape, types[spec.dtype])
    for state in manifest.states:
        expected[state.input] = expected[state.output] = (state.shape, types[state.dtype])
    if found != expected:
        differing = sorted(
            str(name)
            for name in found.keys() | expected.keys()
            if found.get(name) != expected.get(name)
        )
        raise UserError(
            f"{path}: the manifest and the graph differ in {', '.join(differing)}; "
            f"make the model again"
        )
