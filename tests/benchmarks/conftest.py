"""Fixtures of the host that the experiments' tests use too."""

from tests.quant.conftest import (  # noqa: F401
    _calibrated,
    calibrated,
    default_checkpoint,
    frames,
    main,
    noisy,
)
