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

#if PARTS == BLOCK
#define EACH_PART ROLLED for (int i = 0; i < PARTS; i++)
#else
#define EACH_PART UNROLL for (int i = 0; i < PARTS; i++)
#endif

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
    ROLLED for (int n = 0; n < BLOCK; n++) y.at[n] = x[n];
    return y;
}
INLINE void block_store(int8_t *y, block x)
{
    ROLLED for (int n = 0; n < BLOCK; n++) y[n] = (int8_t)x.at[n];
}
#endif
INLINE block block_look_up(const int8_t *table, block x)
{
    int8_t bytes[BLOCK];
    block_store(bytes, x);
    ROLLED for (int n = 0; n < BLOCK; n++) bytes[n] = table[bytes[n] + 128];
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

/* Four outputs at once -------------------------------------------------------------------------- */

#if defined(__aarch64__) && defined(__GNUC__)
#define QUADS 1
typedef int32x4_t quad;
INLINE quad quad_load(const int32_t *x) { return vld1q_s32(x); }
INLINE quad quad_rescale(quad x, quad m, quad exponent)
{
    const int32x4_t none = vdupq_n_s32(0), right = vminq_s32(exponent, none);
    const int32x4_t z = vqrdmulhq_s32(vshlq_s32(x, vmaxq_s32(exponent, none)), m);
    return vrshlq_s32(vsraq_n_s32(z, vandq_s32(z, right), 31), right);
}
INLINE quad quad_rescale_once(quad x, quad m, quad exponent)
{
    const int32x4_t by = vsubq_s32(exponent, vdupq_n_s32(31));
    const int64x2_t low = vmull_s32(vget_low_s32(x), vget_low_s32(m));
    const int64x2_t high = vmull_high_s32(x, m);
    return vuzp1q_s32((int32x4_t)vrshlq_s64(low, vmovl_s32(vget_low_s32(by))),
                      (int32x4_t)vrshlq_s64(high, vmovl_high_s32(by)));
}
INLINE void quad_store(int8_t *y, quad x, int32_t zero)
{
    const int16x4_t half = vqadd_s16(vqmovn_s32(x), vdup_n_s16((int16_t)zero));
    const int32_t bytes = vget_lane_s32((int32x2_t)vqmovn_s16(vcombine_s16(half, half)), 0);
    memcpy(y, &bytes, sizeof bytes);
}
INLINE void quad_store_two(int8_t *y, quad a, quad b, int32_t zero)
{
    const int16x8_t both = vqmovn_high_s32(vqmovn_s32(a), b);
    vst1_s8(y, vqmovn_s16(vqaddq_s16(both, vdupq_n_s16((int16_t)zero))));
}
/* sum + products of 16 bytes, of which two fit 16 bits */
INLINE quad quad_dot(quad sum, int8x16_t w, int8x16_t x)
{
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, w, x);
#else
    const int16x8_t pairs = vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
    return vpadalq_s16(sum, pairs);
#endif
}
INLINE quad quad_dot_half(quad sum, int8x8_t w, int8x8_t x)
{
    return vpadalq_s16(sum, vmull_s8(w, x));
}
/* Sums of four rows of weights, one behind the other. */
INLINE quad quad_of_rows(int inputs, const int8_t *w, const int8_t *x)
{
    quad sums[4];
    UNROLL for (int o = 0; o < 4; o++) {
        sums[o] = vdupq_n_s32(0);
        UNROLL for (int n = 0; n + 16 <= inputs; n += 16)
            sums[o] = quad_dot(sums[o], vld1q_s8(w + o * inputs + n), vld1q_s8(x + n));
        if (inputs % 16)
            sums[o] = quad_dot_half(sums[o], vld1_s8(w + (o + 1) * inputs - 8), vld1_s8(x + inputs - 8));
    }
    return vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3]));
}
/* The same of a weight that stays in registers, four times 48 inputs at most. */
typedef struct {
    int8x16_t whole[4][3];
    int8x8_t half[4];
} quad_weight;
INLINE quad_weight quad_weight_load(int inputs, const int8_t *w)
{
    quad_weight held;
    UNROLL for (int o = 0; o < 4; o++) {
        UNROLL for (int n = 0; n < inputs / 16; n++) held.whole[o][n] = vld1q_s8(w + o * inputs + 16 * n);
        if (inputs % 16) held.half[o] = vld1_s8(w + (o + 1) * inputs - 8);
    }
    return held;
}
INLINE quad quad_of_held(int inputs, quad_weight w, const int8_t *x)
{
    quad sums[4];
    UNROLL for (int o = 0; o < 4; o++) {
        sums[o] = vdupq_n_s32(0);
        UNROLL for (int n = 0; n < inputs / 16; n++)
            sums[o] = quad_dot(sums[o], w.whole[o][n], vld1q_s8(x + 16 * n));
        if (inputs % 16) sums[o] = quad_dot_half(sums[o], w.half[o], vld1_s8(x + inputs - 8));
    }
    return vpaddq_s32(vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3]));
}
#define HELD 1
INLINE quad quad_add(quad a, quad b) { return vaddq_s32(a, b); }
#elif defined(__AVX2__)
#define QUADS 1
typedef __m128i quad;
INLINE quad quad_load(const int32_t *x) { return _mm_loadu_si128((const __m128i *)x); }
INLINE quad quad_add(quad a, quad b) { return _mm_add_epi32(a, b); }
INLINE quad quad_rescale(quad x, quad m, quad exponent)
{
    const __m128i none = _mm_setzero_si128(), one = _mm_set1_epi32(1);
    const __m128i half = _mm_set1_epi64x(1 << 30), left = _mm_max_epi32(exponent, none);
    const __m128i right = _mm_sub_epi32(left, exponent), moved = _mm_sllv_epi32(x, left);
    const __m128i even = _mm_add_epi64(_mm_mul_epi32(moved, m), half);
    const __m128i odd =
        _mm_add_epi64(_mm_mul_epi32(_mm_srli_epi64(moved, 32), _mm_srli_epi64(m, 32)), half);
    const __m128i z = _mm_blend_epi16(_mm_srli_epi64(even, 31), _mm_slli_epi64(odd, 1), 0xcc);
    /* half of 2^right is 0 where nothing is shifted, and so is what rounds away from zero */
    const __m128i nearest = _mm_srli_epi32(_mm_sllv_epi32(one, right), 1);
    const __m128i shifted = _mm_cmpgt_epi32(right, none);
    const __m128i below = _mm_and_si128(_mm_srai_epi32(z, 31), shifted);
    return _mm_srav_epi32(_mm_add_epi32(_mm_add_epi32(z, below), nearest), right);
}
/* x m / 2^(31 - exponent) of the lower number of each pair, whose upper half is `exponents` alike */
INLINE __m128i halves_rescaled_once(__m128i x, __m128i m, __m128i exponent)
{
    /* Shifts of 64 bits are of numbers above zero: 2^62 is added, and subtracted when shifted. */
    const __m128i by = _mm_and_si128(_mm_sub_epi32(_mm_set1_epi32(31), exponent),
                                     _mm_set1_epi64x(0xffffffff));
    const __m128i high = _mm_set1_epi64x((int64_t)1 << 62), one = _mm_set1_epi64x(1);
    const __m128i half = _mm_srli_epi64(_mm_sllv_epi64(one, by), 1);
    const __m128i sum = _mm_add_epi64(_mm_add_epi64(_mm_mul_epi32(x, m), half), high);
    return _mm_sub_epi64(_mm_srlv_epi64(sum, by), _mm_srlv_epi64(high, by));
}
INLINE quad quad_rescale_once(quad x, quad m, quad exponent)
{
    const __m128i even = halves_rescaled_once(x, m, exponent);
    const __m128i odd = halves_rescaled_once(_mm_srli_epi64(x, 32), _mm_srli_epi64(m, 32),
                                             _mm_srli_epi64(exponent, 32));
    return _mm_blend_epi16(even, _mm_slli_epi64(odd, 32), 0xcc);
}
INLINE __m128i quads_narrowed(quad a, quad b, int32_t zero)
{
    const __m128i both = _mm_adds_epi16(_mm_packs_epi32(a, b), _mm_set1_epi16((int16_t)zero));
    return _mm_packs_epi16(both, both);
}
INLINE void quad_store(int8_t *y, quad x, int32_t zero)
{
    const int32_t bytes = _mm_cvtsi128_si32(quads_narrowed(x, x, zero));
    memcpy(y, &bytes, sizeof bytes);
}
INLINE void quad_store_two(int8_t *y, quad a, quad b, int32_t zero)
{
    _mm_storel_epi64((__m128i *)y, quads_narrowed(a, b, zero));
}
INLINE __m256i widened(const int8_t *x)
{
    return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)x));
}
INLINE __m128i half_widened(const int8_t *x)
{
    return _mm_cvtepi8_epi16(_mm_loadl_epi64((const __m128i *)x));
}
INLINE quad quad_of_rows(int inputs, const int8_t *w, const int8_t *x)
{
    __m128i sums[4];
    UNROLL for (int o = 0; o < 4; o++) {
        __m256i sum = _mm256_setzero_si256();
        UNROLL for (int n = 0; n + 16 <= inputs; n += 16)
            sum = _mm256_add_epi32(sum, _mm256_madd_epi16(widened(w + o * inputs + n), widened(x + n)));
        sums[o] = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
        if (inputs % 16) {
            const int n = inputs - 8;
            const __m128i last = _mm_madd_epi16(half_widened(w + o * inputs + n), half_widened(x + n));
            sums[o] = _mm_add_epi32(sums[o], last);
        }
    }
    return _mm_hadd_epi32(_mm_hadd_epi32(sums[0], sums[1]), _mm_hadd_epi32(sums[2], sums[3]));
}
#else
#define QUADS 0
#endif

