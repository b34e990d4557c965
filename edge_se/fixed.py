"""Fixed-point STFT: the integer functions that define its bits (docs/fixed-point.md derives them).

Everything is integer arithmetic on arrays of int64, so that nothing here can overflow; every value
that passes between two functions fits 32 bits, and products 64. One rounding rule throughout,
`round_shift`. The window and the twiddle factors have 15 fractional bits. Block floating point:
`normalise` gives each transform inputs of 20 bits and one exponent, and 512 points can grow them by
10 bits, so no stage needs scaling of its own.
"""

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from edge_se.signal import LEAST_MAGNITUDE, WINDOW_FUNCTIONS, Signal

Integers: TypeAlias = NDArray[np.integer[Any]]

# The one transform that these bits are defined for.
WINDOW, HOP, BINS = 512, 256, 257
POINTS = WINDOW // 2  # of the complex FFT
# Bits that the inputs of a transform are normalised to.
BLOCK_BITS = 20
# Fractional bits of the overlap-add, below the least significant bit of a sample.
GUARD_BITS = 8
# Fractional bits of the window, the twiddle factors, and a scale's mantissa in the features.
TABLE_BITS, SCALE_BITS = 15, 31
# Magnitude that a segment's samples saturate at: two of them still add up in 32 bits.
SEGMENT_LIMIT = 2**30
# Fractional bits of logarithms to the base 2, and of the places where a table has them.
OCTAVE_BITS, LOGARITHM_BITS = 16, 6
# A shift that leaves nothing of any product here.
LONGEST_SHIFT = 63
# Fractional bits that a mask gains where its strength is limited, and the most that 1 is in its
# steps then: products with a spectrum still fit 62 bits.
STRENGTH_BITS, MASK_UNIT_LIMIT = 8, 2**29


def _table(values: NDArray[np.float64]) -> Integers:
    return np.rint(values * 2**TABLE_BITS).astype(np.int64)


