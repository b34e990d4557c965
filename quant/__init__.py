"""Host pipeline: networks, calibration, quantization, training and evaluation.

`quant.quantize` is loaded on first use, so that `import quant` costs nothing.
"""

import os
from typing import TYPE_CHECKING, Any

# Before torch loads its threads, which else spin for milliseconds while they wait for each other:
# beside one other busy process, quantizing on two cores then took more than three times as long.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

if TYPE_CHECKING:
    from quant.graph.recipes import Recipe
    from quant.quantized import Quantized, quantize

__all__ = ["Quantized", "Recipe", "quantize"]


def __getattr__(name: str) -> Any:
    if name == "Recipe":
        from quant.graph.recipes import Recipe

        return Recipe
    if name in __all__:
        from quant import quantized

        return getattr(quantized, name)
    raise AttributeError(f"module 'quant' has no attribute {name!r}")
