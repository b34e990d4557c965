"""Sums of two 8-bit values as one weighted sum of 32 bits, tried with all values of both.

TFLite rounds a sum three times, each with a multiplication. Its result is nearly always that of
(first (a + 128) + second (b + 128) + offset) >> shift, with numbers that make up for how it rounds.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from quant.c.int8_program import SUM_SHIFT

LOWEST, HIGHEST = -128, 127
_VALUES = np.arange(LOWEST, HIGHEST + 1, dtype=np.int64)
_SHIFTS = 4  # how many are tried
_LEAST_SHIFT, _FACTOR_LIMIT = 16, 2**24  # of what the kernels take
# Of both factors from what rounding gives, the nearest first.
_STEPS = sorted(product(range(-4, 5), repeat=2), key=lambda step: abs(step[0]) + abs(step[1]))


@dataclass(frozen=True)
class Sum:
    """A sum or a difference as TFLite computes it.

    Attributes:
        zeros: points of both terms and of the result.
        lowest: value of the result.
        multipliers: of both terms and of the result, with 31 fractional bits.
        rights: shifts of the same.
        sign: of the second term, 1 or -1.
    """

    zeros: tuple[int, int, int]
    lowest: int
    multipliers: tuple[int, int, int]
    rights: tuple[int, int, int]
    sign: int

    def results(self) -> NDArray[np.int64]:
        """Of all pairs of values [256, 256], from -128 on."""
        a, b = (self._term(n, (_VALUES - self.zeros[n]) << SUM_SHIFT) for n in (0, 1))
        sums = self._term(2, a[:, None] + self.sign * b)
        return np.clip(sums + self.zeros[2], self.lowest, HIGHEST)

    def _term(self, n: int, x: NDArray[np.int64]) -> NDArray[np.int64]:
        scaled = (x * self.multipliers[n] + (1 << 30)) >> 31
        right = self.rights[n]
        return (scaled + (1 << right >> 1) - ((scaled < 0) & (right > 0))) >> right

    @property
    def factors(self) -> tuple[float, float]:
        """What both terms are multiplied by, but for rounding."""
        a, b, y = (m * 2.0 ** -(31 + r) for m, r in zip(self.multipliers, self.rights, strict=True))
        return a * y * 2.0**SUM_SHIFT, self.sign * b * y * 2.0**SUM_SHIFT


@lru_cache(maxsize=4096)
def weighted_sum(found: Sum) -> tuple[int, int, int, int]:
    """First and second factor, offset and shift that give the same; zeros where there are none.

    Factors are of values from 0 on, 32 bits of which wrap around.
    """
    results = found.results()
    above, below = results > found.lowest, results < HIGHEST
    a, b = found.factors
    # Beyond which all sums with 256 values of either term would not fit 32 bits.
    finest = min(31 - int(np.floor(np.log2(128 * (abs(a) + abs(b))))), 30)
    for shift in range(finest, max(finest - _SHIFTS, _LEAST_SHIFT - 1), -1):
        for step in _STEPS:
            first, second = round(a * 2**shift) + step[0], round(b * 2**shift) + step[1]
            sums = first * _VALUES[:, None] + second * _VALUES
            low: Any = ((results << shift) - sums)[above].max(initial=-(2**31))
            high: Any = (((results + 1) << shift) - 1 - sums)[below].min(initial=2**31 - 1)
            offset = int(low + high) // 2
            if (
                np.abs(sums + offset).max() >= 2**31
                or max(abs(first), abs(second)) >= _FACTOR_LIMIT
            ):
                break
            if low <= high:
                from_zero = offset + LOWEST * (first + second)
                return first, second, (from_zero + 2**31) % 2**32 - 2**31, shift
    return 0, 0, 0, 0
