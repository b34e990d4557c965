"""Rules for the ranges of tensors, as data: which percentile of its values each kind covers."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RangeRule:
    """Range keys that match `pattern` cover this percentile of their values, on each side.

    If `saturated`, of the values that they have when all tensors before them saturate: a rare frame
    that those cut off would else claim a range that is never reached.
    """

    pattern: str
    percentile: float
    saturated: bool = False
