/* Four 32-bit integers at once, for sums of products of 16 by 8 bits. NEON and SSE2 say it in their
   own instructions; plain C gives the same bits everywhere else. */

#ifndef FIXED_LANES_H
#define FIXED_LANES_H

#include <stdint.h>

#include "compiler.h"

#if defined(__aarch64__) && defined(__GNUC__)

#include <arm_neon.h>

#define VECTORS 1

typedef int32x4_t i4;
typedef int16x4_t h4; /* four values */
typedef int16x8_t w8; /* eight weights */

INLINE i4 i4_load(const int32_t *x) { return vld1q_s32(x); }
INLINE void i4_store(int32_t *x, i4 a) { vst1q_s32(x, a); }
INLINE i4 i4_all(int32_t x) { return vdupq_n_s32(x); }
INLINE i4 i4_add(i4 a, i4 b) { return vaddq_s32(a, b); }
INLINE i4 i4_sub(i4 a, i4 b) { return vsubq_s32(a, b); }
INLINE i4 i4_mul(i4 a, i4 b) { return vmulq_s32(a, b); }
INLINE i4 i4_mul_add(i4 sum, i4 a, i4 b) { return vmlaq_s32(sum, a, b); }
INLINE i4 i4_clip(i4 a, int32_t low, int32_t high)
{
    return vminq_s32(vmaxq_s32(a, vdupq_n_s32(low)), vdupq_n_s32(high));
}
/* a / 2^bits, to nearest, halves up */
#define i4_round_shift(a, bits) vrshrq_n_s32(a, bits)
#define i4_shift_right(a, bits) vshrq_n_s32(a, bits)
#define i4_shift_left(a, bits) vshlq_n_s32(a, bits)
/* the same with a variable number of bits, to the left where it is negative */
INLINE i4 i4_round_shift_by(i4 a, int bits) { return vrshlq_s32(a, vdupq_n_s32(-bits)); }
INLINE i4 i4_shift_left_saturated(i4 a, int bits) { return vqshlq_s32(a, vdupq_n_s32(bits)); }
/* (a b + 2^30) / 2^31, rounded down */
INLINE i4 i4_scale(i4 a, i4 b) { return vqrdmulhq_s32(a, b); }
INLINE h4 h4_load(const int16_t *x) { return vld1_s16(x); }
INLINE i4 i4_widen(h4 a) { return vmovl_s16(a); }
INLINE h4 h4_narrow(i4 a) { return vqmovn_s32(a); }
INLINE void h4_store(int16_t *x, i4 a) { vst1_s16(x, vqmovn_s32(a)); }
/* {a0, b0, a1, b1, a2, b2, a3, b3} */
INLINE void h4_store_pairs(int16_t *x, i4 a, i4 b)
{
    const int16x4x2_t pair = {{vqmovn_s32(a), vqmovn_s32(b)}};
    vst2_s16(x, pair);
}
INLINE w8 w8_load(const int8_t *x) { return vmovl_s8(vld1_s8(x)); }
INLINE i4 i4_mac_low(i4 sum, w8 w, h4 x, int lane)
{
    switch (lane) {
    case 0: return vmlal_lane_s16(sum, vget_low_s16(w), x, 0);
    case 1: return vmlal_lane_s16(sum, vget_low_s16(w), x, 1);
    case 2: return vmlal_lane_s16(sum, vget_low_s16(w), x, 2);
    default: return vmlal_lane_s16(sum, vget_low_s16(w), x, 3);
    }
}
INLINE i4 i4_mac_high(i4 sum, w8 w, h4 x, int lane)
{
    switch (lane) {
    case 0: return vmlal_high_lane_s16(sum, w, x, 0);
    case 1: return vmlal_high_lane_s16(sum, w, x, 1);
    case 2: return vmlal_high_lane_s16(sum, w, x, 2);
    default: return vmlal_high_lane_s16(sum, w, x, 3);
    }
}
/* sum + a * b, lane by lane, and with one b */
INLINE i4 i4_mac(i4 sum, h4 a, h4 b) { return vmlal_s16(sum, a, b); }
INLINE i4 i4_mac_by(i4 sum, h4 a, int16_t b) { return vmlal_n_s16(sum, a, b); }
INLINE i4 i4_mul_by(h4 a, int16_t b) { return vmull_n_s16(a, b); }
INLINE i4 i4_and(i4 a, int32_t b) { return vandq_s32(a, vdupq_n_s32(b)); }
/* (a + b) / 2, rounded down */
INLINE i4 i4_half_sum(i4 a, i4 b) { return vhaddq_s32(a, b); }
INLINE i4 i4_max(i4 a, i4 b) { return vmaxq_s32(a, b); }
INLINE i4 i4_gather(const int32_t *table, i4 index)
{
    i4 a = vld1q_dup_s32(table + vgetq_lane_s32(index, 0));
    a = vsetq_lane_s32(table[vgetq_lane_s32(index, 1)], a, 1);
    a = vsetq_lane_s32(table[vgetq_lane_s32(index, 2)], a, 2);
    return vsetq_lane_s32(table[vgetq_lane_s32(index, 3)], a, 3);
}

