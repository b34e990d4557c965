"""The checkpoints that ship with the project."""

from collections.abc import Mapping
from pathlib import Path

from edge_se.files import find_named

# Which is quantized where none is named: of the network that the project is for.
DEFAULT = "gtcrn"


def built_in_checkpoints() -> Mapping[str, Path]:
    """Paths of the built-in checkpoints (safetensors, upstream's state-dict names), by name."""
    return {
        path.stem: path for path in sorted(Path(__file__).resolve().parent.glob("*.safetensors"))
    }


def default_checkpoint_path() -> Path:
    """Path of the built-in checkpoint that is taken where none is named."""
    return built_in_checkpoints()[DEFAULT]


def find_checkpoint(given: str | Path) -> Path:
    """Path of a checkpoint: the built-in one of a name, or what the path is of."""
    return find_named(given, built_in_checkpoints())
