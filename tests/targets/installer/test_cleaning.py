"""What is removed from a board, and what is kept."""

import os

import pytest

from targets.board.installer import cleaning, facts, releases
from tests.helpers.damages import empty
from tests.helpers.releases import add_release, ids, write_environment


def test_what_interrupted_installations_left_is_removed_by_the_next(root, quick, tmp_path):
    interrupted = root / "releases" / "0123456789ab"
    write_environment(interrupted / "env")
    unpacked = root / "incoming" / "unpacked" / "edge-se-bundle"
    unpacked.mkdir(parents=True)
    (root / "incoming" / f"edge-se-{'1' * 12}.tar.gz").write_bytes(bytes(1000))
    empty(root / "releases" / ids(root)[0] / "report.json")
    assert facts.probe(root)["leftover_bytes"] > 0

    cleaning.clean(root)
    cleaning.clean_arrivals(root, None)

    assert ids(root) == sorted(ids(root), key=ids(root).index) and len(ids(root)) == 2
    assert not interrupted.exists()
    assert list((root / "incoming").iterdir()) == []
    assert facts.probe(root)["leftover_bytes"] == 0


@pytest.mark.parametrize("action", ["rollback", "use"])
def test_what_interrupted_installations_left_goes_with_whatever_comes_next(act, root, action):
    first = ids(root)[0]
    half = root / "releases" / "0123456789ab" / "env"
    half.mkdir(parents=True)
    (half / "large").write_bytes(bytes(1000))

    act(root, action, "--release", first)

    assert not half.parent.exists()


def test_what_a_kill_left_aside_comes_back(root):
    current = root / "releases" / ids(root)[2]
    current.rename(current.with_name(f".{current.name}"))
    (current / "env").mkdir(parents=True)

    cleaning.clean(root)

    assert releases.status(root)["current"] == current.name
    assert releases.examine(current)["damage"] is None


def test_links_in_the_boards_folder_are_removed_and_not_followed(act, root, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("x")
    incoming = root / "incoming"
    incoming.mkdir()
    name = f"edge-se-{'1' * 12}.tar.gz"
    (root / "releases" / "0123456789ab").symlink_to(outside)
    (incoming / "unpacked").symlink_to(outside)
    (incoming / name).symlink_to(outside / "file")

    act(root, "install", "--archive", name, "--bytes", "0")

    assert {path.name: path.read_text() for path in outside.iterdir()} == {"file": "x"}
    assert not os.path.lexists(root / "releases" / "0123456789ab")


def test_only_the_releases_used_last_are_kept(tmp_path):
    made = [add_release(tmp_path, number).name for number in range(6)]

    cleaning.prune(tmp_path)

    state = releases.status(tmp_path)
    assert state["current"] == made[5]
    assert [release["id"] for release in state["releases"]] == made[3:]


def test_the_release_in_use_is_kept_whatever_the_history_says(tmp_path):
    made = [add_release(tmp_path, number).name for number in range(5)]
    (tmp_path / "history").write_text("\n".join([made[4], *made[:4]]))

    cleaning.prune(tmp_path)

    assert {one["id"] for one in releases.status(tmp_path)["releases"]} == {made[4], *made[2:4]}
