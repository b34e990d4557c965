/* Eight 16-bit or four 32-bit integers at once. NEON and SSE2 say it in their own instructions; plain
   C gives the same bits everywhere else. */

#ifndef FIXED_LANES_H
#define FIXED_LANES_H

#include <stdint.h>

#include "compiler.h"

/* Vectors that compilers make of single numbers take a lot of code, and hardly any time off. */
#if defined(__GNUC__) && !defined(__clang__) && !defined(__aarch64__)
#pragma GCC optimize("no-tree-vectorize")
#endif

/* Where there are dot products of bytes (Armv8.2), activations are taken apart into two. The lower one
   counts from -128, and what is missing for it is part of a bias of its own. */
#if defined(__aarch64__) && defined(__GNUC__) && defined(__ARM_FEATURE_DOTPROD) && !defined(LEAN)
#define DOT_PRODUCTS 1
#else
#define DOT_PRODUCTS 0
#endif

/* Spans of the 16-bit numbers, over each of which tanh is a cubic of its own. */
#define SPANS 32
#define SPAN_BITS 11
#define CUBICS_LIMIT 8
/* Coefficients of all spans by power; in frames of little memory of all powers by span, the third
   power's doubled. */
#if defined(LEAN)
typedef int32_t coefficient;
#define OF_SPAN 4
#define OF_POWER 1
#else
typedef int16_t coefficient;
#define OF_SPAN 1
#define OF_POWER SPANS
#endif

#if (defined(__aarch64__) || defined(__SSE2__)) && defined(__GNUC__) && !defined(LEAN)
#define i4_scale_layer i4_scale
#endif

#if defined(__aarch64__) && defined(__GNUC__) && !defined(LEAN)

#include <arm_neon.h>

#define VECTORS 1
#define PAIRED_PRODUCTS 0

typedef int32x4_t i4;
typedef int16x8_t h8;
typedef uint64x2_t l2;

INLINE i4 i4_load(const int32_t *x) { return vld1q_s32(x); }
INLINE void i4_store(int32_t *x, i4 a) { vst1q_s32(x, a); }
INLINE i4 i4_all(int32_t x) { return vdupq_n_s32(x); }
INLINE i4 i4_add(i4 a, i4 b) { return vaddq_s32(a, b); }
/* a / 2^bits, to nearest, halves up; to the left where bits are negative. Halves leave 32 bits nowhere. */
INLINE i4 i4_round_shift(i4 a, int bits) { return vrshlq_s32(a, vdupq_n_s32(-bits)); }
INLINE i4 i4_shift_left_saturated(i4 a, int bits) { return vqshlq_s32(a, vdupq_n_s32(bits)); }
/* (a b + 2^30) / 2^31, rounded down; b is not negative */
INLINE i4 i4_scale(i4 a, i4 b) { return vqrdmulhq_s32(a, b); }
/* the same by one of two multipliers, `below` for negative a, with any sign */
INLINE i4 i4_scale_leaky(i4 a, i4 above, i4 below)
{
    return i4_scale(a, vbslq_s32(vcltzq_s32(a), below, above));
}

