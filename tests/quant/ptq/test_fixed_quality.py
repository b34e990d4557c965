"""What the STFT in integers costs in PESQ."""

import numpy as np
import pytest
import soundfile

from edge_se import Enhancer
from quant.evaluation.metrics import pesq_wb

pytestmark = pytest.mark.slow


def test_the_fixed_stft_loses_at_most_a_hundredth_of_pesq(audio, main, tmp_path):
    """Single clips differ by several hundredths either way, so their mean's error is allowed."""
    folder = audio / "eval_public"
    main("quantize", "--precision", "int8", "--recover", "0", "--out", "int8.tflite")
    enhancers = [Enhancer(tmp_path / "int8.tflite", stft=stft) for stft in ("float", "fixed")]
    losses = []
    for path in sorted((folder / "noisy").glob("*.flac")):
        noisy, _ = soundfile.read(path, dtype="float32")
        clean, _ = soundfile.read(folder / "clean" / path.name, dtype="float32")
        floating, fixed = (pesq_wb(enhancer.enhance(noisy), clean) for enhancer in enhancers)
        losses.append(floating - fixed)

    assert len(losses) >= 24
    assert np.mean(losses) - np.std(losses) / len(losses) ** 0.5 <= 0.01