#elif defined(__SSE2__) && defined(__GNUC__)

#include <emmintrin.h>

#define VECTORS 1

typedef __m128i i4;
typedef __m128i h4; /* four values in the lower half */
typedef struct {
    __m128i low, high; /* each weight beside a zero */
} w8;

INLINE i4 i4_load(const int32_t *x) { return _mm_loadu_si128((const __m128i *)x); }
INLINE void i4_store(int32_t *x, i4 a) { _mm_storeu_si128((__m128i *)x, a); }
INLINE i4 i4_all(int32_t x) { return _mm_set1_epi32(x); }
INLINE i4 i4_add(i4 a, i4 b) { return _mm_add_epi32(a, b); }
INLINE i4 i4_sub(i4 a, i4 b) { return _mm_sub_epi32(a, b); }
INLINE i4 i4_mul(i4 a, i4 b)
{
    const __m128i even = _mm_mul_epu32(a, b);
    const __m128i odd = _mm_mul_epu32(_mm_srli_si128(a, 4), _mm_srli_si128(b, 4));
    return _mm_unpacklo_epi32(_mm_shuffle_epi32(even, 8), _mm_shuffle_epi32(odd, 8));
}
INLINE i4 i4_mul_add(i4 sum, i4 a, i4 b) { return i4_add(sum, i4_mul(a, b)); }
INLINE i4 i4_and(i4 a, int32_t b) { return _mm_and_si128(a, _mm_set1_epi32(b)); }
INLINE i4 i4_select(i4 where, i4 a, i4 b)
{
    return _mm_or_si128(_mm_and_si128(where, a), _mm_andnot_si128(where, b));
}
INLINE i4 i4_max(i4 a, i4 b) { return i4_select(_mm_cmpgt_epi32(a, b), a, b); }
INLINE i4 i4_clip(i4 a, int32_t low, int32_t high)
{
    const i4 above = i4_max(a, _mm_set1_epi32(low)), top = _mm_set1_epi32(high);
    return i4_select(_mm_cmpgt_epi32(above, top), top, above);
}
INLINE i4 i4_shift_right(i4 a, int bits) { return _mm_sra_epi32(a, _mm_cvtsi32_si128(bits)); }
INLINE i4 i4_shift_left(i4 a, int bits) { return _mm_sll_epi32(a, _mm_cvtsi32_si128(bits)); }
INLINE i4 i4_round_shift(i4 a, int bits)
{
    return i4_shift_right(i4_add(a, _mm_set1_epi32(1 << (bits - 1))), bits);
}
INLINE i4 i4_round_shift_by(i4 a, int bits)
{
    return bits > 0 ? i4_round_shift(a, bits) : i4_shift_left(a, -bits);
}
INLINE i4 i4_shift_left_saturated(i4 a, int bits)
{
    /* Where a shift there and back loses something, the largest of the sign. */
    const i4 shifted = i4_shift_left(a, bits);
    const i4 kept = _mm_cmpeq_epi32(i4_shift_right(shifted, bits), a);
    const i4 limit = _mm_xor_si128(_mm_srai_epi32(a, 31), _mm_set1_epi32(INT32_MAX));
    return i4_select(kept, shifted, limit);
}
INLINE i4 i4_scale(i4 a, i4 b)
{
    /* Products of unsigned numbers, and what signs take off their upper halves. */
    const __m128i signs = _mm_add_epi32(_mm_and_si128(_mm_srai_epi32(a, 31), b),
                                        _mm_and_si128(_mm_srai_epi32(b, 31), a));
    const __m128i half = _mm_set_epi32(0, 1 << 30, 0, 1 << 30);
    __m128i even = _mm_mul_epu32(a, b);
    __m128i odd = _mm_mul_epu32(_mm_srli_si128(a, 4), _mm_srli_si128(b, 4));
    even = _mm_sub_epi64(even, _mm_slli_epi64(signs, 32));
    odd = _mm_sub_epi64(odd, _mm_slli_epi64(_mm_srli_epi64(signs, 32), 32));
    even = _mm_srli_epi64(_mm_add_epi64(even, half), 31);
    odd = _mm_srli_epi64(_mm_add_epi64(odd, half), 31);
    return _mm_unpacklo_epi32(_mm_shuffle_epi32(even, 8), _mm_shuffle_epi32(odd, 8));
}
INLINE i4 i4_half_sum(i4 a, i4 b)
{
    return i4_add(_mm_and_si128(a, b), _mm_srai_epi32(_mm_xor_si128(a, b), 1));
}
INLINE i4 i4_gather(const int32_t *table, i4 index)
{
    int32_t at[4];
    i4_store(at, index);
    return _mm_set_epi32(table[at[3]], table[at[2]], table[at[1]], table[at[0]]);
}
INLINE h4 h4_load(const int16_t *x) { return _mm_loadl_epi64((const __m128i *)x); }
INLINE i4 i4_widen(h4 a) { return _mm_srai_epi32(_mm_unpacklo_epi16(a, a), 16); }
INLINE h4 h4_narrow(i4 a) { return _mm_packs_epi32(a, a); }
INLINE void h4_store(int16_t *x, i4 a) { _mm_storel_epi64((__m128i *)x, h4_narrow(a)); }
INLINE void h4_store_pairs(int16_t *x, i4 a, i4 b)
{
    const __m128i pairs = _mm_unpacklo_epi16(h4_narrow(a), h4_narrow(b));
    _mm_storeu_si128((__m128i *)x, pairs);
}
INLINE w8 w8_load(const int8_t *x)
{
    const __m128i bytes = _mm_loadl_epi64((const __m128i *)x);
    const __m128i wide = _mm_srai_epi16(_mm_unpacklo_epi8(bytes, bytes), 8);
    const w8 w = {_mm_unpacklo_epi16(wide, _mm_setzero_si128()),
                  _mm_unpackhi_epi16(wide, _mm_setzero_si128())};
    return w;
}
INLINE __m128i h4_lane(h4 x, int lane)
{
    switch (lane) {
    case 0: return _mm_shuffle_epi32(_mm_shufflelo_epi16(x, 0x00), 0);
    case 1: return _mm_shuffle_epi32(_mm_shufflelo_epi16(x, 0x55), 0);
    case 2: return _mm_shuffle_epi32(_mm_shufflelo_epi16(x, 0xaa), 0);
    default: return _mm_shuffle_epi32(_mm_shufflelo_epi16(x, 0xff), 0);
    }
}
INLINE i4 i4_mac_low(i4 sum, w8 w, h4 x, int lane)
{
    return i4_add(sum, _mm_madd_epi16(w.low, h4_lane(x, lane)));
}
INLINE i4 i4_mac_high(i4 sum, w8 w, h4 x, int lane)
{
    return i4_add(sum, _mm_madd_epi16(w.high, h4_lane(x, lane)));
}
INLINE i4 i4_mac(i4 sum, h4 a, h4 b)
{
    const __m128i zero = _mm_setzero_si128();
    return i4_add(sum, _mm_madd_epi16(_mm_unpacklo_epi16(a, zero), _mm_unpacklo_epi16(b, zero)));
}
INLINE i4 i4_mul_by(h4 a, int16_t b)
{
    return _mm_madd_epi16(_mm_unpacklo_epi16(a, _mm_setzero_si128()), _mm_set1_epi16(b));
}
INLINE i4 i4_mac_by(i4 sum, h4 a, int16_t b) { return i4_add(sum, i4_mul_by(a, b)); }