INLINE h8 h8_load(const int16_t *x) { return vld1q_s16(x); }
/* four values, then zeros */
typedef int16x4_t half_in_memory __attribute__((aligned(2), may_alias));
INLINE h8 h8_load_half(const int16_t *x)
{
    return vcombine_s16(*(const half_in_memory *)x, vdup_n_s16(0));
}
/* Keeps compilers from loading what is used of a vector by pieces. */
INLINE h8 h8_whole(h8 a)
{
    __asm__("" : "+w"(a));
    return a;
}
INLINE void h8_store(int16_t *x, h8 a) { vst1q_s16(x, a); }
INLINE void h8_store_half(int16_t *x, h8 a) { vst1_s16(x, vget_low_s16(a)); }
/* {a0, b0, a1, b1, ...} */
INLINE void h8_store_pairs(int16_t *x, h8 a, h8 b)
{
    const int16x8x2_t pairs = {{a, b}};
    vst2q_s16(x, pairs);
}
/* {a0, b0, c0, 0, a1, b1, c1, 0, ...} */
INLINE void h8_store_threes(int16_t *x, h8 a, h8 b, h8 c)
{
    const int16x8x4_t fours = {{a, b, c, vdupq_n_s16(0)}};
    vst4q_s16(x, fours);
}
INLINE h8 h8_weights(const int8_t *x) { return vmovl_s8(vld1_s8(x)); }
/* weights of four inputs for eight outputs, stored by output, each input's outputs in a vector */
INLINE void h8_weights_of_four(const int8_t *x, h8 weights[4])
{
    const int8x8x4_t bytes = vld4_s8(x);
    UNROLL for (int k = 0; k < 4; k++) weights[k] = vmovl_s8(bytes.val[k]);
}
#if DOT_PRODUCTS
typedef int8x16_t b16;
INLINE b16 b16_load(const int8_t *x) { return vld1q_s8(x); }
/* the lower bytes of eight values, from -128 on, then the upper ones */
INLINE b16 b16_apart(h8 x)
{
    const uint8x16_t places = {0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15};
    const int8x16_t lower = vcombine_s8(vdup_n_s8(INT8_MIN), vdup_n_s8(0));
    return veorq_s8(vqtbl1q_s8(vreinterpretq_s8_s16(x), places), lower);
}
/* sum + the products of four weights for each lane with four of the bytes */
INLINE i4 i4_dot(i4 sum, b16 weights, b16 x, int four)
{
    switch (four) {
    case 0: return vdotq_laneq_s32(sum, weights, x, 0);
    case 1: return vdotq_laneq_s32(sum, weights, x, 1);
    case 2: return vdotq_laneq_s32(sum, weights, x, 2);
    default: return vdotq_laneq_s32(sum, weights, x, 3);
    }
}
/* 256 a + b */
INLINE i4 i4_joined(i4 a, i4 b) { return vmlaq_s32(b, a, vdupq_n_s32(256)); }
#endif
INLINE h8 h8_all(int16_t x) { return vdupq_n_s16(x); }
INLINE h8 h8_add(h8 a, h8 b) { return vqaddq_s16(a, b); }
/* (a + b + 1) / 2, (a + b) / 2 and (a - b) / 2, rounded down */
INLINE h8 h8_mean(h8 a, h8 b) { return vrhaddq_s16(a, b); }
INLINE h8 h8_half_sum(h8 a, h8 b) { return vhaddq_s16(a, b); }
INLINE h8 h8_half_difference(h8 a, h8 b) { return vhsubq_s16(a, b); }
/* (a b + 2^14) / 2^15, rounded down; a and b are not both -2^15 */
INLINE h8 h8_scale(h8 a, h8 b) { return vqrdmulhq_s16(a, b); }
/* a and b saturated */
INLINE h8 h8_narrow(i4 a, i4 b) { return vqmovn_high_s32(vqmovn_s32(a), b); }
/* b where x is negative, else a */
INLINE h8 h8_of_sign(h8 x, h8 a, h8 b) { return vbslq_s16(vcltzq_s16(x), b, a); }
/* the lower or the upper half, added to a sum */
INLINE i4 i4_add_half(i4 sum, h8 a, int half)
{
    return half ? vaddw_high_s16(sum, a) : vaddw_s16(sum, vget_low_s16(a));
}
/* products of halves */
INLINE i4 i4_mul(h8 a, h8 b, int half)
{
    return half ? vmull_high_s16(a, b) : vmull_s16(vget_low_s16(a), vget_low_s16(b));
}
INLINE i4 i4_mac(i4 sum, h8 a, h8 b, int half)
{
    return half ? vmlal_high_s16(sum, a, b) : vmlal_s16(sum, vget_low_s16(a), vget_low_s16(b));
}
/* a b + c d */
INLINE i4 i4_mul_two(h8 a, h8 b, h8 c, h8 d, int half)
{
    return i4_mac(i4_mul(a, b, half), c, d, half);
}
/* products of a half with one lane of another vector */
#define LANE(k)                                                \
    case k:                                                    \
        return half ? vmlal_high_laneq_s16(sum, a, b, k)       \
                    : vmlal_laneq_s16(sum, vget_low_s16(a), b, k)
