"""Sums and products of 8-bit values: the quick ways and TFLite's, with all values."""

import ctypes
import platform
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from edge_se import core
from edge_se.core.build import BuildError, compile_library, find_compiler
from quant.c.int8_program import multiplier_of
from quant.c.int8_sums import Sum, weighted_sum
from targets.boards import find_board
from targets.c.generate import FLAGS
from targets.cross import find_cross_compiler
from targets.emulation.system import find_emulator

ALL = np.arange(-128, 128)
SOURCE = """
#include "int8_kernels.h"
void sums(const struct sum *s, int sign, int count, const int8_t *a, const int8_t *b, int8_t *y)
{
    for (int n = 0; n < count; n += BLOCK) {
        const block x = block_load(a + n), z = block_load(b + n);
        const block found = (sign < 0 ? subtract : add)(s->shift != 0, s, x, z);
        block_store(y + n, block_largest(found, block_all((int8_t)s->lowest)));
    }
}
void products(const struct product *p, int count, const int8_t *a, const int8_t *b, int8_t *y)
{
    const int quick = p->right >= LEAST_RIGHT && p->right <= MOST_RIGHT;
    for (int n = 0; n < count; n += BLOCK)
        block_store(y + n, multiply(quick, p, block_load(a + n), block_load(b + n)));
}
#ifdef GUEST /* the same from standard input */
#include <stdio.h>
int main(int count, char **arguments)
{
    static int8_t a[1 << 16], b[1 << 16], y[1 << 16];
    int32_t numbers[14] = {0}, size = 0;
    fread(&size, sizeof size, 1, stdin);
    fread(numbers, sizeof *numbers, (size_t)size, stdin);
    fread(a, 1, sizeof a, stdin);
    fread(b, 1, sizeof b, stdin);
    if (count > 1)
        sums((const struct sum *)numbers, arguments[1][0] == '-' ? -1 : 1, sizeof a, a, b, y);
    else
        products((const struct product *)numbers, sizeof a, a, b, y);
    fwrite(y, 1, sizeof y, stdout);
    return 0;
}
#endif
"""


def drawn(count: int) -> Iterator[Sum]:
    """Sums with scales as files have them: any, equal, and those of sigmoid and tanh."""
    random = np.random.default_rng(0)
    for _ in range(count):
        a, b = (float(scale) for scale in np.float32(10 ** random.uniform(-3, 0, 2)))
        a, b = [(a, b), (a, a), (1 / 256, 1 / 128)][random.integers(3)]
        y = float(np.float32((a + b) * random.uniform(0.2, 1.2)))
        twice = 2 * max(a, b)
        found = [multiplier_of(f) for f in (a / twice, b / twice, twice / (2**20 * y))]
        zeros = tuple(int(zero) for zero in random.integers(-128, 128, 3))
        lowest = zeros[2] if random.integers(2) else -128
        first, second, third = found
        yield Sum(
            (zeros[0], zeros[1], zeros[2]),
            lowest,
            (first[0], second[0], third[0]),
            (-first[1], -second[1], -third[1]),
            int(random.choice([-1, 1])),
        )


def emulated(folder: Path, options: list[str]) -> Callable[..., np.ndarray]:
    """The same as `compute` on an emulated Arm processor."""
    command = find_cross_compiler(find_board("pi4").platform)
    command[command.index("-target") + 1] = "aarch64-linux-musl"  # runs without a system
    guest = folder / "guest"
    sources = ["-DGUEST", "-I", str(Path(core.__file__).parent), str(folder / "sums.c")]
    subprocess.run([*command, *FLAGS, *options, "-static", *sources, "-o", str(guest)], check=True)
    pairs = b"".join(
        side.astype(np.int8).tobytes() for side in np.meshgrid(ALL, ALL, indexing="ij")
    )

    def call(function: str, numbers: list[int], *more: int) -> np.ndarray:
        given = np.array([len(numbers), *numbers], np.int32).tobytes() + pairs
        words = [*find_emulator("aarch64"), str(guest), *map(str, more)]
        found = subprocess.run(words, input=given, capture_output=True, check=True).stdout
        return np.frombuffer(found, np.int8).reshape(256, 256)

    return call


KINDS = [
    "portable",
    "vectors",
    pytest.param("arm", marks=pytest.mark.slow),
    pytest.param("arm with more", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=KINDS)
def compute(request, tmp_path_factory) -> Callable[..., np.ndarray]:
    """A function of the kernels, of numbers and all pairs of values: [256, 256]."""
    if request.param.startswith("arm"):
        folder = tmp_path_factory.mktemp("sums")
        (folder / "sums.c").write_text(SOURCE)
        return emulated(folder, ["-mcpu=cortex_a55"] if "more" in request.param else [])
    options = ["-I", str(Path(core.__file__).parent)]
    if request.param == "vectors":
        more, flags, machine = core.VARIANTS["_core_avx2.so"]
        if platform.machine() == machine:
            if not flags <= set(Path("/proc/cpuinfo").read_text().split()):
                pytest.skip("this processor has no AVX2")
            options += more
    folder = tmp_path_factory.mktemp("sums")
    (folder / "sums.c").write_text(SOURCE)
    try:
        compile_library(folder / "sums.so", [folder / "sums.c"], find_compiler(), options)
    except BuildError as error:
        pytest.skip(str(error))
    library = ctypes.CDLL(str(folder / "sums.so"))
    a, b = (np.ascontiguousarray(side, np.int8) for side in np.meshgrid(ALL, ALL, indexing="ij"))

    def call(function: str, numbers: list[int], *more: int) -> np.ndarray:
        result, given = np.empty_like(a), np.array(numbers, np.int32)
        arrays = [ctypes.c_void_p(array.ctypes.data) for array in (a, b, result)]
        getattr(library, function)(ctypes.c_void_p(given.ctypes.data), *more, a.size, *arrays)
        return result

    return call


def test_nearly_all_sums_are_one_weighted_sum():
    found = [weighted_sum(one) for one in drawn(100)]

    assert sum(shift > 0 for *_, shift in found) >= 98


def test_sums_have_the_bits_of_tflite_either_way(compute, request):
    for one in drawn(5 if "arm" in request.node.name else 30):
        numbers = [*one.zeros, one.lowest, *one.multipliers, *one.rights]
        for quick in (weighted_sum(one), (0, 0, 0, 0)):
            found = compute("sums", [*numbers, *quick], one.sign)
            np.testing.assert_array_equal(found, one.results())


@pytest.mark.parametrize("right", [0, 1, 2, 3, 5, 9, 10, 31])
def test_products_have_the_bits_of_tflite(compute, right):
    multiplier, zeros = 1518500250, (-128, 127, 3)
    a, b = ALL[:, None] - zeros[0], ALL - zeros[1]
    scaled = (a * b * multiplier + (1 << 30)) >> 31
    rounded = (scaled + (1 << right >> 1) - ((scaled < 0) & (right > 0))) >> right

    found = compute("products", [*zeros, multiplier, right])

    np.testing.assert_array_equal(found, np.clip(rounded + zeros[2], -128, 127))
