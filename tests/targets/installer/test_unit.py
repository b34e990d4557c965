"""The service's unit."""

import shutil
import subprocess
from pathlib import Path

import pytest

from targets import board
from targets.board.installer import switching, unit
from targets.board.installer.bundle import UNIT
from targets.board.installer.unit import quoted, unit_for, user_unit
from tests.helpers.releases import ids

STRANGE = [
    "with space",
    "100%n",
    "$HOME and ${HOME}",
    'double " quote',
    "single ' quote",
    "back\\slash",
    "line\nfeed",
    "tab\tand bell\a",
    "ünïcödé",
    "semi;colon & pipe | `tick`",
]


@pytest.mark.parametrize("name", STRANGE)
def test_a_path_in_the_unit_is_one_word(name):
    word = quoted(Path("/home/pi") / name)

    assert word.isascii() and word.isprintable()
    assert word[0] == word[-1] == '"'
    # As systemd reads it: escapes, then doubled characters.
    read = word[1:-1].encode().decode("unicode_escape").encode("latin-1").decode()
    assert read.replace("%%", "%").replace("$$", "$") == f"/home/pi/{name}"
    assert '"' not in word[1:-1]


@pytest.mark.parametrize(("allowed", "line"), [(True, "PrivateUsers=yes"), (False, "#PrivateUs")])
def test_the_unit_asks_for_user_namespaces_where_there_are_some(
    root, systemctl, home, monkeypatch, allowed, line
):
    monkeypatch.setattr(unit, "has_user_namespaces", lambda: allowed)

    switching.use(root, ids(root)[1], 0.5, service=True)

    written = (home / ".config" / "systemd" / "user" / "edge-se.service").read_text()
    assert f"\n{line}" in written
    assert f'"{root}/current/env/bin/python" "{root}/current"' in written


@pytest.mark.parametrize("allowed", [True, False])
def test_the_unit_is_hardened(tool, tmp_path, monkeypatch, allowed):
    monkeypatch.setattr(unit, "has_user_namespaces", lambda: allowed)
    path = tmp_path / UNIT
    shutil.copy(Path(board.__file__).with_name(UNIT), path)
    path.write_text(unit_for(tmp_path))
    command = [tool("systemd-analyze"), "security", "--offline=yes", "--threshold=50"]

    result = subprocess.run([*command, str(path)], capture_output=True, text=True)

    assert result.returncode == 0, result.stdout[-300:] + result.stderr
    assert "Overall exposure level" in result.stdout


def test_the_unit_names_no_model_file(root, systemctl):
    switching.use(root, ids(root)[1], 0.5, service=True)

    written = user_unit().read_text()
    assert "model." not in written
    assert f'"{root}/current"' in written


def test_a_unit_of_the_users_that_is_damaged_stops_nothing(root, systemctl):
    path = user_unit()
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\xff\0")

    assert switching.rollback(root)["current"] == ids(root)[1]
    assert "ExecStart=" in path.read_text()