INLINE i4 i4_mac_lane(i4 sum, h8 a, int half, h8 b, int lane)
{
    switch (lane) {
        LANE(0);
        LANE(1);
        LANE(2);
        LANE(3);
        LANE(4);
        LANE(5);
        LANE(6);
    default: return half ? vmlal_high_laneq_s16(sum, a, b, 7)
                         : vmlal_laneq_s16(sum, vget_low_s16(a), b, 7);
    }
}
#undef LANE
/* Sums of values and of squares. */
INLINE i4 i4_add_pairs(i4 sum, h8 a) { return vpadalq_s16(sum, a); }
INLINE int32_t i4_total(i4 a) { return vaddvq_s32(a); }
INLINE l2 l2_zero(void) { return vdupq_n_u64(0); }
INLINE l2 l2_add_squares(l2 sum, h8 a)
{
    return vpadalq_u32(sum, vreinterpretq_u32_s32(i4_mac(i4_mul(a, a, 0), a, a, 1)));
}
INLINE int64_t l2_total(l2 a) { return (int64_t)vaddvq_u64(a); }
/* y = c0 + (c1 + (c2 + c3 d) d) d of some vectors, with the coefficients [4][span] of each lane's span;
   d goes from -1 to 1 over it. Two bytes of an index look a lane's coefficient up in the 64 bytes of a
   power, which fill four registers, so that they are loaded once for all vectors. */
INLINE void h8_cubics(int count, const h8 *x, const int16_t *table, h8 *y)
{
    uint8x16_t index[CUBICS_LIMIT];
    h8 d[CUBICS_LIMIT];
    UNROLL for (int i = 0; i < count; i++) {
        const uint16x8_t span = vshrq_n_u16(vreinterpretq_u16_s16(x[i]), SPAN_BITS);
        index[i] = vreinterpretq_u8_u16(
            vorrq_u16(vmulq_n_u16(span, 0x0202), vdupq_n_u16(0x0100)));
        d[i] = veorq_s16(vshlq_n_s16(x[i], 16 - SPAN_BITS), vdupq_n_s16(INT16_MIN));
    }
    UNROLL for (int power = 3; power >= 0; power--) {
        IN_TURN;
        const uint8x16x4_t bytes = vld1q_u8_x4((const uint8_t *)(table + SPANS * power));
        UNROLL for (int i = 0; i < count; i++) {
            const h8 c = vreinterpretq_s16_u8(vqtbl4q_u8(bytes, index[i]));
            y[i] = power == 3 ? c : vaddq_s16(c, h8_scale(y[i], d[i]));
        }
    }
}

#elif defined(__SSE2__) && defined(__GNUC__) && !defined(LEAN)

#include <emmintrin.h>

#define VECTORS 1
#define PAIRED_PRODUCTS 1

typedef __m128i i4;
typedef __m128i h8;
typedef __m128i l2;

