"""The installer's command line."""

import fcntl

import pytest

from tests.helpers.releases import bundle_files, ids, pack


def test_two_at_once_are_one_after_the_other(act, root):
    with (root / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = act(root, "install", "--archive", f"edge-se-{'1' * 12}.tar.gz", "--bytes", "5")

    assert answer == {"error": "another installation is running there; try again later"}


@pytest.mark.parametrize("root", ["", "/", "~nobody-has-this-name/x", "/dev/null/x"])
def test_a_root_that_can_not_be_is_refused_in_a_sentence(act, root):
    for action in ("rollback", "install"):
        assert act(root, action)["error"]


@pytest.mark.parametrize("limit", ["nan", "inf", "0", "-1"])
def test_a_limit_that_is_none_is_refused(act, root, limit):
    answer = act(root, "use", "--release", ids(root)[0], f"--max-rtf={limit}")

    assert answer == {"error": "--max-rtf has to be a number above 0"}


def test_a_bundle_under_the_name_of_another_is_refused(act, root):
    name = f"edge-se-{'1' * 12}.tar.gz"
    (root / "incoming").mkdir()
    (root / "incoming" / name).write_bytes(pack(bundle_files("m9.tflite")))

    answer = act(root, "install", "--archive", name)

    assert answer == {"error": "the bundle is another one than its name says"}


@pytest.mark.parametrize("name", ["../x.tar.gz", "/etc/passwd", "edge-se-1.tar.gz", ""])
def test_an_archives_name_does_not_lead_elsewhere(act, root, name):
    answer = act(root, "install", "--archive", name, "--bytes", "0")

    assert answer == {"error": "that is no name of a bundle's archive"}
