"""Write docs/results.md, and a table of the README, from the JSON files in benchmarks/results/.

The command is `python -m benchmarks.results`.

Every published figure stands in one table of one of these files, beside the command that measures
it. To publish a figure, run that command, which puts the table there itself (`put`) or says what
to put, and run this one. Files become sections in the order of their names. A file holds:

    {"title": ..., "measured": how all of its tables were measured, "tables": [
        {"title": ..., "command": [lines], "measured": ..., "columns": [...], "rows": [[...]],
         "footnotes": [...]}]}

Cells are text, so that a figure keeps the digits that it was measured with. `measured` and
`footnotes` may be missing, `command` too where the section's holds.
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edge_se.files import write_whole

REPOSITORY = Path(__file__).resolve().parent.parent
FOLDER = Path(__file__).resolve().parent / "results"
PAGE, README = REPOSITORY / "docs" / "results.md", REPOSITORY / "README.md"
BUILT_IN = "What is built in"  # title of the table that the README has too

HEAD = (
    "# Results",
    "Every figure that this project publishes is here, and only here, with the command that "
    "measures it. `python -m benchmarks.results` writes this page from "
    "`benchmarks/results/*.json`: change those files, not the page. What was tried on the way is "
    "in the notes on [quantization](notes/quantization.md), [training](notes/training.md) and "
    "[performance](notes/performance.md); the [glossary](glossary.md) has the words.",
)

Content = Mapping[str, Any]


def render(folder: Path) -> str:
    """The page that the files of a folder make.

    Raises:
        ValueError: A file has a table with a row of another length than its columns.
    """
    parts = [*HEAD]
    for path in sorted(folder.glob("*.json")):
        parts += section(json.loads(path.read_text(encoding="utf-8")), path.name)
    return "\n\n".join(parts) + "\n"


def put(path: Path, *tables: Content, **head: Any) -> None:
    """Put tables into a file of results, where each replaces what it has of the one of its title.

    Args:
        path: Of the file.
        tables: With titles; what one of them lacks stays as it is.
        head: What the file says of all of them.
    """
    content: dict[str, Any] = {**head, "tables": []}
    if path.exists():
        content = json.loads(path.read_text(encoding="utf-8")) | head
    known = {table["title"]: table for table in content["tables"]}
    for table in tables:
        known[table["title"]] = {**known.get(table["title"], {}), **table}
    content["tables"] = list(known.values())
    write(path, content)


def rows_of(path: Path, title: str) -> list[list[str]]:
    """Rows that a file of results has in its table of a title; none where it has no such table."""
    if not path.exists():
        return []
    tables = json.loads(path.read_text(encoding="utf-8"))["tables"]
    return [row for table in tables if table["title"] == title for row in table["rows"]]


def write(path: Path, content: Content) -> None:
    """Write a file of results, every row of a table in a line."""
    lines: list[str] = []

    def in_a_line(cells: list[str]) -> str:
        lines.append(json.dumps(cells, ensure_ascii=False))
        return f"line {len(lines) - 1}"

    tables = [
        {
            **table,
            "columns": in_a_line(table["columns"]),
            "rows": [in_a_line(row) for row in table["rows"]],
        }
        for table in content["tables"]
    ]
    text = json.dumps({**content, "tables": tables}, indent=1, ensure_ascii=False)
    for number, line in enumerate(lines):
        text = text.replace(f'"line {number}"', line, 1)
    write_whole(path, text + "\n")


def main() -> int:
    """Write the page."""
    summary = (__doc__ or "").partition("\n")[0]
    argparse.ArgumentParser(description=summary).parse_args()
    page = render(FOLDER)
    readme = with_table(README.read_text(encoding="utf-8"), page)
    for path, text in ((PAGE, page), (README, readme)):
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path}")
    return 0


def with_table(readme: str, page: str) -> str:
    """The README, whose table of what is built in becomes that of the page of results."""
    pattern = re.compile(rf"{BUILT_IN}[^|]*?\n\n((?:^\|.*\n)+)", re.MULTILINE)
    there, here = pattern.search(page), pattern.search(readme)
    assert there and here, f"no table below {BUILT_IN!r}"
    return readme[: here.start(1)] + there[1] + readme[here.end(1) :]


def section(content: Content, name: str) -> Iterator[str]:
    """Paragraphs of a file of results, by its name."""
    yield f"## {content['title']}"
    yield from _explanation(content)
    for table in content["tables"]:
        yield f"### {table['title']}"
        yield from _explanation(table)
        for row in table["rows"]:
            if len(row) != len(table["columns"]):
                raise ValueError(
                    f"{name}, {table['title']}: a row is not as long as the head: {row}"
                )
        rule = ["---"] * len(table["columns"])
        yield "\n".join(map(_row, [table["columns"], rule, *table["rows"]]))
        yield from table.get("footnotes", ())


def _explanation(content: Content) -> Iterator[str]:
    if content.get("measured"):
        yield content["measured"]
    if content.get("command"):
        yield "\n".join(["```", *content["command"], "```"])


def _row(cells: list[str]) -> str:
    return "".join(f"| {cell} " if cell else "| " for cell in cells) + "|"


if __name__ == "__main__":
    raise SystemExit(main())
