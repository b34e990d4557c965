"""Commands in documents are those that there are, with the options that they have."""

import importlib
import re
from pathlib import Path

import pytest

from edge_se import cli
from edge_se.commands.completion import flags

REPOSITORY = Path(__file__).resolve().parent.parent
# Notes tell of their time.
DOCUMENTS = [
    path
    for path in sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/**/*.md")])
    if path.parent.name != "notes" and path.name != "CHANGELOG.md"
]
LINE = re.compile(r"^(?:\$ )?edge-se ([a-z][a-z-]*)(.*)$", re.MULTILINE)


def _commands(document: Path) -> list[tuple[str, str]]:
    """Command and arguments of every line in a code block that calls the command line."""
    text = document.read_text(encoding="utf-8")
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = LINE.findall("\n".join(blocks).replace("\\\n", " "))
    # What follows -- is another command's.
    return [(name, rest.partition("#")[0].partition(" -- ")[0]) for name, rest in lines]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(REPOSITORY)))
def test_options_in_documents_exist(document):
    unknown = []
    for name, rest in _commands(document):
        module = importlib.import_module(cli.find_command(name))
        known = flags(cli.build_parser(name, module))
        unknown += [f"{name} {o}" for o in re.findall(r"(?<!\S)--[a-z-]+", rest) if o not in known]

    assert not unknown


def test_every_command_is_in_a_document():
    project = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
    section = project.partition(f'[project.entry-points."{cli.GROUP}"]\n')[2].partition("\n[")[0]
    commands = re.findall(r"^([a-z-]+) = ", section, re.MULTILINE)
    documents = "".join(document.read_text(encoding="utf-8") for document in DOCUMENTS)

    assert commands
    assert not [name for name in commands if not re.search(rf"edge-se {name}\b", documents)]
