"""The compiled core: signal paths in C, for where a compiler was at hand.

`fixed.c` gives the same bits as `edge_se.engines.fixed_path.FixedPath`, and `float.c` and
`double.c` the same samples, up to rounding, as `edge_se.stft.Stft` and
`edge_se.level.FloatFrontEnd`, in a few microseconds each.
They are one shared library called through ctypes, so one wheel serves every Python of a platform.
All C headers of the project lie here, each once. In `engine/` lie the sources of networks' engines
without weights (see `edge_se.engines.generated`), which `make default-model` writes; they are part
of the library too.
"""

import ctypes
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_se.machine import processor_features

if TYPE_CHECKING:  # what compiles the core may have no NumPy
    from edge_se.level import LevelNormalizer

LIBRARY = "_core.so"
# The same for processors with more instructions: the compiler's options, what /proc/cpuinfo calls
# them, and the machine, as compilers call it. Tried in this order.
VARIANTS = {
    "_core_avx2.so": (("-mavx2", "-mfma"), {"avx2", "fma"}, "x86_64"),
    "_core_dotprod.so": (("-mcpu=cortex-a55",), {"asimddp"}, "aarch64"),
}
# What `edge_se_core_version` of the library has to say.
VERSION = 16
_FUNCTIONS = (
    *("fixed_analyse", "fixed_synthesise", "float_level", "stft_analyse", "stft_synthesise"),
    *("stft_analyse_double", "stft_synthesise_double", "samples_to_int16", "samples_to_float"),
)
_ARRAYS = (
    *("sines", "window", "synthesis", "logarithms", "twiddles", "samples", "output", "spectra"),
    *("exponents", "tail", "level"),
    *("band_first", "band_until", "band_weight", "features", "mask"),
)
_NUMBERS = (
    *("delay", "feature_bytes", "feature_multiplier", "feature_exponent", "feature_zero_point"),
    *("feature_low", "feature_high", "least_logarithm", "mask_rows", "mask_bytes"),
    *("mask_multiplier", "mask_exponent"),
    *(
        "mask_zero_point",
        "mask_unit",
        "least_gain",
        "dry",
        "bands",
        "bands_alike",
        "bound_exponent",
        "excess_shift",
    ),
)


class Context(ctypes.Structure):
    """`struct context` of fixed_path.h: addresses of arrays the caller keeps, and parameters."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in _ARRAYS),
        *((name, ctypes.c_int32) for name in _NUMBERS),
    ]


# Of a signal, attributes of `edge_se.level.LevelNormalizer`.
LEVEL_PARAMETERS = (
    *("target", "silence", "rise", "fall", "first_weight"),
    *("above_floor", "largest", "limit", "knock", "patience", "removes_dc"),
)
# Its state: at a reset the first two are the target, and all others 0.
LEVEL_STATE = (
    *("estimate", "floor", "hops", "exponent", "previous", "loud"),
    *("kept_estimate", "kept_exponent", "event", "dc", "dc_hops"),
)


class Level(ctypes.Structure):
    """`struct level` of level.h, as after a reset."""

    _fields_ = [(name, ctypes.c_int32) for name in (*LEVEL_PARAMETERS, *LEVEL_STATE)]


def make_level(normalizer: "LevelNormalizer") -> Level:
    """A level as a normalizer has it, before the first hop."""
    level = Level(**{name: getattr(normalizer, name) for name in LEVEL_PARAMETERS})
    reset_level(level)
    return level


def reset_level(level: Level) -> None:
    """Bring a level's state to what it is before the first hop."""
    state = Level.estimate.offset
    ctypes.memset(ctypes.addressof(level) + state, 0, ctypes.sizeof(level) - state)
    level.estimate = level.floor = level.target


class FloatLevel(ctypes.Structure):
    """`struct float_level` of float.c: addresses of what the caller keeps, and its state."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("level", "samples")),
        ("mean", ctypes.c_float),
        ("exponent", ctypes.c_int32),
    ]


class StftContext(ctypes.Structure):
    """`struct stft` of stft.h: addresses of arrays that the caller keeps."""

    _fields_ = [
        (name, ctypes.c_void_p)
        for name in (
            *("window", "synthesis", "cosines", "sines", "twiddles", "samples", "spectrum"),
            *("masked", "tail", "output"),
        )
    ]


class SampleBuffers(ctypes.Structure):
    """`struct samples` of samples.h: addresses of arrays that the caller keeps."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("floats", "integers")]


def core_path() -> Path:
    """Where the library for this processor is, or would be."""
    folder = Path(__file__).parent
    for name, (_, needed, _) in VARIANTS.items():
        if (folder / name).is_file() and needed <= processor_features():
            return folder / name
    return folder / LIBRARY


@cache
def load_core() -> Any | None:
    """The library, or None where none was built; a warning where the one there is another's."""
    path = core_path()
    if not path.is_file():
        return None
    try:
        # PyDLL keeps the interpreter's lock: releasing it costs as much as the call takes.
        library = ctypes.PyDLL(str(path))
        version = int(library.edge_se_core_version())
    except (OSError, AttributeError) as error:
        warnings.warn(f"{path} can't be used ({error}); NumPy runs instead", stacklevel=2)
        return None
    if version != VERSION:
        warnings.warn(
            f"{path} is of another version of edge-se; NumPy runs instead, or build it again with "
            f"python -m edge_se.core.build",
            stacklevel=2,
        )
        return None
    for name in _FUNCTIONS:
        function = getattr(library, f"edge_se_{name}")
        function.argtypes, function.restype = [ctypes.c_void_p], None
    return library
