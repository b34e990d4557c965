"""Engines generated as C: the whole hop, window to overlap-add, in one call of a shared library.

An engine is of a network, not of a checkpoint: the weights are data, which a model file carries
beside its manifest. Those for GTCRN are part of the compiled core; `edge-se compile` makes a
library with another, which carries manifest and weights as a .tflite does, or writes its sources.
"""

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_se.core import load_core
from edge_se.errors import UserError
from edge_se.manifest import Manifest, Tensors, TensorSpec
from edge_se.model_file import attached_weights, read_model
from edge_se.signal import FEATURE_ROWS, MASK_ROWS, Signal
from edge_se.states import StateCache
from edge_se.strength import FULL, ONE, Strength

# What the library's `api_version` has to say.
# Raised whenever the functions of a generated header change.
API_VERSION = 4
# Of the samples, by arithmetic.
ARITHMETICS: Mapping[str, np.dtype[Any]] = {
    "float": np.dtype(np.float32),
    "fixed": np.dtype(np.int16),
    "int8": np.dtype(np.int16),
}
# Precisions of `edge-se quantize` whose files carry weights, by arithmetic.
RECIPES = {"float": "float", "int8": "int8", "fixed": "int16x8"}


def prefix(network: str, arithmetic: str) -> str:
    """Of the files, functions and types of a network's engine."""
    return f"{network}_{arithmetic}"


def stft_of(arithmetic: str) -> str:
    """The kind of STFT of an arithmetic, by its samples."""
    return "float" if ARITHMETICS[arithmetic] == np.float32 else "fixed"