INLINE i4 i4_load(const int32_t *x) { return _mm_loadu_si128((const __m128i *)x); }
INLINE void i4_store(int32_t *x, i4 a) { _mm_storeu_si128((__m128i *)x, a); }
INLINE i4 i4_all(int32_t x) { return _mm_set1_epi32(x); }
INLINE i4 i4_add(i4 a, i4 b) { return _mm_add_epi32(a, b); }
INLINE i4 i4_select(i4 where, i4 a, i4 b)
{
    return _mm_or_si128(_mm_and_si128(where, a), _mm_andnot_si128(where, b));
}
INLINE i4 i4_round_shift(i4 a, int bits)
{
    if (bits <= 0) return _mm_sll_epi32(a, _mm_cvtsi32_si128(-bits));
    return _mm_sra_epi32(i4_add(a, i4_all(1 << (bits - 1))), _mm_cvtsi32_si128(bits));
}
INLINE i4 i4_shift_left_saturated(i4 a, int bits)
{
    /* Where a shift there and back loses something, the largest of the sign. */
    const __m128i count = _mm_cvtsi32_si128(bits);
    const i4 shifted = _mm_sll_epi32(a, count);
    const i4 kept = _mm_cmpeq_epi32(_mm_sra_epi32(shifted, count), a);
    const i4 limit = _mm_xor_si128(_mm_srai_epi32(a, 31), i4_all(INT32_MAX));
    return i4_select(kept, shifted, limit);
}
INLINE i4 i4_scale(i4 a, i4 b)
{
    /* Products of a + 2^31, which has no sign; their quotients are b too large. */
    const __m128i from = _mm_xor_si128(a, i4_all(INT32_MIN));
    const __m128i half = _mm_set_epi32(0, 1 << 30, 0, 1 << 30), lower = _mm_set_epi32(0, -1, 0, -1);
    const __m128i even = _mm_add_epi64(_mm_mul_epu32(from, b), half);
    const __m128i odd =
        _mm_add_epi64(_mm_mul_epu32(_mm_srli_epi64(from, 32), _mm_srli_epi64(b, 32)), half);
    const i4 scaled = i4_select(lower, _mm_srli_epi64(even, 31), _mm_slli_epi64(odd, 1));
    return _mm_sub_epi32(scaled, b);
}
INLINE i4 i4_scale_leaky(i4 a, i4 above, i4 below)
{
    /* A negative multiplier counts as 2^32 more, and quotients are 2 a too large. */
    const i4 multiplier = i4_select(_mm_srai_epi32(a, 31), below, above);
    const i4 excess = _mm_and_si128(_mm_srai_epi32(multiplier, 31), _mm_slli_epi32(a, 1));
    return _mm_sub_epi32(i4_scale(a, multiplier), excess);
}
INLINE h8 h8_load(const int16_t *x) { return _mm_loadu_si128((const __m128i *)x); }
INLINE h8 h8_load_half(const int16_t *x) { return _mm_loadl_epi64((const __m128i *)x); }
INLINE void h8_store(int16_t *x, h8 a) { _mm_storeu_si128((__m128i *)x, a); }
INLINE void h8_store_half(int16_t *x, h8 a) { _mm_storel_epi64((__m128i *)x, a); }
INLINE void h8_store_pairs(int16_t *x, h8 a, h8 b)
{
    h8_store(x, _mm_unpacklo_epi16(a, b));
    h8_store(x + 8, _mm_unpackhi_epi16(a, b));
}
INLINE void h8_store_threes(int16_t *x, h8 a, h8 b, h8 c)
{
    const __m128i zero = _mm_setzero_si128();
    const __m128i low = _mm_unpacklo_epi16(a, b), low_c = _mm_unpacklo_epi16(c, zero);
    const __m128i high = _mm_unpackhi_epi16(a, b), high_c = _mm_unpackhi_epi16(c, zero);
    h8_store(x, _mm_unpacklo_epi32(low, low_c));
    h8_store(x + 8, _mm_unpackhi_epi32(low, low_c));
    h8_store(x + 16, _mm_unpacklo_epi32(high, high_c));
    h8_store(x + 24, _mm_unpackhi_epi32(high, high_c));
}
INLINE h8 h8_weights(const int8_t *x)
{
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)x);
    return _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
}
/* four values, then the same again */
INLINE h8 h8_load_twice(const int16_t *x)
{
    const __m128i four = _mm_loadl_epi64((const __m128i *)x);
    return _mm_unpacklo_epi64(four, four);
}
/* sum + the products of neighbours, added by twos */
INLINE i4 i4_mac_pairs(i4 sum, h8 a, h8 b) { return _mm_add_epi32(sum, _mm_madd_epi16(a, b)); }
/* {a0, b0, a1, b1, ...}, the lower half or the upper one */
INLINE h8 h8_paired(h8 a, h8 b, int half)
{
    return half ? _mm_unpackhi_epi16(a, b) : _mm_unpacklo_epi16(a, b);
}
INLINE i4 i4_mul_two(h8 a, h8 b, h8 c, h8 d, int half)
{
    return _mm_madd_epi16(h8_paired(a, c, half), h8_paired(b, d, half));
}
/* a0 + a1, a2 + a3, b0 + b1, b2 + b3 */
INLINE i4 i4_join_pairs(i4 a, i4 b)
{
    const __m128i low = _mm_unpacklo_epi32(a, b), high = _mm_unpackhi_epi32(a, b);
    const __m128i even = _mm_unpacklo_epi32(low, high), odd = _mm_unpackhi_epi32(low, high);
    return _mm_add_epi32(even, odd);
}
INLINE h8 h8_all(int16_t x) { return _mm_set1_epi16(x); }
INLINE h8 h8_add(h8 a, h8 b) { return _mm_adds_epi16(a, b); }
INLINE h8 h8_half_sum(h8 a, h8 b)
{
    return _mm_add_epi16(_mm_and_si128(a, b), _mm_srai_epi16(_mm_xor_si128(a, b), 1));
}
INLINE h8 h8_mean(h8 a, h8 b)
{
    return _mm_sub_epi16(_mm_or_si128(a, b), _mm_srai_epi16(_mm_xor_si128(a, b), 1));
}
INLINE h8 h8_half_difference(h8 a, h8 b)
{
    /* The mean of a and -b - 1, rounded up. */
    return h8_mean(a, _mm_xor_si128(b, h8_all(-1)));
}
INLINE h8 h8_scale(h8 a, h8 b)
{
    /* Twice the upper half, and the lower half's two highest bits, rounded to one and a carry. */
    const __m128i low = _mm_srli_epi16(_mm_mullo_epi16(a, b), 14);
    return _mm_add_epi16(_mm_slli_epi16(_mm_mulhi_epi16(a, b), 1),
                         _mm_avg_epu16(low, _mm_setzero_si128()));
}
INLINE h8 h8_narrow(i4 a, i4 b) { return _mm_packs_epi32(a, b); }
INLINE h8 h8_of_sign(h8 x, h8 a, h8 b) { return i4_select(_mm_srai_epi16(x, 15), b, a); }
/* A half of a, each value beside a zero. */
INLINE __m128i h8_spread(h8 a, int half)
{
    const __m128i zero = _mm_setzero_si128();
    return half ? _mm_unpackhi_epi16(a, zero) : _mm_unpacklo_epi16(a, zero);
}
INLINE i4 i4_add_half(i4 sum, h8 a, int half)
{
    return i4_add(sum, _mm_srai_epi32(_mm_slli_epi32(h8_spread(a, half), 16), 16));
}
INLINE i4 i4_mul(h8 a, h8 b, int half)
{
    return _mm_madd_epi16(h8_spread(a, half), h8_spread(b, half));
}
INLINE i4 i4_mac(i4 sum, h8 a, h8 b, int half) { return i4_add(sum, i4_mul(a, b, half)); }
INLINE h8 h8_lane(h8 x, int lane)
{
    switch (lane) {
    case 0: return _mm_shuffle_epi32(_mm_shufflelo_epi16(x, 0x00), 0x00);
    case 1: return _mm_shuffle_epi32(_mm_shufflelo_epi16(x, 0x55), 0x00);
    case 2: return _mm_shuffle_epi32(_mm_shufflelo_epi16(x, 0xaa), 0x00);
    case 3: return _mm_shuffle_epi32(_mm_shufflelo_epi16(x, 0xff), 0x00);
    case 4: return _mm_shuffle_epi32(_mm_shufflehi_epi16(x, 0x00), 0xaa);
    case 5: return _mm_shuffle_epi32(_mm_shufflehi_epi16(x, 0x55), 0xaa);
    case 6: return _mm_shuffle_epi32(_mm_shufflehi_epi16(x, 0xaa), 0xaa);
    default: return _mm_shuffle_epi32(_mm_shufflehi_epi16(x, 0xff), 0xaa);
    }
}
INLINE i4 i4_mac_lane(i4 sum, h8 a, int half, h8 b, int lane)
{
    return i4_add(sum, _mm_madd_epi16(h8_spread(a, half), h8_lane(b, lane)));
}
INLINE i4 i4_add_pairs(i4 sum, h8 a) { return i4_add(sum, _mm_madd_epi16(a, h8_all(1))); }
INLINE int32_t i4_total(i4 a)
{
    const i4 halves = i4_add(a, _mm_shuffle_epi32(a, 0x4e));
    return _mm_cvtsi128_si32(i4_add(halves, _mm_shuffle_epi32(halves, 0xb1)));
}
INLINE l2 l2_zero(void) { return _mm_setzero_si128(); }
INLINE l2 l2_add_squares(l2 sum, h8 a)
{
    const __m128i squares = _mm_madd_epi16(a, a), zero = _mm_setzero_si128();
    return _mm_add_epi64(_mm_add_epi64(sum, _mm_unpacklo_epi32(squares, zero)),
                         _mm_unpackhi_epi32(squares, zero));
}
INLINE int64_t l2_total(l2 a)
{
    int64_t parts[2];
    _mm_storeu_si128((__m128i *)parts, a);
    return parts[0] + parts[1];
}
APART void h8_cubics(int count, const h8 *x, const int16_t *table, h8 *y)
{
    ROLLED for (int n = 0; n < count; n++) {
        const h8 d = _mm_xor_si128(_mm_slli_epi16(x[n], 16 - SPAN_BITS), h8_all(INT16_MIN));
        int16_t span[8];
        h8_store(span, _mm_srli_epi16(x[n], SPAN_BITS));
        ROLLED for (int power = 3; power >= 0; power--) {
            const int16_t *c = table + SPANS * power;
            const h8 of_span = _mm_setr_epi16(c[span[0]], c[span[1]], c[span[2]], c[span[3]],
                                              c[span[4]], c[span[5]], c[span[6]], c[span[7]]);
            y[n] = power == 3 ? of_span : _mm_add_epi16(of_span, h8_scale(y[n], d));
        }
    }
}

