"""The installer as one file: the same bytes every time, for Pythons that it has to refuse too."""

import ast
import io
import json
import shutil
import subprocess
import zipfile
from pathlib import Path

from targets.application import APPLICATION, application
from targets.board import installer


def test_the_same_sources_give_the_same_bytes(tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    copy.mkdir()
    for module in sorted(Path(installer.__file__).parent.glob("*.py"), reverse=True):
        shutil.copyfile(module, copy / module.name)
    before = application()

    monkeypatch.setattr(installer, "__file__", str(copy / "__init__.py"))

    assert application.__wrapped__() == before


def test_it_is_a_program_as_it_is(tmp_path):
    path = tmp_path / APPLICATION
    path.write_bytes(application())
    path.chmod(0o755)

    result = subprocess.run([path, "status", "--root", tmp_path / "r"], capture_output=True)

    assert json.loads(result.stdout) == {"current": None, "releases": [], "history": []}
    assert {entry.name for entry in tmp_path.iterdir()} == {APPLICATION}


def test_it_is_read_by_pythons_that_it_has_to_refuse():
    with zipfile.ZipFile(io.BytesIO(application())) as archive:
        modules = {name: archive.read(name).decode() for name in archive.namelist()}

    assert {"__main__.py", "installer/__init__.py", "installer/command_line.py"} < set(modules)
    for name, source in modules.items():
        ast.parse(source, name, feature_version=(3, 7))
