"""Tools that may not be installed."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from edge_se.errors import UserError


@contextmanager
def unless_missing() -> Iterator[None]:
    """Skip where a tool is not installed."""
    try:
        yield
    except UserError as error:
        if "install" in str(error):
            pytest.skip(str(error))
        raise
