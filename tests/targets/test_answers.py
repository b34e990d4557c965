"""What a hostile or broken board, or a broken connection, may do to the host: one sentence."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edge_se.errors import UserError
from targets.answers import FACTS_SHAPE, REPORT_SHAPE, STATE_SHAPE, read_answer
from targets.board.installer import releases
from targets.remote import Connection, RefusedError
from tests.helpers.releases import add_release
from tests.helpers.waiting import wait_for

ID = "0123456789ab"
FACTS = {
    "machine": "x86_64",
    "bits": 64,
    "model": None,
    "python": "3.11",
    "has_venv": True,
    "numpy": "1.24.2",
    "free_bytes": 10**9,
    "leftover_bytes": 0,
    "root": "/home/pi/edge-se",
    "incoming": {f"edge-se-{ID}.tar.gz": {"bytes": 5, "sha256": "0" * 64}},
    "current": ID,
    "releases": [
        {
            "id": ID,
            "installed": "2026-01-01T00:00:00Z",
            "model": "m.tflite",
            "edge_se": "0.1.0",
            "rtf": 0.1,
            "damage": None,
        },
        {"id": "1" * 12, "damage": "report.json is empty"},
    ],
    "history": [ID],
}
REPORT = {
    "changed": True,
    "release": {key: value for key, value in FACTS["releases"][0].items() if key != "damage"},  # type: ignore[index]
    "throttling": {"flags": "0x0", "set": []},
    "benchmark": {
        "rtf": 0.1,
        "frames": 10,
        "deadline_misses": 0,
        "peak_rss_mb": 57.6,
        "frame_us": {"p50": 1.0, "p95": 2.0, "p99": 3.0},
        "machine": {
            "cpu": "cpu",
            "python": "3.11.2",
            "governor": None,
            "clock_mhz": None,
            "temperature_c": -5.0,
        },
        "model": {
            "architecture": "gtcrn",
            "precision": "int8",
            "runtime": "ai_edge_litert",
            "runtime_version": "2.3.0",
            "stft": "float",
        },
    },
}


def changed(content: dict, path: str, value: object) -> dict:
    """A copy of JSON with another value at a path such as "releases.0.id"."""
    copy = json.loads(json.dumps(content))
    place = copy
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part)] if isinstance(place, list) else place[part]
    place[int(last) if isinstance(place, list) else last] = value
    return copy


def text(content: object) -> bytes:
    return json.dumps(content, indent=2).encode()


@pytest.mark.parametrize(("shape", "content"), [(FACTS_SHAPE, FACTS), (REPORT_SHAPE, REPORT)])
def test_a_right_answer_is_read_after_a_greeting(shape, content):
    output = b"Welcome {home}\n{\n}\n" + text(content) + b"\nlogout\n"

    assert read_answer(output, shape, "board") == content


@pytest.mark.parametrize("field", ["model", "numpy", "current", "incoming"])
def test_a_missing_field_is_not_taken_for_none(field):
    output = text({name: value for name, value in FACTS.items() if name != field})

    with pytest.raises(UserError, match=rf"board answers what .* \(answer\.{field} is missing\)"):
        read_answer(output, FACTS_SHAPE, "board")


@pytest.mark.parametrize(
    "output",
    [
        b"",
        b"Welcome",
        b"{\n",
        b"[]",
        b"null",
        b"{\n" + b'"a": [' * 100_000,
        b"\xff\xfe{\n}",
        b'{\n"a": NaN}',
        b'{\n"a": ' + b"9" * 10_000 + b"}",
        text(FACTS)[:-20],
        b"\x1b]0;title\x07\x1b[2J",
    ],
    ids=lambda output: repr(output[:20]),
)
def test_what_is_no_answer_is_one_printable_sentence(output):
    with pytest.raises(UserError) as caught:
        read_answer(output, FACTS_SHAPE, "board")

    assert str(caught.value).isprintable()
    assert str(caught.value).startswith("board answers ")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("current", "../../../etc/cron.d/x"),
        ("current", "0123456789AB"),
        ("current", ID + "\n"),
        ("current", 5),
        ("releases.0.id", "../x"),
        ("releases.0.rtf", "fast"),
        ("releases.0.rtf", 1e300),
        ("releases.0.rtf", -1),
        ("releases.0.installed", None),
        ("releases.0.model", "m" * 5000),
        ("releases.1.damage", 7),
        ("releases", {}),
        ("releases", [None]),
        ("history", "x"),
        ("history", ["../x"]),
        ("incoming", []),
        ("incoming", {"../x": {"bytes": 1, "sha256": "0" * 64}}),
        ("incoming", {f"edge-se-{ID}.tar.gz": {"bytes": -1, "sha256": "0" * 64}}),
        ("incoming", {f"edge-se-{ID}.tar.gz": {"bytes": 1.5, "sha256": "0" * 64}}),
        ("incoming", {f"edge-se-{ID}.tar.gz": {"bytes": 1}}),
        ("machine", "x86_64; rm -rf /"),
        ("machine", None),
        ("bits", 128),
        ("bits", "64"),
        ("python", "3.11.2"),
        ("python", "--index-url=http://x"),
        ("numpy", "one"),
        ("has_venv", 1),
        ("free_bytes", "much"),
        ("free_bytes", -1),
        ("free_bytes", True),
        ("leftover_bytes", None),
        ("model", ["Pi"]),
        ("root", None),
    ],
)
def test_facts_of_another_shape_are_named(path, value):
    with pytest.raises(UserError, match=r"board answers what edge-se does not understand \(answer"):
        read_answer(text(changed(FACTS, path, value)), FACTS_SHAPE, "board")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("release.id", "../../x"),
        ("release", "x"),
        ("benchmark.rtf", None),
        ("benchmark.frame_us", []),
        ("benchmark.machine.clock_mhz", "fast"),
        ("benchmark.model", None),
        ("throttling", {"set": "x"}),
        ("changed", None),
    ],
)
def test_a_report_of_another_shape_is_named(path, value):
    with pytest.raises(UserError, match="what edge-se does not understand"):
        read_answer(text(changed(REPORT, path, value)), REPORT_SHAPE, "board")


def test_text_of_a_board_does_nothing_to_a_terminal():
    evil = "\x1b[2J\x9b31m\u202egnp.exe\x07\n"

    answer = read_answer(text(changed(FACTS, "model", evil)), FACTS_SHAPE, "board")

    assert answer["model"] == r"\x1b[2J\x9b31m\u202egnp.exe\x07\n"


# A stand-in for ssh: what it is given to run is run here, or something else happens


@pytest.fixture
def ssh(tmp_path, monkeypatch):
    """Put a script in the place of ssh; without one, commands run on this machine."""
    folder = tmp_path / "bin"
    folder.mkdir()

    def write(body: str = 'for last; do :; done\nexec sh -c "$last"') -> None:
        (folder / "ssh").write_text(f"#!/bin/sh\n{body}\n")
        (folder / "ssh").chmod(0o755)

    write()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return write


def refused(result) -> str:
    """The one sentence of a command that failed because of its user."""
    assert result.returncode == 2, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith("edge-se: error: ")
    assert line.isprintable()
    return line.removeprefix("edge-se: error: ")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ("cat >/dev/null; echo hello", "board answers something else than edge-se's installer"),
        ("cat >/dev/null; printf '{\\n'", "board answers something else than edge-se's installer"),
        ("cat >/dev/null; printf '{\\n}\\n'", "board answers what edge-se does not understand"),
        ("cat >/dev/null; printf '{\\n}\\n'; exit 3", "board answers what edge-se does not under"),
        ("yes", "board answers more than edge-se's installer ever does"),
        ("yes >&2", "board answers more than edge-se's installer ever does"),
        ("yes | tr -d '\\n' >&2", "board answers more than edge-se's installer ever does"),
        ("exit 0", "board answers something else than edge-se's installer does (nothing)"),
        ("exit 255", "the connection to board was lost (no message); run the same command again"),
        (
            "printf '\\033[31mred\\033[0m\\n' >&2; exit 9",
            r"board failed with status 9 (\x1b[31mred",
        ),
        ("echo 'Connection refused' >&2; exit 255", "board does not accept ssh"),
        ("exit 127", "board has no python3; install it there"),
        ("kill -9 $$", "board failed with status -9"),
    ],
)
def test_a_board_or_connection_gone_wrong_is_one_sentence(ssh, body, sentence):
    ssh(body)

    with pytest.raises(UserError) as caught:
        Connection("board").installer(FACTS_SHAPE)

    assert str(caught.value).startswith(sentence)
    assert str(caught.value).isprintable()


def test_a_board_that_says_nothing_is_given_up(ssh):
    ssh("exec sleep 600")
    start = time.monotonic()

    with pytest.raises(UserError, match="board does not answer any more"):
        Connection("board", patience_s=0.5).installer({})

    assert time.monotonic() - start < 60


def test_progress_of_a_board_is_passed_on_without_what_a_terminal_obeys(ssh, capfd):
    ssh("cat >/dev/null; printf '  \\033[2Jtesting\\nother\\n' >&2; printf '{\\n}\\n'")

    Connection("board").installer({})

    assert capfd.readouterr().err == "  \\x1b[2Jtesting\n"


def test_a_refusal_that_is_a_lie_is_still_text(ssh):
    ssh('cat >/dev/null; printf \'{\\n"error": "\\\\u001b[2J"\\n}\\n\'; exit 3')

    with pytest.raises(RefusedError, match=r"^\\x1b\[2J$"):
        Connection("board").installer({})


@pytest.mark.parametrize(
    "host",
    [
        "-oProxyCommand=touch x",
        "-v",
        "--",
        "",
        " ",
        "..",
        "a b",
        "pi@",
        "@board",
        "pi@-oProxyCommand=x",
        "-pi@board",
        "pi$(touch x)@board",
        "pi`id`@board",
        "pi;id@board",
        "pi@board;id",
        "pi@board\nHost *",
        "pi@../x",
        "pi'@board",
        "b" * 300,
        "pi@bo\x1b[31mard",
    ],
)
def test_what_is_no_host_never_reaches_ssh(ssh, tmp_path, host):
    ssh(f"touch {tmp_path / 'called'}")

    with pytest.raises(UserError, match="is no host; name it as ssh does") as caught:
        Connection(host).installer({})

    assert str(caught.value).isprintable()
    assert not (tmp_path / "called").exists()


@pytest.mark.parametrize(
    "host",
    ["board", "pi@board.local", "root@10.0.0.1", "fe80::1%eth0", "pi@[::1]", "ssh://pi@board:22"],
)
def test_what_ssh_takes_is_a_host(host):
    assert Connection(host).host == host


@pytest.mark.parametrize("python", ["", "-oProxyCommand=x", "python3\nid"])
def test_what_is_no_command_is_refused(python):
    with pytest.raises(UserError, match="is no command; give --python a name or a path"):
        Connection("board", python)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--root", "r" * 5000), "--root has to name a folder on the board, such as ~/edge-se"),
        (("--root", "/"), "board: the root has to be a folder of its own, such as ~/edge-se"),
        (("--ssh-config", "absent"), "there is no ssh configuration absent"),
        (("--bundle", "absent.tar.gz"), "there is no bundle absent.tar.gz"),
        (("--json", "absent/x.json"), "there is no folder absent to write x.json into; create it"),
        (("--rollback",), "board: there is no earlier release to go back to"),
    ],
)
def test_nonsense_on_the_command_line_is_one_sentence(edge_se, ssh, arguments, sentence):
    assert refused(edge_se("deploy", "board", *arguments)) == sentence


def test_without_ssh_there_is_a_sentence(edge_se, tmp_path):
    result = edge_se("deploy", "board", "--list", env={**os.environ, "PATH": str(tmp_path)})

    assert refused(result) == "deploying needs ssh; install openssh-client"


def test_releases_are_listed_and_damaged_ones_named(edge_se, ssh, tmp_path):
    root = tmp_path / "home" / "edge-se"
    first, second = add_release(root, 0), add_release(root, 1)
    (second / "report.json").write_bytes(b"")

    listed = edge_se("deploy", "board", "--list")
    back = edge_se("deploy", "board", "--rollback")

    assert listed.returncode == 0, listed.stderr
    assert f"* {second.name}  damaged: report.json is empty" in listed.stdout
    assert back.returncode == 0, back.stderr
    assert releases.current(root) == first.name


@pytest.mark.parametrize("root", ["with space", "$HOME %n", "a'b\"c", "new\nline", "-x", "`id`"])
def test_a_root_is_the_same_folder_on_the_board_whatever_its_name(edge_se, ssh, tmp_path, root):
    release = add_release(tmp_path / "home" / root, 0)

    result = edge_se("deploy", "board", "--list", f"--root={tmp_path / 'home' / root}")

    assert result.returncode == 0, result.stderr
    assert release.name in result.stdout


def test_running_the_installer_leaves_nothing_on_the_board(ssh, tmp_path, monkeypatch):
    home, temporary = tmp_path / "home", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))

    facts = Connection("board").installer(FACTS_SHAPE, "probe")

    assert facts["root"] == str(home / "edge-se")
    assert [*home.iterdir(), *temporary.iterdir()] == []


def test_what_is_sent_lies_behind_what_arrived(ssh, tmp_path):
    name, data = f"edge-se-{ID}.tar.gz", bytes(range(256)) * 5000
    incoming = tmp_path / "home" / "edge-se" / "incoming"
    incoming.mkdir(parents=True)
    (incoming / name).write_bytes(data[:1000] + b"damaged since")
    arguments = ("install", "--archive", name, "--arrived", "1000", "--bytes", str(len(data)))

    with pytest.raises(RefusedError, match="is no whole edge-se bundle"):
        Connection("board").installer({}, *arguments, data=data[1000:])

    assert (incoming / name).read_bytes() == data


def test_a_transfer_that_was_cut_stays_to_be_continued(ssh, tmp_path):
    name = f"edge-se-{ID}.tar.gz"
    arguments = ("install", "--archive", name, "--bytes", "5000000")

    with pytest.raises(RefusedError, match="did not arrive whole; deploy it again"):
        Connection("board").installer({}, *arguments, data=bytes(3_000_000))

    arrived = tmp_path / "home" / "edge-se" / "incoming" / name
    assert arrived.stat().st_size == 3_000_000


def test_ctrl_c_ends_ssh_as_well(ssh, tmp_path):
    ssh(f"echo $$ >{tmp_path / 'pid'}; exec sleep 600")
    script = "from targets.remote import Connection; Connection('board').installer({})"
    with subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL) as process:
        wait_for(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text() != "")
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) != 0

    wait_for(lambda: not is_running(int((tmp_path / "pid").read_text())))


def is_running(process: int) -> bool:
    """Whether there is such a process that has not ended; its parent may be gone, and none wait."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state.split()[0] != "Z"


def test_a_state_after_a_rollback_is_checked_as_well():
    with pytest.raises(UserError, match=r"answer\.current is not as expected"):
        read_answer(text({"current": "../x", "history": [], "releases": []}), STATE_SHAPE, "board")
