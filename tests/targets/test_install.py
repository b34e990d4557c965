"""The installer on the board: power cuts, damage, hostile archives, and the service's unit."""

import argparse
import ast
import fcntl
import getpass
import gzip
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from edge_se.live.settings import LiveSettings, read_settings
from targets.board import install
from tests.helpers.releases import (
    BROKEN_RUNTIME,
    add_release,
    bundle_files,
    checksums,
    write_bundle,
    write_environment,
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """No test touches the units of whoever runs it."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def root(tmp_path) -> Path:
    """A board's folder with three releases; the last is in use."""
    for number in range(3):
        add_release(tmp_path / "root", number)
    return tmp_path / "root"


@pytest.fixture
def quick(monkeypatch):
    """Installing without wheels, on any machine."""
    monkeypatch.setattr(
        install, "make_environment", lambda bundle, folder, system: write_environment(folder)
    )
    monkeypatch.setattr(install, "benchmark", lambda folder: {"rtf": 0.1})
    monkeypatch.setattr(install, "check_board", lambda facts, description: None)


def ids(root) -> list[str]:
    """Of the releases, oldest first."""
    reports = (root / "releases").glob("*/bundle.json")
    return [
        path.parent.name
        for path in sorted(reports, key=lambda path: json.loads(path.read_text())["model"]["name"])
    ]


def act(root, *arguments: str) -> dict:
    """What the installer answers, whatever its exit status."""
    command = [sys.executable, install.__file__, *arguments, "--root", str(root)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in result.stderr
    answer = json.loads(result.stdout)
    assert result.returncode == (install.EXIT_REFUSED if "error" in answer else 0)
    return answer


def empty(path: Path) -> None:
    path.write_bytes(b"")


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def gone(path: Path) -> None:
    path.unlink()


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def link(path: Path) -> None:
    path.rename(path.with_suffix(".other"))
    path.symlink_to(path.with_suffix(".other"))


def nonsense(path: Path) -> None:
    path.write_bytes(b"\xff" * 10)


def deep(path: Path) -> None:
    path.write_bytes(b"[" * 100_000)


DAMAGES = [empty, zeros, cut, gone, pipe, folder, link, nonsense, deep]
FILES = ["report.json", "SHA256SUMS", "bundle.json", "model.tflite", "edge-se.service"]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
@pytest.mark.parametrize("file", FILES)
def test_a_damaged_file_damages_one_release(root, file, damage):
    first, second, third = ids(root)
    damage(root / "releases" / second / file)

    listed = {one["id"]: one["damage"] for one in install.status(root)["releases"]}
    state = install.rollback(root)

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

    (damaged,) = (one for one in install.status(root)["releases"] if one["damage"])

    assert damaged["id"] == ids(root)[2]


def test_the_command_lists_and_rolls_back_a_board_after_a_power_cut(root):
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


@pytest.mark.parametrize("damage", [empty, zeros, gone, pipe, link, nonsense, deep])
def test_without_a_history_the_newest_other_release_is_the_one_before(root, damage):
    damage(root / "history")

    assert install.rollback(root)["current"] == ids(root)[1]


def test_of_a_history_that_was_cut_what_is_left_counts(root):
    cut(root / "history")

    assert install.rollback(root)["current"] == ids(root)[0]


@pytest.mark.parametrize("target", ["releases/ffffffffffff", "/etc", "releases/../..", "x"])
def test_a_link_that_leads_elsewhere_is_no_release_in_use(root, target):
    (root / "current").unlink()
    (root / "current").symlink_to(target)

    assert install.status(root)["current"] is None
    assert install.rollback(root)["current"] == ids(root)[2]


@pytest.mark.parametrize("damage", [gone, empty, pipe])
def test_whatever_is_where_the_link_was_is_replaced(root, damage):
    target = root / "current"
    target.unlink()
    target.write_text("x")
    damage(target)

    assert install.rollback(root)["current"] == ids(root)[2]


def test_a_release_that_does_not_run_any_more_is_passed_over(root):
    first, second, _ = ids(root)
    write_environment(root / "releases" / second / "env", BROKEN_RUNTIME)

    assert install.rollback(root)["current"] == first


def test_a_release_that_does_not_run_any_more_is_made_anew(root):
    second = ids(root)[1]
    write_environment(root / "releases" / second / "env", BROKEN_RUNTIME)

    answer = act(root, "use", "--release", second)

    assert "does not work any more (the smoke test failed (no module named" in answer["error"]
    assert install.current(root) == ids(root)[2]
    assert second not in install.by_last_use(root)


@pytest.mark.parametrize("release", ["../../etc", "", "ffffffffffff", "0123456789AB", "a" * 13])
def test_only_installed_releases_can_be_used(root, release):
    assert act(root, "use", "--release", release)["error"].startswith("that release is not")


def test_what_interrupted_installations_left_is_removed_by_the_next(root, quick, tmp_path):
    interrupted = root / "releases" / "0123456789ab"
    write_environment(interrupted / "env")
    unpacked = root / "incoming" / "unpacked" / "edge-se-bundle"
    unpacked.mkdir(parents=True)
    (root / "incoming" / f"edge-se-{'1' * 12}.tar.gz").write_bytes(bytes(1000))
    empty(root / "releases" / ids(root)[0] / "report.json")
    assert install.probe(root)["leftover_bytes"] > 0

    install.clean(root)
    install.clean_arrivals(root, None)

    assert ids(root) == sorted(ids(root), key=ids(root).index) and len(ids(root)) == 2
    assert not interrupted.exists()
    assert list((root / "incoming").iterdir()) == []
    assert install.probe(root)["leftover_bytes"] == 0


def test_a_damaged_release_in_use_is_made_anew_in_its_place(root, quick, tmp_path):
    current = root / "releases" / ids(root)[2]
    empty(current / "report.json")
    bundle = write_bundle(tmp_path / "bundle", "m2.tflite")

    install.clean(root)
    answer = install.install(root, bundle, 0.5, service=False)

    assert answer["release"]["id"] == current.name
    assert [one["damage"] for one in install.status(root)["releases"]] == [None] * 3


def test_a_damaged_release_in_use_stays_when_it_can_not_be_made_anew(
    root, quick, tmp_path, monkeypatch
):
    current = root / "releases" / ids(root)[2]
    empty(current / "report.json")
    bundle = write_bundle(tmp_path / "bundle", "m2.tflite")
    monkeypatch.setattr(install, "benchmark", lambda folder: {"rtf": 9.0})

    with pytest.raises(install.RefusedError, match="above the limit"):
        install.install(root, bundle, 0.5, service=False)

    assert (current / "env" / "bin" / "python").is_file()
    assert install.current(root) == current.name


def test_what_a_kill_left_aside_comes_back(root):
    current = root / "releases" / ids(root)[2]
    current.rename(current.with_name(f".{current.name}"))
    (current / "env").mkdir(parents=True)

    install.clean(root)

    assert install.status(root)["current"] == current.name
    assert install.examine(current)["damage"] is None


def test_everything_is_on_the_disk_before_the_link_leads_to_it(root, quick, tmp_path, monkeypatch):
    events: list[tuple[str, str]] = []
    opened: dict[int, str] = {}
    real_open, real_fsync, real_replace = os.open, os.fsync, Path.replace

    def open_(path, *arguments, **options):
        descriptor = real_open(path, *arguments, **options)
        opened[descriptor] = str(path)
        return descriptor

    def fsync(descriptor):
        events.append(("fsync", opened[descriptor]))
        real_fsync(descriptor)

    def replace(path, target):
        events.append(("replace", str(target)))
        return real_replace(path, target)

    monkeypatch.setattr(os, "open", open_)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    bundle = write_bundle(tmp_path / "bundle", "m3.tflite")

    release = install.install(root, bundle, 0.5, service=False)["release"]["id"]

    folder = root / "releases" / release
    switched = events.index(("replace", str(root / "current")))
    before = events[:switched]
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "report.json"]
    for path in files:
        assert before.index(("fsync", str(path))) < before.index(("fsync", str(path.parent)))
    reported = before.index(("replace", str(folder / "report.json")))
    assert all(before.index(("fsync", str(path))) < reported for path in files)
    assert ("fsync", str(folder / ".report.json")) in before[:reported]
    assert ("fsync", str(folder)) in before[reported:]
    assert ("fsync", str(folder.parent)) in before[reported:]
    assert events[switched + 1] == ("fsync", str(root))


def test_a_full_disk_in_the_middle_leaves_nothing(root, quick, tmp_path, monkeypatch):
    before = install.status(root)

    def full(folder):
        raise OSError(28, "No space left on device", str(folder))

    monkeypatch.setattr(install, "sync_tree", full)
    with pytest.raises(OSError, match="No space left"):
        install.install(root, write_bundle(tmp_path / "b", "m3.tflite"), 0.5, service=False)

    assert install.status(root) == before


def test_a_history_that_can_not_be_written_undoes_the_switch(root):
    before = install.current(root)
    (root / ".history").mkdir()  # where it is written first

    answer = act(root, "rollback")

    assert answer["error"].startswith("Is a directory")
    assert install.current(root) == before


def test_two_at_once_are_one_after_the_other(root):
    with (root / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        answer = act(root, "install", "--archive", f"edge-se-{'1' * 12}.tar.gz", "--bytes", "5")

    assert answer == {"error": "another installation is running there; try again later"}


@pytest.mark.parametrize("root", ["", "/", "~nobody-has-this-name/x", "/dev/null/x"])
def test_a_root_that_can_not_be_is_refused_in_a_sentence(root):
    for action in ("rollback", "install"):
        assert act(root, action)["error"]


@pytest.mark.parametrize("limit", ["nan", "inf", "0", "-1"])
def test_a_limit_that_is_none_is_refused(root, limit):
    answer = act(root, "use", "--release", ids(root)[0], f"--max-rtf={limit}")

    assert answer == {"error": "--max-rtf has to be a number above 0"}


# Archives and checksums


def archive(files: dict[str, bytes], *members: tarfile.TarInfo, tail: bytes = b"") -> bytes:
    """A bundle's archive of these files, and of members that no bundle has."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"edge-se-bundle/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for member in members:
            tar.addfile(member)
    return gzip.compress(buffer.getvalue() + tail)


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in fields.items():
        setattr(made, field, value)
    return made


def huge() -> bytes:
    header = member("edge-se-bundle/model.tflite", size=7 << 30).tobuf(tarfile.USTAR_FORMAT)
    return gzip.compress(header)


def negative() -> bytes:
    header = bytearray(member("edge-se-bundle/model.tflite").tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"\xff" * 12
    header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
    return gzip.compress(bytes(header))


FILES_OF_ONE = bundle_files("m9.tflite")
HOSTILE = {
    "climbing": archive({}, member("edge-se-bundle/../../escaped")),
    "climbing deep": archive({}, member("edge-se-bundle/wheels/../../../escaped")),
    "absolute": archive({}, member("/tmp/escaped")),
    "absolute inside": archive({}, member("edge-se-bundle//tmp/escaped")),
    "other folder": archive({}, member("escaped")),
    "dots": archive({}, member("edge-se-bundle/..")),
    "hidden": archive({}, member("edge-se-bundle/.bashrc")),
    "link": archive({}, member("edge-se-bundle/model.tflite", tarfile.SYMTYPE, linkname="/etc")),
    "hard link": archive({}, member("edge-se-bundle/a", tarfile.LNKTYPE, linkname="/etc/passwd")),
    "device": archive({}, member("edge-se-bundle/a", tarfile.CHRTYPE, devmajor=1, devminor=3)),
    "pipe": archive({}, member("edge-se-bundle/a", tarfile.FIFOTYPE)),
    "folder": archive({}, member("edge-se-bundle/wheels", tarfile.DIRTYPE)),
    "long name": archive({}, member("edge-se-bundle/" + "a" * 80, tarfile.GNUTYPE_LONGNAME)),
    "pax header": archive({}, member("edge-se-bundle/a", tarfile.XHDTYPE)),
    "sparse": archive({}, member("edge-se-bundle/a", tarfile.GNUTYPE_SPARSE)),
    "twice": archive(FILES_OF_ONE, member("edge-se-bundle/model.tflite")),
    "control characters": archive({}, member("edge-se-bundle/\x1b[31mred")),
    "not UTF-8": archive({}, member("edge-se-bundle/\udcff")),
    "huge": huge(),
    "negative size": negative(),
    "followed": archive(FILES_OF_ONE, tail=b"something"),
    "no tar": gzip.compress(b"x" * 5000),
    "no gzip": b"x" * 5000,
    "nothing": b"",
    "cut": archive(FILES_OF_ONE)[:-40],
}


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_archive_is_refused_and_writes_nothing_elsewhere(tmp_path, data):
    incoming = tmp_path / "board" / "incoming"
    incoming.mkdir(parents=True)
    path = incoming / "b.tar.gz"
    path.write_bytes(data)

    with pytest.raises(install.RefusedError, match="is no whole edge-se bundle") as caught:
        install.unpack(path)

    assert str(caught.value).isprintable()
    outside = {path for path in tmp_path.rglob("*") if incoming / "unpacked" not in path.parents}
    assert outside == {incoming.parent, incoming, path, incoming / "unpacked"}
    assert not Path("/tmp/escaped").exists()


def test_a_bundle_of_plain_files_is_unpacked(tmp_path):
    (tmp_path / "b.tar.gz").write_bytes(archive(FILES_OF_ONE))

    bundle = install.unpack(tmp_path / "b.tar.gz")

    install.verify(bundle)
    assert {path.name for path in bundle.iterdir()} == {*FILES_OF_ONE, "wheels"}


WHOLE = {name: data for name, data in FILES_OF_ONE.items() if name != "SHA256SUMS"}
LINE = checksums({"a": b""}).decode()
BAD_LISTS = {
    "empty": b"",
    "twice": checksums(WHOLE) + checksums({"model.tflite": b"other"}),
    "climbing": checksums({**WHOLE, "../x": b""}),
    "absolute": checksums({**WHOLE, "/etc/passwd": b""}),
    "one missing": checksums({k: v for k, v in WHOLE.items() if k != "bundle.json"}),
    "no model": checksums({k: v for k, v in WHOLE.items() if k != "model.tflite"}),
    "two models": checksums({**WHOLE, "model.so": b""}),
    "no list": b"\xff\xfe\0",
    "a comment": b"# x\n" + checksums(WHOLE),
    "short": checksums(WHOLE)[5:],
}


@pytest.mark.parametrize("text", BAD_LISTS.values(), ids=BAD_LISTS.keys())
def test_a_bad_list_of_checksums_is_refused(tmp_path, text):
    bundle = write_bundle(tmp_path / "bundle", "m9.tflite")
    (bundle / "SHA256SUMS").write_bytes(text)

    with pytest.raises(install.RefusedError, match="SHA256SUMS"):
        install.verify(bundle)


@pytest.mark.parametrize("name", ["more.txt", "wheels/x.whl", ".hidden", "sub/folder/file"])
def test_a_file_that_is_not_listed_is_refused(tmp_path, name):
    bundle = write_bundle(tmp_path / "bundle", "m9.tflite")
    (bundle / name).parent.mkdir(parents=True, exist_ok=True)
    (bundle / name).write_text("x")

    with pytest.raises(install.RefusedError, match="is not in the bundle's SHA256SUMS"):
        install.verify(bundle)


def test_nothing_is_parsed_before_it_is_verified(root, tmp_path, quick, monkeypatch):
    bundle = write_bundle(tmp_path / "bundle", "m9.tflite")
    (bundle / "bundle.json").write_text("{} ")
    monkeypatch.setattr(install, "read_json", lambda *_: pytest.fail("parsed before verified"))

    with pytest.raises(install.RefusedError, match=r"bundle\.json is damaged"):
        install.install(root, bundle, 0.5, service=False)


def test_a_bundle_under_the_name_of_another_is_refused(root, quick):
    name = f"edge-se-{'1' * 12}.tar.gz"
    (root / "incoming").mkdir()
    (root / "incoming" / name).write_bytes(archive(FILES_OF_ONE))
    arguments = argparse.Namespace(
        root=str(root), action="install", archive=name, arrived=0, bytes=None, max_rtf=0.5
    )

    with pytest.raises(install.RefusedError, match="another one than its name says"):
        install.act(arguments)


@pytest.mark.parametrize("name", ["../x.tar.gz", "/etc/passwd", "edge-se-1.tar.gz", ""])
def test_an_archives_name_does_not_lead_elsewhere(root, name):
    answer = act(root, "install", "--archive", name, "--bytes", "0")

    assert answer == {"error": "that is no name of a bundle's archive"}


def test_the_installer_is_read_by_pythons_that_it_has_to_refuse():
    ast.parse(Path(install.__file__).read_text(), feature_version=(3, 7))


def test_only_the_releases_used_last_are_kept(tmp_path):
    made = [add_release(tmp_path, number).name for number in range(6)]

    install.prune(tmp_path)

    state = install.status(tmp_path)
    assert state["current"] == made[5]
    assert [release["id"] for release in state["releases"]] == made[3:]


def test_the_release_in_use_is_kept_whatever_the_history_says(tmp_path):
    made = [add_release(tmp_path, number).name for number in range(5)]
    (tmp_path / "history").write_text("\n".join([made[4], *made[:4]]))

    install.prune(tmp_path)

    assert {one["id"] for one in install.status(tmp_path)["releases"]} == {made[4], *made[2:4]}


# The service

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
    word = install.quoted(Path("/home/pi") / name)

    assert word.isascii() and word.isprintable()
    assert word[0] == word[-1] == '"'
    # As systemd reads it: escapes, then doubled characters.
    read = word[1:-1].encode().decode("unicode_escape").encode("latin-1").decode()
    assert read.replace("%%", "%").replace("$$", "$") == f"/home/pi/{name}"
    assert '"' not in word[1:-1]


@pytest.fixture
def systemctl(tmp_path, monkeypatch):
    """A systemctl that writes down what it is asked; `fails("word")` makes it refuse that."""
    folder = tmp_path / "bin"
    folder.mkdir()
    calls = tmp_path / "calls"

    def fails(word: str) -> list[str]:
        script = folder / "systemctl"
        script.write_text(
            f'#!/bin/sh\necho "$*" >>{calls}\n'
            f'case "$*" in *{word}*) echo no sound >&2; exit 1;; esac\n'
        )
        script.chmod(0o755)
        return calls.read_text().splitlines() if calls.exists() else []

    fails("nothing")
    for name in ("loginctl", "sudo"):
        answer = 'case "$*" in *show-user*) echo no;; esac'
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{calls}\n{answer}\n')
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return fails


START = f"--user --no-block start {install.UNIT}"


def serve(root) -> None:
    """Have a live stream that runs, as far as systemctl tells."""
    install.use(root, ids(root)[2], 0.5, service=True)
    script = Path(os.environ["PATH"].partition(":")[0], "systemctl")
    script.write_text(script.read_text() + 'case "$*" in *is-active*) echo active;; esac\n')


@pytest.mark.parametrize(("allowed", "line"), [(True, "PrivateUsers=yes"), (False, "#PrivateUs")])
def test_the_unit_asks_for_user_namespaces_where_there_are_some(
    root, systemctl, home, monkeypatch, allowed, line
):
    monkeypatch.setattr(install, "has_user_namespaces", lambda: allowed)

    install.use(root, ids(root)[1], 0.5, service=True)

    unit = (home / ".config" / "systemd" / "user" / "edge-se.service").read_text()
    assert f"\n{line}" in unit
    assert f'"{root}/current/env/bin/python" "{root}/current"' in unit


def test_the_first_service_that_does_not_start_leaves_no_service(root, systemctl, home):
    before = install.current(root)
    systemctl("restart")

    with pytest.raises(install.RefusedError, match=r"restarting the service failed \(no sound\)"):
        install.use(root, ids(root)[0], 0.5, service=True)

    assert install.current(root) == before
    assert not install.user_unit().exists()
    assert systemctl("nothing")[-1] == "--user disable --now edge-se.service"
    assert install.history(root)[-1] == before


def test_a_rollback_after_a_failed_switch_goes_where_it_would_have_gone(root, systemctl):
    first, second, _ = ids(root)
    systemctl("restart")
    with pytest.raises(install.RefusedError):
        install.use(root, first, 0.5, service=True)

    assert install.rollback(root)["current"] == second


@pytest.mark.parametrize("namespaces", [True, False])
def test_the_unit_is_hardened(tool, tmp_path, namespaces):
    unit = Path(install.__file__).with_name("edge-se.service").read_text()
    if not namespaces:
        for setting in install.NEED_USER_NAMESPACES:
            unit = unit.replace(f"\n{setting}=", f"\n#{setting}=")
    (tmp_path / "edge-se.service").write_text(unit)
    command = [tool("systemd-analyze"), "security", "--offline=yes", "--threshold=50"]

    result = subprocess.run(
        [*command, str(tmp_path / "edge-se.service")], capture_output=True, text=True
    )

    assert result.returncode == 0, result.stdout[-300:] + result.stderr
    assert "Overall exposure level" in result.stdout


def test_links_in_the_boards_folder_are_removed_and_not_followed(root, tmp_path):
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


def test_a_unit_of_the_users_that_is_damaged_stops_nothing(root, systemctl):
    unit = install.user_unit()
    unit.parent.mkdir(parents=True)
    unit.write_bytes(b"\xff\0")

    assert install.rollback(root)["current"] == ids(root)[1]
    assert "ExecStart=" in unit.read_text()


def test_the_unit_names_no_model_file(root, systemctl):
    install.use(root, ids(root)[1], 0.5, service=True)

    unit = install.user_unit().read_text()
    assert "model." not in unit
    assert f'"{root}/current"' in unit


def test_devices_that_fail_are_named_and_everything_is_undone(root, systemctl):
    before, first = install.current(root), ids(root)[0]
    sentence = "edge-se: error: the capture device 'default' failed (No such device); there are: a"
    (root / "releases" / first / "env" / "bin" / "python").write_text(
        f'#!/bin/sh\ncase "$*" in *live*) echo "{sentence}" >&2; exit 2;; esac\nexec cat\n'
    )

    with pytest.raises(install.RefusedError) as error:
        install.use(root, first, 0.5, service=True)

    assert "the capture device 'default' failed (No such device); there are: a" in str(error.value)
    assert "live.toml says which it uses" in str(error.value)
    assert install.current(root) == before
    assert not install.user_unit().exists()
    assert not [call for call in systemctl("nothing") if "restart" in call]


def test_what_is_undone_does_not_wait_for_a_device(root, systemctl):
    serve(root)
    first = ids(root)[0]
    (root / "releases" / first / "env" / "bin" / "python").write_text(
        '#!/bin/sh\ncase "$*" in *live*) exit 2;; esac\nexec cat\n'
    )

    with pytest.raises(install.RefusedError, match="the live stream failed"):
        install.use(root, first, 0.5, service=False)

    assert systemctl("nothing")[-1] == f"--user --no-block restart {install.UNIT}"


def test_a_service_that_does_not_start_is_told_in_systemds_words(root, systemctl):
    advice = "Job for it failed.\nSee 'systemctl --user status it' for details."
    script = Path(os.environ["PATH"].partition(":")[0], "systemctl")
    script.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        f'*restart*) echo "{advice}" >&2; exit 1;;\n'
        '*show*) printf "Result=exit-code\\nExecMainStatus=226\\n";;\nesac\n'
    )

    with pytest.raises(install.RefusedError) as error:
        install.use(root, ids(root)[0], 0.5, service=True)

    assert str(error.value) == (
        "restarting the service failed (Job for it failed); systemd says: Result=exit-code "
        "ExecMainStatus=226"
    )


def test_a_release_without_the_live_stream_is_refused_while_there_is_a_service(root, systemctl):
    serve(root)
    before, first = install.current(root), ids(root)[1]
    (root / "releases" / first / install.UNIT).write_text("[Service]\nExecStart=@PYTHON@ @MODEL@\n")

    with pytest.raises(install.RefusedError, match="without the live stream's command") as error:
        install.activate(root, first, service=False)

    assert f"systemctl --user disable --now {install.UNIT}" in str(error.value)
    assert install.current(root) == before


def test_a_persons_settings_are_kept(root, systemctl):
    install.use(root, ids(root)[1], 0.5, service=True)
    settings = install.user_settings()
    assert 'capture = "default"' in settings.read_text()
    settings.write_text('capture = "plughw:1"\n')

    install.use(root, ids(root)[0], 0.5, service=True)
    install.rollback(root)

    assert settings.read_text() == 'capture = "plughw:1"\n'


def test_the_settings_that_are_written_are_those_without_a_file(tmp_path):
    path = tmp_path / "live.toml"
    path.write_text(install.SETTINGS_TEXT)

    assert read_settings(path) == LiveSettings()


def test_lingering_is_switched_on_or_the_command_is_said(root, systemctl, capsys):
    install.use(root, ids(root)[1], 0.5, service=True)

    calls, user = systemctl("nothing"), getpass.getuser()
    assert f"loginctl enable-linger {user}" in calls
    assert f"sudo -n loginctl enable-linger {user}" in calls
    assert f"keep it: sudo loginctl enable-linger {user}" in capsys.readouterr().err


def test_the_live_stream_rests_while_a_release_is_measured(
    root, systemctl, quick, tmp_path, monkeypatch
):
    serve(root)
    calls = tmp_path / "calls"

    def measure(folder) -> dict:
        assert calls.read_text().splitlines()[-1] == f"--user stop {install.UNIT}"
        with calls.open("a") as file:
            file.write("measured\n")
        return {"rtf": 0.1}

    monkeypatch.setattr(install, "benchmark", measure)
    install.install(root, write_bundle(tmp_path / "bundle", "m9.tflite"), 0.5, service=False)

    lines = calls.read_text().splitlines()
    assert lines[lines.index("measured") + 1] == START


def test_the_live_stream_goes_on_when_a_release_is_too_slow(
    root, systemctl, quick, tmp_path, monkeypatch
):
    serve(root)
    monkeypatch.setattr(install, "benchmark", lambda folder: {"rtf": 0.9})

    with pytest.raises(install.RefusedError, match="above the limit"):
        install.install(root, write_bundle(tmp_path / "bundle", "m9.tflite"), 0.5, service=False)

    assert (tmp_path / "calls").read_text().splitlines()[-1] == START


@pytest.mark.parametrize("action", ["rollback", "use"])
def test_what_interrupted_installations_left_goes_with_whatever_comes_next(root, action):
    first = ids(root)[0]
    half = root / "releases" / "0123456789ab" / "env"
    half.mkdir(parents=True)
    (half / "large").write_bytes(bytes(1000))

    act(root, action, "--release", first)

    assert not half.parent.exists()


def test_a_sender_that_is_cut_off_is_given_up_and_what_it_sent_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(install, "SILENT_S", 1)
    read, write = os.pipe()
    os.write(write, b"first")
    archive = tmp_path / "incoming" / "bundle.tar.gz"
    with os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb"):
        monkeypatch.setattr(sys, "stdin", argparse.Namespace(buffer=pipe))
        with pytest.raises(install.RefusedError, match="nothing came for 1 s"):
            install.receive(archive, 0, 1000)

    assert archive.read_bytes() == b"first"
