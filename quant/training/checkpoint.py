"""The state of a training run in one safetensors file, complete enough to resume exactly.

Tensors: `model.*` (weights and BatchNorm statistics under upstream's names), `average.*` (their
exponential moving average), `calibrated.*` (the weights that ranges are of, where rounding is
trained), `optimizer.exp_avg.*` and `optimizer.exp_avg_sq.*` (Adam's moments), `random.torch` (state
of torch's generator). Metadata: `training`, JSON of everything else, and which network it is, so
that the file is a checkpoint too, of the averaged weights.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from edge_se.errors import UserError
from edge_se.files import write_whole
from quant.networks.checkpoint import network_metadata
from quant.networks.weights import AVERAGE

MOMENTS = ("exp_avg", "exp_avg_sq")


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    `step` batches are done, in `seconds` of training (validation not counted); `best` is the
    highest validation PESQ so far, reached at `best_step`.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = float("-inf")
    best_step: int = 0


def save_state(
    path: Path,
    model: torch.nn.Module,
    average: dict[str, torch.Tensor],
    calibrated: dict[str, torch.Tensor],
    optimizer: torch.optim.Adam,
    progress: Progress,
    settings: dict[str, Any],
) -> None:
    """Write the state of a run; the file is replaced only once it is complete."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {AVERAGE + name: value for name, value in average.items()}
    tensors |= {f"calibrated.{name}": value for name, value in calibrated.items()}
    for name, parameter in model.named_parameters():
        state = optimizer.state.get(parameter, {})
        tensors |= {f"optimizer.{key}.{name}": state[key] for key in MOMENTS if key in state}
    tensors["random.torch"] = torch.get_rng_state()
    metadata = {"training": json.dumps({"progress": asdict(progress), "settings": settings})}
    network = network_metadata(settings["architecture"], settings["network_options"])
    write_tensors(path, tensors, network | metadata)


def load_state(
    path: Path,
    model: torch.nn.Module,
    optimizer: torch.optim.Adam,
    settings: dict[str, Any],
    defaults: dict[str, Any],
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], Progress]:
    """Put a saved state back into a model and its optimizer; torch's random state too.

    Args:
        path: file that `save_state` wrote.
        model: network of the same architecture.
        optimizer: its Adam optimizer.
        settings: this run's settings, which must be those of the saved run.
        defaults: of the settings, which runs had that did not know one yet.

    Returns:
        The moving average of the weights, the weights that were calibrated, and the progress.

    Raises:
        UserError: no such file, not a training state, or other settings than the saved run's.
    """
    tensors, metadata = read_tensors(path)
    if "training" not in metadata:
        raise UserError(f"{path} is not a training state; resume from a run's last.safetensors.")
    saved = json.loads(metadata["training"])
    _check_settings(path, defaults | saved["settings"], settings)
    model.load_state_dict(_under(tensors, "model."))
    progress = Progress(**saved["progress"])
    for name, parameter in model.named_parameters():
        if f"optimizer.exp_avg.{name}" in tensors:
            moments = {key: tensors[f"optimizer.{key}.{name}"] for key in MOMENTS}
            optimizer.state[parameter] = {
                "step": torch.tensor(float(progress.step), device=parameter.device),
                **{key: value.to(parameter.device) for key, value in moments.items()},
            }
    torch.set_rng_state(tensors["random.torch"])
    return _under(tensors, AVERAGE), _under(tensors, "calibrated."), progress


def write_tensors(path: Path, tensors: dict[str, torch.Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, whole or not at all."""
    contiguous = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    write_whole(path, save(contiguous, metadata))


def read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Read a safetensors file's tensors and metadata.

    Raises:
        UserError: no such file, or not safetensors.
    """
    if not path.is_file():
        raise UserError(f"there is no {path} to resume from; start the run without --resume.")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, dict(file.metadata() or {})
    except SafetensorError as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}).") from error


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): value
        for name, value in tensors.items()
        if name.startswith(prefix)
    }


def _check_settings(path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    # Settings are compared as they come back from JSON, where tuples are lists.
    saved, wanted = (json.loads(json.dumps(settings)) for settings in (saved, wanted))
    # How mixtures vary is no option, so a run that is older than today's way goes on with it.
    for name in sorted((saved.keys() | wanted.keys()) - {"augment"}):
        if saved.get(name) != wanted.get(name):
            raise UserError(
                f"{path} was trained with {name} {saved.get(name)}, not {wanted.get(name)}; resume "
                "with the same settings."
            )
