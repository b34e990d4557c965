"""Published figures come from one command, and what documents point to is there."""

import json
import re
from pathlib import Path

import pytest

from benchmarks import results

REPOSITORY = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)

TABLE = {
    "title": "Sizes",
    "command": ["edge-se inspect FILE"],
    "columns": ["model", "KB"],
    "rows": [["`int8`", "166"], ["noisy", ""]],
    "footnotes": ["KB are 1000 bytes."],
}


def _links(document: Path) -> list[str]:
    return LINK.findall(CODE.sub("", document.read_text(encoding="utf-8")))


def _anchors(document: Path) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading) for heading in headings)
    return {re.sub(r"[^\w\- ]", "", line.lower()).strip().replace(" ", "-") for line in plain}


def test_the_page_is_what_the_command_writes():
    page = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")

    assert page == results.render(results.FOLDER), "run python -m benchmarks.results"


def test_the_readme_has_the_table_of_what_is_built_in():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")

    assert readme == results.with_table(readme, results.render(results.FOLDER))


def test_a_table_has_its_command_beside_it(tmp_path):
    (tmp_path / "a.json").write_text(json.dumps({"title": "Files", "tables": [TABLE]}))

    page = results.render(tmp_path)

    assert page.endswith(
        "## Files\n\n### Sizes\n\n```\nedge-se inspect FILE\n```\n\n"
        "| model | KB |\n| --- | --- |\n| `int8` | 166 |\n| noisy | |\n\nKB are 1000 bytes.\n"
    )


def test_a_row_of_another_length_is_refused(tmp_path):
    table = {**TABLE, "rows": [["`int8`"]]}
    (tmp_path / "a.json").write_text(json.dumps({"title": "Files", "tables": [table]}))

    with pytest.raises(ValueError, match=r"a\.json, Sizes: a row is not as long as the head"):
        results.render(tmp_path)


@pytest.mark.parametrize("path", sorted(results.FOLDER.glob("*.json")), ids=lambda p: p.name)
def test_every_table_has_a_command(path):
    content = json.loads(path.read_text(encoding="utf-8"))

    for table in content["tables"]:
        assert table.get("command") or content.get("command"), table["title"]


def test_the_figures_of_the_readme_are_among_the_results():
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## What to expect")[2].partition("\n## ")[0]
    page = (REPOSITORY / "docs" / "results.md").read_text(encoding="utf-8")

    figures = re.findall(r"\d+\.\d+", section)

    assert figures
    assert not set(figures) - set(re.findall(r"\d+\.\d+", page))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_links_point_to_something(document):
    broken = []
    for link in _links(document):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        name, _, anchor = link.partition("#")
        target = (document.parent / name).resolve() if name else document
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            broken.append(link)

    assert not broken


def test_every_document_can_be_found_from_the_readme():
    found, waiting = set(), [REPOSITORY / "README.md"]
    while waiting:
        document = waiting.pop()
        if document in found:
            continue
        found.add(document)
        names = (link.partition("#")[0] for link in _links(document))
        targets = ((document.parent / name).resolve() for name in names if name)
        waiting += [target for target in targets if target.suffix == ".md" and target.exists()]

    pages = {path for path in DOCUMENTS if path.is_relative_to(REPOSITORY / "docs")}
    assert not {str(path.relative_to(REPOSITORY)) for path in pages - found}
