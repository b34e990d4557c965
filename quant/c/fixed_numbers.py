"""Kinds of single numbers that layers of the fixed engine have, and between which it takes them."""

from quant.c.weights import Kind

# Exponents that signals have let the features' shift be from 1 to 63 then.
SHIFT, BITS = Kind("shift", high=31), Kind("bits", high=30)
GAIN, MULTIPLIER = Kind("gain", low=-32768, high=32767), Kind("multiplier", high=2**31 - 1)
ENERGY, ENERGY_SHIFT = Kind("energy", high=2**24), Kind("energy_shift", low=1, high=62)
EPSILON, EPSILON_HIGH = Kind("epsilon", high=2**31 - 1), Kind("epsilon_high", high=2**19)
EXPONENT = Kind("exponent", low=-64, high=43)
