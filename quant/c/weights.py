"""Weights of a C engine as data: numbers and tables one after the other, checked when loaded.

The engine's source has a struct of the same fields. `edge_se/core/weights.h` checks a blob:
a header of 32 bytes, then what depends on the checkpoint, little-endian; each array begins at a
multiple of 16 bytes.
"""

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant.c.source import C_TYPES, identifier

MAGIC = int.from_bytes(b"ESEW", "little")
# Raised whenever the same arrays come to mean something else.
VERSION = 1
ALIGNMENT = 16
HEADER_SIZE = 32
# Kinds of numbers that are checked one by one, as the enum of weights.h calls them.
_CHECKED = {np.dtype(np.float32): "FLOAT32", np.dtype(np.int32): "INT32"} | {
    np.dtype(np.uint16): "UINT16"
}

# What is done to a table.
Change = Callable[[NDArray[Any]], NDArray[Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of single numbers; those of all layers lie side by side.

    Attributes:
        name: of their array.
        dtype: float32 or int32.
        low, high: between which an engine takes them.
    """

    name: str
    dtype: Any = np.int32
    low: int = 0
    high: int = 0


@dataclass(frozen=True)
class _Array:
    """An array of the blob; `count` elements of it are room for `content` and padding."""

    name: str
    content: NDArray[Any]
    low: int
    high: int

    @property
    def count(self) -> int:
        """Elements up to the next multiple of 16 bytes."""
        size = self.content.itemsize
        return -(-self.content.size * size // ALIGNMENT) * ALIGNMENT // size

    @property
    def is_checked(self) -> bool:
        """Whether not every content will do."""
        return self.content.dtype == np.float32 or self.low < self.high


class Weights:
    """Everything of an engine that depends on the checkpoint."""

    def __init__(self) -> None:
        self._numbers: dict[Kind, list[float]] = {}
        self._tables: dict[str, _Array] = {}

    def number(self, kind: Kind, value: float) -> str:
        """Add a number; what C calls it.

        Raises:
            ValueError: It is out of its kind's bounds.
        """
        if kind.dtype is not np.float32 and not kind.low <= value <= kind.high:
            raise ValueError(f"a {kind.name} of {value} is not between {kind.low} and {kind.high}")
        numbers = self._numbers.setdefault(kind, [])
        numbers.append(value)
        return f"w->{kind.name}[{len(numbers) - 1}]"

    def numbers(self, kind: Kind) -> list[float]:
        """All numbers of a kind."""
        return self._numbers.get(kind, [])

    def table(self, name: str, content: NDArray[Any], low: int = 0, high: int = 0) -> str:
        """Add a table under a value's name; what C calls it.

        Args:
            name: of the value, and of what it is a table of.
            content: of one of the types of `C_TYPES`.
            low: with `high`, bounds within which an engine takes it; any content, if both are 0.
            high: see `low`.
        """
        name = identifier(name)
        if name in self._tables:
            raise ValueError(f"two tables are called {name}")
        self._tables[name] = _Array(name, content.ravel(), low, high)
        return f"w->{name}"

    def changed(self, changes: Mapping[str, Change]) -> "Weights":
        """The same with tables that something was done to, by the names they were added under."""
        others = Weights()
        others._numbers, others._tables = self._numbers, dict(self._tables)
        for name, change in changes.items():
            array = self._tables[identifier(name)]
            others._tables[array.name] = replace(array, content=change(array.content))
        return others

    @property
    def fields(self) -> dict[str, tuple[str, int]]:
        """Of the struct: C type and elements by name."""
        return {array.name: (C_TYPES[array.content.dtype], array.count) for array in self._arrays()}

    @property
    def bounds(self) -> list[tuple[str, int, str, int, int]]:
        """What an engine has to look at: an array's name, elements, kind, lowest and highest."""
        return [
            (array.name, array.content.size, _CHECKED[array.content.dtype], array.low, array.high)
            for array in self._arrays()
            if array.is_checked
        ]

    @property
    def size(self) -> int:
        """Bytes of the blob."""
        return HEADER_SIZE + sum(array.count * array.content.itemsize for array in self._arrays())

    def layout(self, engine: str) -> tuple[int, int]:
        """What tells blobs of this engine (network and arithmetic) from all others: 64 bits."""
        lines = [engine] + [
            f"{array.content.dtype.name} {array.content.size} {array.low} {array.high}"
            for array in self._arrays()
        ]
        digest = hashlib.sha256("\n".join(lines).encode()).digest()
        return int.from_bytes(digest[:4], "little"), int.from_bytes(digest[4:8], "little")

    def blob(self, engine: str, sample_rate: int, checkpoint: str) -> bytes:
        """All of it as bytes, to be loaded by this engine.

        Args:
            engine: its name.
            sample_rate: in Hz, of what the network hears.
            checkpoint: SHA-256 of the file with its weights, in hexadecimal.
        """
        parts = []
        for array in self._arrays():
            padded = np.zeros(array.count, array.content.dtype)
            padded[: array.content.size] = array.content
            parts.append(padded.astype(padded.dtype.newbyteorder("<")).tobytes())
        body = b"".join(parts)
        followed = struct.pack("<2I", sample_rate, int(checkpoint[:8], 16)) + body
        header = struct.pack(
            "<6I", MAGIC, VERSION, *self.layout(engine), self.size, zlib.crc32(followed)
        )
        return header + followed

    def _arrays(self) -> Iterator[_Array]:
        for kind, numbers in self._numbers.items():
            yield _Array(kind.name, np.array(numbers, kind.dtype), kind.low, kind.high)
        yield from self._tables.values()
