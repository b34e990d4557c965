"""Engines generated as C: the whole hop, window to overlap-add, in one call of a shared library.

One for the default model's network is part of the compiled core; `edge-se compile` makes a library
with another, which carries its manifest as a .tflite does, or writes its sources.
"""

import ctypes
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.core import core_path, load_core
from edge_se.errors import UserError
from edge_se.manifest import Manifest, Tensors, TensorSpec
from edge_se.model_file import read_manifest
from edge_se.signal import Signal
from edge_se.states import StateCache

# What the library's `api_version` has to say.
API_VERSION = 2
# Of the samples, by arithmetic.
ARITHMETICS: Mapping[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "fixed": np.dtype(np.int16),
}


def prefix(arithmetic: str) -> str:
    """Of the files, functions and types of an engine."""
    return f"engine_{arithmetic}"


class GeneratedEngine:
    """A generated engine and its state; see `edge_se.engines.StagedEngine`.

    All of the hop is the stage `infer`; the other two copy samples.

    Attributes:
        state_bytes: Size of its state.
    """

    def __init__(self, library: Any, path: Path, arithmetic: str, manifest: Manifest) -> None:
        """Use a loaded library.

        Args:
            library: As ctypes gives it.
            path: Of its file.
            arithmetic: Which of its engines, a name of `ARITHMETICS`.
            manifest: Of the network's model.

        Raises:
            UserError: The library has no such engine, or one of another version.
        """
        self.manifest, self.sample_dtype = manifest, ARITHMETICS[arithmetic]
        self.cache = StateCache((), (), ())
        self._library, self._path, self._arithmetic = library, path, arithmetic
        state_size, process, reset, init = (
            _function(library, path, arithmetic, name)
            for name in ("state_size", "process", "reset", "init")
        )
        state_size.restype = ctypes.c_size_t
        process.argtypes, process.restype = [ctypes.c_void_p] * 3, None
        for function in (reset, init):
            function.argtypes, function.restype = [ctypes.c_void_p], None
        version = int(_function(library, path, arithmetic, "api_version")())
        if version != API_VERSION:
            raise UserError(
                f"{path} has an engine of version {version}, and this edge-se knows {API_VERSION}; "
                f"compile it again"
            )
        self._check_signal(checkpoint_of(library, arithmetic))
        self.state_bytes = int(state_size())
        self._state = np.zeros(-(-self.state_bytes // 8), np.int64)
        self._samples = np.zeros(manifest.signal.hop, self.sample_dtype)
        self._addresses = (self._state.ctypes.data, *[self._samples.ctypes.data] * 2)
        self._process, self._reset = process, reset
        init(self._state.ctypes.data)
        self.infer()  # every page is touched before the first frame
        self.reset()

    def _check_signal(self, checkpoint: str | None) -> None:
        """Raise UserError where the manifest says other things than the library of itself."""
        signal = self.manifest.signal
        expected = {
            "sample_rate": signal.sample_rate,
            "hop": signal.hop,
            "latency": self.manifest.latency_samples,
        }
        found: dict[str, object] = {
            name: int(_function(self._library, self._path, self._arithmetic, name)())
            for name in expected
        }
        told = {**expected, "checkpoint": self.manifest.checkpoint.get("sha256")}
        found["checkpoint"] = checkpoint
        for name, value in told.items():
            if found[name] != value:
                raise UserError(
                    f"the manifest says {name.replace('_', ' ')} {value}, and the engine in "
                    f"{self._path} has {found[name]}; compile it again"
                )

    def process(self, samples: NDArray[Any], out: NDArray[Any]) -> None:
        """Take in one hop ([256] of `sample_dtype`) and write one enhanced hop to `out`."""
        self._samples[...] = samples
        self._process(*self._addresses)
        out[...] = self._samples

    def analyse(self, samples: NDArray[Any]) -> None:
        """Take in one hop of samples ([256] of `sample_dtype`)."""
        self._samples[...] = samples

    def infer(self) -> None:
        """Compute the enhanced hop."""
        self._process(*self._addresses)

    def synthesise(self, out: NDArray[Any]) -> None:
        """Write the enhanced hop to `out`."""
        out[...] = self._samples

    def reset(self) -> None:
        """Forget samples and states."""
        self._reset(self._state.ctypes.data)

    def describe(self) -> dict[str, Any]:
        """File, its size, engine, and what else matters."""
        return {
            "file": str(self._path),
            "size_kb": round(self._path.stat().st_size / 1000, 1),
            "engine": "c",
            "runtime": "generated C",
            "runtime_version": str(API_VERSION),
            "threads": 1,
            "stft": f"{self._arithmetic} (compiled)",
        }


def _function(library: Any, path: Path, arithmetic: str, name: str) -> Any:
    try:
        return getattr(library, f"{prefix(arithmetic)}_{name}")
    except AttributeError:
        raise UserError(f"{path} has no engine in {arithmetic} arithmetic") from None


def checkpoint_of(library: Any, arithmetic: str) -> str | None:
    """SHA-256 of the weights in a library's engine; None where it has no such engine."""
    function = getattr(library, f"{prefix(arithmetic)}_checkpoint_sha256", None)
    if function is None:
        return None
    function.restype = ctypes.c_char_p
    return str(function().decode())


def engine_manifest(
    architecture: str,
    arithmetic: str,
    signal: Signal,
    checkpoint: Mapping[str, Any],
    tools: Mapping[str, Any],
) -> Manifest:
    """What a generated engine says of itself; it has no tensors, and shows no states."""
    return Manifest(
        architecture=architecture,
        precision=arithmetic,
        signal=replace(signal, level_dbfs=None),
        tensors=Tensors(
            TensorSpec("features", (3, signal.bins)), TensorSpec("mask", (2, signal.bins))
        ),
        states=(),
        stft=arithmetic,
        checkpoint=checkpoint,
        tools=tools,
    )


def load_built_in(model: Path, stft: str | None = None) -> GeneratedEngine:
    """The compiled core's engine, in place of a model of the same network.

    Args:
        model: A .tflite.
        stft: "float" or "fixed", the engine's whole arithmetic; None for "float".

    Raises:
        UserError: There is no compiled core, or its engine is of another checkpoint.
    """
    arithmetic, manifest = stft or "float", read_manifest(model)
    core = load_core()
    if core is None:
        raise UserError(
            "the C engine is part of the compiled core, which this installation has not; install a "
            "wheel for this platform, or choose another engine"
        )
    own, asked = checkpoint_of(core, arithmetic), manifest.checkpoint.get("sha256")
    if own is not None and own != asked:
        raise UserError(
            f"the C engine built in is of the checkpoint {own[:12]}, and {model} is of "
            f"{str(asked)[:12]}; make one for it with edge-se compile, and name that with --model"
        )
    described = engine_manifest(
        *(manifest.architecture, arithmetic, manifest.signal, manifest.checkpoint, manifest.tools)
    )
    return GeneratedEngine(core, core_path(), arithmetic, described)


def read_compiled(path: Path) -> Manifest:
    """The manifest of a library that `edge-se compile` made, read without loading the library.

    Raises:
        UserError: There is no such file, it is no such library, or it is damaged.
    """
    manifest = read_manifest(path)
    if manifest.precision not in ARITHMETICS:
        raise UserError(f"{path} computes in {manifest.precision}, which this edge-se can't run")
    return manifest


def load_compiled(path: Path) -> GeneratedEngine:
    """The engine in a library that `edge-se compile` made.

    A library is a program: loading it runs what it says. What it is, and that it is whole, is found
    before that.

    Raises:
        UserError: It is none, is damaged, is for another machine, or is not what its manifest says.
    """
    manifest = read_compiled(path)
    try:
        library = ctypes.PyDLL(str(path.resolve()))
    except OSError as error:
        raise UserError(
            f"{path} can't be loaded ({error}); it has to be compiled for this machine"
        ) from None
    return GeneratedEngine(library, path, manifest.precision, manifest)
