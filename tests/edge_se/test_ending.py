"""A signal that asks for an end is heard wherever it comes."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from edge_se.audio import Recording, guarded, read, write
from edge_se.ending import Ended, ending_on_signals, ending_put_off


@pytest.fixture(autouse=True)
def heard():
    with ending_on_signals():
        yield
    # A signal that came is the process's end; here it is not.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def test_it_is_no_damage_of_the_file_that_is_read_meanwhile(tmp_path, noise, monkeypatch):
    """libsndfile asks for bytes through C, where an exception is printed and forgotten."""
    write(tmp_path / "clip.wav", Recording(noise[:, None], 16000))
    readinto = guarded.GuardedFile.readinto

    def interrupted(self, buffer):
        os.kill(os.getpid(), signal.SIGTERM)
        return readinto(self, buffer)

    monkeypatch.setattr(guarded.GuardedFile, "readinto", interrupted)
    with pytest.raises(Ended) as ended:
        read(tmp_path / "clip.wav")

    assert ended.value.code == 128 + signal.SIGTERM


def test_it_comes_after_the_outermost_block_and_in_place_of_its_error():
    done = []
    with pytest.raises(Ended), ending_put_off():
        with ending_put_off():
            os.kill(os.getpid(), signal.SIGHUP)
            done.append("inner")
        done.append("outer")
        raise ValueError("of what was cut short")

    assert done == ["inner", "outer"]


def test_other_threads_put_nothing_off():
    entered, leave = threading.Event(), threading.Event()

    def wait() -> None:
        with ending_put_off():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=wait)
    thread.start()
    entered.wait(10)
    with pytest.raises(Ended):
        os.kill(os.getpid(), signal.SIGTERM)
        leave.wait(0.2)  # Python looks for signals between calls
    leave.set()
    thread.join()


@pytest.mark.parametrize(("at_once", "code", "told"), [(60, 0, "lives\n"), (0, 130, "")])
def test_a_late_signal_after_the_end_ends_without_a_traceback(at_once, code, told):
    program = f"""
import signal
import subprocess
import sys
from edge_se import ending
ending.AT_ONCE_S = {at_once}
try:
    with ending.ending_on_signals():
        signal.raise_signal(signal.SIGTERM)
except ending.Ended:
    signal.raise_signal(signal.SIGINT)
print("lives")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (code, told, "")


def test_a_signal_while_numpy_is_imported_waits_until_it_is():
    """Its import makes an ImportError of what interrupts it."""
    program = """
import signal
import sys
from edge_se import cli

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("numpy.") and self in sys.meta_path:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGTERM)

assert "numpy" not in sys.modules
sys.meta_path.insert(0, interrupting := Interrupting())
code = cli.main(["boards"])
assert interrupting not in sys.meta_path and "numpy" in sys.modules
sys.exit(code)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")
