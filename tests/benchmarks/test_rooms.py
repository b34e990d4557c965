import json
import sys

import pytest

from benchmarks import rooms

SOURCES = {
    "__init__.py": "from quant import attic",
    "cellar.py": '"""Nothing below."""\n',
    "kitchen/__init__.py": "",
    "kitchen/stove.py": "from quant import cellar\nfrom quant.kitchen import sink\n",
    "kitchen/sink.py": "import quant.cellar\nimport numpy\n",
    "attic.py": "def run():\n    from quant.kitchen.stove import fire\n",
    "east.py": "from quant.west import door\nimport quant.attic",
    "west.py": "if TYPE_CHECKING:\n    from quant.east import window\n",
    "kitchen/fire.c": "int main(void)\n{\n}\n",
    "kitchen/fire.h": "\n",
}


@pytest.fixture
def checkout(tmp_path):
    for name, text in SOURCES.items():
        path = tmp_path / "quant" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


@pytest.fixture
def arrows(checkout):
    return rooms.find_arrows(rooms.find_modules(checkout, "quant"))


def test_a_room_is_a_module_or_a_subpackage(arrows):
    assert set(arrows) == {"cellar", "kitchen", "attic", "east", "west"}


def test_an_arrow_is_an_import_between_rooms_anywhere_in_the_text(arrows):
    assert arrows["kitchen"] == {"cellar"}
    assert arrows["attic"] == {"kitchen"}
    assert arrows["east"] == {"west", "attic"}
    assert arrows["west"] == {"east"}


def test_a_room_stands_above_all_that_it_imports(arrows):
    floors = rooms.find_floors(arrows)

    assert floors == {"cellar": 1, "kitchen": 2, "attic": 3, "east": 4, "west": 4}


def test_a_circle_names_its_rooms(arrows):
    assert rooms.find_circles(arrows) == (("east", "west"),)


def test_one_line_of_the_table_tells_all(checkout, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rooms", "--at", str(checkout)])

    assert rooms.main() == 0

    _, counted, circle = capsys.readouterr().out.splitlines()
    assert counted.split() == ["quant", "5", "4", "5", "1", "12", "4"]
    assert circle == "circle in quant: east, west"


def test_json_has_the_same(checkout, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rooms", "--at", str(checkout), "--json"])

    assert rooms.main() == 0

    (house,) = json.loads(capsys.readouterr().out)
    assert house["package"] == "quant"
    assert house["arrows"] == 5


def test_a_folder_without_packages_is_refused(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rooms", "--at", str(tmp_path)])

    with pytest.raises(SystemExit, match="2"):
        rooms.main()

    assert "has none of the folders" in capsys.readouterr().err
