"""Instructions of C engines are counted, and those of a table's command."""

import numpy as np
import pytest

from benchmarks.engines import CPUS, count_on_64_bits
from edge_se.errors import UserError
from quant.c.engines import make_engine


@pytest.mark.slow
def test_a_hop_is_counted_alone(default_checkpoint, noisy):
    engine = make_engine(default_checkpoint, "float", None, lambda *of: None)
    hops = np.concatenate(noisy[:2])[: 60 * 256].reshape(-1, 256)
    try:
        counts = [count_on_64_bits(engine, hops[:most]) for most in (20, 60)]
        with_dot_products = count_on_64_bits(engine, hops[:20], CPUS[1])
    except UserError as error:
        pytest.skip(str(error))

    # The multiply-accumulates alone are 105 K in vectors of four floats.
    assert 105e3 < counts[0] < 400e3
    assert counts[1] == pytest.approx(counts[0], rel=0.02)
    assert with_dot_products == pytest.approx(counts[0], rel=0.1)
