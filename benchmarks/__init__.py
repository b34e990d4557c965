"""Experiments and the tables of the documentation; run from a checkout, not part of the wheel."""
