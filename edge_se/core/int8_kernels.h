/* 8-bit operators, bit for bit as TFLite's reference kernels compute them.

   A factor is a multiplier of 31 fractional bits and an exponent of two. All round twice, at the
   multiplication (halves up) and at the shift (halves away from zero). What weights could make
   overflow wraps around.

   Elementwise operators run in chains, 16 elements at once. Buffers have room for a multiple of 16
   elements. */

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
INLINE int32_t minus(int32_t a, int32_t b) { return (int32_t)((uint32_t)a - (uint32_t)b); }
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

/* Blocks -------------------------------------------------------------------------------------- */

/* Numbers of a sum or a difference: of both terms and of the result as TFLite has them, and the same
   as (first (a + 128) + second (b + 128) + offset) / 2^shift, rounded down, which the generator tried with
   all values of a and b. Where it found none, `shift` is 0. */
struct sum {
    int32_t zero[3], lowest, multiplier[3], right[3];
    int32_t first, second, offset, shift;
};

/* Numbers of a product: zero points of both factors and of the result. What is shifted by LEAST_RIGHT to
   MOST_RIGHT may be clipped to 16 bits before, but for its last bits. */
#define LEAST_RIGHT 3
#define MOST_RIGHT 9
struct product {
    int32_t zero[3], multiplier, right;
};

INLINE int32_t term(const struct sum *s, int n, int32_t x)
{
    const int32_t moved = shifted_left(minus(x, s->zero[n]), SUM_SHIFT);
    return halved(scaled(moved, s->multiplier[n]), s->right[n] & 31);
}

/* y = a + sign b, and y = a b, where the quick ways do not serve. */
APART void add_slowly(const struct sum *s, int sign, const int8_t *a, const int8_t *b, int8_t *y)
{
    for (int n = 0; n < BLOCK; n++) {
        const int32_t x = term(s, 0, a[n]), other = term(s, 1, b[n]);
        const int32_t sum = sign < 0 ? minus(x, other) : plus(x, other);
        const int32_t z = halved(scaled(sum, s->multiplier[2]), s->right[2] & 31);
        y[n] = clipped(plus(z, s->zero[2]), s->lowest);
    }
}
APART void multiply_slowly(const struct product *p, const int8_t *a, const int8_t *b, int8_t *y)
{
    for (int n = 0; n < BLOCK; n++) {
        const uint32_t left = (uint32_t)minus(a[n], p->zero[0]), right = (uint32_t)minus(b[n], p->zero[1]);
        const int32_t x = (int32_t)(left * right);
        y[n] = clipped(plus(halved(scaled(x, p->multiplier), p->right & 31), p->zero[2]), LOWEST);
    }
}

