/* 8-bit operators, bit for bit as TFLite's reference kernels compute them.

   A factor is a multiplier of 31 fractional bits and an exponent of two. Sums, products and
   convolutions round twice, at the multiplication (halves up) and at the shift (halves away from
   zero); fully connected layers once (halves up). What weights could make overflow wraps around.

   Elementwise operators run in chains, 16 elements at once, each value in 32 bits. Buffers have room
   for a multiple of 16 elements. */

#ifndef INT8_KERNELS_H
#define INT8_KERNELS_H

#include <stdint.h>
#include <string.h>

#include "compiler.h"

#define BLOCK 16     /* elements of a chain at once */
#define SUM_SHIFT 20 /* of the terms of a sum */
#define LOWEST (-128)
#define HIGHEST 127

INLINE int32_t wrapped(int64_t x) { return (int32_t)(uint32_t)(uint64_t)x; }
INLINE int32_t shifted_left(int32_t x, int bits) { return (int32_t)((uint32_t)x << bits); }
INLINE int32_t plus(int32_t a, int32_t b) { return (int32_t)((uint32_t)a + (uint32_t)b); }
INLINE int8_t clipped(int32_t x, int32_t lowest)
{
    return (int8_t)(x < lowest ? lowest : x > HIGHEST ? HIGHEST : x);
}
/* x m / 2^31, halves up */
INLINE int32_t scaled(int32_t x, int32_t m) { return (int32_t)(((int64_t)x * m + (1 << 30)) >> 31); }
/* x / 2^right, halves away from zero */
INLINE int32_t halved(int32_t x, int right)
{
    const int32_t half = right ? (int32_t)(1u << (right - 1)) : 0;
    return plus(x, half - (right && x < 0)) >> right;
}
INLINE int32_t rescaled(int32_t x, int32_t m, int exponent)
{
    const int left = exponent > 0 ? exponent : 0;
    return halved(scaled(shifted_left(x, left), m), left - exponent);
}
INLINE int32_t rescaled_once(int32_t x, int32_t m, int exponent)
{
    return wrapped(((int64_t)x * m + ((int64_t)1 << (30 - exponent))) >> (31 - exponent));
}

/* Blocks -------------------------------------------------------------------------------------- */

#if defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>
#define PARTS 4
typedef int32x4_t part;
INLINE part part_all(int32_t x) { return vdupq_n_s32(x); }
INLINE part part_add(part a, part b) { return vaddq_s32(a, b); }
INLINE part part_sub(part a, part b) { return vsubq_s32(a, b); }
INLINE part part_mul(part a, part b) { return vmulq_s32(a, b); }
INLINE part part_left(part a, int bits) { return vshlq_s32(a, vdupq_n_s32(bits)); }
INLINE part part_clip(part a, int32_t lowest)
{
    return vminq_s32(vmaxq_s32(a, vdupq_n_s32(lowest)), vdupq_n_s32(HIGHEST));
}
INLINE part part_scale(part a, int32_t m) { return vqrdmulhq_s32(a, vdupq_n_s32(m)); }
/* minus one for negative numbers, then halves up */
INLINE part part_halve(part a, int right)
{
    const int32x4_t by = vdupq_n_s32(-right);
    return vrshlq_s32(vsraq_n_s32(a, vandq_s32(a, by), 31), by);
}
#elif defined(__AVX2__)
#include <immintrin.h>
#define PARTS 2
typedef __m256i part;
INLINE part part_all(int32_t x) { return _mm256_set1_epi32(x); }
INLINE part part_add(part a, part b) { return _mm256_add_epi32(a, b); }
INLINE part part_sub(part a, part b) { return _mm256_sub_epi32(a, b); }
INLINE part part_mul(part a, part b) { return _mm256_mullo_epi32(a, b); }
INLINE part part_left(part a, int bits) { return _mm256_sll_epi32(a, _mm_cvtsi32_si128(bits)); }
INLINE part part_clip(part a, int32_t lowest)
{
    return _mm256_min_epi32(_mm256_max_epi32(a, part_all(lowest)), part_all(HIGHEST));
}
INLINE part part_scale(part a, int32_t m)
{
    const __m256i by = part_all(m), half = _mm256_set1_epi64x(1 << 30);
    const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(a, by), half);
    const __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(a, 32), by), half);
    return _mm256_blend_epi32(_mm256_srli_epi64(even, 31), _mm256_slli_epi64(odd, 1), 0xaa);
}
INLINE part part_halve(part a, int right)
{
    const __m256i half = part_all(right ? (int32_t)(1u << (right - 1)) : 0);
    const __m256i below = _mm256_and_si256(_mm256_srai_epi32(a, 31), part_all(right ? -1 : 0));
    const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(a, below), half);
    return _mm256_sra_epi32(sum, _mm_cvtsi32_si128(right));
}
#else
#define PARTS BLOCK
typedef int32_t part;
INLINE part part_all(int32_t x) { return x; }
INLINE part part_add(part a, part b) { return plus(a, b); }
INLINE part part_sub(part a, part b) { return (int32_t)((uint32_t)a - (uint32_t)b); }
INLINE part part_mul(part a, part b) { return (int32_t)((uint32_t)a * (uint32_t)b); }
INLINE part part_left(part a, int bits) { return shifted_left(a, bits); }
INLINE part part_clip(part a, int32_t lowest) { return clipped(a, lowest); }
INLINE part part_scale(part a, int32_t m) { return scaled(a, m); }
INLINE part part_halve(part a, int right) { return halved(a, right); }
#endif

