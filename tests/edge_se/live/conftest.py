"""Programs that stand for ALSA's."""

import os
import sys

import pytest

# Real time: 16 ms of sound each 16 ms. The loudspeaker takes what comes.
MICROPHONE = """
import sys, time
end = time.monotonic()
while True:
    sys.stdout.buffer.write(bytes(512)); sys.stdout.buffer.flush()
    end += .016; time.sleep(max(0, end - time.monotonic()))
"""
LIST = 'if [ "$1" = -L ]; then printf "hw:CARD=Mic\\n    A microphone\\nnull\\n"; exit 0; fi\n'


@pytest.fixture
def card(tmp_path, monkeypatch):
    """A sound card that works; `card(program, script)` puts another one in its place."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "microphone.py").write_text(MICROPHONE)

    def put(program: str, script: str) -> None:
        (folder / program).write_text(f"#!/bin/sh\n{LIST}{script}")
        (folder / program).chmod(0o755)

    put("arecord", f"exec {sys.executable} {folder / 'microphone.py'}\n")
    put("aplay", f"exec cat >{tmp_path / 'heard'}\n")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("HOME", str(tmp_path))
    return put
