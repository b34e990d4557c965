"""A network's weights as people's files hold them: found, freed of wrappings, given their names."""

import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor

from edge_se.errors import UserError, some
from edge_se.file_kinds import kind_of
from edge_se.signal import WINDOW_FUNCTIONS

# Keys under which training scripts keep the weights, those first that are taken first.
STATE_DICT_KEYS = ("model", "state_dict", "model_state_dict")
DEEPEST = 6  # levels of keys that are searched
# What wrappers (data parallel, compiled, sharded, checkpointed) put into names, anywhere.
_WRAPPERS = {
    *("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"),
    "_forward_module",
}
# What a streaming network's layers put into names: the layer that each wraps. Upstream computes
# its transposed convolutions as plain ones, with kernels turned round.
_STREAMING = {"Conv1d", "Conv2d"}
_TURNED = "ConvTranspose2d"
# Parts of names of what training and profiling leave beside a network and inference never reads.
_NEVER_READ = re.compile(
    r"(^|[._])(i?stft|window|win|hann|loss\w*|criterion|metrics?|pesq|discriminator|total_ops"
    r"|total_params|num_batches_tracked)([._]|$)",
    re.IGNORECASE,
)
# Of those, what a network's own transform left, not one that it was judged by.
_WINDOW = re.compile(r"(^|[._])(window|win|hann)$", re.IGNORECASE)
_JUDGE = re.compile(r"loss|criterion|metric|discriminator", re.IGNORECASE)
_PLAIN_DTYPE = torch.float32
# Before the names of averaged weights, which are better than those of the last step beside them.
AVERAGE = "average."
ALIKE = 0.01  # bfloat16 and symmetric windows are nearer to the periodic one, others farther


