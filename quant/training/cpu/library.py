"""The C beside this file, compiled for this very processor when it is first needed.

It takes half a second with gcc (the first time 6 s with zig, which comes with the extra `quant`),
so no library is kept that another machine could meet.
"""

import ctypes
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from edge_se.core.build import THIS_PROCESSOR, BuildError, compile_library, find_compiler

FOLDER = Path(__file__).parent
# Sums may be made in another order, which vectors need.
OPTIONS = (THIS_PROCESSOR, "-fassociative-math", "-fno-signed-zeros")
_SUMS = ("sum_of_squares", "sum_of_excesses")

Result = TypeVar("Result")


def is_compiled_for(x: Tensor) -> bool:
    """Whether the functions compute with a tensor: float32 on a CPU, and they could be compiled."""
    return x.device.type == "cpu" and x.dtype == torch.float32 and library() is not None


def call(function: str, *arguments: Tensor | int | float) -> float:
    """Call a function with contiguous tensors, whole numbers and floats; returns a sum's result."""
    return getattr(library(), function)(*map(_argument, arguments))


def side_by_side(run: Callable[[int, int], Result], pieces: int) -> list[Result]:
    """Call `run(first, last)` on as many ranges of pieces as torch has threads."""
    threads = min(torch.get_num_threads(), pieces)
    if threads <= 1:
        return [run(0, pieces)]
    ends = [pieces * index // threads for index in range(threads + 1)]
    return list(_pool(threads).map(run, ends[:-1], ends[1:]))


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads)


def _argument(value: Tensor | int | float) -> ctypes._SimpleCData:
    if isinstance(value, Tensor):
        assert value.is_contiguous() and value.dtype == torch.float32
        return ctypes.c_void_p(value.data_ptr())
    return ctypes.c_long(value) if isinstance(value, int) else ctypes.c_float(value)


@cache
def library() -> ctypes.CDLL | None:
    """The compiled functions; None, and a line that says why, where they can't be compiled."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        path = Path(folder) / "training.so"
        try:
            compile_library(path, sorted(FOLDER.glob("*.c")), _compiler(), OPTIONS)
            compiled = ctypes.CDLL(str(path))
        except (BuildError, OSError) as error:
            print(
                f"edge-se: training with torch's own layers, which takes longer: {error}",
                file=sys.stderr,
            )
            return None
    for name in _SUMS:
        getattr(compiled, name).restype = ctypes.c_double
    return compiled


def _compiler() -> list[str]:
    try:
        return find_compiler()
    except BuildError:
        return [sys.executable, "-m", "ziglang", "cc"]
