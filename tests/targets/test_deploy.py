"""Deploying over a real ssh connection to this machine, as if it were a board."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap

import pytest

from edge_se.manifest import Manifest
from edge_se.model_file import attach_manifest, find_model, read_model
from targets.boards import find_board
from targets.bundle import build_bundle, write_bundle
from targets.remote import Connection, RefusedError

MODEL = find_model("gtcrn")


@pytest.fixture(scope="module")
def board(start_loopback, tmp_path_factory):
    """A board whose releases the tests of this module share, in their order."""
    return start_loopback(tmp_path_factory.mktemp("board"))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """The first release's bundle: of the built-in model, for this machine."""
    path = tmp_path_factory.mktemp("bundle") / "bundle.tar.gz"
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    write_bundle(path, build_bundle(find_board("x86-64"), python, MODEL))
    return path


@pytest.fixture
def deploy(board, edge_se, tmp_path):
    """Run the command: `deploy("--model", FILE)`."""
    environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path / "state")}

    def run(*arguments, config=None) -> subprocess.CompletedProcess:
        options = ("--ssh-config", config or board.config)
        return edge_se("deploy", board.name, *options, *arguments, env=environment)

    return run


def error(result) -> str:
    """The one sentence of a command that failed because of its user."""
    assert result.returncode == 2, result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("edge-se: error: ")
    return last.removeprefix("edge-se: error: ")


def current(board) -> str | None:
    link = board.home / "edge-se" / "current"
    return link.readlink().name if link.is_symlink() else None


def relabelled(path, **fields):
    """The default model with other fields in its manifest: another bundle, the same work."""
    data, manifest = read_model(MODEL)
    content = {**json.loads(manifest.to_json()), **fields}
    path.write_bytes(attach_manifest(data, Manifest.from_json(json.dumps(content), "test")))
    return path


def test_an_unknown_host_key_is_refused(board, deploy, tmp_path):
    config = board.configured("unknown", UserKnownHostsFile=str(tmp_path / "empty"))

    assert "has a host key that is not known yet" in error(deploy(config=config))


def test_a_changed_host_key_is_refused(board, deploy, tmp_path):
    known = board.config.with_name("known_hosts").read_text().split()
    user_key = board.config.with_name("user_key.pub").read_text().split()
    (tmp_path / "changed").write_text(f"{known[0]} {user_key[0]} {user_key[1]}\n")
    config = board.configured("changed", UserKnownHostsFile=str(tmp_path / "changed"))

    assert "has another host key than the known one" in error(deploy(config=config))


def test_a_refused_key_is_named(board, deploy, tmp_path):
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")]
    subprocess.run(command, check=True)
    config = tmp_path / "config"
    key = str(board.config.with_name("user_key"))
    config.write_text(board.config.read_text().replace(key, str(tmp_path / "other")))

    assert error(deploy(config=config)) == "board refuses your key; add it with ssh-copy-id board"


def test_a_python_that_is_too_old_is_named(board, deploy):
    old = board.config.with_name("bin") / "python-old"
    old.write_text(
        '#!/bin/sh\ncode="import sys; sys.version_info = (3, 6); $2"\nshift 2\n'
        'exec python3 -c "$code" "$@"\n'
    )
    old.chmod(0o755)

    message = error(deploy("--python", "python-old"))

    assert message == "board: Python 3.6 is too old; edge-se needs 3.10 or later"


def test_a_greeting_of_the_login_shell_does_no_harm(board, deploy):
    greeting = board.config.with_name("bin") / "python-greeting"
    greeting.write_text('#!/bin/sh\necho "Welcome {home}"\nexec python3 "$@"\n')
    greeting.chmod(0o755)

    assert deploy("--list", "--python", "python-greeting").stdout.startswith("no releases in")


def test_a_host_without_an_ssh_server_is_named(board, deploy):
    config = board.configured("closed", Port="1")

    assert error(deploy(config=config)) == "board does not accept ssh; start its ssh server"


def test_a_board_without_python_is_named(deploy):
    assert error(deploy("--python", "python9")).startswith("board has no python9; install it there")


def test_nothing_is_listed_on_a_fresh_board(board, deploy):
    assert deploy("--list").stdout == f"no releases in {board.home}/edge-se\n"