class _Ignored:
    """Stands in for what a file holds beside weights; holds nothing and does nothing."""

    def __new__(cls, *arguments: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *arguments: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


# By these names pickles call the numbers, paths and settings that scripts save beside weights.
_STAND_INS = (
    *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar",)),
    *(f"numpy.{core}.multiarray._reconstruct" for core in ("core", "_core")),
    *("numpy.dtype", "numpy.ndarray", "numpy.bool_", "numpy.bool"),
    *(f"numpy.{kind}{bits}" for kind in ("float", "int") for bits in (16, 32, 64)),
    *(f"numpy.dtypes.{kind}{bits}DType" for kind in ("Float", "Int") for bits in (16, 32, 64)),
    *("numpy.dtypes.BoolDType", "numpy.dtypes.StrDType", "argparse.Namespace"),
    *(f"pathlib.{part}{kind}Path" for part in ("", "_local.") for kind in ("Posix", "Windows")),
    *("pathlib.Path", "pathlib._local.Path", "datetime.datetime", "datetime.timedelta"),
)


@dataclass(frozen=True)
class Found:
    """Weights by the names that their network gives them.

    Attributes:
        weights: float32, but for counters.
        notes: what was done to get them, a line each.
    """

    weights: dict[str, Tensor]
    notes: tuple[str, ...] = ()


def read_weights(path: Path, content: bytes, known: Set[str]) -> Found:
    """Find a network's weights in a file's bytes; nothing in it is executed.

    Args:
        path: of the file, for errors.
        content: of the file.
        known: names that the weights of known networks have.

    Raises:
        UserError: there are none.
    """
    kind = kind_of(content)
    if kind == "a safetensors file" or path.suffix == ".safetensors":
        loaded: Any = _read_safetensors(path, content)
    elif kind not in (None, "a ZIP archive", "a pickle", "a tar archive (unpack it first)"):
        raise UserError(
            f"{path} is {kind}, not a checkpoint; give the trained weights themselves, as "
            "torch.save or safetensors wrote them"
        )
    else:
        loaded = _unpickle(path, content)
    candidates = list(_state_dicts(loaded))
    if not candidates:
        raise UserError(
            f"{path} holds no state dict; expected tensors by name, alone or under the key 'model'"
        )
    freed = [(where, *_freed(weights, known)) for where, weights in candidates]
    hits = [len(known & found.keys()) for _, found, _ in freed]
    # The first of the best: candidates come in the order in which they are to be taken.
    best = hits.index(max(hits))
    where, found, notes = freed[best]
    others = [name for (name, _, _), hit in zip(freed, hits, strict=True) if hit == hits[best]]
    if where and where not in STATE_DICT_KEYS:
        notes = (f"took the weights under the key {where!r}", *notes)
    if len(others) > 1:
        rest = ", ".join(repr(name) for name in others if name != where)
        notes = (*notes, f"took the weights under {where!r}; there are others under {rest}")
    return Found({name: _plain(tensor) for name, tensor in found.items()}, notes)


def _plain(tensor: Tensor) -> Tensor:
    plain = tensor.detach()
    return plain.to(_PLAIN_DTYPE) if plain.is_floating_point() else plain


def _read_safetensors(path: Path, content: bytes) -> dict[str, Tensor]:
    try:
        return load_safetensors(content)
    except (SafetensorError, ValueError, KeyError, RuntimeError, AttributeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{path} is not a complete safetensors file ({reason}); export or download it again"
        ) from error


def _unpickle(path: Path, content: bytes) -> Any:
    stand_ins: list[Any] = [(_Ignored, name) for name in _STAND_INS]
    try:
        with torch.serialization.safe_globals(stand_ins):
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler raises nearly anything on damaged files
        foreign = re.search(r"Unsupported (?:global|class|operand)[^\n]*?([\w.]+\.\w+)", str(error))
        if "TorchScript" in str(error):
            what = "is a TorchScript archive, which is a program"
        elif foreign is not None:
            what = f"holds more than weights ({foreign.group(1)}, as a whole pickled module does)"
        else:
            what = "is truncated, not a PyTorch file, or holds more than weights"
        raise UserError(
            f"{path} is not a checkpoint that can be loaded safely: it {what}; save its state dict "
            "again with torch.save"
        ) from error


def _state_dicts(loaded: Any, where: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every mapping of names to tensors in what a file holds, and the keys that lead to it."""
    if not isinstance(loaded, Mapping) or depth > DEEPEST:
        return
    tensors = {
        name: value
        for name, value in loaded.items()
        if isinstance(name, str) and isinstance(value, Tensor)
    }
    if tensors:
        yield where, tensors
    usual = [key for key in STATE_DICT_KEYS if key in loaded]
    for key in (*usual, *(key for key in loaded if key not in usual)):
        yield from _state_dicts(loaded[key], f"{where}.{key}" if where else str(key), depth + 1)


def _freed(
    weights: Mapping[str, Tensor], known: Set[str]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights without what wrappers put before and into their names, and what was taken off."""
    notes: list[str] = []
    bare: dict[str, Tensor] = {}
    wrapped, streaming = set(), False
    for name, tensor in weights.items():
        parts = name.split(".")
        wrapped |= _WRAPPERS & set(parts)
        if _TURNED in parts and tensor.dim() == 4:
            tensor = tensor.flip(-2, -1)
        streaming |= bool({*_STREAMING, _TURNED} & set(parts))
        left = [part for part in parts if part not in {*_WRAPPERS, *_STREAMING, _TURNED}]
        bare[".".join(left)] = tensor
    prefix = _prefix(bare, known)
    if prefix:
        others = sorted(name for name in bare if not name.startswith(prefix))
        bare = {
            name[len(prefix) :]: value for name, value in bare.items() if name.startswith(prefix)
        }
        notes.append(f"took the prefix {prefix!r} off the names of the weights")
        if others:
            notes.append(f"left out {some(others)}, which have not that prefix")
    if wrapped - {"module"}:
        notes.append(f"took {', '.join(sorted(wrapped))} out of the names of the weights")
    if streaming:
        notes.append(
            "took the names of upstream's streaming network, whose transposed convolutions have "
            "their kernels turned round"
        )
    return bare, tuple(notes)


def _prefix(weights: Mapping[str, Tensor], known: Set[str]) -> str:
    """What comes before the most names that are known; nothing where most are known as they are."""
    counts: Counter[str] = Counter()
    for name in weights:
        parts = name.split(".")
        for first in range(len(parts)):
            if ".".join(parts[first:]) in known:
                counts[".".join((*parts[:first], ""))] += 1
                break
    if not counts:
        return ""
    best = max(counts, key=lambda prefix: (counts[prefix], prefix == AVERAGE))
    return best if counts[best] > counts[""] else ""


def without_unread(
    weights: dict[str, Tensor], expected: Mapping[str, Tensor]
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Weights with what inference never reads left out, or filled in where it is missing.

    Returns:
        The weights, and what was left out.
    """
    unread = sorted(
        name
        for name, value in weights.items()
        if name not in expected and (_NEVER_READ.search(name) or value.dim() == 0)
    )
    counters = {name: value for name, value in expected.items() if _is_counter(name)}
    kept = {name: value for name, value in weights.items() if name not in unread}
    filled = {name: torch.zeros_like(value) for name, value in counters.items()}
    seen = [name for name in unread if not _is_counter(name)]
    notes = (f"left out {some(seen)}, no part of the network",) if seen else ()
    return {**filled, **kept}, notes


def window_of(weights: Mapping[str, Tensor], points: int) -> tuple[str, dict[str, Any]]:
    """Name and options of the window, of so many samples at most, that lies beside the weights.

    Empty where there is none.
    """
    for name, value in weights.items():
        length = len(value) if value.dim() == 1 else 0
        if not _WINDOW.search(name) or _JUDGE.search(name) or length not in range(2, points + 1, 2):
            continue
        for known, shape in WINDOW_FUNCTIONS.items():
            if np.allclose(value.float().numpy(), shape(length), atol=ALIKE):
                return name, {"window_function": known, "window_length": length}
    return "", {}


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def misfits(weights: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> str:
    """What is missing, unknown or of another shape than expected of a state dict, or ""."""
    found = {
        "missing": [key for key in expected if key not in weights],
        "unknown": [key for key in weights if key not in expected],
        "of the wrong shape": [
            f"{key} {list(weights[key].shape)} instead of {list(tensor.shape)}"
            for key, tensor in expected.items()
            if key in weights and weights[key].shape != tensor.shape
        ],
    }
    return "; ".join(f"{some(keys)} {fault}" for fault, keys in found.items() if keys)
