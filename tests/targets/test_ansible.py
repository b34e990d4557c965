"""The Ansible role, against two boards that are this machine."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import targets
from edge_se.model_file import attach_manifest, find_model, read_model
from targets.boards import find_board
from targets.bundle import build_bundle, write_bundle

PLAYBOOK = Path(targets.__file__).parent / "ansible" / "deploy.yml"
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def boards(start_loopback, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fleet")
    return [start_loopback(folder / name, name) for name in ("first", "second")]


@pytest.fixture
def play(tool, boards, tmp_path):
    """Run the playbook with a bundle; what it says."""
    playbook = tool("ansible-playbook")

    def run(bundle):
        write_bundle(tmp_path / "bundle.tar.gz", bundle)
        hosts = {
            board.name: {
                "ansible_ssh_common_args": f"-F {board.config}",
                "ansible_python_interpreter": str(board.config.with_name("bin") / "python3"),
            }
            for board in boards
        }
        variables = {"edge_se_bundle": str(tmp_path / "bundle.tar.gz")}
        inventory = {"boards": {"hosts": hosts, "vars": variables}}
        (tmp_path / "inventory.yml").write_text(json.dumps(inventory))
        environment = {
            **os.environ,
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",  # a shared connection outlives its test
            "LC_ALL": "C.UTF-8",
        }
        return subprocess.run(
            [playbook, "-i", tmp_path / "inventory.yml", PLAYBOOK],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )

    return run


def bundle_of(model):
    return build_bundle(find_board("x86-64"), PYTHON, model)


def current(board) -> str | None:
    link = board.home / "edge-se" / "current"
    return link.readlink().name if link.is_symlink() else None


def test_the_role_installs_once_and_stops_at_the_first_failure(boards, play, tmp_path):
    bundle = bundle_of(find_model("gtcrn"))
    data, manifest = read_model(find_model("gtcrn"))
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(attach_manifest(data[:8] + bytes(len(data) - 8), manifest))

    installed, again, failed = play(bundle), play(bundle), play(bundle_of(broken))

    assert installed.returncode == 0, installed.stdout + installed.stderr
    report = json.loads((tmp_path / "reports" / "second.json").read_text())
    assert report["release"]["id"] == bundle.id
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.count("changed=0") == 2
    assert failed.returncode != 0
    assert "the smoke test failed" in failed.stdout
    assert "second" not in failed.stdout.split("PLAY RECAP")[0]
    assert [current(board) for board in boards] == [bundle.id, bundle.id]
    assert [list((board.home / "edge-se" / "incoming").iterdir()) for board in boards] == [[], []]