#else

typedef struct {
    int32_t at[4];
} i4;
typedef struct {
    int16_t at[8];
} h8;
typedef int64_t l2;

#define VECTORS 0
#define PAIRED_PRODUCTS 0

/* Too few registers for loops that are written out. */
#if defined(__clang__)
#undef UNROLL
#undef ROLLED
#define UNROLL
#define ROLLED _Pragma("clang loop unroll(disable) vectorize(disable)")
#endif

#define EACH(type, count, expression)                              \
    do {                                                           \
        type each;                                                 \
        UNROLL for (int i = 0; i < count; i++) each.at[i] = expression; \
        return each;                                               \
    } while (0)
#define I4_EACH(expression) EACH(i4, 4, (int32_t)(expression))
#define H8_EACH(expression) EACH(h8, 8, (int16_t)(expression))

/* Frames of little memory have weights of four inputs in the order 0, 2, 1, 3, as instructions for pairs of
   16-bit numbers want them: Cortex-M4, M7, M33. */
#if defined(LEAN) && !defined(BY_OUTPUT)
#define BY_TWOS 1
#else
#define BY_TWOS 0
#endif
/* Their multipliers of layers are twice as large. */
#if defined(LEAN)
#define LAYER_BITS 32
#else
#define LAYER_BITS 31
#endif
/* Where there is Helium, weights lie by output. */
#if defined(BY_OUTPUT) && defined(__ARM_FEATURE_MVE) && defined(__GNUC__)
#define HELIUM 1
#else
#define HELIUM 0
#endif
#if HELIUM || (BY_TWOS && defined(__ARM_FEATURE_DSP) && defined(__GNUC__))
#define WORD_PAIRS 1
#include <arm_acle.h>
#else
#define WORD_PAIRS 0
#endif

