"""The one place that decides between the compiled core and NumPy.

What the core computes depends on what it was written for: one transform, and hops of one size. All
else runs in NumPy, as everything does where no core was built.
"""

import warnings
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from edge_se import fixed
from edge_se.core import load_core
from edge_se.engines.samples import CompiledSamples, IntegerSamples, Process
from edge_se.level import FloatFrontEnd
from edge_se.manifest import Manifest
from edge_se.signal import Signal
from edge_se.stft import Stft

if TYPE_CHECKING:
    from edge_se.engines.compiled_front_end import CompiledFrontEnd
    from edge_se.engines.compiled_stft import CompiledStft
    from edge_se.engines.loop import SignalPath


def core_for(signal: Signal) -> Any | None:
    """The compiled core, if there is one and it has the size of the signal's transform."""
    return load_core() if fixed.has_transform(signal) else None


def make_stft(signal: Signal) -> "Stft | CompiledStft":
    """The float STFT."""
    core = core_for(signal)
    if core is None:
        return Stft(signal)
    from edge_se.engines.compiled_stft import CompiledStft

    return CompiledStft(core, signal)


def make_front_end(signal: Signal) -> "FloatFrontEnd | CompiledFrontEnd | None":
    """The front end of float samples; None where the signal keeps its level."""
    if signal.level_dbfs is None:
        return None
    core = core_for(signal)
    if core is None:
        return FloatFrontEnd(signal)
    from edge_se.engines.compiled_front_end import CompiledFrontEnd

    return CompiledFrontEnd(core, signal)


def make_path(
    stft: str, manifest: Manifest, features: NDArray[Any], mask: NDArray[Any]
) -> "SignalPath":
    """The signal path of a kind of STFT around a step.

    Args:
        stft: "float" or "fixed".
        manifest: Of the step's model.
        features: The step's input, which the path writes.
        mask: The step's output, which it reads.

    Raises:
        UserError: The fixed-point path can't serve this model.
    """
    if stft == "float":
        from edge_se.engines.float_path import FloatPath

        return FloatPath(manifest, features, mask)
    core = core_for(manifest.signal)
    if core is not None:
        from edge_se.engines.compiled_path import CompiledPath

        return CompiledPath(core, manifest, features, mask)
    from edge_se.engines.fixed_path import FixedPath

    path = FixedPath(manifest, features, mask)
    warnings.warn(
        "the fixed-point STFT runs in NumPy, several times slower than the model: install a "
        "wheel of edge-se for this platform, or take the float STFT (--stft float)",
        RuntimeWarning,
        stacklevel=2,
    )
    return path


def float_samples(process: Process, hop: int) -> Process:
    """A `process` of float samples around one of int16."""
    core = load_core()
    if core is None or hop != CompiledSamples.HOP:
        return IntegerSamples(process, hop).process
    return CompiledSamples(core, process).process
