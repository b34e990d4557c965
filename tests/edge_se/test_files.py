"""Writing files: whole or not at all, in their place or into what must not be replaced."""

import json
import os
import socket
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_se.audio import suffixes
from edge_se.errors import UserError
from edge_se.files import (
    folder_written_beside,
    make_folder,
    require_writable,
    write_json,
    write_whole,
    written_beside,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o027)
    yield
    os.umask(before)


def test_a_temporary_name_is_hidden_unpredictable_and_no_audio(tmp_path):
    names = set()
    for _ in range(3):
        with written_beside(tmp_path / "out.flac") as temporary:
            assert list(tmp_path.glob(".*")) == [temporary]  # it is taken from the start
            assert temporary.suffix not in suffixes() | {".tflite", ".onnx", ".so", ""}
            names.add(temporary.name)
    assert len(names) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["out.flac"]


def test_a_temporary_name_that_exists_is_not_written_to(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "urandom", bytes)
    precious = tmp_path / "precious"
    precious.write_text("mine")
    (tmp_path / ".edge-se-0000000000000000.tmp").symlink_to(precious)

    with pytest.raises(UserError, match=r"out can't be written \(File exists\)"):
        write_whole(tmp_path / "out", "theirs")

    assert precious.read_text() == "mine"


def test_a_signal_at_the_first_moment_leaves_nothing(tmp_path, monkeypatch):
    def end(descriptor: int) -> None:
        raise SystemExit(143)

    with monkeypatch.context() as patch:
        patch.setattr("edge_se.files.os.close", end)
        with pytest.raises(SystemExit):
            write_whole(tmp_path / "out", "x")

    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_of_a_failure(tmp_path):
    (tmp_path / "out").write_text("before")

    with pytest.raises(ZeroDivisionError), written_beside(tmp_path / "out") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError

    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert (tmp_path / "out").read_text() == "before"


def write_folder(path: Path, content: str) -> None:
    with folder_written_beside(path, "mark") as folder:
        (folder / "mark").write_text(content)


def test_a_folder_is_replaced_and_others_are_left_alone(tmp_path):
    for content in ("old", "new"):
        write_folder(tmp_path / "a" / "own", content)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["own"]
    assert (tmp_path / "a" / "own" / "mark").read_text() == "new"

    (tmp_path / "a" / "own" / "mark").rename(tmp_path / "a" / "own" / "mine")
    with pytest.raises(UserError, match="holds other files"):
        write_folder(tmp_path / "a" / "own", "new")
    assert [path.name for path in (tmp_path / "a" / "own").iterdir()] == ["mine"]


def test_a_folder_that_can_t_be_replaced_is_there_as_before(tmp_path, monkeypatch):
    write_folder(tmp_path / "own", "old")
    rename = Path.rename

    def refuse(self, target):
        if Path(target).name == "own" and (self / "mark").read_text() == "new":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match="No space left"):
        write_folder(tmp_path / "own", "new")

    assert [path.name for path in tmp_path.iterdir()] == ["own"]
    assert (tmp_path / "own" / "mark").read_text() == "old"


@pytest.mark.parametrize("name", ["x" * 255, "é" * 127, "x" * 251 + ".wav", "\udcff.json"])
def test_any_name_the_system_takes_is_written(tmp_path, name):
    write_whole(tmp_path / name, b"content")

    assert (tmp_path / name).read_bytes() == b"content"


@pytest.mark.parametrize("length", [256, 300, 5000])
def test_a_name_that_is_too_long_is_one_sentence(tmp_path, length):
    for act in (require_writable, lambda path: write_whole(path, b"")):
        with pytest.raises(UserError, match=r"can't be written \(File name too long\)"):
            act(tmp_path / ("x" * length))
    with pytest.raises(UserError, match=r"can't be made \(File name too long\)"):
        make_folder(tmp_path / ("x" * length))


def test_a_new_file_has_the_umask_s_permissions(tmp_path, umask):
    write_whole(tmp_path / "out", "")

    assert mode(tmp_path / "out") == 0o640


@pytest.mark.parametrize("permissions", [0o600, 0o444, 0o664, 0o755])
def test_what_replaces_a_file_has_its_permissions(tmp_path, umask, permissions, monkeypatch):
    path = tmp_path / "out"
    path.write_text("before")
    path.chmod(permissions)
    monkeypatch.setattr(os, "access", lambda *arguments: True)  # as root, who may write it anyway

    with written_beside(path) as temporary:
        assert mode(temporary) == 0o600  # nobody else reads it before
        temporary.write_text("after")

    assert (path.read_text(), mode(path)) == ("after", permissions)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_replaces_a_file_has_its_owner(tmp_path):
    path = tmp_path / "out"
    path.write_text("before")
    os.chown(path, 1234, 5678)

    write_whole(path, "after")

    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 5678)


