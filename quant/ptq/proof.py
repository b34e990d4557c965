"""Every model file runs before it is handed out: in a process of its own, against its simulation.

A runtime that refuses or aborts on a graph does so there, and a file that computes something else
than was simulated is found, before anyone has it. What is compiled for another machine can't be.
"""

import os
import signal as signals
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import torch

from calib_data import clips_folder
from edge_se.engines import ENGINES
from edge_se.errors import UserError
from edge_se.signal import Signal
from quant.audio.clips import Clip, read_clip
from quant.graph.execute import Hook
from quant.graph.graph import Graph
from quant.networks.checkpoint import Checkpoint
from quant.ptq.offline import enhance_offline

SECONDS = 3
TIMEOUT_S = 300
# SNR in dB of a file's output to its simulation's. Float ones differ by rounding; in integers, sums
# round elsewhere now and then, and states carry that on; what is miswired comes to 0 or less.
LEAST_SNR_DB = {"float": 60.0, "rounded": 10.0}
# Where rounding alone takes a network farther than that from float, rounding elsewhere, as each
# kind of processor does, may take it as far again: so much less than that is asked for, and more
# than what is miswired has.
ROUNDED_APART_DB, MISWIRED_DB = 3.0, 3.0
LEAST_ENERGY = 2.0**-30  # of a sample: one step of int16

# What the child runs: the device's own loop, and nothing of the host's.
_CHILD = """
import sys
import numpy as np
from edge_se.errors import UserError
from edge_se.model_file import read_manifest
model, samples, out, engine = sys.argv[1:]
try:
    from pathlib import Path
    manifest = read_manifest(Path(model))
    if manifest.chunk is None:
        from edge_se import Enhancer
        result = Enhancer(model, engine).enhance(np.load(samples))
    else:
        from edge_se.engines.window import TfliteWindow
        shape = manifest.tensors.features.shape[1:]
        result = TfliteWindow(Path(model)).run(np.ones(shape, np.float32))
except UserError as error:
    sys.exit(f"UserError: {error}")
np.save(out, result)
"""


@cache
def speech(rate: int) -> np.ndarray:
    """Embedded speech with some noise in it, at `rate` Hz: float32 [n]."""
    clip = read_clip(clips_folder() / "clean" / "en_01.flac", rate)
    assert isinstance(clip, Clip)
    samples = clip.samples[: SECONDS * rate]
    noise = np.random.default_rng(0).standard_normal(len(samples))
    return (samples + 0.005 * noise).astype(np.float32)


def run_apart(content: bytes, samples: np.ndarray, engine: str = "tflite") -> np.ndarray:
    """Run a model file over samples (float32 [n]) in a process of its own; what it puts out.

    A separator gets one window of ones. The engine is one of `edge_se.engines.ENGINES`.

    Raises:
        UserError: it can't be run; the message says why.
    """
    with tempfile.TemporaryDirectory(prefix="edge-se-") as name:
        folder = Path(name)
        names = (f"model{ENGINES[engine]}", "in.npy", "out.npy")
        model, heard_file, out = (folder / name for name in names)
        model.write_bytes(content)
        np.save(heard_file, samples)
        try:
            result = subprocess.run(
                [sys.executable, "-c", _CHILD, model, heard_file, out, engine],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        except subprocess.TimeoutExpired:
            raise UserError(_useless(f"did not finish within {TIMEOUT_S} s")) from None
        if result.returncode == 0 and out.is_file():
            found: np.ndarray = np.load(out)
            return found
    raise UserError(_useless(_reason(result.returncode, result.stderr)))


def _reason(status: int, errors: str) -> str:
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    last = lines[-1].removeprefix("UserError: ") if lines else f"ended with status {status}"
    if status < 0:
        return f"made the runtime end by {signals.Signals(-status).name} ({last})"
    return f"can't be run ({last})"


def _useless(reason: str) -> str:
    return (
        f"the model file that was made {reason}, so it was not written; calibrate with other clips "
        "(usual levels, real recordings), or choose another --precision"
    )


def simulated(
    graph: Graph, signal: Signal, samples: np.ndarray, hook: Hook | None = None
) -> np.ndarray:
    """What a graph makes of samples (float32 [n]), rounded by a hook: float32 [n]."""
    clip = torch.from_numpy(samples)[None]
    enhanced: np.ndarray = enhance_offline(graph, signal, clip, hook).samples[0].numpy()
    return enhanced


def prove_against_torch(
    content: bytes,
    checkpoint: Checkpoint,
    signal: Signal,
    engine: str = "tflite",
    rounded: bool = False,
) -> None:
    """Run a model file over embedded speech and compare it with the float network in torch.

    Raises:
        UserError: it can't be run, or puts out something else.
    """
    samples = speech(signal.sample_rate)
    expected = simulated(checkpoint.graph(), signal, samples)
    prove(content, samples, expected, rounded, engine)


def prove(
    content: bytes,
    samples: np.ndarray,
    expected: np.ndarray,
    rounded: bool,
    engine: str = "tflite",
    unrounded: Callable[[], np.ndarray] | None = None,
) -> None:
    """Run a model file over samples and compare.

    Args:
        content: of the model file.
        samples: what it hears, float32 [n].
        expected: what its simulation puts out, float32 [n].
        rounded: whether it computes in integers.
        engine: that runs it.
        unrounded: gives what the float network puts out, where rounding may have taken it far from
            that.

    Raises:
        UserError: it can't be run, or puts out something else.
    """
    require_near(run_apart(content, samples, engine), expected, rounded, unrounded)


def require_near(
    found: np.ndarray,
    expected: np.ndarray,
    rounded: bool,
    unrounded: Callable[[], np.ndarray] | None = None,
) -> None:
    """Raise UserError where what a file puts out is not what its simulation does.

    Args:
        found: what the file puts out, float32 of any shape.
        expected: the same of its simulation.
        rounded: whether the file computes in integers.
        unrounded: gives the same of the float network, if need be; None where that is not at hand.
    """
    require_finite(found)
    least = LEAST_SNR_DB["rounded" if rounded else "float"]
    # What is below one step of an int16 sample counts for nothing.
    error = float(np.square(found - expected, dtype=np.float64).sum())
    if error <= found.size * LEAST_ENERGY:
        return
    snr = snr_db(found, expected)
    if snr < least and unrounded is not None:
        least = min(least, max(snr_db(expected, unrounded()) - ROUNDED_APART_DB, MISWIRED_DB))
    if snr < least:
        raise UserError(
            _useless(f"differs from its simulation (SNR {snr:.0f} dB, at least {least:.0f})")
        )


def require_finite(found: np.ndarray) -> None:
    """Raise UserError where a file puts out values that are not finite."""
    if not np.isfinite(found).all():
        raise UserError(_useless("puts out values that are not finite"))


def snr_db(found: np.ndarray, expected: np.ndarray) -> float:
    """Ratio of what was expected to the error of what was found, in dB."""
    error = float(np.square(found - expected, dtype=np.float64).sum())
    loudness = float(np.square(expected, dtype=np.float64).sum())
    return float(10 * np.log10((loudness + found.size * LEAST_ENERGY) / (error + 1e-20)))