#if defined(__aarch64__) && defined(__GNUC__)
#include <arm_neon.h>
typedef int8x16_t block;
INLINE block block_load(const int8_t *x) { return vld1q_s8(x); }
INLINE block block_all(int8_t x)
{
    block y = vdupq_n_s8(x);
#if defined(__clang__)
    __asm__("" : "+w"(y)); /* which would take others apart to subtract half of this from halves */
#endif
    return y;
}
INLINE void block_store(int8_t *y, block x) { vst1q_s8(y, x); }
/* Values from 0 on, which tables and wider lanes take as they are. */
INLINE uint8x16_t block_from_zero(block x) { return veorq_u8((uint8x16_t)x, vdupq_n_u8(128)); }
INLINE block block_look_up(const int8_t *table, block x)
{
    uint8x16_t index = block_from_zero(x);
    const uint8x16_t quarter = vdupq_n_u8(64);
    int8x16_t y = vqtbl4q_s8(vld1q_s8_x4(table), index);
    UNROLL for (int n = 1; n < 4; n++) {
        index = vsubq_u8(index, quarter);
        y = vqtbx4q_s8(y, vld1q_s8_x4(table + 64 * n), index);
    }
    return y;
}
INLINE int32x4_t block_quarter(uint8x16_t x, int n)
{
    const uint8x16_t places = {0, 128, 128, 128, 1, 128, 128, 128, 2, 128, 128, 128, 3, 128, 128, 128};
    return (int32x4_t)vqtbl1q_u8(x, vaddq_u8(places, vdupq_n_u8((uint8_t)(4 * n))));
}
INLINE block block_sum(const struct sum *s, block a, block b)
{
    const uint8x16_t x = block_from_zero(a), z = block_from_zero(b);
    const int32x4_t numbers = vld1q_s32(&s->first);
    const int32x4_t offset = vdupq_n_s32(s->offset);
    const int16x8_t by = vsubq_s16(vdupq_n_s16(16), vdupq_n_s16((int16_t)s->shift));
    int32x4_t y[4];
    UNROLL for (int n = 0; n < 4; n++) {
        y[n] = vmulq_laneq_s32(block_quarter(x, n), numbers, 0);
        y[n] = vmlaq_laneq_s32(y[n], block_quarter(z, n), numbers, 1);
    }
    const int16x8_t low = vaddhn_high_s32(vaddhn_s32(y[0], offset), y[1], offset);
    const int16x8_t high = vaddhn_high_s32(vaddhn_s32(y[2], offset), y[3], offset);
    return vqmovn_high_s16(vqmovn_s16(vshlq_s16(low, by)), vshlq_s16(high, by));
}
INLINE block block_largest(block a, block b) { return vmaxq_s8(a, b); }
INLINE block block_product(const struct product *p, block a, block b)
{
    const int32x4_t m = vdupq_n_s32(p->multiplier);
    const int16x8_t by = vsubq_s16(vdupq_n_s16(LEAST_RIGHT - 1), vdupq_n_s16((int16_t)p->right));
    const int16x8_t zero = vdupq_n_s16((int16_t)p->zero[2]);
    const block of_a = block_all((int8_t)p->zero[0]), of_b = block_all((int8_t)p->zero[1]);
    int16x8_t y[2];
    UNROLL for (int n = 0; n < 2; n++) {
        const int16x8_t x = n ? vsubl_high_s8(a, of_a) : vsubl_s8(vget_low_s8(a), vget_low_s8(of_a));
        const int16x8_t z = n ? vsubl_high_s8(b, of_b) : vsubl_s8(vget_low_s8(b), vget_low_s8(of_b));
        const int32x4_t low = vqrdmulhq_s32(vmull_s16(vget_low_s16(x), vget_low_s16(z)), m);
        const int32x4_t high = vqrdmulhq_s32(vmull_high_s16(x, z), m);
        /* minus one for negative numbers, then halves up; the last bits decide nothing any more */
        const int16x4_t first = vqshrn_n_s32(vsraq_n_s32(low, low, 31), LEAST_RIGHT - 1);
        const int16x8_t both = vqshrn_high_n_s32(first, vsraq_n_s32(high, high, 31), LEAST_RIGHT - 1);
        y[n] = vqaddq_s16(vrshlq_s16(both, by), zero);
    }
    return vqmovn_high_s16(vqmovn_s16(y[0]), y[1]);
}
#elif defined(__AVX2__)
#include <immintrin.h>
typedef __m128i block;
INLINE block block_load(const int8_t *x) { return _mm_loadu_si128((const __m128i *)x); }
INLINE block block_all(int8_t x) { return _mm_set1_epi8(x); }
INLINE void block_store(int8_t *y, block x) { _mm_storeu_si128((__m128i *)y, x); }
INLINE block block_look_up(const int8_t *table, block x)
{
    /* Two rows of 16 at once: an index beyond its row has its uppermost bit set, which gives 0. */
    const __m256i begins = _mm256_set_m128i(_mm_set1_epi8(16 - 128), _mm_set1_epi8(-128));
    __m256i index = _mm256_sub_epi8(_mm256_broadcastsi128_si256(x), begins), y = _mm256_setzero_si256();
    UNROLL for (int n = 0; n < 256; n += 32) {
        const __m256i rows = _mm256_loadu_si256((const __m256i *)(table + n));
        y = _mm256_or_si256(y, _mm256_shuffle_epi8(rows, _mm256_adds_epu8(index, _mm256_set1_epi8(0x70))));
        index = _mm256_sub_epi8(index, _mm256_set1_epi8(32));
    }
    return _mm_or_si128(_mm256_castsi256_si128(y), _mm256_extracti128_si256(y, 1));
}
#define FACTOR_BITS 12 /* of 24 */
/* Eight numbers to 16 bits. */
INLINE __m128i octet_narrowed(__m256i x)
{
    return _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1));
}
INLINE __m256i octet(block x, int n) { return _mm256_cvtepi8_epi32(n ? _mm_srli_si128(x, 8) : x); }
/* Both factors' upper or lower bits by turns. */
INLINE __m256i pair_of_factors(int32_t first, int32_t second)
{
    return _mm256_set1_epi32((int32_t)((uint32_t)second << 16 | ((uint32_t)first & 0xffff)));
}
INLINE block block_sum(const struct sum *s, block a, block b)
{
    const int low = (1 << FACTOR_BITS) - 1;
    const __m256i upper = pair_of_factors(s->first >> FACTOR_BITS, s->second >> FACTOR_BITS);
    const __m256i lower = pair_of_factors(s->first & low, s->second & low);
    const __m256i offset = _mm256_set1_epi32(plus(s->offset, shifted_left(plus(s->first, s->second), 7)));
    const __m128i by = _mm_cvtsi32_si128(s->shift);
    __m128i y[2];
    UNROLL for (int n = 0; n < 2; n++) {
        const __m256i pairs = _mm256_cvtepi8_epi16(n ? _mm_unpackhi_epi8(a, b) : _mm_unpacklo_epi8(a, b));
        const __m256i high = _mm256_slli_epi32(_mm256_madd_epi16(pairs, upper), FACTOR_BITS);
        const __m256i sum = _mm256_add_epi32(_mm256_add_epi32(high, offset), _mm256_madd_epi16(pairs, lower));
        y[n] = octet_narrowed(_mm256_sra_epi32(sum, by));
    }
    return _mm_packs_epi16(y[0], y[1]);
}
INLINE block block_largest(block a, block b) { return _mm_max_epi8(a, b); }
INLINE block block_product(const struct product *p, block a, block b)
{
    const __m256i m = _mm256_set1_epi32(p->multiplier), half = _mm256_set1_epi64x(1 << 30);
    const __m256i of_a = _mm256_set1_epi32(p->zero[0]), of_b = _mm256_set1_epi32(p->zero[1]);
    const __m256i nearest = _mm256_set1_epi32((int32_t)(1u << (((uint32_t)p->right - 1) & 31)));
    const __m128i zero = _mm_set1_epi16((int16_t)p->zero[2]), by = _mm_cvtsi32_si128(p->right);
    __m128i y[2];
    UNROLL for (int n = 0; n < 2; n++) {
        const __m256i left = _mm256_sub_epi32(octet(a, n), of_a), right = _mm256_sub_epi32(octet(b, n), of_b);
        /* both have 9 bits and a sign: one product of 16 bits each, and 0 */
        const __m256i x = _mm256_madd_epi16(left, _mm256_and_si256(right, _mm256_set1_epi32(0xffff)));
        const __m256i even = _mm256_add_epi64(_mm256_mul_epi32(x, m), half);
        const __m256i odd = _mm256_add_epi64(_mm256_mul_epi32(_mm256_srli_epi64(x, 32), m), half);
        __m256i z = _mm256_blend_epi32(_mm256_srli_epi64(even, 31), _mm256_slli_epi64(odd, 1), 0xaa);
        z = _mm256_add_epi32(_mm256_add_epi32(z, _mm256_srai_epi32(z, 31)), nearest);
        y[n] = _mm_adds_epi16(octet_narrowed(_mm256_sra_epi32(z, by)), zero);
    }
    return _mm_packs_epi16(y[0], y[1]);
}
#else
typedef struct {
    int8_t at[BLOCK];
} block;
INLINE block block_load(const int8_t *x)
{
    block y;
    memcpy(y.at, x, BLOCK);
    return y;
}
INLINE block block_all(int8_t x)
{
    block y;
    memset(y.at, x, BLOCK);
    return y;
}
INLINE void block_store(int8_t *y, block x) { memcpy(y, x.at, BLOCK); }
INLINE block block_look_up(const int8_t *table, block x)
{
    ROLLED for (int n = 0; n < BLOCK; n++) x.at[n] = table[x.at[n] + 128];
    return x;
}
INLINE block block_sum(const struct sum *s, block a, block b)
{
    ROLLED for (int n = 0; n < BLOCK; n++) {
        const uint32_t x = (uint32_t)(a.at[n] + 128) * (uint32_t)s->first;
        const uint32_t z = (uint32_t)(b.at[n] + 128) * (uint32_t)s->second;
        a.at[n] = clipped((int32_t)(x + z + (uint32_t)s->offset) >> (s->shift & 31), LOWEST);
    }
    return a;
}
INLINE block block_largest(block a, block b)
{
    ROLLED for (int n = 0; n < BLOCK; n++) a.at[n] = a.at[n] > b.at[n] ? a.at[n] : b.at[n];
    return a;
}
INLINE block block_product(const struct product *p, block a, block b)
{
    multiply_slowly(p, a.at, b.at, a.at);
    return a;
}
#endif

