"""How much of the noise is taken away: a floor of the mask's gain, and a share of the dry signal.

Both act on the mask, bin by bin. So the dry signal is that of the same frame, aligned to the
sample, and nothing can comb. The floor comes first: a gain below it is raised to it, with the phase
that the mask gives; a mask of zero, which gives none, becomes the floor itself. Then the mask is
mixed with 1.
"""

import math
from dataclasses import dataclass

# Gains are whole numbers of 2**-15, so that every arithmetic has the same ones.
ONE = 2**15
# Beyond 90 dB the floor is below one step, so it is no limit.
MOST_DB = 100.0


@dataclass(frozen=True)
class Strength:
    """How much is taken away.

    Attributes:
        max_attenuation_db: Nothing is attenuated by more, 0 to 100; None for no limit.
        mix: Share of the dry signal, 0 to 1.
    """

    max_attenuation_db: float | None = None
    mix: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is out of reach.

        Raises:
            ValueError: A value is not a number, or not in its range.
        """
        if self.max_attenuation_db is not None:
            _check("max_attenuation_db", self.max_attenuation_db, MOST_DB)
        _check("mix", self.mix, 1.0)

    @property
    def least_gain(self) -> int:
        """The floor, in steps of 2**-15."""
        if self.max_attenuation_db is None:
            return 0
        return round(ONE * 10 ** (-self.max_attenuation_db / 20))

    @property
    def dry(self) -> int:
        """The dry signal's share, in steps of 2**-15."""
        return round(ONE * self.mix)


def _check(name: str, value: object, most: float) -> None:
    # Whatever counts as a real number, NumPy's among them; a bool is a mistake.
    try:
        if isinstance(value, bool | str):
            raise TypeError
        right = math.isfinite(number := float(value)) and 0 <= number <= most  # type: ignore[arg-type]
    except (TypeError, ValueError):
        right = False
    if not right:
        raise ValueError(f"{name} is {value!r}, and has to be a number between 0 and {most:g}")


FULL = Strength()
# By who listens. For recognisers the mildest limit measured that costs no words at any SNR
# (docs/results.md, benchmarks/recogniser.py).
PRESETS = {"recogniser": Strength(max_attenuation_db=3.0)}