#if WORD_PAIRS
INLINE int16_t narrow(int32_t x)
{
    int32_t y;
    __asm__("ssat %0, #16, %1" : "=r"(y) : "r"(x));
    return (int16_t)y;
}
#else
INLINE int16_t narrow(int32_t x)
{
    return (int16_t)(x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x);
}
#endif
INLINE int32_t shifted_left(int32_t a, int bits)
{
    const int64_t wide = (int64_t)a * ((int64_t)1 << bits);
    return (int32_t)(wide < INT32_MIN ? INT32_MIN : wide > INT32_MAX ? INT32_MAX : wide);
}
INLINE i4 i4_load(const int32_t *x) { I4_EACH(x[i]); }
INLINE void i4_store(int32_t *x, i4 a)
{
    UNROLL for (int i = 0; i < 4; i++) x[i] = a.at[i];
}
INLINE i4 i4_all(int32_t x) { I4_EACH(x); }
INLINE i4 i4_add(i4 a, i4 b) { I4_EACH((uint32_t)a.at[i] + (uint32_t)b.at[i]); }
INLINE i4 i4_round_shift(i4 a, int bits)
{
    const int left = bits < 0 ? -bits : 0, right = bits > 0 ? bits : 0;
    const uint32_t half = right ? (uint32_t)1 << (right - 1) : 0;
    I4_EACH((int32_t)(((uint32_t)a.at[i] << left) + half) >> right);
}
/* Hardly ever called, by many. */
APART i4 i4_shift_left_saturated(i4 a, int bits) { I4_EACH(shifted_left(a.at[i], bits)); }
INLINE i4 i4_scale(i4 a, i4 b)
{
    I4_EACH(((int64_t)a.at[i] * b.at[i] + ((int64_t)1 << 30)) >> 31);
}
INLINE i4 i4_scale_layer(i4 a, i4 b)
{
    I4_EACH(((int64_t)a.at[i] * b.at[i] + ((int64_t)1 << (LAYER_BITS - 1))) >> LAYER_BITS);
}
INLINE i4 i4_scale_leaky(i4 a, i4 above, i4 below)
{
    i4 multiplier;
    UNROLL for (int i = 0; i < 4; i++) multiplier.at[i] = a.at[i] < 0 ? below.at[i] : above.at[i];
    return i4_scale_layer(a, multiplier);
}
INLINE h8 h8_load(const int16_t *x) { H8_EACH(x[i]); }
INLINE h8 h8_load_half(const int16_t *x) { H8_EACH(i < 4 ? x[i] : 0); }
INLINE void h8_store(int16_t *x, h8 a)
{
    UNROLL for (int i = 0; i < 8; i++) x[i] = a.at[i];
}
INLINE void h8_store_half(int16_t *x, h8 a)
{
    UNROLL for (int i = 0; i < 4; i++) x[i] = a.at[i];
}
INLINE void h8_store_pairs(int16_t *x, h8 a, h8 b)
{
    UNROLL for (int i = 0; i < 8; i++) {
        x[2 * i] = a.at[i];
        x[2 * i + 1] = b.at[i];
    }
}
INLINE void h8_store_threes(int16_t *x, h8 a, h8 b, h8 c)
{
    UNROLL for (int i = 0; i < 8; i++) {
        x[4 * i] = a.at[i];
        x[4 * i + 1] = b.at[i];
        x[4 * i + 2] = c.at[i];
        x[4 * i + 3] = 0;
    }
}
INLINE h8 h8_weights(const int8_t *x) { H8_EACH(x[i]); }
/* sum + the products of four weights for each lane, so many apart, with the values */
INLINE i4 i4_weigh_four(i4 sum, const int8_t *weights, int apart, const int16_t *x)
{
    I4_EACH((uint32_t)sum.at[i] +
            (uint32_t)(weights[apart * i] * x[0] + weights[apart * i + 1] * x[1 + BY_TWOS] +
                       weights[apart * i + 2] * x[2 - BY_TWOS] + weights[apart * i + 3] * x[3]));
}
INLINE h8 h8_all(int16_t x) { H8_EACH(x); }
INLINE h8 h8_add(h8 a, h8 b) { H8_EACH(narrow(a.at[i] + b.at[i])); }
INLINE h8 h8_mean(h8 a, h8 b) { H8_EACH((a.at[i] + b.at[i] + 1) >> 1); }
INLINE h8 h8_half_sum(h8 a, h8 b) { H8_EACH((a.at[i] + b.at[i]) >> 1); }
INLINE h8 h8_half_difference(h8 a, h8 b) { H8_EACH((a.at[i] - b.at[i]) >> 1); }
INLINE h8 h8_scale(h8 a, h8 b) { H8_EACH((a.at[i] * b.at[i] + (1 << 14)) >> 15); }
INLINE h8 h8_narrow(i4 a, i4 b) { H8_EACH(narrow(i < 4 ? a.at[i] : b.at[i - 4])); }
INLINE h8 h8_of_sign(h8 x, h8 a, h8 b) { H8_EACH(x.at[i] < 0 ? b.at[i] : a.at[i]); }
INLINE i4 i4_add_half(i4 sum, h8 a, int half) { I4_EACH((uint32_t)sum.at[i] + (uint32_t)a.at[4 * half + i]); }
INLINE i4 i4_mul(h8 a, h8 b, int half) { I4_EACH(a.at[4 * half + i] * b.at[4 * half + i]); }
INLINE i4 i4_mac(i4 sum, h8 a, h8 b, int half) { return i4_add(sum, i4_mul(a, b, half)); }
INLINE i4 i4_mul_two(h8 a, h8 b, h8 c, h8 d, int half)
{
    return i4_mac(i4_mul(a, b, half), c, d, half);
}
INLINE i4 i4_mac_lane(i4 sum, h8 a, int half, h8 b, int lane)
{
    I4_EACH((uint32_t)sum.at[i] + (uint32_t)(a.at[4 * half + i] * b.at[lane]));
}
INLINE i4 i4_add_pairs(i4 sum, h8 a) { I4_EACH(sum.at[i] + a.at[2 * i] + a.at[2 * i + 1]); }
INLINE int32_t i4_total(i4 a) { return a.at[0] + a.at[1] + a.at[2] + a.at[3]; }
INLINE l2 l2_zero(void) { return 0; }
INLINE l2 l2_add_squares(l2 sum, h8 a)
{
    UNROLL for (int i = 0; i < 8; i++) sum += a.at[i] * a.at[i];
    return sum;
}
INLINE int64_t l2_total(l2 a) { return a; }
INLINE int16_t cubic(int16_t x, const coefficient *table)
{
    const uint16_t bits = (uint16_t)x;
    const coefficient *c = table + OF_SPAN * (bits >> SPAN_BITS);
    const int32_t d = (int16_t)((uint16_t)(bits << (16 - SPAN_BITS)) ^ 0x8000u);
    int32_t y = c[3 * OF_POWER] >> (LAYER_BITS - 31);
    UNROLL for (int power = 2; power >= 0; power--)
        y = c[OF_POWER * power] + ((y * d + (1 << 14)) >> 15);
    return (int16_t)y;
}
INLINE void h8_cubics(int count, const h8 *x, const coefficient *table, h8 *y)
{
    ROLLED for (int n = 0; n < count; n++)
        ROLLED for (int i = 0; i < 8; i++) y[n].at[i] = cubic(x[n].at[i], table);
}

#endif
#endif
