"""Calibration clips that the project synthesized itself: speech and noise, 16 kHz mono FLAC."""

from importlib import resources
from pathlib import Path


def clips_folder() -> Path:
    """Folder of the embedded clips, laid out like a user's: `clean/*.flac` and `noise/*.flac`."""
    return Path(str(resources.files(__name__) / "clips"))
