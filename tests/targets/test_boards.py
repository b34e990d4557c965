"""Boards as data, and the command that lists them."""

import json

import pytest

from edge_se.errors import UserError
from targets.boards import detect_board, find_board, load_boards, required_wheels


@pytest.mark.parametrize(
    ("machine", "bits", "model", "expected"),
    [
        ("aarch64", 64, "Raspberry Pi 4 Model B Rev 1.4", "pi4"),
        ("aarch64", 64, "Raspberry Pi Zero 2 W Rev 1.0", "zero2"),
        ("aarch64", 64, "Raspberry Pi 3 Model B Plus Rev 1.3", "pi3"),
        ("aarch64", 64, "Raspberry Pi 5 Model B Rev 1.0", "pi5"),
        ("aarch64", 64, "Radxa ROCK 5B", "aarch64"),
        ("aarch64", 64, None, "aarch64"),
        ("armv7l", 32, "Raspberry Pi 2 Model B Rev 1.1", "armv7"),
        ("aarch64", 32, "Raspberry Pi 4 Model B Rev 1.4", "armv7"),
        ("x86_64", 64, None, "x86-64"),
    ],
)
def test_a_board_is_known_by_machine_pointer_size_and_model(machine, bits, model, expected):
    assert detect_board(machine, bits, model).key == expected


def test_a_platform_without_a_runtime_is_refused():
    with pytest.raises(UserError, match="riscv64 with 64-bit Python, for which there is no TFLite"):
        detect_board("riscv64", 64, None)


def test_an_unknown_board_is_refused_with_the_known_ones():
    with pytest.raises(UserError, match="no board 'pi9'; choose from zero2, pi3, pi4, pi5"):
        find_board("pi9")


@pytest.mark.parametrize("board", load_boards().values(), ids=lambda board: board.key)
def test_every_system_brings_a_python_that_the_runtime_serves(board):
    for python in board.systems.values():
        assert required_wheels(board, python)


@pytest.mark.parametrize("board", load_boards().values(), ids=lambda board: board.key)
def test_every_wheel_is_pinned(board):
    for pins in board.platform.runtime.wheels.values():
        assert all("==" in pin for pin in pins)


def test_a_python_without_a_wheel_is_refused_with_those_that_have_one():
    with pytest.raises(UserError, match=r"no armv7 wheel for Python 3\.13; use Python 3\.11$"):
        required_wheels(find_board("armv7"), "3.13")


def test_32_bit_arm_takes_numpy_from_the_system():
    runtime = find_board("armv7").platform.runtime

    assert runtime.uses_system_packages
    assert not any(pin.startswith("numpy") for pins in runtime.wheels.values() for pin in pins)


def test_the_command_lists_every_board(edge_se):
    lines = edge_se("boards").stdout.splitlines()

    assert [line.split()[0] for line in lines[1 : 1 + len(load_boards())]] == list(load_boards())


def test_the_command_lists_boards_as_json(edge_se):
    entries = {
        entry["board"]: entry for entry in json.loads(edge_se("boards", "--json", "-").stdout)
    }

    assert entries["pi4"]["core"] == "Arm Cortex-A72"
    assert entries["pi4"]["instructions_per_second"] == [1.35e9, 2.4e9]
    assert entries["x86-64"]["instructions_per_second"] is None