_ANGLES = 2 * np.pi * np.arange(BINS) / WINDOW
COSINES, SINES = _table(np.cos(_ANGLES)), _table(np.sin(_ANGLES))
# Half a sine: the usual window, and what takes spectra apart and puts them together.
HALF_SINE = _table(WINDOW_FUNCTIONS["square_root_hann"](WINDOW))
# log2 of 1 to 2, both ends included, and of the least magnitude that counts.
LOGARITHMS = np.rint(
    np.log2(1 + np.arange(2**LOGARITHM_BITS + 1) / 2**LOGARITHM_BITS) * 2**OCTAVE_BITS
).astype(np.int64)
LEAST_LOGARITHM = round(math.log2(LEAST_MAGNITUDE) * 2**OCTAVE_BITS)
_POWERS = 2 ** np.arange(SCALE_BITS, dtype=np.int64)
# exp(-2 pi i p r / n) for r = 1, 2, 3 and p < n / 4, real and imaginary: [2, 3, n / 4, 1], by n.
TWIDDLES = {
    n: np.stack([_table(np.cos(angle)), _table(-np.sin(angle))])[..., None]
    for n in (256, 64, 16)
    for angle in [2 * np.pi * np.arange(1, 4)[:, None] * np.arange(n // 4) / n]
}


def has_transform(signal: Signal) -> bool:
    """Whether this transform, and so the compiled core's, is that of a signal."""
    return (signal.window, signal.hop, signal.points) == (WINDOW, HOP, WINDOW)


def windows(signal: Signal) -> tuple[Integers, Integers]:
    """Windows [512] of a signal's analysis and synthesis, the latter at most 1.21 times 2**15."""
    return _table(signal.analysis_window()), _table(signal.synthesis_window())


def path_tables(signal: Signal) -> dict[str, NDArray[np.int32]]:
    """What the core's path of a signal reads, by the field of `struct context`."""
    analysis, synthesis = windows(signal)
    tables = {
        "sines": HALF_SINE,
        "window": analysis,
        "synthesis": synthesis,
        "twiddles": TWIDDLES[POINTS],
    }
    if signal.is_logarithmic:
        tables["logarithms"] = LOGARITHMS
    return {name: table.astype(np.int32) for name, table in tables.items()}


def round_shift(x: Integers, bits: int) -> Integers:
    """`x / 2**bits` rounded to the nearest integer, halves up; a left shift for negative `bits`."""
    if bits <= 0:
        return x << -bits
    return (x + (1 << (bits - 1))) >> bits


def saturate(x: Integers, low: int, high: int) -> Integers:
    """`x` held between `low` and `high`."""
    return np.minimum(np.maximum(x, low), high)


def mantissa(value: float, bits: int) -> tuple[int, int]:
    """The integer m of `bits` bits and the exponent e with `value` = m * 2**(e - bits), nearly."""
    fraction, exponent = np.frexp(value)
    m = int(np.rint(float(fraction) * 2**bits))
    return (m, int(exponent)) if m < 2**bits else (m // 2, int(exponent) + 1)


def normalise(x: Integers) -> tuple[Integers, int]:
    """Shift `x` so that its largest magnitude has `BLOCK_BITS` bits; the shift (left: positive)."""
    shift = BLOCK_BITS - int(np.abs(x).max()).bit_length()
    return round_shift(x, -shift), shift


def rotate(x: Integers, cosine: Integers, sine: Integers) -> Integers:
    """Complex `x` [2, ...] times `cosine + i sine` (`TABLE_BITS` fractional bits), rounded once."""
    real, imaginary = x
    product = np.stack([real * cosine - imaginary * sine, real * sine + imaginary * cosine])
    return round_shift(product, TABLE_BITS)


def fft(x: Integers) -> Integers:
    """Unscaled complex FFT of 256 points, [2, 256] to [2, 256] (real part, imaginary part).

    Stockham's radix-4 decimation in frequency: four stages, no bit reversal.
    """
    for n in (256, 64, 16, 4):
        a, b, c, d = np.moveaxis(x.reshape(2, 4, n // 4, 256 // n), 1, 0)
        even, odd = a - c, b - d
        turned = np.stack([odd[1], -odd[0]])  # -i times odd
        rows = np.stack([even + turned, a - b + c - d, even - turned], axis=1)
        if n > 4:
            rows = rotate(rows, *TWIDDLES[n])
        x = np.concatenate([(a + b + c + d)[:, None], rows], axis=1).swapaxes(1, 2)
    return x.reshape(2, 256)


def _mirrored(x: Integers) -> tuple[Integers, Integers]:
    """Sum and difference of X[k] and the conjugate of X[256 - k], for x [2, 257]."""
    other = x[:, ::-1] * np.array([[1], [-1]])
    return x + other, x - other


def analyse(samples: Integers, window: Integers = HALF_SINE) -> tuple[Integers, int]:
    """Spectrum of one window of samples.

    Args:
        samples: int16 values [512].
        window: What they are multiplied by.

    Returns:
        [2, 257] and an exponent e: the spectrum of samples / 2**15, windowed, is this times
        2**-(e + 31).
    """
    block, exponent = normalise(samples * window)
    half = fft(block.reshape(256, 2).T)
    both, difference = _mirrored(np.concatenate([half, half[:, :1]], axis=1))
    # X[k] = (Z[k] + Z*[256 - k] - i exp(-2 pi i k / 512) (Z[k] - Z*[256 - k])) / 2; kept doubled.
    return both + rotate(difference, -SINES, -COSINES), exponent


def square_root(x: Integers, bound: Integers) -> Integers:
    """Largest integers whose squares are at most `x`, by Newton's method.

    Args:
        x: Not negative, below 2**62.
        bound: `max(a, b)` where x = a**2 + b**2; tells the order of magnitude of the root.
    """
    root = bound | 1
    for shift in (1, 2, 4, 8, 16):
        root = root | (root >> shift)
    root = root + 1  # between 0.7 and 2 times the root, which five steps bring to one too many
    for _ in range(5):
        root = np.maximum((root + x // root) >> 1, 1)
    return root - (root * root > x)


def magnitude(spectrum: Integers) -> Integers:
    """Magnitudes [257], rounded down, of a spectrum [2, 257]."""
    real, imaginary = np.abs(spectrum)
    return square_root(real * real + imaginary * imaginary, np.maximum(real, imaginary))


def logarithms(values: Integers, exponent: int) -> Integers:
    """Logarithms to the base 2, of `OCTAVE_BITS`, by a table with straight lines between.

    Args:
        values: Below 2**31, which stand for 2**-(exponent + 31) each.
        exponent: Of all.

    Returns:
        `LEAST_LOGARITHM` for those of smaller values, and of 0.
    """
    length = np.searchsorted(_POWERS, values, side="right")
    fraction = (values << (SCALE_BITS - length)) & (2 ** (SCALE_BITS - 1) - 1)
    place = fraction >> (SCALE_BITS - 1 - LOGARITHM_BITS)
    beyond = (fraction >> (SCALE_BITS - 1 - LOGARITHM_BITS - OCTAVE_BITS)) & (2**OCTAVE_BITS - 1)
    step = LOGARITHMS[place + 1] - LOGARITHMS[place]
    between = LOGARITHMS[place] + round_shift(step * beyond, OCTAVE_BITS)
    found = ((length - 1 - SCALE_BITS - exponent) << OCTAVE_BITS) + between
    return np.where(values > 0, np.maximum(found, LEAST_LOGARITHM), LEAST_LOGARITHM)


def limited(mask: Integers, unit: int, least_gain: int, dry: int) -> Integers:
    """A mask held at a least gain, and mixed with 1; see `edge_se.strength`.

    Args:
        mask: [2, 257], its zero point taken off.
        unit: What 1 is in steps 2**-`STRENGTH_BITS` as wide as the mask's.
        least_gain: In steps of 2**-15.
        dry: Likewise.

    Returns:
        [2, 257] in those steps.
    """
    finer = mask << STRENGTH_BITS
    finer[1, [0, 256]] = 0  # a real signal's
    floor = int(round_shift(np.int64(least_gain * unit), TABLE_BITS))
    size = magnitude(finer)
    raised = np.sign(finer) * (np.abs(finer) * floor // np.maximum(size, 1))
    raised[0, size == 0] = floor
    held = np.where(size < floor, raised, finer)
    through = np.array([[dry * unit], [0]])
    return round_shift(held * ((1 << TABLE_BITS) - dry) + through, TABLE_BITS)


def overlapped(mask: Integers, spectrum: Integers) -> tuple[Integers, int]:
    """A mask applied, and the result transformed back.

    Args:
        mask: [2, 257], its zero point taken off.
        spectrum: [2, 257].

    Returns:
        [512] and an exponent: the signal, not windowed yet, of mask times spectrum is this times
        2**-(exponent + 9).
    """
    (mask_real, mask_imaginary), (real, imaginary) = mask, spectrum
    masked = np.stack(
        [
            real * mask_real - imaginary * mask_imaginary,
            real * mask_imaginary + imaginary * mask_real,
        ]
    )
    masked[1, [0, 256]] = 0  # a real signal's
    block, exponent = normalise(masked)
    both, difference = _mirrored(block)
    # 2 Z[k] = X[k] + X*[256 - k] + i exp(2 pi i k / 512) (X[k] - X*[256 - k])
    half = (both + rotate(difference, -SINES, COSINES))[:, :256]
    # Real and imaginary part swapped before and after make the transform its inverse.
    return fft(half[::-1])[::-1].T.reshape(WINDOW), exponent
