"""The compiled core: signal paths in C, for where a compiler was at hand.

`fixed.c` gives the same bits as `edge_se.engines.fixed_path.FixedPath`, and `float.c` the same
samples, up to rounding, as `edge_se.stft.Stft`, in a few microseconds each. They are one shared
library called through ctypes, so one wheel serves every Python of a platform.
"""

import ctypes
import warnings
from functools import cache
from pathlib import Path
from typing import Any

LIBRARY = "_core.so"
# What `edge_se_core_version` of the library has to say.
VERSION = 4
_FUNCTIONS = (
    *("fixed_analyse", "fixed_synthesise", "stft_analyse", "stft_synthesise"),
    *("samples_to_int16", "samples_to_float"),
)
_ARRAYS = (
    *("window", "synthesis", "cosines", "sines", "twiddles", "samples", "output", "spectra"),
    *("exponents", "tail", "level", "features", "mask"),
)
_NUMBERS = (
    *("delay", "feature_bytes", "feature_multiplier", "feature_exponent", "feature_zero_point"),
    *("feature_low", "feature_high", "mask_bytes", "mask_exponent", "mask_zero_point"),
)


class Context(ctypes.Structure):
    """`struct context` of fixed_path.h: addresses of arrays the caller keeps, and parameters."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in _ARRAYS),
        *((name, ctypes.c_int32) for name in _NUMBERS),
    ]


class Level(ctypes.Structure):
    """`struct level` of level.h, as after a reset."""

    _fields_ = [(name, ctypes.c_int32) for name in ("target", "estimate", "hops", "exponent")]


class StftContext(ctypes.Structure):
    """`struct stft` of stft.h: addresses of arrays that the caller keeps."""

    _fields_ = [
        (name, ctypes.c_void_p)
        for name in (
            *("window", "cosines", "sines", "twiddles", "samples", "spectrum", "masked"),
            *("tail", "output"),
        )
    ]


class Samples(ctypes.Structure):
    """`struct samples` of samples.h: addresses of arrays that the caller keeps."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("floats", "integers")]


@cache
def load_core() -> Any | None:
    """The library, or None where none was built; a warning where the one there is another's."""
    path = Path(__file__).parent / LIBRARY
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
