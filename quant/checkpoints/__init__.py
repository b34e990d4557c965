"""The checkpoint that ships with the project."""

from pathlib import Path


def default_checkpoint_path() -> Path:
    """Path of the built-in GTCRN checkpoint (safetensors, upstream's state-dict names)."""
    return Path(__file__).resolve().parent / "default.safetensors"