/* Whether all of a chain's operators are quick is the first of its numbers, so that its loop calls nothing
   and keeps all others in registers. */
INLINE block add_either(int quick, const struct sum *s, int sign, block a, block b)
{
    if (quick) return block_sum(s, a, b);
    int8_t x[BLOCK], z[BLOCK];
    block_store(x, a);
    block_store(z, b);
    add_slowly(s, sign, x, z, x);
    return block_load(x);
}
INLINE block add(int quick, const struct sum *s, block a, block b)
{
    return add_either(quick, s, 1, a, b);
}
INLINE block add_rectified(int quick, const struct sum *s, block a, block b)
{
    return block_largest(add(quick, s, a, b), block_all((int8_t)s->lowest));
}
INLINE block subtract(int quick, const struct sum *s, block a, block b)
{
    return add_either(quick, s, -1, a, b);
}
INLINE block multiply(int quick, const struct product *p, block a, block b)
{
    if (quick) return block_product(p, a, b);
    int8_t x[BLOCK], z[BLOCK];
    block_store(x, a);
    block_store(z, b);
    multiply_slowly(p, x, z, x);
    return block_load(x);
}

/* Weighted sums -------------------------------------------------------------------------------- */

/* Tables of a layer: weights by fours, [outputs / 4][inputs / 4][4][4], where outputs are a multiple of 4, else
   [outputs][inputs]; biases, which make up for the input's zero point, multipliers and exponents of each
   output. */
struct affine {
    const int8_t *weight;
    const int32_t *bias, *multiplier, *exponent;
    int32_t zero; /* of the result */
    int rectified; /* what is below it becomes it */
};
INLINE int8_t lowest_of(struct affine a) { return (int8_t)(a.rectified ? a.zero : LOWEST); }

#define TAPS 8 /* of a convolution along planes, of which the last ones may be zero */

/* Four outputs at once -------------------------------------------------------------------------- */

