"""Frames for little memory: what is never in use at once shares its place.

A field of the frame's memory is in use from the first statement that names it to the last one.
"""

import re
from collections.abc import Mapping, Sequence

from quant.c.engine import SIZES, Fields
from quant.c.memory import share
from quant.c.source import indented

ALIGNMENT = 8
FIELD = re.compile(r"\bk\.(\w+)")
# What the signal path does to fields that its context points to.
CONTEXT = "struct context context"
PATH: Mapping[str, tuple[str, ...]] = {
    "fixed_analyse(": ("features", "spectrum", "exponent"),
    "fixed_synthesise(": ("mask", "spectrum", "exponent"),
}


def late_margins(statements: Sequence[str]) -> list[str]:
    """The same statements, margins being cleared just before their field is used."""
    clearing = [line for line in statements if line.startswith("memset(k.")]
    result: list[str] = []
    for line in statements:
        if line in clearing:
            continue
        named = set(FIELD.findall(line))
        result += [memset for memset in clearing if FIELD.findall(memset)[0] in named]
        clearing = [memset for memset in clearing if FIELD.findall(memset)[0] not in named]
        result.append(line)
    return result


def packed(fields: Fields, statements: Sequence[str]) -> str:
    """Members of a union with the fields, by name: C type and count."""
    uses: dict[str, list[int]] = {name: [] for name in fields}
    for index, line in enumerate(statements):
        named = [] if line.startswith(CONTEXT) else FIELD.findall(line)
        for beginning, names in PATH.items():
            named += names if line.startswith(beginning) else ()
        for name in named:
            uses[name].append(index)
    used = {name: (min(where), max(where)) for name, where in uses.items() if where}
    sizes = [-(-SIZES[fields[name][0]] * fields[name][1] // ALIGNMENT) * ALIGNMENT for name in used]
    members = []
    for name, begin in zip(used, share(sizes, list(used.values())), strict=True):
        kind, count = fields[name]
        before = f"char before_{name}[{begin}]; " if begin else ""
        members.append(f"struct {{ {before}{kind} {name}{f'[{count}]' if count > 1 else ''}; }};")
    return indented(members)
