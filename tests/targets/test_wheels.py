"""Wheels by their checksums, and caches that survive damage and company."""

import hashlib
import subprocess
import sys
import textwrap
import time

import pytest

from edge_se.errors import UserError
from targets import wheels
from targets.boards import find_board, load_boards
from targets.cache import made_once
from targets.wheels import INSTALLER, fetch_wheels, locked

PI4 = find_board("pi4").platform
CONTENT = b"a wheel"
NAME = "numpy-2.4.6-cp311-cp311-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index of one wheel, which is locked; `index.append(data)` serves that next."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "sums").write_text(f"{hashlib.sha256(CONTENT).hexdigest()}  {NAME}\n")
    monkeypatch.setattr(wheels, "CHECKSUMS_FILE", tmp_path / "sums")
    served: list[bytes] = []

    def download(pins, wanted, platform, python, folder):
        (folder / NAME).write_bytes(served.pop(0))

    monkeypatch.setattr(wheels, "_download", download)
    return served


def fetch() -> bytes:
    (path,) = fetch_wheels(["numpy==2.4.6"], PI4, "3.11")
    return path.read_bytes()


@pytest.mark.parametrize("board", load_boards().values(), ids=lambda board: board.key)
def test_every_wheel_that_a_board_may_need_has_its_checksum(board):
    for python, pins in board.platform.runtime.wheels.items():
        found = locked([*pins, INSTALLER], board.platform, python)

        assert len(found) == len(pins) + 1
        assert all(len(digest) == 64 for digest in found.values())


def test_a_wheel_without_a_checksum_is_not_downloaded():
    with pytest.raises(UserError, match=r"knows no wheel of numpy==2\.4\.7 for aarch64"):
        fetch_wheels(["numpy==2.4.7"], PI4, "3.11")


def test_a_wheel_is_downloaded_once(index):
    index.append(CONTENT)

    assert [fetch(), fetch()] == [CONTENT, CONTENT]


@pytest.mark.parametrize("damaged", [b"", CONTENT[:3], b"a whee1"])
def test_a_wheel_that_is_damaged_in_the_cache_is_downloaded_again(index, tmp_path, damaged):
    index += [CONTENT, CONTENT]
    fetch()
    (tmp_path / "cache" / "edge-se" / "wheels" / NAME).write_bytes(damaged)

    assert fetch() == CONTENT
    assert index == []


def test_another_wheel_under_the_same_name_is_refused(index, tmp_path):
    index.append(b"another")

    with pytest.raises(UserError, match="pip has downloaded another numpy-2"):
        fetch()

    assert list((tmp_path / "cache" / "edge-se" / "wheels").iterdir()) == []


def test_pip_itself_refuses_a_wheel_of_another_checksum(tmp_path, monkeypatch):
    name = "small-1.0-py3-none-any.whl"
    (tmp_path / name).write_bytes(b"no wheel of that checksum")
    (tmp_path / "sums").write_text(f"{'0' * 64}  {name}\n")
    monkeypatch.setattr(wheels, "CHECKSUMS_FILE", tmp_path / "sums")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))

    with pytest.raises(UserError, match=r"can't download small-1\.0.*HASH"):
        fetch_wheels(["small==1.0"], PI4, "3.11")


def test_a_cache_that_can_not_be_made_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    with pytest.raises(UserError, match="can't be made"):
        fetch_wheels(["numpy==2.4.6"], PI4, "3.11")


def test_a_folder_is_made_once_and_whole(tmp_path):
    path = tmp_path / "folder"

    def fail(folder):
        (folder / "half").write_text("x")
        raise UserError("no connection")

    with pytest.raises(UserError, match="no connection"):
        made_once(path, fail)
    assert not path.exists()
    made_once(path, lambda folder: (folder / "file").touch())
    made_once(path, fail)

    assert [file.name for file in path.iterdir()] == ["file"]
    assert {entry.name for entry in tmp_path.iterdir()} == {"folder", ".folder.lock"}


def test_what_a_killed_download_left_is_removed(tmp_path):
    left = tmp_path / ".folder.abc.part"
    left.mkdir()
    (left / "100 MB").write_text("x")

    made_once(tmp_path / "folder", lambda folder: None)

    assert not left.exists()


def test_of_two_at_once_one_makes_the_folder_and_the_other_waits(tmp_path):
    script = textwrap.dedent(f"""
        import time
        from pathlib import Path
        from targets.cache import made_once

        def make(folder):
            with Path({str(tmp_path / "made")!r}).open("a") as file:
                file.write("once\\n")
            time.sleep(0.5)
            (folder / "file").write_text("whole")

        assert (made_once(Path({str(tmp_path / "folder")!r}), make) / "file").read_text() == "whole"
    """)
    start = time.monotonic()
    both = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(2)]

    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert (tmp_path / "made").read_text() == "once\n"
    assert time.monotonic() - start < 60