#if defined(__aarch64__) && defined(__GNUC__)
#define QUADS 1
typedef int32x4_t quad;
INLINE quad quad_load(const int32_t *x) { return vld1q_s32(x); }
/* Exponents of layers are below 0. */
INLINE quad quad_rescale(quad x, quad m, quad exponent)
{
    const int32x4_t z = vqrdmulhq_s32(x, m);
    return vrshlq_s32(vsraq_n_s32(z, z, 31), exponent);
}
/* Results of a layer from both quads. */
INLINE int8x8_t quads_narrowed(struct affine of, quad a, quad b)
{
    const int16x8_t both = vqmovn_high_s32(vqmovn_s32(a), b);
    const int8x8_t y = vqmovn_s16(vqaddq_s16(both, vdupq_n_s16((int16_t)of.zero)));
    return vmax_s8(y, vdup_n_s8(lowest_of(of)));
}
INLINE void quad_store(int8_t *y, struct affine of, quad a)
{
    const int32_t bytes = vget_lane_s32((int32x2_t)quads_narrowed(of, a, a), 0);
    memcpy(y, &bytes, sizeof bytes);
}
INLINE void quad_store_two(int8_t *y, struct affine of, quad a, quad b) { vst1_s8(y, quads_narrowed(of, a, b)); }
/* The same by turns. */
INLINE void quad_store_pairs(int8_t *y, struct affine of, quad a, quad b)
{
    const int8x8_t both = quads_narrowed(of, a, b);
    vst1_s8(y, vzip1_s8(both, vext_s8(both, both, 4)));
}
/* Weights of four outputs and four inputs. */
typedef int8x16_t fours;
INLINE fours fours_load(const int8_t *w) { return vld1q_s8(w); }
/* Up to 16 inputs, by fours; for twelve what comes after them is read too. */
INLINE int8x16_t inputs_load(int count, const int8_t *x)
{
    int32_t four;
    if (count > 8) return vld1q_s8(x);
    if (count == 8) return vcombine_s8(vld1_s8(x), vdup_n_s8(0));
    memcpy(&four, x, sizeof four);
    return (int8x16_t)vdupq_n_s32(four);
}
#if defined(__ARM_FEATURE_DOTPROD)
#define EACH_LANE(lane) return vdotq_laneq_s32(sum, w, x, lane)
INLINE quad quad_dot(quad sum, fours w, int8x16_t x, int lane)
#else
#define EACH_LANE(lane) return (int8x16_t)vdupq_laneq_s32((int32x4_t)x, lane)
INLINE int8x16_t four_times(int8x16_t x, int lane)
#endif
{
    switch (lane) {
    case 0: EACH_LANE(0);
    case 1: EACH_LANE(1);
    case 2: EACH_LANE(2);
    default: EACH_LANE(3);
    }
}
/* Sum + products of four outputs. */
INLINE quad quad_of_fours(int count, int step, const fours *w, const int8_t *x, quad sum)
{
    int8x16_t given = vdupq_n_s8(0);
#if defined(__ARM_FEATURE_DOTPROD)
    UNROLL for (int n = 0; n < count / 4; n++) {
        if (n % 4 == 0 || step > 4) given = inputs_load(step > 4 ? 4 : count - 4 * n, x + step * n);
        sum = quad_dot(sum, w[n], given, n % 4);
    }
    return sum;
#else
    quad first = vdupq_n_s32(0), last = first; /* halves of two outputs each */
    UNROLL for (int n = 0; n < count / 4; n += 2) {
        if (n % 4 == 0 || step > 4) given = inputs_load(step > 4 ? 4 : count - 4 * n, x + step * n);
        const int8x16_t here = four_times(given, n % 4);
        int16x8_t low = vmull_s8(vget_low_s8(w[n]), vget_low_s8(here)), high = vmull_high_s8(w[n], here);
        if (n + 1 < count / 4) { /* two products fit 16 bits */
            if (step > 4) given = inputs_load(4, x + step * (n + 1));
            const int8x16_t next = four_times(given, n % 4 + 1);
            low = vmlal_s8(low, vget_low_s8(w[n + 1]), vget_low_s8(next));
            high = vmlal_high_s8(high, w[n + 1], next);
        }
        first = n ? vpadalq_s16(first, low) : vpaddlq_s16(low);
        last = n ? vpadalq_s16(last, high) : vpaddlq_s16(high);
    }
    return vaddq_s32(sum, vpaddq_s32(first, last));
#endif
}
/* Sums of 16 channels + products of one tap or of two, which fit 16 bits. */
INLINE void quads_add_taps(quad *sums, int two, const int8_t *w, const int8_t *x, const int8_t *other_w,
                           const int8_t *other_x)
{
    const int8x16_t of_w = vld1q_s8(w), given = vld1q_s8(x);
    int16x8_t low = vmull_s8(vget_low_s8(of_w), vget_low_s8(given)), high = vmull_high_s8(of_w, given);
    if (two) {
        const int8x16_t more_w = vld1q_s8(other_w), more = vld1q_s8(other_x);
        low = vmlal_s8(low, vget_low_s8(more_w), vget_low_s8(more));
        high = vmlal_high_s8(high, more_w, more);
    }
    sums[0] = vaddw_s16(sums[0], vget_low_s16(low));
    sums[1] = vaddw_high_s16(sums[1], low);
    sums[2] = vaddw_s16(sums[2], vget_low_s16(high));
    sums[3] = vaddw_high_s16(sums[3], high);
}
/* Sums of eight outputs of two inputs each, which lie side by side as their weights do. */
INLINE void quads_of_pairs(const int8_t *w, const int16_t *x, quad *sums)
{
    const int8x16_t of_w = vld1q_s8(w), given = (int8x16_t)vld1q_s16(x);
    sums[0] = vpaddlq_s16(vmull_s8(vget_low_s8(of_w), vget_low_s8(given)));
    sums[1] = vpaddlq_s16(vmull_high_s8(of_w, given));
}
INLINE quad quad_add(quad a, quad b) { return vaddq_s32(a, b); }
INLINE quad quad_subtract(quad a, quad b) { return vsubq_s32(a, b); }
/* Sums of eight outputs, their weights [planes][TAPS][8], of x in planes. */
INLINE void quads_of_planes(int planes, int taps, int width, const int16_t *w, const int16_t *x, quad *sums)
{
    sums[0] = sums[1] = vdupq_n_s32(0);
    UNROLL for (int f = 0; f < planes; f++) {
        const int16x8_t given = vld1q_s16(x + f * width);
        UNROLL for (int t = 0; t < taps; t++) {
            const int16x8_t of_w = vld1q_s16(w + (f * TAPS + t) * 8);
            switch (t) {
#define PLUS(n)                                                             \
    sums[0] = vmlal_laneq_s16(sums[0], vget_low_s16(of_w), given, n);       \
    sums[1] = vmlal_high_laneq_s16(sums[1], of_w, given, n);                \
    break
            case 0: PLUS(0);
            case 1: PLUS(1);
            case 2: PLUS(2);
            case 3: PLUS(3);
            case 4: PLUS(4);
            case 5: PLUS(5);
            case 6: PLUS(6);
            default: PLUS(7);
#undef PLUS
            }
        }
    }
}
#elif defined(__AVX2__)
#define QUADS 1
typedef __m128i quad;
INLINE quad quad_load(const int32_t *x) { return _mm_loadu_si128((const __m128i *)x); }
INLINE quad quad_add(quad a, quad b) { return _mm_add_epi32(a, b); }
INLINE quad quad_subtract(quad a, quad b) { return _mm_sub_epi32(a, b); }
INLINE void quads_of_planes(int planes, int taps, int width, const int16_t *w, const int16_t *x, quad *sums)
{
    __m256i both = _mm256_setzero_si256();
    UNROLL for (int f = 0; f < planes; f++) {
        UNROLL for (int t = 0; t < taps; t += 2) {
            const int16_t *pair = w + (f * TAPS + t) * 8;
            const __m128i first = _mm_loadu_si128((const __m128i *)pair);
            const __m128i second = _mm_loadu_si128((const __m128i *)(pair + 8));
            const __m256i of_w = _mm256_set_m128i(_mm_unpackhi_epi16(first, second), _mm_unpacklo_epi16(first, second));
            int32_t two;
            memcpy(&two, x + f * width + t, sizeof two);
            both = _mm256_add_epi32(both, _mm256_madd_epi16(of_w, _mm256_set1_epi32(two)));
        }
    }
    sums[0] = _mm256_castsi256_si128(both);
    sums[1] = _mm256_extracti128_si256(both, 1);
}
/* x m / 2^31, rounded down once `half` is added */
INLINE quad quad_scale(quad x, quad m, __m128i half)
{
    const __m128i even = _mm_add_epi64(_mm_mul_epi32(x, m), half);
    const __m128i odd = _mm_add_epi64(_mm_mul_epi32(_mm_srli_epi64(x, 32), _mm_srli_epi64(m, 32)), half);
    return _mm_blend_epi16(_mm_srli_epi64(even, 31), _mm_slli_epi64(odd, 1), 0xcc);
}
INLINE quad quad_halve(quad x, quad exponent)
{
    const __m128i right = _mm_sub_epi32(_mm_setzero_si128(), exponent);
    const __m128i nearest = _mm_srli_epi32(_mm_sllv_epi32(_mm_set1_epi32(1), right), 1);
    return _mm_srav_epi32(_mm_add_epi32(x, nearest), right);
}
INLINE quad quad_rescale(quad x, quad m, quad exponent)
{
    const __m128i z = quad_scale(x, m, _mm_set1_epi64x(1 << 30));
    return quad_halve(_mm_add_epi32(z, _mm_srai_epi32(z, 31)), exponent);
}
INLINE __m128i quads_narrowed(struct affine of, quad a, quad b)
{
    const __m128i both = _mm_adds_epi16(_mm_packs_epi32(a, b), _mm_set1_epi16((int16_t)of.zero));
    return _mm_max_epi8(_mm_packs_epi16(both, both), _mm_set1_epi8(lowest_of(of)));
}
INLINE void quad_store(int8_t *y, struct affine of, quad a)
{
    const int32_t bytes = _mm_cvtsi128_si32(quads_narrowed(of, a, a));
    memcpy(y, &bytes, sizeof bytes);
}
INLINE void quad_store_two(int8_t *y, struct affine of, quad a, quad b)
{
    _mm_storel_epi64((__m128i *)y, quads_narrowed(of, a, b));
}
INLINE void quad_store_pairs(int8_t *y, struct affine of, quad a, quad b)
{
    const __m128i both = quads_narrowed(of, a, b);
    _mm_storel_epi64((__m128i *)y, _mm_unpacklo_epi8(both, _mm_srli_si128(both, 4)));
}
INLINE void quads_of_pairs(const int8_t *w, const int16_t *x, quad *sums)
{
    const __m256i of_w = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w));
    const __m256i given = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)x));
    const __m256i both = _mm256_madd_epi16(of_w, given);
    sums[0] = _mm256_castsi256_si128(both);
    sums[1] = _mm256_extracti128_si256(both, 1);
}
INLINE void quads_add_taps(quad *sums, int two, const int8_t *w, const int8_t *x, const int8_t *other_w,
                           const int8_t *other_x)
{
    const __m128i none = _mm_setzero_si128(), of_w = _mm_loadu_si128((const __m128i *)w);
    const __m128i given = _mm_loadu_si128((const __m128i *)x);
    const __m128i more_w = two ? _mm_loadu_si128((const __m128i *)other_w) : none;
    const __m128i more = two ? _mm_loadu_si128((const __m128i *)other_x) : none;
    const __m256i low = _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_unpacklo_epi8(of_w, more_w)),
                                          _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(given, more)));
    const __m256i high = _mm256_madd_epi16(_mm256_cvtepi8_epi16(_mm_unpackhi_epi8(of_w, more_w)),
                                           _mm256_cvtepi8_epi16(_mm_unpackhi_epi8(given, more)));
    sums[0] = _mm_add_epi32(sums[0], _mm256_castsi256_si128(low));
    sums[1] = _mm_add_epi32(sums[1], _mm256_extracti128_si256(low, 1));
    sums[2] = _mm_add_epi32(sums[2], _mm256_castsi256_si128(high));
    sums[3] = _mm_add_epi32(sums[3], _mm256_extracti128_si256(high, 1));
}
/* Weights of four outputs and four inputs. */
typedef __m256i fours;
INLINE fours fours_load(const int8_t *w) { return _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w)); }
INLINE quad quad_of_fours(int count, int step, const fours *w, const int8_t *x, quad sum)
{
    __m256i sums = _mm256_setzero_si256(); /* two of each output */
    UNROLL for (int n = 0; n < count / 4; n++) {
        int32_t four;
        memcpy(&four, x + step * n, sizeof four);
        const __m256i given = _mm256_cvtepi8_epi16(_mm_set1_epi32(four));
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(w[n], given));
    }
    const __m256i found = _mm256_permute4x64_epi64(_mm256_hadd_epi32(sums, sums), 8);
    return _mm_add_epi32(sum, _mm256_castsi256_si128(found));
}
#else
#define QUADS 0
#endif

