"""Statements that come again and again, at places in even steps, as loops."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

LONGEST_PERIOD, LEAST_REPEATS = 4, 3
_POINTER = re.compile(r"\b([kw](?:\.|->)\w+|s->\w+)(?![\w\[])(?: \+ (\d+))?")


@dataclass(frozen=True)
class _Statement:
    """A statement without the places in it, and these places."""

    text: str
    offsets: tuple[int, ...]

    def moved(self, steps: Sequence[int]) -> str:
        """The statement again, its places moved by so much each time."""
        pieces = self.text.split("@")
        for index, (offset, step) in enumerate(zip(self.offsets, steps, strict=True)):
            begin = f" + {offset}" if offset else ""
            pieces[index] += begin + (f" + {step} * n" if step else "")
        return "".join(pieces)


def rolled(statements: Sequence[str]) -> list[str]:
    """The same statements, those that come again in loops."""
    parsed = [_parsed(statement) for statement in statements]
    found, index = [], 0
    while index < len(parsed):
        period, repeats, steps = _longest(parsed, index)
        if not period:
            found.append(statements[index])
            index += 1
            continue
        body = (
            statement.moved(by)
            for statement, by in zip(parsed[index : index + period], steps, strict=True)
        )
        found.append(f"ROLLED for (int n = 0; n < {repeats}; n++) {{")
        found += [f"    {line}" for line in body]
        found.append("}")
        index += period * repeats
    return found


def _parsed(statement: str) -> _Statement:
    offsets = tuple(int(offset or 0) for _, offset in _POINTER.findall(statement))
    return _Statement(_POINTER.sub(r"\1@", statement), offsets)


def _longest(
    statements: Sequence[_Statement], begin: int
) -> tuple[int, int, list[tuple[int, ...]]]:
    """Period, repeats and steps of the loop that begins here and takes in most; zeros if none."""
    best: tuple[int, int, list[tuple[int, ...]]] = (0, 0, [])
    for period in range(1, LONGEST_PERIOD + 1):
        steps, repeats = _steps(statements, begin, begin + period, period), 1
        while steps is not None and steps == _steps(
            statements, begin + (repeats - 1) * period, begin + repeats * period, period
        ):
            repeats += 1
        if steps is not None and repeats >= LEAST_REPEATS and period * repeats > best[0] * best[1]:
            best = period, repeats, steps
    return best


def _steps(
    statements: Sequence[_Statement], first: int, second: int, count: int
) -> list[tuple[int, ...]] | None:
    """By how much places differ between two runs of statements; None where more does, or less."""
    pairs = list(
        zip(statements[first : first + count], statements[second : second + count], strict=False)
    )
    steps = [tuple(b - a for a, b in zip(x.offsets, y.offsets, strict=False)) for x, y in pairs]
    alike = len(pairs) == count and all(x.text == y.text for x, y in pairs)
    return steps if alike and min(min(step, default=0) for step in steps) >= 0 else None