typedef struct {
    part at[PARTS];
} block;

#define EACH_PART UNROLL for (int i = 0; i < PARTS; i++)

#if defined(__aarch64__) && defined(__GNUC__)
INLINE block block_of(int8x16_t x)
{
    const int16x8_t low = vmovl_s8(vget_low_s8(x)), high = vmovl_high_s8(x);
    return (block){{vmovl_s16(vget_low_s16(low)), vmovl_high_s16(low), vmovl_s16(vget_low_s16(high)),
                    vmovl_high_s16(high)}};
}
INLINE int8x16_t bytes_of(block x)
{
    const int16x8_t low = vuzp1q_s16((int16x8_t)x.at[0], (int16x8_t)x.at[1]);
    const int16x8_t high = vuzp1q_s16((int16x8_t)x.at[2], (int16x8_t)x.at[3]);
    return vuzp1q_s8((int8x16_t)low, (int8x16_t)high);
}
INLINE block block_load(const int8_t *x) { return block_of(vld1q_s8(x)); }
INLINE void block_store(int8_t *y, block x) { vst1q_s8(y, bytes_of(x)); }
/* Values of a table, from that of -128 on. */
INLINE int8x16_t looked_up(const int8_t *table, int8x16_t x)
{
    uint8x16_t index = veorq_u8((uint8x16_t)x, vdupq_n_u8(128)); /* from 0 on */
    const uint8x16_t quarter = vdupq_n_u8(64);
    int8x16_t y = vqtbl4q_s8(vld1q_s8_x4(table), index);
    for (int n = 1; n < 4; n++) {
        index = vsubq_u8(index, quarter);
        y = vqtbx4q_s8(y, vld1q_s8_x4(table + 64 * n), index);
    }
    return y;
}
INLINE block block_look_up(const int8_t *table, block x) { return block_of(looked_up(table, bytes_of(x))); }
#else
#if defined(__AVX2__)
INLINE block block_load(const int8_t *x)
{
    return (block){{_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)x)),
                    _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(x + 8)))}};
}
INLINE void block_store(int8_t *y, block x)
{
    const __m256i half = _mm256_permute4x64_epi64(_mm256_packs_epi32(x.at[0], x.at[1]), 0xd8);
    const __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    _mm_storeu_si128((__m128i *)y, bytes);
}
#else
INLINE block block_load(const int8_t *x)
{
    block y;
    for (int n = 0; n < BLOCK; n++) y.at[n] = x[n];
    return y;
}
INLINE void block_store(int8_t *y, block x)
{
    for (int n = 0; n < BLOCK; n++) y[n] = (int8_t)x.at[n];
}
#endif
INLINE block block_look_up(const int8_t *table, block x)
{
    int8_t bytes[BLOCK];
    block_store(bytes, x);
    UNROLL for (int n = 0; n < BLOCK; n++) bytes[n] = table[bytes[n] + 128];
    return block_load(bytes);
}
#endif

