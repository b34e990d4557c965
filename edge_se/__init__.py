"""Edge speech enhancement: the device runtime.

`edge_se.Enhancer` is loaded on first use, so that `import edge_se` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_se.enhancer import Enhancer

__all__ = ["Enhancer"]


def __getattr__(name: str) -> Any:
    if name == "Enhancer":
        from edge_se.enhancer import Enhancer

        return Enhancer
    raise AttributeError(f"module 'edge_se' has no attribute {name!r}")
