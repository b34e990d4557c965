"""Every option of every command refuses nonsense before any work, by one sentence."""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge_se import cli
from edge_se.commands.completion import load_parsers
from edge_se.commands.live import source_name
from edge_se.options import InputPath, Number, audio_path, is_path, word
from quant.commands.options import _network_option

NONSENSE = ("nan", "-nan", "inf", "-inf", "-1", "1e20", "9" * 30, "9" * 5000, "", " ", "x", "0x10")
KINDS = (audio_path, word, source_name, _network_option)


def named(value) -> str:
    return getattr(value, "dest", value)


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for name, parser in load_parsers().items():
        yield name, parser
        for action in parser._actions:
            if isinstance(action, argparse._SubParsersAction):
                yield from ((f"{name} {key}", child) for key, child in action.choices.items())


def valued() -> list[tuple[str, argparse.Action]]:
    """Every option and argument that takes a value, with its command."""
    return [
        (command, action)
        for command, parser in parsers()
        for action in parser._actions
        if action.nargs != 0 and not isinstance(action, argparse._SubParsersAction)
    ]


def test_every_command_was_looked_at():
    assert {command for command, _ in parsers()} >= set(cli.find_commands())


@pytest.mark.parametrize(("command", "action"), valued(), ids=named)
def test_every_value_has_a_kind(command, action):
    # The rest of emulate is another command line.
    if (command, action.dest) in {("boards emulate", "command"), ("boards emulate", "board")}:
        return
    kind = action.type
    assert action.choices or isinstance(kind, Number) or is_path(kind) or kind in KINDS


NUMBERS = [(command, action) for command, action in valued() if isinstance(action.type, Number)]


@pytest.mark.parametrize(("command", "action"), NUMBERS, ids=named)
def test_numbers_are_refused_or_lie_between_their_limits(command, action):
    kind = action.type
    for text in (*NONSENSE, "0", "1", "0.5"):
        try:
            value = kind(text)
        except argparse.ArgumentTypeError as error:
            assert len(str(error)) < 80
            assert text not in ("1", "0.5") or kind.kind is int or kind.high < 1
        else:
            assert isinstance(value, kind.kind)
            assert kind.low <= value <= kind.high < float("inf")
            assert value > kind.low or not kind.beyond_low


@pytest.mark.parametrize("text", ["nan", "inf", "-1000", "x", ""])
def test_a_refused_number_ends_with_status_2_and_one_sentence(capsys, text):
    for command, action in NUMBERS:
        assert cli.main([command, f"{action.option_strings[0]}={text}"]) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"edge-se {command}: error: argument {action.option_strings[0]}: ")


@pytest.mark.parametrize("command", sorted(cli.find_commands()))
def test_an_empty_value_is_refused(capsys, command):
    for name, action in valued():
        if name == command and action.option_strings:
            assert cli.main([command, f"{action.option_strings[0]}="]) == 2
            assert "error: argument" in capsys.readouterr().err


# What each command needs besides, to come to its paths; nothing of it is read.
NEEDED = {
    "quantize": ("--out", "out.tflite"),
    "convert": ("--out", "out.onnx"),
    "evaluate": ("--noisy", "folder", "--clean", "folder"),
    "bundle": ("--board", "pi4", "--out", "out.tar.gz"),
    "compile": ("--out", "out.so"),
    "deploy": ("host",),
    "train": ("--clean", "folder", "--noise", "folder", "--out", "run"),
    "sensitivity": ("--out", "run"),
    "separate": ("in.wav", "--model", "m.tflite", "--out-dir", "run"),
    "inspect": ("m.tflite",),
    "enhance": ("in.wav", "out.wav"),
}
PATHS = [(command, a) for command, a in valued() if is_path(a.type) and " " not in command]
INPUTS = [(command, a) for command, a in PATHS if isinstance(a.type, InputPath)]
OUTPUTS = [(command, a) for command, a in PATHS if (command, a) not in INPUTS]


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    for name in ("in.wav", "m.tflite", "folder/a.wav"):
        (tmp_path / name).write_text("precious")
    os.mkfifo("pipe")
    Path("loop").symlink_to("loop")
    monkeypatch.setattr(cli.sys, "stdin", open(os.devnull))  # noqa: SIM115, PTH123
    return tmp_path


def complaint(capsys, command: str, action: argparse.Action, value: str) -> str:
    """The one sentence about a value, with nothing written."""
    before = sorted(Path().rglob("*"))
    needed = list(NEEDED.get(command, ()))
    if action.option_strings:
        given = [*needed, action.option_strings[0], value]
    else:
        given = [value, *needed[1:]] if command in ("inspect", "separate") else [*needed, value]
    assert cli.main([command, *given]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("edge-se"), lines
    assert sorted(Path().rglob("*")) == before
    return lines[-1]


@pytest.mark.parametrize(("command", "action"), INPUTS, ids=named)
def test_inputs_that_can_t_be_read_are_one_sentence(folder, capsys, command, action):
    for value, words in (
        ("x" * 256, "can't be read (File name too long)"),
        ("x/" * 3000, "can't be read (File name too long)"),
        ("loop", "can't be read (Too many levels of symbolic links)"),
        ("in.wav/x", "can't be read (Not a directory)"),
        ("pipe", "pipe is neither a file nor a folder"),
        ("/dev/zero", "/dev/zero is neither a file nor a folder"),
    ):
        assert words in complaint(capsys, command, action, value)


@pytest.mark.parametrize(("command", "action"), OUTPUTS, ids=named)
def test_outputs_that_can_t_be_written_are_one_sentence(folder, capsys, command, action):
    for value, words in (
        ("x" * 256, "can't be written (File name too long)"),
        ("loop", "can't be written (Too many levels of symbolic links)"),
        ("in.wav/x", "can't be written (Not a directory)"),
    ):
        assert words in complaint(capsys, command, action, value)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *(("inspect", "--json"), ("evaluate", "--json"), ("benchmark", "--json")),
        *(("benchmark", "--histogram"), ("stream", "--json"), ("deploy", "--json")),
        *(("quantize", "--out"), ("quantize", "--save-ranges"), ("convert", "--out")),
        *(("compile", "--out"), ("bundle", "--out")),
    ],
)
@pytest.mark.parametrize("link", ["same", "symbolic", "hard"])
def test_no_command_overwrites_its_own_input(folder, capsys, command, option, link):
    Path("m.so").write_text("precious")
    source = "m.so" if command == "compile" else "m.tflite"
    target = {"same": source, "symbolic": "s.so", "hard": "h.so"}[link]
    Path("s.so").symlink_to(source)
    Path("h.so").hardlink_to(source)
    by_option = command in ("evaluate", "benchmark", "stream", "deploy", "bundle")
    needed = [
        w
        for w in NEEDED.get(command, ())
        if command in ("evaluate", "bundle", "deploy", "quantize")
    ]
    given = [*needed, *(("--model", source) if by_option else (source,)), option, target]

    assert cli.main([command, *given]) == 2

    assert "would overwrite what this command reads" in capsys.readouterr().err
    assert Path(source).read_text() == "precious"


def test_the_built_in_model_and_clips_are_inputs_too(folder, capsys):
    from edge_se.model_file import default_model_path

    for arguments in (
        ("benchmark", "--json", str(default_model_path())),
        ("evaluate", "--noisy", "folder", "--clean", "folder", "--json", "folder/a.wav"),
        ("benchmark", "--json", "r.json", "--histogram", "r.json"),
    ):
        assert cli.main(list(arguments)) == 2
        assert "would overwrite" in capsys.readouterr().err
    assert Path("folder/a.wav").read_text() == "precious"