INLINE block block_all(int8_t x)
{
    block y;
    EACH_PART y.at[i] = part_all(x);
    return y;
}

/* Numbers of a sum: of both terms and of the result. */
struct sum {
    int32_t zero[3], multiplier[3], right[3], lowest;
};

INLINE struct sum sum_of(const int32_t *zero, const int32_t *multiplier, const int32_t *right)
{
    return (struct sum){{zero[0], zero[1], zero[2]},
                        {multiplier[0], multiplier[1], multiplier[2]},
                        {right[0], right[1], right[2]},
                        zero[3]};
}

INLINE part term(struct sum s, int n, part x)
{
    const part moved = part_left(part_sub(x, part_all(s.zero[n])), SUM_SHIFT);
    return part_halve(part_scale(moved, s.multiplier[n]), s.right[n]);
}

INLINE part total(struct sum s, part x)
{
    const part y = part_halve(part_scale(x, s.multiplier[2]), s.right[2]);
    return part_clip(part_add(y, part_all(s.zero[2])), s.lowest);
}

INLINE block add(struct sum s, block a, block b)
{
    EACH_PART a.at[i] = total(s, part_add(term(s, 0, a.at[i]), term(s, 1, b.at[i])));
    return a;
}

INLINE block subtract(struct sum s, block a, block b)
{
    EACH_PART a.at[i] = total(s, part_sub(term(s, 0, a.at[i]), term(s, 1, b.at[i])));
    return a;
}

/* Numbers of a product: zero points of both factors and of the result. */
struct product {
    int32_t zero[3], multiplier, right;
};

INLINE struct product product_of(const int32_t *zero, const int32_t *multiplier, const int32_t *right)
{
    return (struct product){{zero[0], zero[1], zero[2]}, multiplier[0], right[0]};
}

INLINE block multiply(struct product p, block a, block b)
{
    EACH_PART {
        const part x = part_sub(a.at[i], part_all(p.zero[0])), y = part_sub(b.at[i], part_all(p.zero[1]));
        const part z = part_halve(part_scale(part_mul(x, y), p.multiplier), p.right);
        a.at[i] = part_clip(part_add(z, part_all(p.zero[2])), LOWEST);
    }
    return a;
}

/* Weighted sums -------------------------------------------------------------------------------- */

/* Tables of a layer: weights [outputs][inputs], a multiple of 8 inputs; biases, which make up for
   the input's zero point, multipliers and exponents of each output. */
struct affine {
    const int8_t *weight;
    const int32_t *bias, *multiplier, *exponent;
    int32_t zero; /* of the result */
};

/* The sum of products, inputs being a multiple of 8. */
INLINE int32_t dot(int inputs, const int8_t *w, const int8_t *x)
{
    int32_t sum = 0;
    for (int n = 0; n < inputs; n++) sum += w[n] * x[n];
    return sum;
}

/* Rows, `step` apart, of inputs times weights; results `row` apart. Fully connected layers round
   once. */