#else

typedef struct {
    int32_t at[4];
} i4;
typedef struct {
    int16_t at[4];
} h4;
typedef const int8_t *w8;

#define VECTORS 0

#define I4_EACH(expression)                                             \
    do {                                                                \
        i4 each;                                                        \
        UNROLL for (int i = 0; i < 4; i++) each.at[i] = (int32_t)(expression); \
        return each;                                                    \
    } while (0)

INLINE int16_t narrow(int32_t x)
{
    return (int16_t)(x < INT16_MIN ? INT16_MIN : x > INT16_MAX ? INT16_MAX : x);
}
INLINE i4 i4_load(const int32_t *x) { I4_EACH(x[i]); }
INLINE void i4_store(int32_t *x, i4 a)
{
    UNROLL for (int i = 0; i < 4; i++) x[i] = a.at[i];
}
INLINE i4 i4_all(int32_t x) { I4_EACH(x); }
INLINE i4 i4_add(i4 a, i4 b) { I4_EACH(a.at[i] + b.at[i]); }
INLINE i4 i4_sub(i4 a, i4 b) { I4_EACH(a.at[i] - b.at[i]); }
INLINE i4 i4_mul(i4 a, i4 b) { I4_EACH(a.at[i] * b.at[i]); }
INLINE i4 i4_mul_add(i4 sum, i4 a, i4 b) { I4_EACH(sum.at[i] + a.at[i] * b.at[i]); }
INLINE i4 i4_clip(i4 a, int32_t low, int32_t high)
{
    I4_EACH(a.at[i] < low ? low : a.at[i] > high ? high : a.at[i]);
}
INLINE i4 i4_round_shift(i4 a, int bits)
{
    I4_EACH(((int64_t)a.at[i] + ((int64_t)1 << (bits - 1))) >> bits);
}
INLINE i4 i4_shift_right(i4 a, int bits) { I4_EACH(a.at[i] >> bits); }
INLINE i4 i4_shift_left(i4 a, int bits) { I4_EACH((uint32_t)a.at[i] << bits); }
INLINE i4 i4_round_shift_by(i4 a, int bits)
{
    if (bits > 0) return i4_round_shift(a, bits);
    return i4_shift_left(a, -bits);
}
INLINE int32_t shifted_left(int32_t a, int bits)
{
    const int64_t wide = (int64_t)a * ((int64_t)1 << bits);
    return (int32_t)(wide < INT32_MIN ? INT32_MIN : wide > INT32_MAX ? INT32_MAX : wide);
}
INLINE i4 i4_shift_left_saturated(i4 a, int bits) { I4_EACH(shifted_left(a.at[i], bits)); }
INLINE i4 i4_scale(i4 a, i4 b)
{
    I4_EACH(((int64_t)a.at[i] * b.at[i] + ((int64_t)1 << 30)) >> 31);
}
INLINE h4 h4_load(const int16_t *x)
{
    const h4 a = {{x[0], x[1], x[2], x[3]}};
    return a;
}
INLINE i4 i4_widen(h4 a) { I4_EACH(a.at[i]); }
INLINE h4 h4_narrow(i4 a)
{
    const h4 b = {{narrow(a.at[0]), narrow(a.at[1]), narrow(a.at[2]), narrow(a.at[3])}};
    return b;
}
INLINE void h4_store(int16_t *x, i4 a)
{
    UNROLL for (int i = 0; i < 4; i++) x[i] = narrow(a.at[i]);
}
INLINE void h4_store_pairs(int16_t *x, i4 a, i4 b)
{
    UNROLL for (int i = 0; i < 4; i++) {
        x[2 * i] = narrow(a.at[i]);
        x[2 * i + 1] = narrow(b.at[i]);
    }
}
INLINE w8 w8_load(const int8_t *x) { return x; }
INLINE i4 i4_mac_low(i4 sum, w8 w, h4 x, int lane) { I4_EACH(sum.at[i] + w[i] * x.at[lane]); }
INLINE i4 i4_mac_high(i4 sum, w8 w, h4 x, int lane) { I4_EACH(sum.at[i] + w[4 + i] * x.at[lane]); }
INLINE i4 i4_mac(i4 sum, h4 a, h4 b) { I4_EACH(sum.at[i] + a.at[i] * b.at[i]); }
INLINE i4 i4_mac_by(i4 sum, h4 a, int16_t b) { I4_EACH(sum.at[i] + a.at[i] * b); }
INLINE i4 i4_mul_by(h4 a, int16_t b) { I4_EACH(a.at[i] * b); }
INLINE i4 i4_and(i4 a, int32_t b) { I4_EACH(a.at[i] & b); }
INLINE i4 i4_half_sum(i4 a, i4 b) { I4_EACH(((int64_t)a.at[i] + b.at[i]) >> 1); }
INLINE i4 i4_max(i4 a, i4 b) { I4_EACH(a.at[i] > b.at[i] ? a.at[i] : b.at[i]); }
INLINE i4 i4_gather(const int32_t *table, i4 index) { I4_EACH(table[index.at[i]]); }

#endif
#endif
