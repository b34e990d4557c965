"""Releases in a board's root after power cuts: which are whole, and which is in use."""

import json

import pytest

from targets.board.installer import releases, switching
from tests.helpers.damages import DAMAGES, empty
from tests.helpers.releases import add_release, ids

FILES = ["report.json", "SHA256SUMS", "bundle.json", "model.tflite", "edge-se.service"]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_damages_one_release(root, file, damage):
    first, second, third = ids(root)
    damage(root / "releases" / second / file)

    listed = {one["id"]: one["damage"] for one in releases.status(root)["releases"]}
    state = switching.rollback(root)

    assert listed[first] is None and listed[third] is None
    assert listed[second]
    assert state["current"] == first


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"release": {}},
        {"release": None, "benchmark": {"rtf": 0.1}},
        {"release": {"rtf": "fast"}, "benchmark": {"rtf": 0.1}},
        {"release": {"rtf": 1e999}, "benchmark": {"rtf": 0.1}},
    ],
    ids=repr,
)
def test_a_report_that_is_json_of_another_shape_is_damage(root, content):
    current = root / "current" / "report.json"
    current.write_text(json.dumps(content))

    (damaged,) = (one for one in releases.status(root)["releases"] if one["damage"])

    assert damaged["id"] == ids(root)[2]


def test_the_command_lists_and_rolls_back_a_board_after_a_power_cut(act, root):
    first, second, third = ids(root)
    empty(root / "current" / "report.json")
    (root / "releases" / "0123456789ab" / "env").mkdir(parents=True)

    facts = act(root, "probe")
    rolled_back = act(root, "rollback")

    damages = {one["id"]: one["damage"] for one in facts["releases"]}
    assert damages == {
        first: None,
        second: None,
        third: "report.json is empty",
        "0123456789ab": "its installation was interrupted",
    }
    assert rolled_back["current"] == second


@pytest.mark.parametrize("target", ["releases/ffffffffffff", "/etc", "releases/../..", "x"])
def test_a_link_that_leads_elsewhere_is_no_release_in_use(root, target):
    (root / "current").unlink()
    (root / "current").symlink_to(target)

    assert releases.status(root)["current"] is None
    assert switching.rollback(root)["current"] == ids(root)[2]


def test_releases_of_before_the_installer_was_one_zip_are_whole(act, root):
    old = [add_release(root, number, installer="install.py").name for number in (3, 4)]

    listed = {one["id"]: one["damage"] for one in act(root, "status")["releases"]}
    rolled_back = act(root, "rollback")
    used = act(root, "use", "--release", old[1])

    assert set(old) < set(listed) and set(listed.values()) == {None}
    assert rolled_back["current"] == old[0]
    assert used["release"]["id"] == old[1]
