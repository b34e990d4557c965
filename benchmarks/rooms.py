"""Count rooms, floors, arrows and circles of every package: how crowded is the house?

`python -m benchmarks.rooms` measures this checkout, `--at FOLDER` another one. The counting rule:

- A *room* is a direct child of a package, a module or a subpackage; `__init__` is none.
- An *arrow* goes from one room to another room of the same package if any module of the first
  imports anything of the second, anywhere in its text: inside functions and under `TYPE_CHECKING`
  too. Two rooms have one arrow each way at most.
- A *circle* is a group of rooms that all reach each other along arrows.
- A room stands one *floor* above the highest room that it imports; rooms of a circle share a floor.
- *Lines* are all lines of the files that belong to the package, C with its headers.
"""

import argparse
import ast
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from edge_se.text_table import aligned

PACKAGES = ("edge_se", "quant", "targets", "calib_data", "benchmarks")
C_SUFFIXES = (".c", ".h")
REPOSITORY = Path(__file__).resolve().parent.parent

Arrows = Mapping[str, set[str]]


@dataclass(frozen=True)
class House:
    """What was counted of one package.

    Attributes:
        package: Its name.
        rooms: Number of direct children.
        floors: Number of floors.
        arrows: Number of pairs of rooms of which the first imports the second.
        circles: Rooms that reach each other, group by group.
        python_lines: Lines of Python.
        c_lines: Lines of C.
    """

    package: str
    rooms: int
    floors: int
    arrows: int
    circles: tuple[tuple[str, ...], ...]
    python_lines: int
    c_lines: int


def measure(root: Path, package: str) -> House:
    """Count one package of a checkout.

    Args:
        root: Folder of the checkout.
        package: Name of the package, a folder in `root`.
    """
    modules = find_modules(root, package)
    arrows = find_arrows(modules)
    circles = find_circles(arrows)
    return House(
        package,
        rooms=len(arrows),
        floors=max(find_floors(arrows).values(), default=0),
        arrows=sum(map(len, arrows.values())),
        circles=circles,
        python_lines=_lines(root / package, (".py",)),
        c_lines=_lines(root / package, C_SUFFIXES),
    )


def find_modules(root: Path, package: str) -> dict[str, Path]:
    """Every module of a package by its full name; a subpackage is named as its `__init__`."""
    modules = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return modules


def find_arrows(modules: Mapping[str, Path]) -> dict[str, set[str]]:
    """Of every room, the rooms that it imports."""
    arrows: dict[str, set[str]] = {room: set() for room in map(_room, modules) if room}
    for name, path in modules.items():
        room = _room(name)
        if room:
            targets = find_imports(path) & set(modules)
            arrows[room] |= set(map(_room, targets)) - {"", room}
    return arrows


def find_imports(path: Path) -> set[str]:
    """Full names of all that a file imports, anywhere in it: modules, and what is in them."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            # `from package.room import module` is an import of the module, where there is one.
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def find_circles(arrows: Arrows) -> tuple[tuple[str, ...], ...]:
    """Groups of two and more rooms that all reach each other."""
    reached = {room: _reach(room, arrows) for room in arrows}
    groups = {
        tuple(sorted(other for other in reached[room] if room in reached[other])) for room in arrows
    }
    return tuple(sorted(group for group in groups if len(group) > 1))


def find_floors(arrows: Arrows) -> dict[str, int]:
    """The floor of every room, from 1."""
    circle = {room: group for group in find_circles(arrows) for room in group}
    floors: dict[str, int] = {}

    def floor(room: str) -> int:
        if room not in floors:
            together = circle.get(room, (room,))
            below = {other for member in together for other in arrows[member]} - set(together)
            height = 1 + max(map(floor, below), default=0)
            floors.update(dict.fromkeys(together, height))
        return floors[room]

    for room in arrows:
        floor(room)
    return floors


def format_table(houses: list[House]) -> str:
    """The houses as a table for people."""
    header = ("package", "rooms", "floors", "arrows", "circles", "Python lines", "C lines")
    rows = [header] + [
        (
            house.package,
            *map(str, (house.rooms, house.floors, house.arrows, len(house.circles))),
            *map(str, (house.python_lines, house.c_lines)),
        )
        for house in houses
    ]
    lines = aligned(rows, right=range(1, len(rows[0])))
    for house in houses:
        lines += [f"circle in {house.package}: {', '.join(circle)}" for circle in house.circles]
    return "\n".join(lines)


def main() -> int:
    """Measure a checkout and print what was counted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument(
        "--at", type=Path, default=REPOSITORY, metavar="FOLDER", help="checkout to measure"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    packages = [name for name in PACKAGES if (arguments.at / name).is_dir()]
    if not packages:
        parser.error(f"{arguments.at} has none of the folders {', '.join(PACKAGES)}")
    houses = [measure(arguments.at, package) for package in packages]
    print(
        json.dumps(list(map(asdict, houses)), indent=1) if arguments.json else format_table(houses)
    )
    return 0


def _room(module: str) -> str:
    """The room that a module is in; the empty string for the package itself."""
    return module.split(".")[1] if "." in module else ""


def _reach(room: str, arrows: Arrows) -> set[str]:
    """Rooms at the end of any path of arrows from a room, itself included."""
    seen, waiting = {room}, [room]
    while waiting:
        new = arrows[waiting.pop()] - seen
        seen |= new
        waiting += new
    return seen


def _lines(folder: Path, suffixes: tuple[str, ...]) -> int:
    files = (path for path in folder.rglob("*") if path.suffix in suffixes)
    return sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files)


if __name__ == "__main__":
    raise SystemExit(main())
