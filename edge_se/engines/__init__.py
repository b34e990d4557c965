"""Engines: everything that can turn one hop of samples into one hop of enhanced samples.

Nothing outside this package knows which one runs.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_se.errors import UserError
from edge_se.manifest import STFTS, Manifest
from edge_se.states import StateCache
from edge_se.strength import Strength

# Model file suffix by engine. When no engine is asked for, or `AUTO`, the first that fits is taken,
# and C for a .tflite where it computes the same.
AUTO = "auto"
ENGINES = {"tflite": ".tflite", "onnxruntime": ".onnx", "c": ".so"}
# What trained weights are called, which no engine runs.
CHECKPOINTS = frozenset({".pt", ".pth", ".tar", ".ckpt", ".safetensors"})
# TFLite interpreters, in the order they are tried.
RUNTIMES = ("ai_edge_litert", "tflite_runtime", "tensorflow")
# Runs the same files as microcontrollers do; slow on a PC, so it is taken only when it is named.
MICRO = "tflite_micro"


class Engine(Protocol):
    """Turns one hop of samples into one hop of enhanced samples and owns its states.

    Attributes:
        manifest: Of the model it runs.
        cache: The model's states, by name.
        sample_dtype: Of the samples it takes and gives: float32, in [-1, 1], or int16.
    """

    manifest: Manifest
    cache: StateCache
    sample_dtype: np.dtype[Any]

    def process(self, samples: NDArray[Any], out: NDArray[Any]) -> None:
        """Take in one hop ([hop] of `sample_dtype`) and write one enhanced hop to `out`."""

    def reset(self) -> None:
        """Start anew, as after loading."""

    def set_strength(self, strength: Strength) -> None:
        """Limit what the mask does, from the next hop on and across resets."""

    def speech_probability(self) -> float:
        """Probability, 0 to 1, that the newest frame out holds speech; see `edge_se.speech`."""

    def describe(self) -> dict[str, Any]:
        """For reports: engine, runtime, runtime_version, threads, and what else matters."""


class StagedEngine(Engine, Protocol):
    """An engine whose `process` is its three stages called in this order."""

    def analyse(self, samples: NDArray[Any]) -> None:
        """Analysis: one hop of samples ([hop] of `sample_dtype`) to the step's features."""

    def infer(self) -> None:
        """Model: the one-frame step, and its states carried on."""

    def synthesise(self, out: NDArray[Any]) -> None:
        """Synthesis: the mask applied, and one enhanced hop written to `out`, as `process`."""


def load_engine(
    path: Path, engine: str | None = None, runtime: str | None = None, stft: str | None = None
) -> StagedEngine:
    """Load a model into the engine that fits its file, warmed up and reset.

    Args:
        path: Model file, .tflite, .onnx or .so.
        engine: A name of `ENGINES`; None or `AUTO` for C where it computes what the file does, and
            else for the one that the file's suffix asks for. "c" also runs a .tflite that carries
            weights for other arithmetics than its own.
        runtime: For TFLite, a name of `RUNTIMES`, of which None takes the first one installed, or
            `MICRO`.
        stft: A name of `STFTS`, or None for the one that the model's manifest says. For "c" it is
            all of the engine's arithmetic, and None means "float" where a .tflite has both.

    Raises:
        UserError: The file does not fit, or what is needed to run it is not installed.
    """
    chosen = engine in (None, AUTO)
    if chosen:
        engine = engine_of(path)
    elif engine not in ENGINES:
        raise UserError(f"there is no engine {engine!r}; choose from {', '.join(ENGINES)}")
    elif path.suffix != ENGINES[engine] and (engine, path.suffix) != ("c", ENGINES["tflite"]):
        raise UserError(f"the engine {engine} runs {ENGINES[engine]} files, which {path} is not")
    if stft is not None and stft not in STFTS:
        raise UserError(f"there is no STFT {stft!r}; choose from {', '.join(STFTS)}")
    if runtime is not None and engine != "tflite":
        raise UserError("a runtime can be chosen for the engine tflite only")
    if runtime is not None:
        return _load_tflite(path, stft, runtime)
    if chosen and engine == "tflite":
        from edge_se.engines.generated import load_the_same

        same = load_the_same(path, stft)
        if same is not None:
            return same
    return _LOADERS[engine](path, stft)


def engine_of(path: Path) -> str:
    """Name of the engine that a model file's suffix asks for.

    Raises:
        UserError: No engine has such files.
    """
    for name, suffix in ENGINES.items():
        if path.suffix == suffix:
            return name
    if path.suffix in CHECKPOINTS:
        raise UserError(
            f"{path} is a checkpoint by its name; make a model file of it first: edge-se quantize "
            f"{path} --out {path.stem}.tflite"
        )
    expected = " or ".join(ENGINES.values())
    raise UserError(f"{path} is no model file; its name has to end in {expected}")


# What each imports is imported when it is called: a board has only what it needs.
Loader: TypeAlias = Callable[[Path, str | None], StagedEngine]


def register(name: str, suffix: str, load: Loader) -> None:
    """Make an engine known that is not part of this package; it replaces one of its name.

    Args:
        name: For `Enhancer` and `--engine`.
        suffix: Of its model files, dot included.
        load: Makes it of a model file and a name of `STFTS` (None for what the model says); raises
            UserError where the file does not fit.
    """
    ENGINES[name], _LOADERS[name] = suffix, load


def _load_tflite(path: Path, stft: str | None, runtime: str | None = None) -> StagedEngine:
    from edge_se.engines.loop import FrameLoop

    if runtime == MICRO:
        from edge_se.engines.tflite_micro import MicroStep

        return FrameLoop(MicroStep(path), stft)
    from edge_se.engines.tflite import TfliteStep

    return FrameLoop(TfliteStep(path, runtime), stft)


def _load_onnx(path: Path, stft: str | None) -> StagedEngine:
    from edge_se.engines.loop import FrameLoop
    from edge_se.engines.onnx import OnnxStep

    return FrameLoop(OnnxStep(path), stft)


def _load_generated(path: Path, stft: str | None) -> StagedEngine:
    from edge_se.engines.generated import load_by_stft, load_compiled

    if path.suffix == ENGINES["tflite"]:
        return load_by_stft(path, stft)
    engine = load_compiled(path)
    if stft is not None and stft != engine.manifest.stft:
        raise UserError(f"{path} computes in {engine.manifest.precision}, which has no {stft} STFT")
    return engine


_LOADERS: dict[str, Loader] = {
    "tflite": _load_tflite,
    "onnxruntime": _load_onnx,
    "c": _load_generated,
}
