import json
import os
import re
import shutil
import signal
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
        r"enhance +Enhance audio files, or every audio file of folders\.", result.stdout
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


def test_a_model_in_the_wrong_place_is_told_how_to_be_named(edge_se):
    result = edge_se("benchmark", "mine.tflite")

    assert result.returncode == 2
    assert result.stderr == (
        "edge-se benchmark: error: unrecognized arguments: mine.tflite; a model is named by "
        "--model FILE; edge-se benchmark --help says more\n"
    )


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


@pytest.mark.parametrize(
    "name", ["__init__", "", " ", "Enhance", "a" * 300, "../cli", "\udcff", "é"]
)
def test_no_odd_name_is_a_command(name, capsys):
    assert cli.main([name, "x"]) == 2
    assert "there is no command" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(13, "Permission denied", "in.wav"),
        OSError(36, "File name too long", "in.wav"),
        OSError(40, "Too many levels of symbolic links", b"in.wav"),
        OSError(5, "Input/output error", "in.wav"),
        IsADirectoryError(21, "Is a directory", "in.wav"),
        FileNotFoundError(2, "No such file or directory", "in.wav"),
    ],
)
def test_whatever_the_system_refuses_is_one_line(command, capsys, error):
    command(raising(error))

    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == f"edge-se: error: {error.strerror}: in.wav\n"


def test_an_error_of_the_system_without_a_number_is_one_line(command, capsys):
    command(raising(OSError("no such device here")))

    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err == "edge-se: error: no such device here\n"


def test_too_little_memory_is_one_line(command, capsys):
    command(raising(MemoryError()))

    assert cli.main(["probe"]) == 2
    assert capsys.readouterr().err.startswith("edge-se: error: there is not enough memory")


def test_a_signal_leaves_no_temporary_file_and_no_traceback(tmp_path):
    script = (
        "import sys, time, types\n"
        "from pathlib import Path\n"
        "from edge_se import cli, files\n"
        "def run(arguments):\n"
        "    with files.written_beside(Path('out')) as path:\n"
        "        print('begun', flush=True)\n"
        # Python looks for signals between calls: one that comes just before a sleep waits for it.
        "        for _ in range(6000): time.sleep(0.01)\n"
        "sys.modules['probe'] = probe = types.ModuleType('probe', 'Probe.')\n"
        "vars(probe).update(add_arguments=lambda parser: None, run=run)\n"
        "cli.find_command = lambda name: 'probe'\n"
        "sys.exit(cli.main(['probe']))\n"
    )
    for signals in ((signal.SIGTERM,), (signal.SIGHUP, signal.SIGTERM), (signal.SIGINT,) * 2):
        with subprocess.Popen(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            process.stdout.read(5)
            process.send_signal(signal.SIGSTOP)
            for number in signals:
                process.send_signal(number)
            process.send_signal(signal.SIGCONT)
            _, messages = process.communicate(timeout=30)

        assert process.returncode - 128 in signals
        assert messages == b""
        assert list(tmp_path.iterdir()) == []


def shell(line: str, **options) -> subprocess.CompletedProcess:
    """Run `edge-se` in a line of bash, whose status is that of the first command that fails."""
    program = f'edge-se() {{ "{sys.executable}" -m edge_se "$@"; }}; {line}'
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        **options,
    )


@pytest.mark.parametrize(
    ("line", "status", "complaint"),
    [
        ("edge-se inspect {model} | head -1", 0, None),
        ("edge-se --help | true", 141, None),
        ("edge-se inspect --help | true", 141, None),
        ("edge-se inspect {model} 2>&1 | true", 141, None),
        ("edge-se inspect {model} >&-", 0, None),
        ("edge-se inspect absent 2>&-", 2, None),
        ("edge-se inspect absent >&- 2>&- <&-", 2, None),
        ("edge-se inspect absent 2> /dev/full", 2, None),
        ("edge-se inspect {model} --json - >&-", 2, "standard output is closed"),
        ("edge-se inspect {model} > /dev/full", 2, "No space left on device"),
        (
            "edge-se inspect {model} --json - > /dev/full",
            2,
            "standard output can't be written (No space",
        ),
        ("edge-se inspect {model} --json /dev/full", 2, "/dev/full can't be written (No space"),
    ],
)
def test_streams_that_are_closed_full_or_left_end_without_a_traceback(
    tiny_int8, tmp_path, line, status, complaint
):
    result = shell(line.format(model=tiny_int8), cwd=tmp_path)

    # What `head` leaves unread may or may not have been written before it ended.
    assert result.returncode in ((0, 141) if "|" in line else (status,)), result.stderr
    for word in ("Traceback", "Exception ignored", "BrokenPipe"):
        assert word not in result.stderr + result.stdout
    assert complaint is None or complaint in result.stderr


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "ascii:strict"])
def test_any_encoding_of_the_output_will_do(tiny_int8, tmp_path, encoding):
    name = "é€\udcff.tflite"
    shutil.copy(tiny_int8, tmp_path / name)
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "LC_ALL": "C"}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "edge_se", *arguments],
            cwd=tmp_path,
            capture_output=True,
            env=environment,
            timeout=60,
        )

    assert run("inspect", name).returncode == 0
    assert run("benchmark", "--model", name, "--seconds", "0.1").returncode == 0
    assert run("--help").returncode == 0
    described = json.loads(run("inspect", name, "--json", "-").stdout)
    assert described["file"].endswith("é€\udcff.tflite")
