"""What the installer says of a board."""

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