INLINE void apply(int rows, int step, int inputs, int outputs, int row, int once, struct affine a,
                  const int8_t *x, int8_t *y)
{
    for (int r = 0; r < rows; r++) {
        for (int o = 0; o < outputs; o++) {
            const int32_t sum = plus(a.bias[o], dot(inputs, a.weight + o * inputs, x + r * step));
            const int32_t z = once ? rescaled_once(sum, a.multiplier[o], a.exponent[o])
                                   : rescaled(sum, a.multiplier[o], a.exponent[o]);
            y[r * row + o] = clipped(plus(z, a.zero), LOWEST);
        }
    }
}

/* Rows of channels, a number of them `stride` apart, copied between rows of the zero point. */
INLINE void pad_rows(int rows, int channels, int stride, int before, int after, int32_t zero,
                     const int8_t *x, int8_t *padded)
{
    memset(padded, zero, (size_t)(before * channels));
    for (int r = 0; r < rows; r++)
        memcpy(padded + (before + r) * channels, x + r * stride, (size_t)channels);
    memset(padded + (before + rows) * channels, zero, (size_t)(after * channels + BLOCK));
}

/* Each channel's sum over some taps of padded rows in some frames. */
INLINE void apply_depthwise(int positions, int frames, int taps, int channels, int frame, struct affine a,
                            const int8_t *x, int8_t *y)
{
    for (int p = 0; p < positions; p++) {
        for (int c = 0; c < channels; c++) {
            int32_t sum = a.bias[c];
            for (int f = 0; f < frames; f++) {
                for (int t = 0; t < taps; t++) {
                    const int8_t *w = a.weight + (f * taps + t) * channels;
                    sum = plus(sum, w[c] * x[f * frame + (p + t) * channels + c]);
                }
            }
            y[p * channels + c] =
                clipped(plus(rescaled(sum, a.multiplier[c], a.exponent[c]), a.zero), LOWEST);
        }
    }
}

/* Bins, each of two neighbouring bands: a fully connected layer of mostly zeros. */
INLINE void split_bands(int rows, int step, int bins, int row, const uint16_t *first, const int8_t *weight,
                        const int32_t *bias, const int32_t *multiplier, const int32_t *exponent,
                        int32_t zero, const int8_t *x, int8_t *y)
{
    for (int r = 0; r < rows; r++) {
        for (int n = 0; n < bins; n++) {
            const int8_t *band = x + r * step + first[n];
            const int32_t sum = plus(bias[n], band[0] * weight[n] + band[1] * weight[bins + n]);
            y[r * row + n] = clipped(plus(rescaled_once(sum, multiplier[n], exponent[n]), zero), LOWEST);
        }
    }
}

/* The mean of columns of rows. */
INLINE void mean(int rows, int columns, int32_t zero, int32_t multiplier, int32_t exponent,
                 int32_t result_zero, const int8_t *x, int8_t *y)
{
    for (int c = 0; c < columns; c++) {
        int32_t sum = -zero * rows;
        for (int r = 0; r < rows; r++) sum += x[r * columns + c];
        y[c] = clipped(plus(rescaled(sum, multiplier, exponent), result_zero), LOWEST);
    }
}

/* A block of up to three axes, innermost last. */
INLINE void copy(int planes, int rows, int columns, const int8_t *x, int plane_in, int row_in, int column_in,
                 int8_t *y, int plane_out, int row_out, int column_out)
{
    for (int p = 0; p < planes; p++) {
        for (int r = 0; r < rows; r++) {
            const int8_t *from = x + p * plane_in + r * row_in;
            int8_t *to = y + p * plane_out + r * row_out;
            if (column_in == 1 && column_out == 1)
                memcpy(to, from, (size_t)columns);
            else
                for (int c = 0; c < columns; c++) to[c * column_out] = from[c * column_in];
        }
    }
}

/* Whether bands are made of bins that there are: where weights end ascends, and so does no band leave
   the bins. */
static inline int bands_fit(int bands, const int32_t *first, const int32_t *until, int bins)
{
    for (int n = 0, begin = 0; n < bands; begin = until[n++])
        if (until[n] < begin || first[n] + until[n] - begin > bins) return 0;
    return 1;
}

#endif