def test_an_owner_that_can_t_be_kept_is_no_error(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    (tmp_path / "out").write_text("before")

    write_whole(tmp_path / "out", "after")

    assert (tmp_path / "out").read_text() == "after"


def test_a_protected_file_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "out"
    path.write_text("before")
    monkeypatch.setattr(os, "access", lambda asked, how: asked != path)

    with pytest.raises(UserError, match="out is write-protected"):
        write_whole(path, "after")

    assert path.read_text() == "before"


def test_a_link_is_written_through(tmp_path):
    (tmp_path / "folder").mkdir()
    target = tmp_path / "folder" / "target"
    for before in (None, "before"):  # at first it points nowhere
        (tmp_path / "second").unlink(missing_ok=True)
        (tmp_path / "first").unlink(missing_ok=True)
        (tmp_path / "second").symlink_to("folder/target")
        (tmp_path / "first").symlink_to("second")
        if before is not None:
            target.write_text(before)

        with written_beside(tmp_path / "first") as temporary:
            assert temporary.parent == target.parent
            temporary.write_text("after")

        assert (tmp_path / "first").is_symlink() and (tmp_path / "second").is_symlink()
        assert target.read_text() == "after"


def test_a_link_into_a_missing_folder_is_one_sentence(tmp_path):
    (tmp_path / "link").symlink_to("absent/target")

    with pytest.raises(UserError, match=r"there is no folder .*absent to write link into"):
        write_whole(tmp_path / "link", "")


def test_a_loop_of_links_is_one_sentence(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    for act in (require_writable, lambda path: write_whole(path, b"")):
        with pytest.raises(UserError, match=r"a can't be written \(Too many levels of symbolic"):
            act(tmp_path / "a")
    with pytest.raises(UserError, match="can't be made"):
        make_folder(tmp_path / "a" / "folder")


def test_a_device_stays_a_device():
    write_json(Path("/dev/null"), {"a": 1})

    assert stat.S_ISCHR(Path("/dev/null").stat().st_mode)


def test_a_full_device_is_one_sentence():
    with pytest.raises(UserError, match=r"/dev/full can't be written \(No space left on device\)"):
        write_json(Path("/dev/full"), {"a": 1})


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    for name in ("write_bytes", "replace"):
        with monkeypatch.context() as patched:
            patched.setattr(Path, name, full)
            with pytest.raises(UserError, match=r"out can't be written \(No space left on dev"):
                write_whole(tmp_path / "out", "content")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match=r"out can't be written \(No space left on device\)"):
        write_whole(tmp_path / "out", "content")
    assert list(tmp_path.iterdir()) == []


def test_a_pipe_gets_the_whole_content(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    os.set_blocking(reader, True)

    def drain():
        while block := os.read(reader, 65536):
            got.append(block)

    with written_beside(pipe) as temporary:
        thread = threading.Thread(target=drain)
        thread.start()
        temporary.write_bytes(bytes(1_000_000))
    thread.join(timeout=30)
    os.close(reader)

    assert b"".join(got) == bytes(1_000_000)
    assert pipe.is_fifo()


def test_a_pipe_gets_nothing_of_a_failure(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    with pytest.raises(ZeroDivisionError), written_beside(pipe) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError

    assert os.read(reader, 100) == b""
    os.close(reader)


def test_a_pipe_that_nobody_reads_is_one_sentence(tmp_path):
    os.mkfifo(tmp_path / "pipe")

    with pytest.raises(UserError, match="start its reader first"):
        write_whole(tmp_path / "pipe", "content")


def test_a_socket_and_a_folder_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name has to be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        with pytest.raises(UserError, match="socket is a disk or a socket"):
            write_whole(Path("socket"), "")
    with pytest.raises(UserError, match="is a folder; give the name of a file"):
        write_whole(tmp_path, "")


SCRIPT = """
import sys
from pathlib import Path
from edge_se.files import write_json
print("printed")
write_json(Path(sys.argv[1]), {"name": "\\xe9\\udcff"})
"""


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "out", "link"])
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_standard_output_is_written_in_order_under_any_name(tmp_path, name, encoding):
    (tmp_path / "link").symlink_to("out")
    with (tmp_path / "out").open("wb") as out:
        result = subprocess.run(
            [sys.executable, "-c", SCRIPT, name],
            stdout=out,
            stderr=subprocess.PIPE,
            cwd=tmp_path,
            env={**os.environ, "PYTHONIOENCODING": encoding},
            timeout=60,
        )

    assert result.stderr == b""
    first, rest = (tmp_path / "out").read_bytes().split(b"\n", 1)
    assert first == b"printed"
    assert json.loads(rest) == {"name": "é\udcff"}


def test_a_folder_that_can_t_be_made_or_written_to_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(UserError, match=r"can't be made \((File exists|Not a directory)\)"):
            make_folder(path)
    monkeypatch.setattr(os, "access", lambda path, how: False)
    with pytest.raises(UserError, match="can't be written to; choose another one"):
        make_folder(tmp_path)
