"""Going from one release to another, and back."""

import pytest

from targets.board.installer import releases, switching
from tests.helpers.damages import cut, deep, empty, gone, link, nonsense, pipe, zeros
from tests.helpers.releases import BROKEN_RUNTIME, ids, write_environment


@pytest.mark.parametrize("damage", [empty, zeros, gone, pipe, link, nonsense, deep])
def test_without_a_history_the_newest_other_release_is_the_one_before(root, damage):
    damage(root / "history")

    assert switching.rollback(root)["current"] == ids(root)[1]


def test_of_a_history_that_was_cut_what_is_left_counts(root):
    cut(root / "history")

    assert switching.rollback(root)["current"] == ids(root)[0]


@pytest.mark.parametrize("damage", [gone, empty, pipe])
def test_whatever_is_where_the_link_was_is_replaced(root, damage):
    target = root / "current"
    target.unlink()
    target.write_text("x")
    damage(target)

    assert switching.rollback(root)["current"] == ids(root)[2]


def test_a_release_that_does_not_run_any_more_is_passed_over(root):
    first, second, _ = ids(root)
    write_environment(root / "releases" / second / "env", BROKEN_RUNTIME)

    assert switching.rollback(root)["current"] == first


def test_a_release_that_does_not_run_any_more_is_made_anew(act, root):
    second = ids(root)[1]
    write_environment(root / "releases" / second / "env", BROKEN_RUNTIME)

    answer = act(root, "use", "--release", second)

    assert "does not work any more (the smoke test failed (no module named" in answer["error"]
    assert releases.current(root) == ids(root)[2]
    assert second not in releases.by_last_use(root)


@pytest.mark.parametrize("release", ["../../etc", "", "ffffffffffff", "0123456789AB", "a" * 13])
def test_only_installed_releases_can_be_used(act, root, release):
    assert act(root, "use", "--release", release)["error"].startswith("that release is not")


def test_a_history_that_can_not_be_written_undoes_the_switch(act, root):
    before = releases.current(root)
    (root / ".history").mkdir()  # where it is written first

    answer = act(root, "rollback")

    assert answer["error"].startswith("Is a directory")
    assert releases.current(root) == before
