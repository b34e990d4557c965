"""Edge speech enhancement: the device runtime.

`edge_se.Enhancer`, `edge_se.ChunkedEnhancer` and `edge_se.__version__` are found on first use, so
that `import edge_se` costs nothing.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge_se.chunks import ChunkedEnhancer
    from edge_se.enhancer import Enhancer

    __version__: str

__all__ = ["ChunkedEnhancer", "Enhancer", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Enhancer":
        from edge_se.enhancer import Enhancer

        return Enhancer
    if name == "ChunkedEnhancer":
        from edge_se.chunks import ChunkedEnhancer

        return ChunkedEnhancer
    if name == "__version__":
        from importlib.metadata import version

        return version("edge-se")
    raise AttributeError(f"module 'edge_se' has no attribute {name!r}")
