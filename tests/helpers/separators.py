"""Separators with the weights that their references were made with."""

import zlib
from typing import Any

import numpy as np
import torch
from torch import nn

# As the references were made; and small enough to be calibrated in a moment.
REFERENCE_OPTIONS: dict[str, dict[str, Any]] = {
    "cascaded_aspp": {"n_fft": 512},
    "cascaded_lstm": {"n_fft": 512, "nout": 16, "nout_lstm": 64},
}
SMALL_OPTIONS: dict[str, dict[str, Any]] = {
    "cascaded_aspp": {"n_fft": 128},
    "cascaded_lstm": {"n_fft": 128, "nout": 8, "nout_lstm": 16},
}


def fill_by_rule(model: nn.Module, seed: int = 1) -> nn.Module:
    """Fill a network's weights by the rule of the references, each from its name and `seed`."""
    filled = {}
    for name, tensor in model.state_dict().items():
        if name.endswith("num_batches_tracked"):
            filled[name] = tensor
            continue
        random = np.random.default_rng([seed, zlib.crc32(name.encode())])
        content: np.ndarray = random.standard_normal(tuple(tensor.shape)).astype(np.float32)
        if name.endswith("running_var"):
            content = 0.5 * np.abs(content) + 0.5
        elif tensor.dim() > 1:
            content = content * 1.4 / np.sqrt(np.prod(tensor.shape[1:]))
        elif name.endswith("weight"):
            content = 1 + 0.1 * content
        else:
            content = 0.1 * content
        filled[name] = torch.from_numpy(content.astype(np.float32))
    model.load_state_dict(filled)
    return model.eval()
