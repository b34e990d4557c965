"""Emulated boards: counting, projecting, and the default model under emulation."""

import json

import numpy as np
import pytest

from edge_se.errors import UserError
from edge_se.model_file import find_model
from targets.boards import find_board, load_boards
from targets.emulation.emulator import CLASSES, build_counter, read_counts
from targets.emulation.report import project
from targets.emulation.system import arm_system, cpuinfo


def test_counts_are_per_frame_without_the_cost_of_marking(tmp_path):
    marking, loop, stage = 7, 1000, 30
    steps = [marking, marking, 10 * loop + marking, 123456]
    steps += [stage + marking, 2 * stage + marking, 3 * stage + marking, 99] * 5
    marks = np.cumsum([0, *steps[:-1]])
    lines = [" ".join([str(mark), *["0"] * (len(CLASSES) - 1)]) for mark in marks]
    (tmp_path / "counts.txt").write_text("\n".join(lines))

    per_frame, stages = read_counts(tmp_path / "counts.txt", frames=10)

    assert per_frame["integer"] == loop
    assert [counts["integer"] for counts in stages.values()] == [stage, 2 * stage, 3 * stage]


def test_a_projection_is_instructions_over_assumed_speed():
    projection = project(find_board("pi4"), instructions=1.2e6, hop_s=0.016)

    assert projection["frame_us"] == [500.0, 888.9]
    assert projection["rtf"] == [0.03125, 0.05556]


@pytest.mark.parametrize(
    "board", [b for b in load_boards().values() if b.core], ids=lambda b: b.key
)
def test_an_emulated_board_says_which_core_it_has(board):
    entries = dict(line.split("\t: ") for line in cpuinfo(board).splitlines() if "\t: " in line)

    assert int(entries["CPU part"], 16) == board.core.part


@pytest.mark.parametrize(
    ("board", "python", "complaint"),
    [
        ("aarch64", "3.11", "aarch64 is no certain board, so it can't be emulated"),
        ("pi4", "3.12", "no Debian release with Python 3.12 can be emulated; use 3.11 or 3.13"),
    ],
)
def test_what_can_not_be_emulated_is_refused(board, python, complaint):
    with pytest.raises(UserError, match=complaint):
        arm_system(find_board(board), python)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("pi4",), "say what to run there"),
        (("pi9", "--", "benchmark"), "there is no board 'pi9'"),
        (("pi4", "--python", "3.13"), "--python has to come before the board"),
        (("pi4", "--", "benchmark", "--model", "absent.tflite"), "there is no model file"),
    ],
)
def test_the_command_says_what_is_wrong(edge_se, arguments, complaint):
    result = edge_se("boards", "emulate", *arguments)

    assert result.returncode == 2
    assert result.stderr.startswith(f"edge-se: error: {complaint}")


@pytest.mark.parametrize("seconds", ["0", "-1", "nan", "1e20", ""])
def test_seconds_that_can_t_be_emulated_are_refused(edge_se, seconds):
    result = edge_se("boards", "emulate", "pi4", "--", "benchmark", f"--seconds={seconds}")

    assert result.returncode == 2
    assert "benchmark: error: argument --seconds: " in result.stderr.splitlines()[-1]


def test_the_counter_compiles_for_this_interface(tool, tmp_path, monkeypatch):
    tool("gcc")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    counter = build_counter(["echo", "version 9.2.0"])

    assert counter.name.startswith("counter-2-")
    assert counter.read_bytes().startswith(b"\x7fELF")


@pytest.mark.slow
def test_the_default_model_agrees_on_an_emulated_pi4(tool, edge_se, tmp_path):
    for name in ("apt-get", "dpkg-deb", "gcc"):
        tool(name)

    result = edge_se(
        *("boards", "emulate", "pi4", "--"),
        *("benchmark", "--seconds", 1.6, "--json", "report.json"),
    )

    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["frames"] == 100
    assert report["agreement"]["agrees"]
    assert "output agrees" in result.stdout
    counts = report["instructions_per_frame"]
    assert counts["total"] == pytest.approx(sum(counts[name] for name in CLASSES), abs=1)
    stages = sum(stage["total"] for stage in report["stages"].values())
    assert stages == pytest.approx(counts["total"], rel=0.05)


@pytest.mark.slow
def test_int8_uses_the_dot_products_of_an_emulated_pi5(tool, edge_se, tmp_path):
    for name in ("apt-get", "dpkg-deb", "gcc"):
        tool(name)

    edge_se(
        *(
            "boards",
            "emulate",
            "--python",
            "3.13",
            "pi5",
            "--",
            "benchmark",
            "--model",
            "gtcrn",
            "--seconds",
            0.5,
            "--json",
            "report.json",
        )
    )

    report = json.loads((tmp_path / "report.json").read_text())
    assert report["model"]["precision"] == "int8_float_ends"
    assert report["instructions_per_frame"]["dot_product"] > 1000


@pytest.mark.slow
def test_any_command_of_the_runtime_runs_on_an_emulated_board(tool, edge_se):
    for name in ("apt-get", "dpkg-deb"):
        tool(name)

    result = edge_se("boards", "emulate", "zero2", "--", "inspect", find_model("gtcrn"))

    assert "gtcrn, int8" in result.stdout
