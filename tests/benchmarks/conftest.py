"""Fixtures of the host that the experiments' tests use too, and what commands are given."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from calib_data import clips_folder
from tests.helpers.clips import samples_of
from tests.quant.conftest import (  # noqa: F401
    _calibrated,
    calibrated,
    default_checkpoint,
    frames,
    main,
    noisy,
)
from tests.quant.training.conftest import training_folders  # noqa: F401


@pytest.fixture
def pairs_of_two(tmp_path: Path) -> list[str]:
    """Options that name a folder with two embedded clips beside noise, and one with them clean."""
    clean = [samples_of(path)[:48000] for path in sorted((clips_folder() / "clean").iterdir())[:2]]
    noise = 0.02 * np.random.default_rng(0).standard_normal(48000).astype(np.float32)
    for folder, more in (("noisy", noise), ("clean", 0 * noise)):
        (tmp_path / folder).mkdir()
        for index, samples in enumerate(clean):
            soundfile.write(tmp_path / folder / f"{index}.wav", samples + more, 16000)
    return [f"--{name}={tmp_path / name}" for name in ("noisy", "clean")]
