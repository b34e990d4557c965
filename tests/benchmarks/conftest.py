"""Fixtures of the host that the experiments' tests use too."""

from tests.quant.conftest import (  # noqa: F401
    _calibrated,
    calibrated,
    default_checkpoint,
    frames,
    main,
    noisy,
)
from tests.quant.training.conftest import training_folders  # noqa: F401