def test_there_is_nothing_to_roll_back_to_on_a_fresh_board(deploy):
    assert error(deploy("--rollback")) == "board: there is no earlier release to go back to"


@pytest.mark.slow
class TestReleases:
    """One board's life, in order: the first release, others that fail, a second, and back."""

    def test_a_dry_run_changes_nothing(self, board, deploy):
        before = tree(board.home)

        result = deploy("--dry-run")

        assert result.returncode == 0, result.stderr
        assert "MB and use release" in result.stdout
        assert tree(board.home) == before

    def test_a_lost_connection_is_resumed(self, board, bundle, deploy, tmp_path):
        relay = tmp_path / "relay.py"
        relay.write_text(RELAY)
        proxy = f"{sys.executable} {relay} %h %p 20000000"
        config = board.configured("cut", ProxyCommand=proxy)
        message = error(deploy("--bundle", bundle, config=config))

        planned = deploy("--bundle", bundle, "--dry-run").stdout

        assert message.startswith("the connection to board was lost")
        assert current(board) is None
        (arrived,) = (board.home / "edge-se" / "incoming").iterdir()
        assert 10e6 < arrived.stat().st_size < 20e6
        whole = int(arrived.stat().st_size)
        assert float(planned.split(" would get ")[1].split(" MB")[0]) < 45 - whole / 1e6

    def test_the_first_deployment_installs_and_reports(self, board, bundle, deploy, tmp_path):
        result = deploy("--bundle", bundle, "--json", "report.json")

        assert result.returncode == 0, result.stderr
        sent = next(line for line in result.stderr.splitlines() if line.startswith("sending"))
        assert float(sent.split()[1]) < 32  # of over 40: the rest arrived before
        report = json.loads((tmp_path / "report.json").read_text())
        release = report["release"]["id"]
        assert current(board) == release
        assert 0 < report["benchmark"]["rtf"] < 0.5
        assert "compiled" in report["benchmark"]["model"]["stft"]
        assert {"governor", "temperature_c", "clock_mhz"} <= set(report["benchmark"]["machine"])
        kept = tmp_path / "state" / "edge-se" / "deployments" / "board" / f"{release}.json"
        assert json.loads(kept.read_text()) == report
        assert "real-time factor" in result.stdout
        assert list((board.home / "edge-se" / "incoming").iterdir()) == []

    def test_the_installed_command_enhances(self, board):
        release = board.home / "edge-se" / "current"
        command = [
            release / "env" / "bin" / "edge-se",
            "stream",
            "--model",
            release / "model.tflite",
        ]

        result = subprocess.run(command, input=bytes(51200), capture_output=True, timeout=60)

        assert len(result.stdout) == 51200 + 512

    def test_the_same_bundle_again_does_nothing(self, board, bundle, deploy):
        before = tree(board.home)

        result = deploy("--bundle", bundle)

        assert result.returncode == 0, result.stderr
        assert "is in use on board already" in result.stderr
        assert "real-time factor" in result.stdout
        assert tree(board.home) == before

    def test_a_failed_smoke_test_leaves_the_old_release(self, board, deploy, tmp_path):
        broken = tmp_path / "broken.tflite"
        data, manifest = read_model(MODEL)
        damaged = data[:8] + bytes(len(data) - 8)
        broken.write_bytes(attach_manifest(damaged, manifest))
        before = tree(board.home)

        message = error(deploy("--model", broken))

        assert "the smoke test failed" in message
        assert message.endswith(f"release {current(board)} stays in use")
        assert tree(board.home, without="incoming") == {
            name for name in before if "incoming" not in name
        }

    def test_a_model_that_is_too_slow_leaves_the_old_release(self, board, deploy, tmp_path):
        before = current(board)
        model = relabelled(tmp_path / "slow.tflite", quality={"note": "slow"})

        message = error(deploy("--model", model, "--max-rtf", "1e-9"))

        assert "above the limit of 1e-09" in message
        assert current(board) == before

    def test_rollback_goes_to_the_release_before_and_forth_again(self, board, deploy, tmp_path):
        first = current(board)
        result = deploy("--model", relabelled(tmp_path / "two.tflite", quality={"note": "two"}))
        assert result.returncode == 0, result.stderr
        second = current(board)

        assert deploy("--rollback").returncode == 0
        back = current(board)
        listing = deploy("--list").stdout
        assert deploy("--rollback").returncode == 0

        assert first != second
        assert back == first
        assert current(board) == second
        assert f"* {first}" in listing
        assert f"  {second}" in listing

    def test_a_release_that_is_there_is_used_without_sending_it(self, board, deploy, tmp_path):
        second = current(board)
        assert deploy("--rollback").returncode == 0
        model = relabelled(tmp_path / "two.tflite", quality={"note": "two"})

        result = deploy("--model", model)

        assert result.returncode == 0, result.stderr
        assert "sending" not in result.stderr
        assert current(board) == second

    def test_a_connection_lost_while_installing_leaves_a_release_in_use(
        self, board, deploy, tmp_path
    ):
        before = current(board)
        model = relabelled(tmp_path / "three.tflite", quality={"note": "three"})
        command = [sys.executable, "-m", "edge_se", "deploy", "board", "--model", str(model)]
        command += ["--ssh-config", str(board.config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if b"testing the model" in line:
                    os.killpg(process.pid, signal.SIGKILL)
        with (board.home / "edge-se" / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # the board finishes on its own, or gives up

        meanwhile = current(board)
        result = deploy("--model", model)

        assert meanwhile is not None
        assert result.returncode == 0, result.stderr
        assert current(board) not in (None, before)
        assert deploy("--rollback").returncode == 0
        assert current(board) == before

    def test_a_second_installation_at_the_same_time_is_refused(self, board, deploy):
        with (board.home / "edge-se" / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            message = error(deploy("--rollback"))

        assert message == "board: another installation is running there; try again later"

    def test_a_service_that_does_not_start_leaves_the_old_release(self, board, deploy, tmp_path):
        systemctl = board.config.with_name("bin") / "systemctl"
        calls = tmp_path / "calls"
        systemctl.write_text(f'#!/bin/sh\necho "$*" >>{calls}\n')
        systemctl.chmod(0o755)
        for program, does in (("arecord", "cat /dev/zero"), ("aplay", "cat >/dev/null")):
            path = systemctl.with_name(program)
            path.write_text(f"#!/bin/sh\nexec {does}\n")
            path.chmod(0o755)
        started = deploy(
            "--model", relabelled(tmp_path / "two.tflite", quality={"note": "two"}), "--service"
        )
        assert started.returncode == 0, started.stderr
        second = current(board)
        report = board.home / "edge-se" / "current" / "report.json"
        systemctl.write_text(
            f'#!/bin/sh\necho "$*" >>{calls}\n'
            f'[ "$2" != restart ] || grep -q two.tflite {report} || {{\n'
            "echo no sound >&2; exit 1; }\n"
        )

        message = error(deploy("--rollback"))

        assert "restarting the service failed (no sound)" in message
        assert current(board) == second
        assert calls.read_text().splitlines()[-1] == "--user --no-block restart edge-se.service"


def tree(folder, without=None) -> set[str]:
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if without is None or without not in path.parts
    }


# Stands between ssh and the server, and drops the connection after so many bytes.
RELAY = textwrap.dedent("""
    import os, select, socket, sys

    server = socket.create_connection((sys.argv[1], int(sys.argv[2])))
    left = int(sys.argv[3])
    while left > 0:
        ready, _, _ = select.select([0, server], [], [])
        if 0 in ready:
            data = os.read(0, 65536)
            if not data:
                break
            left -= len(data)
            server.sendall(data)
        if server in ready:
            data = server.recv(65536)
            if not data:
                break
            os.write(1, data)
""")


@pytest.mark.slow
def test_a_full_disk_is_named(start_loopback, deploy, edge_se, tmp_path):
    board = start_loopback(tmp_path / "full")
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=30m", "tmpfs", str(board.home)]
    if mount is None or subprocess.run([mount, *options], capture_output=True).returncode:
        pytest.skip("this user may not mount a tmpfs, which is what a small disk takes")
    try:
        refused = edge_se("deploy", "board", "--ssh-config", board.config)
        connection = Connection(board.name, config=board.config)
        archive = ("--archive", f"edge-se-{'0' * 12}.tar.gz", "--bytes", "40000000")
        with pytest.raises(RefusedError, match="No space left on device"):
            connection.installer({}, "install", *archive, data=bytes(40_000_000))
    finally:
        subprocess.run(["umount", str(board.home)], check=True)

    assert "MB free in" in error(refused)
    assert "make room there" in error(refused)