class GeneratedEngine:
    """A generated engine and its state; see `edge_se.engines.StagedEngine`.

    All of the hop is the stage `infer`; the other two copy samples.

    Attributes:
        arithmetic: In which it computes, a name of `ARITHMETICS`.
        state_bytes: Size of its state.
    """

    def __init__(
        self, library: Any, path: Path, arithmetic: str, manifest: Manifest, weights: bytes
    ) -> None:
        """Use a loaded library.

        Args:
            library: As ctypes gives it.
            path: Of the model file.
            arithmetic: Which of the library's engines, a name of `ARITHMETICS`.
            manifest: Of the network's model.
            weights: Of the network, for this engine.

        Raises:
            UserError: The library has no such engine, one of another version, or one that the
                weights are not for.
        """
        self.manifest, self.sample_dtype = manifest, ARITHMETICS[arithmetic]
        self.cache = StateCache((), (), ())
        self._library, self._path, self.arithmetic = library, path, arithmetic
        (version,) = _functions(library, manifest, arithmetic, ["api_version"])
        found = int(version())
        if found != API_VERSION:
            raise UserError(
                f"{path} has an engine of version {found}, and this edge-se knows {API_VERSION}; "
                f"compile it again"
            )
        names = ("state_size", "load", "process", "reset", "set_strength", "speech_probability")
        state_size, load, process, reset, set_strength, speech_probability = _functions(
            library, manifest, arithmetic, names
        )
        state_size.restype = ctypes.c_size_t
        load.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
        load.restype = ctypes.c_char_p
        process.argtypes, process.restype = [ctypes.c_void_p] * 3, None
        reset.argtypes, reset.restype = [ctypes.c_void_p], None
        set_strength.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32]
        set_strength.restype = None
        speech_probability.argtypes = [ctypes.c_void_p]
        speech_probability.restype = ctypes.c_int32
        self._set_strength, self._speech_probability = set_strength, speech_probability
        self.state_bytes = int(state_size())
        self._state = np.zeros(-(-self.state_bytes // 8), np.int64)
        self._samples = np.zeros(manifest.signal.hop, self.sample_dtype)
        self._addresses = (self._state.ctypes.data, *[self._samples.ctypes.data] * 2)
        self._process, self._reset = process, reset
        # The engine reads them where they are.
        self._weights = np.zeros(-(-len(weights) // 8), np.int64)
        self._weights.view(np.uint8)[: len(weights)] = np.frombuffer(weights, np.uint8)
        fault = load(self._state.ctypes.data, self._weights.ctypes.data, len(weights))
        if fault is not None:
            raise UserError(f"{path} can't run in C: it has {fault.decode()}; {_made_again(path)}")
        self._check_description()
        self.infer()  # every page is touched before the first frame
        self.reset()

    def _check_description(self) -> None:
        """Raise UserError where the manifest says other things than the library and the weights."""
        manifest = self.manifest
        told = {
            "hop": manifest.signal.hop,
            "latency": manifest.latency_samples,
            "sample_rate": manifest.signal.sample_rate,
            "checkpoint": str(manifest.checkpoint.get("sha256"))[:8],
        }
        hop, latency, *of_weights = _functions(self._library, manifest, self.arithmetic, [*told])
        for function in of_weights:
            function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_uint32
        sample_rate, checkpoint = (function(self._state.ctypes.data) for function in of_weights)
        found = (int(hop()), int(latency()), sample_rate, f"{checkpoint:08x}")
        for (name, value), other in zip(told.items(), found, strict=True):
            if other != value:
                raise UserError(
                    f"the manifest says {name.replace('_', ' ')} {value}, and the engine in "
                    f"{self._path} has {other}; {_made_again(self._path)}"
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

    def set_strength(self, strength: Strength) -> None:
        """Limit what the mask does, from the next hop on and across resets."""
        self._set_strength(self._state.ctypes.data, strength.least_gain, strength.dry)

    def speech_probability(self) -> float:
        """Probability, 0 to 1, that the newest frame out holds speech; see `edge_se.speech`."""
        return float(self._speech_probability(self._state.ctypes.data)) / ONE

    def describe(self) -> dict[str, Any]:
        """File, its size, engine, and what else matters."""
        return {
            "file": str(self._path),
            "size_kb": round(self._path.stat().st_size / 1000, 1),
            "engine": "c",
            "runtime": "generated C",
            "runtime_version": str(API_VERSION),
            "threads": 1,
            "arithmetic": self.arithmetic,
            "stft": f"{stft_of(self.arithmetic)} (compiled)",
        }


def _made_again(path: Path) -> str:
    if path.suffix == ".so":
        return "make it again with edge-se compile"
    return "make it again with edge-se quantize, or a library of its network with edge-se compile"


def _functions(
    library: Any, manifest: Manifest, arithmetic: str, names: Sequence[str]
) -> list[Any]:
    stem = prefix(manifest.architecture, arithmetic)
    try:
        return [getattr(library, f"{stem}_{name}") for name in names]
    except AttributeError:
        raise UserError(
            f"there is no C engine for {manifest.architecture} in {arithmetic} here; choose "
            "another engine, or make the model again with this edge-se"
        ) from None


def engine_manifest(
    architecture: str,
    arithmetic: str,
    signal: Signal,
    checkpoint: Mapping[str, Any],
    tools: Mapping[str, Any],
    strength: Strength = FULL,
) -> Manifest:
    """What a generated engine says of itself; it has no tensors, and shows no states."""
    return Manifest(
        architecture=architecture,
        precision=arithmetic,
        signal=signal,
        tensors=Tensors(
            TensorSpec("features", (FEATURE_ROWS[signal.features], signal.bins)),
            TensorSpec("mask", (MASK_ROWS[signal.mask], signal.bins)),
        ),
        states=(),
        stft=stft_of(arithmetic),
        checkpoint=checkpoint,
        tools=tools,
        strength=strength,
    )


def arithmetics_of(path: Path) -> list[str]:
    """Arithmetics in which the compiled core runs a .tflite: its engines take the file's weights.

    Raises:
        UserError: As `read_model` does.
    """
    manifest, weights = _read(path)
    return [name for name in weights if _try(path, manifest, weights, name) is not None]


def load_from_core(model: Path, arithmetic: str | None = None) -> GeneratedEngine:
    """The compiled core's engine with the weights that a model carries.

    Args:
        model: A .tflite.
        arithmetic: A name of `ARITHMETICS`; None for the first of these that the model has weights
            for.

    Raises:
        UserError: There is no compiled core, or the model has no such weights.
    """
    manifest, weights = _read(model)
    found = arithmetic or next((name for name in ARITHMETICS if name in weights), "float")
    return _load(model, manifest, weights, found)


def load_by_stft(model: Path, stft: str | None) -> GeneratedEngine:
    """The compiled core's engine for a .tflite, whose STFT is of that kind (None for any).

    That which computes what the file does, if there is one, else the first that the model has
    weights for.

    Raises:
        UserError: As `load_from_core` does.
    """
    manifest, weights = _read(model)
    same = same_arithmetic(manifest, weights)
    found = [name for name in ARITHMETICS if stft in (None, stft_of(name))]
    found.sort(key=lambda name: (name not in weights, name != same))
    return _load(model, manifest, weights, found[0])


def load_the_same(model: Path, stft: str | None = None) -> GeneratedEngine | None:
    """The compiled core's engine that computes what a .tflite does; None where there is none.

    Args:
        model: A .tflite.
        stft: The kind of STFT that is wanted; None for any.

    Raises:
        UserError: As `read_model` does.
    """
    manifest, weights = _read(model)
    same = same_arithmetic(manifest, weights)
    if same is None or stft not in (None, stft_of(same)):
        return None
    # Without a core, or with one without this engine, the .tflite runs in its runtime.
    return _try(model, manifest, weights, same)


def _read(model: Path) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of a .tflite, and the weights beside it by arithmetic."""
    data, manifest = read_model(model)
    return manifest, attached_weights(data)


def _load(
    model: Path, manifest: Manifest, weights: Mapping[str, bytes], arithmetic: str
) -> GeneratedEngine:
    if arithmetic not in weights:
        raise UserError(
            f"{model} has no weights for the C engine in {arithmetic}; one that edge-se quantize "
            f"--precision {RECIPES[arithmetic]} makes of a GTCRN of the usual size has"
        )
    core = load_core()
    if core is None:
        raise UserError(
            "the C engine is part of the compiled core, which this installation has not; install a "
            "wheel for this platform, or choose another engine"
        )
    described = engine_manifest(
        *(manifest.architecture, arithmetic, manifest.signal, manifest.checkpoint, manifest.tools),
        manifest.strength,
    )
    return GeneratedEngine(core, model, arithmetic, described, weights[arithmetic])


def _try(
    model: Path, manifest: Manifest, weights: Mapping[str, bytes], arithmetic: str
) -> GeneratedEngine | None:
    try:
        return _load(model, manifest, weights, arithmetic)
    except UserError:
        return None


def same_arithmetic(manifest: Manifest, weights: Mapping[str, bytes]) -> str | None:
    """The arithmetic that computes what a file does: to the bit, in float up to rounding."""
    if "int8" in weights:  # made of the file's own integers
        return "int8"
    return "float" if manifest.precision == "float" and "float" in weights else None


def read_compiled(path: Path) -> Manifest:
    """The manifest of a library that `edge-se compile` made, read without loading the library.

    Raises:
        UserError: There is no such file, it is no such library, or it is damaged.
    """
    return _read_library(path)[1]


def _read_library(path: Path) -> tuple[bytes, Manifest]:
    data, manifest = read_model(path)
    if manifest.precision not in ARITHMETICS:
        raise UserError(f"{path} computes in {manifest.precision}, which this edge-se can't run")
    return data, manifest


def load_compiled(path: Path) -> GeneratedEngine:
    """The engine in a library that `edge-se compile` made.

    A library is a program: loading it runs what it says. What it is, and that it is whole, is found
    before that.

    Raises:
        UserError: It is none, is damaged, is for another machine, or is not what its manifest says.
    """
    data, manifest = _read_library(path)
    weights = attached_weights(data).get(manifest.precision)
    if weights is None:
        raise UserError(f"{path} has no weights in {manifest.precision}; {_made_again(path)}")
    try:
        library = ctypes.PyDLL(str(path.resolve()))
    except OSError as error:
        raise UserError(
            f"{path} can't be loaded ({error}); it has to be compiled for this machine"
        ) from None
    return GeneratedEngine(library, path, manifest.precision, manifest, weights)