/* One output, from its sum. */
INLINE int8_t finished(struct affine a, int o, int32_t sum)
{
    return clipped(plus(rescaled(plus(a.bias[o], sum), a.multiplier[o], a.exponent[o]), a.zero), lowest_of(a));
}

#if QUADS
/* Four outputs from their sums, which include biases. */
INLINE quad quad_finished(struct affine a, int o, quad sum)
{
    return quad_rescale(sum, quad_load(a.multiplier + o), quad_load(a.exponent + o));
}
#endif

#define MOST_FOURS 32 /* of a layer's inputs */

/* What a layer's outputs are made of: so many inputs, each four of them `step` from those before. Those of each
   `alike` outputs are `apart` from those of the outputs before, and of the first again after `groups`. Where
   outputs take turns one by one (`alike` is 1), tables have the even ones of eight first, and then the odd ones. */
struct inputs {
    int count, step, groups, apart, alike;
};
INLINE const int8_t *inputs_of(struct inputs i, int output, const int8_t *x)
{
    return i.groups > 1 ? x + output / (i.alike > 1 ? i.alike : 4) % i.groups * i.apart : x;
}

/* So many times four outputs of all rows, by weights that stay in registers. */
INLINE void apply_quads(int quads, int from, int until, int rows, int step, struct inputs i, int row,
                        struct affine a, const int8_t *x, int8_t *restrict y)
{
    ROLLED for (int o = from; o < until; o += 4 * quads) {
#if QUADS
        fours w[2][MOST_FOURS];
        quad bias[2], m[2], exponent[2], z[2];
        const int8_t *given[2];
        UNROLL for (int q = 0; q < quads; q++) {
            const int first = o + 4 * q;
            UNROLL for (int n = 0; n < i.count / 4; n++)
                w[q][n] = fours_load(a.weight + first * i.count + 16 * n);
            bias[q] = quad_load(a.bias + first);
            m[q] = quad_load(a.multiplier + first);
            exponent[q] = quad_load(a.exponent + first);
            given[q] = inputs_of(i, first, x);
        }
        ROLLED for (int r = 0; r < rows; r++) {
            UNROLL for (int q = 0; q < quads; q++) {
                const quad sums = quad_of_fours(i.count, i.step, w[q], given[q] + r * step, bias[q]);
                z[q] = quad_rescale(sums, m[q], exponent[q]);
            }
            int8_t *const result = y + r * row + o;
            if (quads == 1)
                quad_store(result, a, z[0]);
            else if (i.alike == 1)
                quad_store_pairs(result, a, z[0], z[1]);
            else
                quad_store_two(result, a, z[0], z[1]);
        }
#else
        for (int q = o; q < o + 4 * quads; q += 4) {
            const int8_t *given = inputs_of(i, q, x);
            ROLLED for (int r = 0; r < rows; r++) {
                const int8_t *w = a.weight + q * i.count;
                int32_t sums[4] = {0};
                ROLLED for (int n = 0; n < i.count; n += 4, w += 16) {
                    const int8_t *four = given + r * step + n / 4 * i.step;
                    UNROLL for (int k = 0; k < 16; k++) sums[k / 4] += w[k] * four[k % 4];
                }
                UNROLL for (int k = 0; k < 4; k++) {
                    const int place = i.alike == 1 ? o + (q - o) / 4 + 2 * k : q + k;
                    y[r * row + place] = finished(a, q + k, sums[k]);
                }
            }
        }
#endif
    }
}