#ifndef HELD
#define HELD 0
#endif

/* The sum of products. */
INLINE int32_t dot(int inputs, const int8_t *w, const int8_t *x)
{
    int32_t sum = 0;
    for (int n = 0; n < inputs; n++) sum += w[n] * x[n];
    return sum;
}

/* One output, from its sum. */
INLINE int8_t finished(struct affine a, int o, int once, int32_t sum)
{
    const int32_t x = plus(a.bias[o], sum), m = a.multiplier[o], exponent = a.exponent[o];
    return clipped(plus(once ? rescaled_once(x, m, exponent) : rescaled(x, m, exponent), a.zero), LOWEST);
}

#if QUADS
INLINE quad quad_finished(struct affine a, int o, int once, quad sum)
{
    const quad x = quad_add(sum, quad_load(a.bias + o));
    const quad m = quad_load(a.multiplier + o), exponent = quad_load(a.exponent + o);
    return once ? quad_rescale_once(x, m, exponent) : quad_rescale(x, m, exponent);
}
#endif

/* Rows, `step` apart, of inputs, a multiple of 8, times weights; results `row` apart. Fully connected
   layers round once. */
INLINE void apply(int rows, int step, int inputs, int outputs, int row, int once, struct affine a,
                  const int8_t *x, int8_t *y)
{
#if HELD
    if (rows > 2 && inputs <= 48 && outputs % 4 == 0) {
        ROLLED for (int o = 0; o < outputs; o += 4) {
            const quad_weight held = quad_weight_load(inputs, a.weight + o * inputs);
            const quad bias = quad_load(a.bias + o), m = quad_load(a.multiplier + o);
            const quad exponent = quad_load(a.exponent + o);
            ROLLED for (int r = 0; r < rows; r++) {
                const quad sums = quad_add(quad_of_held(inputs, held, x + r * step), bias);
                const quad z =
                    once ? quad_rescale_once(sums, m, exponent) : quad_rescale(sums, m, exponent);
                quad_store(y + r * row + o, z, a.zero);
            }
        }
        return;
    }
#endif
    ROLLED for (int r = 0; r < rows; r++) {
        const int8_t *given = x + r * step;
        int8_t *result = y + r * row;
        int o = 0;
#if QUADS
        ROLLED for (; o + 8 <= outputs; o += 8) {
            const quad low = quad_of_rows(inputs, a.weight + o * inputs, given);
            const quad high = quad_of_rows(inputs, a.weight + (o + 4) * inputs, given);
            quad_store_two(result + o, quad_finished(a, o, once, low),
                           quad_finished(a, o + 4, once, high), a.zero);
        }
        if (o + 4 <= outputs) {
            const quad sums = quad_of_rows(inputs, a.weight + o * inputs, given);
            quad_store(result + o, quad_finished(a, o, once, sums), a.zero);
            o += 4;
        }
#endif
        for (; o < outputs; o++)
            result[o] = finished(a, o, once, dot(inputs, a.weight + o * inputs, given));
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

/* Each channel's sum over some taps of padded rows in some frames; 16 channels at once. */
INLINE void apply_depthwise(int positions, int frames, int taps, int channels, int frame, struct affine a,
                            const int8_t *x, int8_t *y)
{
    ROLLED for (int p = 0; p < positions; p++) {
        ROLLED for (int c = 0; c < channels; c += BLOCK) {
            int32_t sums[BLOCK];
#if defined(__aarch64__) && defined(__GNUC__)
            int32x4_t parts[4];
            UNROLL for (int i = 0; i < 4; i++) parts[i] = vdupq_n_s32(0);
            UNROLL for (int f = 0; f < frames; f++) {
                UNROLL for (int t = 0; t < taps; t++) {
                    const int8x16_t w = vld1q_s8(a.weight + (f * taps + t) * channels + c);
                    const int8x16_t given = vld1q_s8(x + f * frame + (p + t) * channels + c);
                    const int16x8_t low = vmull_s8(vget_low_s8(w), vget_low_s8(given));
                    const int16x8_t high = vmull_high_s8(w, given);
                    parts[0] = vaddw_s16(parts[0], vget_low_s16(low));
                    parts[1] = vaddw_high_s16(parts[1], low);
                    parts[2] = vaddw_s16(parts[2], vget_low_s16(high));
                    parts[3] = vaddw_high_s16(parts[3], high);
                }
            }
            UNROLL for (int i = 0; i < 4; i++) vst1q_s32(sums + 4 * i, parts[i]);
#else
            memset(sums, 0, sizeof sums);
            UNROLL for (int f = 0; f < frames; f++) {
                UNROLL for (int t = 0; t < taps; t++) {
                    const int8_t *w = a.weight + (f * taps + t) * channels + c;
                    const int8_t *given = x + f * frame + (p + t) * channels + c;
                    for (int n = 0; n < BLOCK; n++) sums[n] += w[n] * given[n];
                }
            }
#endif
            int8_t *result = y + p * channels + c;
#if QUADS
            UNROLL for (int n = 0; n < BLOCK; n += 8)
                quad_store_two(result + n, quad_finished(a, c + n, 0, quad_load(sums + n)),
                               quad_finished(a, c + n + 4, 0, quad_load(sums + n + 4)), a.zero);
#else
            for (int n = 0; n < BLOCK; n++) result[n] = finished(a, c + n, 0, sums[n]);
#endif
        }
    }
}

/* Bins, each of two neighbouring bands: a fully connected layer of mostly zeros. */
APART void split_bands(int rows, int step, int bins, int row, const uint16_t *first, const int8_t *weight,
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
APART void mean(int rows, int columns, int32_t zero, int32_t multiplier, int32_t exponent,
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

/* Two of them at once, of which each second element is the other's. */
INLINE void interleave(int planes, int rows, int columns, const int8_t *a, const int8_t *b, int plane_in,
                       int row_in, int8_t *y, int plane_out, int row_out)
{
    for (int p = 0; p < planes; p++) {
        for (int r = 0; r < rows; r++) {
            const int8_t *from_a = a + p * plane_in + r * row_in, *from_b = b + p * plane_in + r * row_in;
            int8_t *to = y + p * plane_out + r * row_out;
#if defined(__aarch64__) && defined(__GNUC__)
            const int paired = columns / 8 * 8;
            ROLLED for (int c = 0; c < paired; c += 8) {
                const int8x8x2_t pair = {{vld1_s8(from_a + c), vld1_s8(from_b + c)}};
                vst2_s8(to + 2 * c, pair);
            }
#else
            const int paired = 0;
#endif
            for (int c = paired; c < columns; c++) to[2 * c] = from_a[c], to[2 * c + 1] = from_b[c];
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

/* Differences from the zero point, 128 times as fine. */
INLINE void widen(int count, const int8_t *x, int32_t zero, int16_t *y)
{
    for (int i = 0; i < count; i++) y[i] = (int16_t)((x[i] - zero) * 128);
}

#endif
