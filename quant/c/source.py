"""Pieces of generated C: tables, functions for shapes, and the frame's statements."""

import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 100
C_TYPES = {
    np.dtype(np.float32): "float",
    np.dtype(np.float64): "double",
    np.dtype(np.int8): "int8_t",
    np.dtype(np.int16): "int16_t",
    np.dtype(np.int32): "int32_t",
    np.dtype(np.uint8): "uint8_t",
    np.dtype(np.uint16): "uint16_t",
}


def identifier(name: str) -> str:
    """A value's dotted name as a C identifier."""
    return re.sub(r"\W", "_", name)


def number(value: Any) -> str:
    """A constant: integers as they are, floats by the shortest digits that give them back.

    A NumPy double is one in C; every other float is a float.
    """
    if isinstance(value, np.float64):
        return repr(float(value))
    if isinstance(value, np.floating | float):
        digits = np.format_float_scientific(np.float32(value), unique=True, trim="-", exp_digits=1)
        plain = np.format_float_positional(np.float32(value), unique=True, trim="-")
        shortest = min(plain, digits, key=len)
        return f"{shortest}f" if "." in shortest or "e" in shortest else f"{shortest}.f"
    return str(int(value))


class Source:
    """A C file under construction."""

    def __init__(self) -> None:
        self._tables: dict[str, str] = {}
        self._lean_tables: dict[str, str] = {}  # in place of those of these names
        self._functions: dict[str, str] = {}
        self.statements: list[str] = []

    def table(self, name: str, content: NDArray[Any], lean: NDArray[Any] | None = None) -> str:
        """Add a constant table (flattened), if need be another one for lean frames; its name."""
        self._tables[name] = _table(name, content)
        if lean is not None:
            self._lean_tables[name] = _table(name, lean)
        return name

    def function(self, stem: str, parameters: str, body: str, quick: str = "") -> str:
        """Add a function, or find the one with the same body; its name.

        Args:
            stem: of the name.
            parameters: of it in C.
            body: its statements.
            quick: an expression; where there is one, `body` is compiled for both values of it,
                which it reads as `quick`.
        """
        code = _braced(body)
        if quick:
            names = ", ".join(re.findall(r"(\w+)(?:,|$)", parameters))
            ways = f"if ({quick})\n    NAME_either(1, {names});\nelse\n    NAME_slowly({names});"
            both = f"INLINE void NAME_either(int quick, {parameters}){code}"
            # A function of its own, for which the other one saves no registers.
            slow = f"APART void NAME_slowly({parameters}){_braced(f'NAME_either(0, {names});')}"
            code = f"{both}\n\n{slow}\n\nAPART void NAME({parameters}){_braced(ways)}"
        else:
            code = f"APART void NAME({parameters}){code}"
        if code not in self._functions:
            count = sum(name.startswith(f"{stem}_") for name in self._functions.values())
            self._functions[code] = f"{stem}_{count}"
        return self._functions[code]

    def say(self, statement: str) -> None:
        """Add a statement of the frame."""
        self.statements.append(statement)

    def call(self, function: str, *arguments: str) -> None:
        """Add a call of a function as a statement of the frame."""
        self.say(f"{function}({', '.join(arguments)});")

    def tables(self, lean: bool) -> str:
        """All tables as C, of a lean frame or of others."""
        tables = self._tables | self._lean_tables if lean else self._tables
        return "\n".join(tables.values())

    @property
    def functions(self) -> str:
        """All functions as C."""
        return "\n\n".join(code.replace("NAME", name) for code, name in self._functions.items())

    @property
    def body(self) -> str:
        """The frame's statements."""
        return indented(self.statements)


def _table(name: str, content: NDArray[Any]) -> str:
    kind, numbers = C_TYPES[content.dtype], [number(value) for value in content.ravel()]
    lines = textwrap.wrap(", ".join(numbers), WIDTH, break_long_words=False)
    body = "\n".join(lines).replace(", ", ",")
    return f"static const {kind} {name}[{len(numbers)}] ALIGNED = {{\n{body}}};"


def _braced(body: str) -> str:
    return f"\n{{\n{textwrap.indent(body.strip(), '    ')}\n}}"


def indented(lines: Sequence[str]) -> str:
    """Lines of a function's body."""
    return textwrap.indent("\n".join(lines), "    ")


def initializer(**fields: Any) -> str:
    """A struct's value in the order of its fields."""
    return "{" + ", ".join(str(value) for value in fields.values()) + "}"
