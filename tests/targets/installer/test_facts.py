"""What the installer says of a board."""

import os

import pytest

from targets.board.installer import facts


def test_the_installer_speaks_of_throttling(monkeypatch):
    monkeypatch.setattr(facts, "read_text", lambda path: "50005")

    flags = facts.throttling()

    assert flags == {
        "flags": "0x50005",
        "set": [
            "under-voltage",
            "throttled",
            "under-voltage has occurred",
            "throttling has occurred",
        ],
    }


@pytest.mark.parametrize(
    "script",
    [
        "echo 'VCHI initialization failed' >&2; exit 255",
        "echo 'error=1 error_msg=\"Command not registered\"'",
        "echo throttled=",
        "printf 'throttled=\\377'",
    ],
)
def test_a_firmware_that_does_not_answer_stops_nothing(tmp_path, monkeypatch, script):
    (tmp_path / "vcgencmd").write_text(f"#!/bin/sh\n{script}\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert facts.throttling() is None


def test_the_firmware_is_asked_where_the_kernel_does_not_tell(tmp_path, monkeypatch):
    (tmp_path / "vcgencmd").write_text("#!/bin/sh\necho throttled=0x4\n")
    (tmp_path / "vcgencmd").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    assert facts.throttling() == {"flags": "0x4", "set": ["throttled"]}
