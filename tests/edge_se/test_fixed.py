"""The integer functions of the fixed-point STFT: accuracy, ranges, and exact small answers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_se import fixed

RANDOM = np.random.default_rng(0)
WINDOW = np.sin(np.pi * np.arange(512) / 512)


def snr_db(expected: np.ndarray, actual: np.ndarray) -> float:
    energy = np.square(np.abs(expected)).sum()
    return float(10 * np.log10(energy / np.square(np.abs(expected - actual)).sum()))


def spectrum_of(samples: np.ndarray) -> np.ndarray:
    (real, imaginary), exponent = fixed.analyse(samples)
    return (real + 1j * imaginary) * 2.0 ** -(exponent + 31)


@pytest.mark.parametrize(
    ("x", "bits", "expected"),
    [(5, 1, 3), (-5, 1, -2), (4, 1, 2), (6, 2, 2), (-6, 2, -1), (7, 0, 7), (-3, -2, -12)],
)
def test_halves_are_rounded_up(x, bits, expected):
    assert fixed.round_shift(np.array([x]), bits).tolist() == [expected]


@given(st.floats(1e-12, 1e12))
def test_a_mantissa_has_its_bits_and_gives_the_value_back(value):
    m, exponent = fixed.mantissa(value, 31)

    assert 2**30 <= m < 2**31
    assert m * 2.0 ** (exponent - 31) == pytest.approx(value, rel=2**-31)


@pytest.mark.parametrize("peak", [1, 3, 2**19, 2**20 - 1, 2**20, 2**30, 2**46])
def test_normalised_blocks_have_twenty_bits(peak):
    block, shift = fixed.normalise(np.array([peak, -1]))

    assert 2**19 <= block[0] <= 2**20
    assert block[0] == pytest.approx(peak * 2.0**shift, abs=0.5)


def test_silence_is_normalised_to_silence():
    block, _ = fixed.normalise(np.zeros(4, np.int64))

    assert not block.any()


def test_fft_equals_numpy_s_to_90_db():
    x = RANDOM.integers(-(2**20), 2**20, (2, 256))

    real, imaginary = fixed.fft(x)

    assert snr_db(np.fft.fft(x[0] + 1j * x[1]), real + 1j * imaginary) > 90


def test_fft_of_an_impulse_is_exact():
    x = np.zeros((2, 256), np.int64)
    x[0, 0] = 2**20

    assert fixed.fft(x).tolist() == [[2**20] * 256, [0] * 256]


@pytest.mark.parametrize("dbfs", [-6, -20, -50, -80])
def test_spectra_are_as_good_at_every_level(dbfs):
    samples = np.rint(RANDOM.standard_normal(512) * 32768 * 10 ** (dbfs / 20)).astype(np.int64)

    assert snr_db(np.fft.rfft(samples / 32768 * WINDOW), spectrum_of(samples)) > 85


def test_spectra_of_real_signals_have_real_ends():
    (_, imaginary), _ = fixed.analyse(RANDOM.integers(-9999, 9999, 512))

    assert imaginary[0] == imaginary[256] == 0


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(-(2**30), 2**30)] * 2), min_size=1, max_size=50))
def test_magnitudes_are_roots_rounded_down(pairs):
    spectrum = np.array(pairs).T

    assert fixed.magnitude(spectrum).tolist() == [math.isqrt(a * a + b * b) for a, b in pairs]


@pytest.mark.parametrize("root", [1, 2, 3, 181, 46341, 2**30 - 1, 2**30])
def test_roots_are_right_around_squares(root):
    squares = np.array([root * root - 1, root * root, root * root + 1])
    bound = np.full(3, root)

    assert fixed.square_root(squares, bound).tolist() == [root - 1, root, root]


def test_the_inverse_gives_the_windowed_samples_back():
    samples = RANDOM.integers(-3000, 3000, 512)
    spectrum, analysed = fixed.analyse(samples)
    ones = np.stack([np.ones(257, np.int64), np.zeros(257, np.int64)])

    signal, synthesised = fixed.overlapped(ones, spectrum)

    restored = signal * 2.0 ** -(analysed + 31 + synthesised + 9)
    assert snr_db(samples / 32768 * WINDOW, restored) > 85


def test_spectra_are_no_worse_than_those_of_cmsis_dsp():
    """CMSIS-DSP's transform gets the samples as they are, and with a block exponent like ours."""
    dsp = pytest.importorskip("cmsisdsp", reason="CMSIS-DSP's wrapper has no wheel here")
    instance = dsp.arm_rfft_instance_q15()
    assert dsp.arm_rfft_init_q15(instance, 512, 0, 1) == 0
    for dbfs in (-6, -20, -50):
        samples = np.rint(RANDOM.standard_normal(512) * 32768 * 10 ** (dbfs / 20))
        samples = np.clip(samples, -32768, 32767).astype(np.int64)
        expected = np.fft.rfft(samples / 32768 * WINDOW)
        products = samples * np.minimum(fixed.HALF_SINE, 32767)
        block_shift = 15 - int(np.abs(products).max()).bit_length()
        ours = snr_db(expected, spectrum_of(samples))
        for shift in (-15, block_shift):
            q15 = np.clip(fixed.round_shift(products, -shift), -32768, 32767).astype(np.int16)
            pairs = np.asarray(dsp.arm_rfft_q15(instance, q15))[:514].reshape(257, 2)
            theirs = (pairs[:, 0] + 1j * pairs[:, 1]) * 2.0 ** -(shift + 15 + 6)
            assert ours >= snr_db(expected, theirs)
            assert snr_db(expected, theirs) > 5  # so its scaling is understood
