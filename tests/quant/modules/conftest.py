"""Modules of one's own as people write them, and the examples lowered once for all tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from quant.audio.clips import read_calibration_clips
from quant.modules.own import load_own_module
from quant.modules.pipeline import LoweredModule, lower_module

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "modules"

# A gain per bin, smoothed over frames: the smallest module that a frame loop runs.
SMOOTHED = """
import torch
from torch import nn
from edge_se.signal import Signal


class Smoothed(nn.Module):
    signal = Signal(16000, 64, 32, features="log_magnitude", mask="real")

    def __init__(self):
        super().__init__()
        self.gains = nn.Linear(33, 33)

    def initial_states(self):
        return (torch.zeros(1, 33),)

    def forward(self, features, smooth):
        smooth = 0.5 * smooth + 0.5 * features
        return torch.sigmoid(self.gains(smooth)), smooth


def build():
    torch.manual_seed(0)
    return Smoothed()
"""


@pytest.fixture
def written(tmp_path) -> Callable[..., str]:
    """Write the smallest module with some of its text replaced; gives FILE.py:build."""

    def write(*replacements: tuple[str, str]) -> str:
        text = SMOOTHED
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new)
        (tmp_path / "net.py").write_text(text)
        return f"{tmp_path / 'net.py'}:build"

    return write


@pytest.fixture(scope="session")
def masker() -> LoweredModule:
    """The conv-GRU masker, lowered."""
    return lower_module(load_own_module(f"{EXAMPLES / 'conv_gru_masker.py'}:build"))


@pytest.fixture(scope="session")
def few_clips() -> list:
    """Six noisy clips of the built-in ones."""
    from calib_data import clips_folder
    from quant.ptq.pipeline import noisy_clips

    return noisy_clips(read_calibration_clips(clips_folder(), 16000))[:6]
