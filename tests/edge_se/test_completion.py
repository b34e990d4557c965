import argparse
import shutil
import subprocess
from pathlib import Path

import pytest

from edge_se.commands import completion


@pytest.fixture
def parsers():
    enlarge = argparse.ArgumentParser(prog="edge-se enlarge", description="Make it: larger.")
    enlarge.add_argument("input", type=Path)
    enlarge.add_argument("--kind", choices=("cubic", "linear"), default="cubic", help="of [it's]")
    enlarge.add_argument("--out", type=Path, help="where to (default: %(default)s)")
    enlarge.add_argument("--quiet", action="store_true", help="100 %% silent")
    rooms = argparse.ArgumentParser(prog="edge-se rooms", description="Rooms.")
    inner = rooms.add_subparsers(dest="action").add_parser("emulate")
    inner.add_argument("--python")
    return {"enlarge": enlarge, "rooms": rooms}


@pytest.fixture
def complete(parsers, tmp_path):
    """What bash offers for the last word of a line."""
    script = tmp_path / "edge-se.bash"
    script.write_text(completion.bash_script(parsers))

    def offers(*words: str) -> list[str]:
        line = " ".join(f"'{word}'" for word in ("edge-se", *words))
        shell = (
            f"source {script}; COMP_WORDS=({line}); COMP_CWORD={len(words)}; _edge_se; "
            'echo "${COMPREPLY[@]}"'
        )
        result = subprocess.run(
            ["bash", "-uc", shell], capture_output=True, text=True, check=True, timeout=30
        )
        assert not result.stderr
        return result.stdout.split()

    return offers


def test_the_first_word_is_a_command(complete):
    assert complete("") == ["enlarge", "rooms", "--help", "--version"]
    assert complete("en") == ["enlarge"]


def test_a_dash_begins_an_option_of_the_command(complete):
    assert complete("enlarge", "--") == ["--help", "--kind", "--out", "--quiet"]
    assert complete("enlarge", "in.wav", "--q") == ["--quiet"]


def test_an_option_with_choices_offers_them(complete):
    assert complete("enlarge", "--kind", "") == ["cubic", "linear"]
    assert complete("enlarge", "--kind", "l") == ["linear"]


def test_all_else_is_left_to_files(complete):
    assert complete("enlarge", "") == []
    assert complete("enlarge", "--out", "") == []


def test_actions_below_a_command_are_known(complete):
    assert complete("rooms", "") == ["emulate"]
    assert "--python" in complete("rooms", "emulate", "--")


def test_zsh_is_told_what_options_are_for(parsers):
    script = completion.zsh_script(parsers)

    assert r"'enlarge:Make it\: larger.'" in script
    assert r"'--kind[of \[it'\''s\]]:kind:(cubic linear)'" in script
    assert r"'--out[where to (default\: None)]:out:_files'" in script
    assert "'--quiet[100 % silent]'" in script


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_reads_the_script(parsers):
    script = f"autoload -U compinit; compinit -D\n{completion.zsh_script(parsers)}\n"

    result = subprocess.run(["zsh", "-f"], input=script, capture_output=True, text=True, timeout=30)

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("shell", completion.SCRIPTS)
def test_the_installed_commands_are_in_the_script(edge_se, shell):
    result = edge_se("completion", shell)

    assert result.returncode == 0
    assert "enhance" in result.stdout
    assert "--model" in result.stdout


def test_a_command_whose_room_is_missing_is_left_out(monkeypatch):
    commands = {"enhance": "edge_se.commands.enhance", "probe": "quant.commands.absent"}
    monkeypatch.setattr("edge_se.cli.find_commands", lambda: commands)

    assert list(completion.load_parsers()) == ["enhance"]
