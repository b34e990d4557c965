import re
import subprocess
import sys
import types
import warnings

import pytest

from edge_se import cli
from edge_se.errors import UserError


@pytest.fixture
def command(monkeypatch):
    """Register a command `probe` whose `run` is the function given."""

    def register(run, module: str = "quant.commands.probe"):
        probe = types.ModuleType(module, "Probe.")
        vars(probe).update(add_arguments=lambda parser: None, run=run)
        monkeypatch.setitem(sys.modules, module, probe)
        monkeypatch.setattr(cli, "find_command", lambda name: module)

    return register


def raising(error: BaseException):
    def run(arguments):
        raise error

    return run


def test_help_lists_every_command_with_its_summary(edge_se):
    result = edge_se("--help")

    assert result.returncode == 0
    assert re.search(
        r"enhance +Enhance an audio file, or every audio file of a folder\.", result.stdout
    )


def test_no_command_shows_the_help_and_fails(edge_se):
    result = edge_se()

    assert result.returncode == 2
    assert "commands:" in result.stdout


def test_version(edge_se):
    assert edge_se("--version").stdout.startswith("edge-se 0.")


def test_an_unknown_command_is_one_line(edge_se):
    result = edge_se("enlarge", "in.wav")

    assert result.returncode == 2
    assert result.stderr.startswith("edge-se: error: there is no command 'enlarge'; choose from")
    assert result.stderr.count("\n") == 1


def test_a_command_has_its_own_help(edge_se):
    result = edge_se("benchmark", "--help")

    assert result.returncode == 0
    assert result.stdout.startswith("usage: edge-se benchmark")


def test_the_exit_code_is_the_command_s(command):
    command(lambda arguments: 7)

    assert cli.main(["probe"]) == 7


def test_a_user_error_is_one_line_and_exit_code_2(command, capsys):
    command(raising(UserError("the moon is full; wait")))

    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == "edge-se: error: the moon is full; wait\n"


def test_a_full_disk_is_one_line(command, capsys):
    command(raising(OSError(28, "No space left on device", "out.wav")))

    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == "edge-se: error: No space left on device: out.wav\n"


def test_an_interrupt_ends_quietly(command, capsys):
    command(raising(KeyboardInterrupt()))

    assert cli.main(["probe"]) == 130
    assert capsys.readouterr().err == ""


def test_a_bug_keeps_its_traceback(command):
    command(raising(ZeroDivisionError()))

    with pytest.raises(ZeroDivisionError):
        cli.main(["probe"])


@pytest.mark.parametrize(
    ("module", "extra"),
    [
        ("quant.commands.probe", "the extra 'quant': pip install \"edge-se[quant]\""),
        ("targets.commands.probe", "the extra 'quant': pip install \"edge-se[quant]\""),
        (
            "quant.commands.evaluate",
            "the extras 'quant,evaluate': pip install \"edge-se[quant,evaluate]\"",
        ),
    ],
)
def test_a_missing_extra_is_named(command, capsys, module, extra):
    command(raising(ModuleNotFoundError("No module named 'torche'", name="torche.nn")), module)

    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == f"edge-se: error: edge-se probe needs {extra}\n"


def test_a_missing_module_of_our_own_is_a_bug(command):
    command(raising(ModuleNotFoundError("No module named 'quant.lost'", name="quant.lost")))

    with pytest.raises(ModuleNotFoundError):
        cli.main(["probe"])


def test_a_command_that_is_not_installed_is_named(monkeypatch, capsys):
    monkeypatch.setattr(cli, "find_commands", lambda: {"probe": "quant.commands.absent"})

    assert cli.main(["probe"]) == 2
    assert "edge-se probe is not part of this installation" in capsys.readouterr().err


def test_a_closed_pipe_is_quiet(tiny_int8):
    shell = f"{sys.executable} -m edge_se inspect {tiny_int8} | head -c 1"
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=60)

    assert "Traceback" not in result.stderr
    assert "BrokenPipe" not in result.stderr


def test_a_warning_is_one_line(command, capsys, recwarn):
    command(lambda arguments: warnings.warn("slow kernels", RuntimeWarning, stacklevel=1) or 0)

    assert cli.main(["probe"]) == 0
    assert capsys.readouterr().err == "edge-se: warning: slow kernels\n"