/* Rows, `step` apart, of inputs times weights; results `row` apart. */
INLINE void apply(int rows, int step, struct inputs i, int outputs, int row, struct affine a, const int8_t *x,
                  int8_t *restrict y)
{
    if (outputs % 4 == 0) {
        const int paired = outputs / 8 * 8;
        apply_quads(2, 0, paired, rows, step, i, row, a, x, y);
        apply_quads(1, paired, outputs, rows, step, i, row, a, x, y);
        return;
    }
    ROLLED for (int r = 0; r < rows; r++) {
        for (int o = 0; o < outputs; o++) {
            int32_t sum = 0;
            for (int n = 0; n < i.count; n++) sum += a.weight[o * i.count + n] * x[r * step + n];
            y[r * row + o] = finished(a, o, sum);
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

/* Rows, `step` apart, as differences from the zero point in planes that begin with `before` zeros. */
INLINE void widen_planes(int planes, int count, int step, int before, int width, int32_t zero,
                         const int8_t *x, int16_t *wide)
{
    memset(wide, 0, sizeof *wide * (size_t)(planes * width));
    for (int f = 0; f < planes; f++)
        for (int n = 0; n < count; n++)
            wide[f * width + before + n] = (int16_t)(x[f * step + n] - zero);
}

/* A convolution of planes, all of whose inputs are neighbours; and its negative, which has a bias and
   a scale of its own. Weights [3][outputs / 8][planes][TAPS][8] are those of the first, of all other,
   and of the last positions. */
INLINE void convolve_planes(int positions, int stride, int planes, int taps, int width, int outputs,
                            const int16_t *weight, struct affine a, struct affine negative,
                            const int16_t *x, int8_t *restrict y, int8_t *restrict z)
{
    a.rectified = negative.rectified = 0;
    ROLLED for (int part = 0; part < 3; part++) {
        const int begin = part == 2 ? positions - 1 : part, end = part == 1 ? positions - 1 : begin + 1;
        ROLLED for (int o = 0; o < outputs; o += 8) {
            const int16_t *w = weight + (part * outputs + o) * planes * TAPS;
            ROLLED for (int p = begin; p < end; p++) {
                const int16_t *given = x + p * stride;
                const int at = p * outputs + o;
#if QUADS
                quad sums[2], up[2], down[2];
                quads_of_planes(planes, taps, width, w, given, sums);
                UNROLL for (int q = 0; q < 2; q++) {
                    const int from = o + 4 * q;
                    up[q] = quad_finished(a, from, quad_add(quad_load(a.bias + from), sums[q]));
                    down[q] = quad_finished(negative, from,
                                            quad_subtract(quad_load(negative.bias + from), sums[q]));
                }
                quad_store_two(y + at, a, up[0], up[1]);
                quad_store_two(z + at, negative, down[0], down[1]);
#else
                for (int i = 0; i < 8; i++) {
                    int32_t sum = 0;
                    for (int n = 0; n < planes * taps; n++) {
                        const int f = n / taps, t = n % taps;
                        sum += w[(f * TAPS + t) * 8 + i] * given[f * width + t];
                    }
                    y[at + i] = finished(a, o + i, sum);
                    z[at + i] = finished(negative, o + i, -sum);
                }
#endif
            }
        }
    }
}

/* Each channel's sum over some taps of padded rows in some frames, from every so many rows; 16 channels
   at once, of 16 or more. */
INLINE void apply_depthwise(int positions, int stride, int frames, int taps, int channels, int frame,
                            struct affine a, const int8_t *x, int8_t *restrict y)
{
    ROLLED for (int from = 0; from < channels; from += BLOCK) {
        const int c = from + BLOCK <= channels ? from : channels - BLOCK;
        ROLLED for (int p = 0; p < positions; p++) {
            const int8_t *given = x + p * stride * channels + c, *w = a.weight + c;
            int8_t *result = y + p * channels + c;
#if QUADS
            quad sums[4];
            UNROLL for (int i = 0; i < 4; i++) sums[i] = quad_load(a.bias + c + 4 * i);
            UNROLL for (int n = 0; n < frames * taps; n += 2) {
                const int more = n + 1, two = more < frames * taps;
                quads_add_taps(sums, two, w + n * channels, given + n / taps * frame + n % taps * channels,
                               w + more * channels, given + more / taps * frame + more % taps * channels);
            }
            UNROLL for (int i = 0; i < 4; i++) sums[i] = quad_finished(a, c + 4 * i, sums[i]);
            quad_store_two(result, a, sums[0], sums[1]);
            quad_store_two(result + 8, a, sums[2], sums[3]);
#else
            int32_t sums[BLOCK] = {0};
            UNROLL for (int n = 0; n < frames * taps; n++) {
                const int8_t *tap = given + n / taps * frame + n % taps * channels;
                for (int i = 0; i < BLOCK; i++) sums[i] += w[n * channels + i] * tap[i];
            }
            for (int i = 0; i < BLOCK; i++) result[i] = finished(a, c + i, sums[i]);
#endif
        }
    }
}

/* Bins, each of two neighbouring bands: a layer of mostly zeros. Weights are those of
   both bands, side by side. */
INLINE void split_bands(int rows, int step, int bins, int row, const uint16_t *first, struct affine a,
                        const int8_t *x, int8_t *restrict y)
{
    ROLLED for (int r = 0; r < rows; r++) {
        const int8_t *bands = x + r * step;
        int n = 0;
#if QUADS
        ROLLED for (; n + 8 <= bins; n += 8) {
            int16_t pairs[8];
            quad sums[2], z[2];
            UNROLL for (int i = 0; i < 8; i++) memcpy(pairs + i, bands + first[n + i], sizeof *pairs);
            quads_of_pairs(a.weight + 2 * n, pairs, sums);
            UNROLL for (int q = 0; q < 2; q++)
                z[q] = quad_finished(a, n + 4 * q, quad_add(quad_load(a.bias + n + 4 * q), sums[q]));
            quad_store_two(y + r * row + n, a, z[0], z[1]);
        }
#endif
        for (; n < bins; n++) {
            const int8_t *band = bands + first[n];
            const int32_t sum = band[0] * a.weight[2 * n] + band[1] * a.weight[2 * n + 1];
            y[r * row + n] = finished(a, n, sum);
        }
    }
}

/* Sums of 16 columns of up to 256 rows, `step` apart. */
INLINE void add_up_columns(int rows, int step, const int8_t *x, int16_t *sums)
{
#if defined(__aarch64__) && defined(__GNUC__)
    int16x8_t low = vdupq_n_s16(0), high = low;
    ROLLED for (int r = 0; r < rows; r++) {
        const int8x16_t given = vld1q_s8(x + r * step);
        low = vaddw_s8(low, vget_low_s8(given));
        high = vaddw_high_s8(high, given);
    }
    vst1q_s16(sums, low);
    vst1q_s16(sums + 8, high);
#else
    memset(sums, 0, sizeof *sums * BLOCK);
    ROLLED for (int r = 0; r < rows; r++) {
        for (int i = 0; i < BLOCK; i++) sums[i] = (int16_t)(sums[i] + x[r * step + i]);
    }
#endif
}

/* The mean of columns of rows, which are 1, 2, 4, 8, or 16; of 4096 values at most. */
INLINE void mean(int rows, int columns, int32_t zero, int32_t multiplier, int32_t exponent,
                 int32_t result_zero, const int8_t *x, int8_t *y)
{
    const int size = rows * columns, whole = size / BLOCK * BLOCK;
    int16_t sums[BLOCK];
    add_up_columns(size / BLOCK, BLOCK, x, sums);
    for (int n = whole; n < size; n++) sums[n % BLOCK] = (int16_t)(sums[n % BLOCK] + x[n]);
    for (int c = 0; c < columns; c++) {
        int32_t sum = minus(0, zero * rows);
        for (int i = c; i < BLOCK; i += columns) sum = plus(sum, sums[i]);
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
            const int blocks = columns / BLOCK * BLOCK, paired = columns / 4 * 4;
            ROLLED for (int c = 0; c < blocks; c += BLOCK) {
                const int8x16x2_t pair = {{vld1q_s8(from_a + c), vld1q_s8(from_b + c)}};
                vst2q_s8(to + 2 * c, pair);
            }
            UNROLL for (int c = blocks; c < paired; c += 4) {
                int32_t four[2];
                memcpy(four, from_a + c, 4);
                memcpy(four + 1, from_b + c, 4);
                const int8x8_t first = (int8x8_t)vdup_n_s32(four[0]), second = (int8x8_t)vdup_n_s32(four[1]);
                vst1_s8(to + 2 * c, vzip1_s8(first, second));
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
