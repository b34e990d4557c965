/* 32-bit integers and their products of 64 bits: four at once where NEON has instructions for them,
   which compilers do not find by themselves, one at a time elsewhere. The same bits either way.
   Shifts round to nearest, halves up. */

#include <stdint.h>

#include "bits.h"

typedef int32_t value;

/* For loops of known counts, which compilers else write out. */
#if defined(__clang__)
#define LOOPED _Pragma("clang loop unroll(disable)")
#elif defined(__GNUC__)
#define LOOPED _Pragma("GCC unroll 1")
#else
#define LOOPED
#endif

/* Largest integer whose square is at most x, for x < 2^62. */
static inline uint32_t square_root(uint64_t x)
{
    if (x == 0) return 0;
    const int shift = (62 - bit_length(x)) & ~1; /* an even one, so that the root shifts by half */
    const uint64_t scaled = x << shift;          /* 2^60 to 2^62 */
    const uint32_t top = (uint32_t)(scaled >> 30);
    /* A line within 5 % and two Newton steps give the root of the upper 32 bits, or one more; then, by a
       division of 32 bits, that of `scaled` or one more, and so at most one above that of x. */
    uint32_t root = ((top >> 16) * 43691 >> 16) + 23211;
    root = (root + top / root) >> 1;
    root = (root + top / root) >> 1;
    uint32_t beyond = top - root * root; /* within 2^18 of nothing, modulo 2^32 */
    if (beyond >> 31) beyond += 2 * root-- - 1;
    const uint32_t rest = beyond << 14 | ((uint32_t)scaled >> 16 & 0x3fff); /* of 2^16 */
    const uint32_t longer = ((root << 15) + rest / root) >> (shift / 2);
    return longer - ((uint64_t)longer * longer > x);
}

#if defined(__aarch64__) && defined(__GNUC__)

#include <arm_neon.h>

#define LANES 4
#define BY_LANES

typedef int32x4_t lanes;
typedef struct {
    int64x2_t low, high;
} wide;
typedef uint64x2_t wide_bits;

static inline lanes lanes_load(const int32_t *x)
{
    return vld1q_s32(x);
}

/* x[0], x[-1], x[-2], x[-3] */
static inline lanes lanes_load_backward(const int32_t *x)
{
    const lanes pairs = vrev64q_s32(vld1q_s32(x - 3));
    return vextq_s32(pairs, pairs, 2);
}

static inline void lanes_store_backward(int32_t *x, lanes a)
{
    const lanes pairs = vrev64q_s32(a);
    vst1q_s32(x - 3, vextq_s32(pairs, pairs, 2));
}

/* Elements with even and with odd indices. */
static inline void lanes_load_pairs(const int32_t *x, lanes *even, lanes *odd)
{
    const int32x4x2_t pairs = vld2q_s32(x);
    *even = pairs.val[0], *odd = pairs.val[1];
}

static inline lanes lanes_all(int32_t x)
{
    return vdupq_n_s32(x);
}

static inline void lanes_store(int32_t *x, lanes a)
{
    vst1q_s32(x, a);
}

static inline lanes lanes_within(lanes a, int32_t low, int32_t high)
{
    return vmaxq_s32(vminq_s32(a, vdupq_n_s32(high)), vdupq_n_s32(low));
}

/* What fits 16 or 8 bits. */
static inline void lanes_store_short(int16_t *x, lanes a)
{
    vst1_s16(x, vmovn_s32(a));
}

static inline void lanes_store_bytes(int8_t *x, lanes a)
{
    const int16x4_t narrow = vmovn_s32(a);
    const int8x8_t bytes = vmovn_s16(vcombine_s16(narrow, narrow));
    vst1_lane_s32((int32_t *)x, vreinterpret_s32_s8(bytes), 0);
}

/* a0, b0, a1, b1 and so on */
static inline void lanes_store_pairs(int32_t *x, lanes a, lanes b)
{
    const int32x4x2_t pairs = {{a, b}};
    vst2q_s32(x, pairs);
}

/* a0, b0, c0, d0, a1 and so on */
static inline void lanes_store_fours(int32_t *x, lanes a, lanes b, lanes c, lanes d)
{
    const int32x4x4_t fours = {{a, b, c, d}};
    vst4q_s32(x, fours);
}

/* (a b + 2^14) / 2^15, for b from 0 to 2^15 - 1 */
static inline lanes lanes_scale(lanes a, int32_t b)
{
    return vqrdmulhq_s32(a, vdupq_n_s32(b << 16));
}

static inline wide wide_load(const int64_t *x)
{
    const wide loaded = {vld1q_s64(x), vld1q_s64(x + 2)};
    return loaded;
}

static inline void wide_store(int64_t *x, wide a)
{
    vst1q_s64(x, a.low);
    vst1q_s64(x + 2, a.high);
}

static inline wide wide_product(lanes a, lanes b)
{
    const wide product = {vmull_s32(vget_low_s32(a), vget_low_s32(b)), vmull_high_s32(a, b)};
    return product;
}

static inline wide wide_plus_product(wide sum, lanes a, lanes b)
{
    sum.low = vmlal_s32(sum.low, vget_low_s32(a), vget_low_s32(b));
    sum.high = vmlal_high_s32(sum.high, a, b);
    return sum;
}

/* The sum of all lanes. */
static inline int64_t wide_total(wide a)
{
    return vaddvq_s64(vaddq_s64(a.low, a.high));
}

static inline wide wide_less_product(wide sum, lanes a, lanes b)
{
    sum.low = vmlsl_s32(sum.low, vget_low_s32(a), vget_low_s32(b));
    sum.high = vmlsl_high_s32(sum.high, a, b);
    return sum;
}

static inline wide wide_negative(wide a)
{
    const wide negative = {vnegq_s64(a.low), vnegq_s64(a.high)};
    return negative;
}

/* To the left where bits are negative. */
static inline wide wide_shift(wide a, int bits)
{
    const int64x2_t left = vdupq_n_s64(-bits);
    const wide shifted = {vrshlq_s64(a.low, left), vrshlq_s64(a.high, left)};
    return shifted;
}

/* The lower half of what fits it. */
static inline lanes wide_narrow(wide a)
{
    return vmovn_high_s64(vmovn_s64(a.low), a.high);
}

/* What is shifted and fits it. */
static inline lanes wide_narrow_shifted(wide a, int bits)
{
    return wide_narrow(wide_shift(a, bits));
}

/* Products, shifted, within 2^30. */
static inline lanes lanes_product_shifted(lanes a, lanes b, int bits)
{
    const wide product = wide_shift(wide_product(a, b), bits);
    const lanes narrow = vqmovn_high_s64(vqmovn_s64(product.low), product.high);
    const lanes limit = vdupq_n_s32(1 << 30);
    return vmaxq_s32(vminq_s32(narrow, limit), vnegq_s32(limit));
}

/* (a + b) / 2^bits, bits constant, in 16 bits. */
#define lanes_store_sum(x, a, b, bits) vst1_s16(x, vqrshrn_n_s32(vqaddq_s32(a, b), bits))

/* By a constant. */
#define wide_narrow_shift(a, bits) \
    vrshrn_high_n_s64(vrshrn_n_s64((a).low, bits), (a).high, bits)

static inline wide_bits wide_no_bits(void)
{
    return vdupq_n_u64(0);
}

/* All bits that magnitudes have. */
static inline wide_bits wide_or_magnitude(wide_bits bits, wide a)
{
    const int64x2_t both = vorrq_s64(vabsq_s64(a.low), vabsq_s64(a.high));
    return vorrq_u64(bits, vreinterpretq_u64_s64(both));
}

static inline uint64_t wide_all_bits(wide_bits bits)
{
    return vgetq_lane_u64(bits, 0) | vgetq_lane_u64(bits, 1);
}

struct wide_squares {
    uint64x2_t low, high;
};

static inline struct wide_squares wide_square(uint32x4_t a)
{
    const struct wide_squares squares = {vmull_u32(vget_low_u32(a), vget_low_u32(a)),
                                         vmull_high_u32(a, a)};
    return squares;
}

/* Largest integers whose squares are at most re^2 + im^2, for sums of squares x below 2^62. */
static inline lanes lanes_magnitude(lanes re, lanes im)
{
    /* Scaled up until the larger part has 31 bits, and x 61 to 63. */
    const uint32x4_t part_r = vreinterpretq_u32_s32(vabsq_s32(re));
    const uint32x4_t part_i = vreinterpretq_u32_s32(vabsq_s32(im));
    const lanes zeros = vreinterpretq_s32_u32(vclzq_u32(vmaxq_u32(part_r, part_i)));
    const lanes up = vsubq_s32(zeros, vdupq_n_s32(1));
    const struct wide_squares x_r = wide_square(vshlq_u32(part_r, up));
    const struct wide_squares x_i = wide_square(vshlq_u32(part_i, up));
    const struct wide_squares x = {vaddq_u64(x_r.low, x_i.low), vaddq_u64(x_r.high, x_i.high)};
    const uint32x4_t top = vuzp2q_u32(vreinterpretq_u32_u64(x.low), vreinterpretq_u32_u64(x.high));
    /* x = a 2^64 / 2^(2 odd), a from 1/4 to 1 with 31 bits; w = 1 / (2 sqrt(a)), whose estimate has 8
       bits, and each of Newton's steps, w (3 - 4 a w^2) / 2, doubles them. */
    const uint32x4_t even = vandq_u32(vclzq_u32(top), vdupq_n_u32(2));
    const lanes odd = vreinterpretq_s32_u32(vshrq_n_u32(even, 1));
    const uint32x4_t scaled = vshlq_u32(top, vreinterpretq_s32_u32(even));
    const lanes a = vreinterpretq_s32_u32(vshrq_n_u32(scaled, 1));
    lanes w = vreinterpretq_s32_u32(vshrq_n_u32(vrsqrteq_u32(scaled), 1));
    for (int step = 0; step < 2; step++) {
        const lanes quarter = vqrdmulhq_s32(vqrdmulhq_s32(w, w), a);
        w = vqshlq_n_s32(vqrdmulhq_s32(w, vsubq_s32(vdupq_n_s32(3 << 29), quarter)), 1);
    }
    /* 4 a w 2^30 is within 16 of the root of x, and with the remainder over twice itself within one. */
    const uint32x4_t near = vreinterpretq_u32_s32(
        vshlq_s32(vqrdmulhq_s32(a, w), vsubq_s32(vdupq_n_s32(2), odd)));
    const struct wide_squares reached = wide_square(near);
    const int64x2_t rest_low = vreinterpretq_s64_u64(vsubq_u64(x.low, reached.low));
    const int64x2_t rest_high = vreinterpretq_s64_u64(vsubq_u64(x.high, reached.high));
    const lanes rest = vshrn_high_n_s64(vshrn_n_s64(rest_low, 6), rest_high, 6);
    const lanes more = vrshlq_s32(vqrdmulhq_s32(rest, w), vsubq_s32(odd, vdupq_n_s32(26)));
    const uint32x4_t root = vaddq_u32(near, vreinterpretq_u32_s32(more));
    const struct wide_squares found = wide_square(root);
    const uint32x4_t beyond = vuzp1q_u32(vreinterpretq_u32_u64(vcgtq_u64(found.low, x.low)),
                                         vreinterpretq_u32_u64(vcgtq_u64(found.high, x.high)));
    return vreinterpretq_s32_u32(vshlq_u32(vaddq_u32(root, beyond), vnegq_s32(up)));
}

#else

#define LANES 1

/* 32-bit machines have no vectors of 64-bit numbers that were worth their code. */
#if defined(__clang__) && UINTPTR_MAX == UINT32_MAX
#define BY_LANES _Pragma("clang loop unroll(disable) vectorize(disable)")
#else
#define BY_LANES LOOPED
#endif

typedef int32_t lanes;
typedef int64_t wide;
typedef uint64_t wide_bits;

static inline lanes lanes_load(const int32_t *x)
{
    return *x;
}

static inline lanes lanes_load_backward(const int32_t *x)
{
    return *x;
}

static inline void lanes_store_backward(int32_t *x, lanes a)
{
    *x = a;
}

static inline void lanes_load_pairs(const int32_t *x, lanes *even, lanes *odd)
{
    *even = x[0], *odd = x[1];
}

static inline lanes lanes_all(int32_t x)
{
    return x;
}

static inline void lanes_store(int32_t *x, lanes a)
{
    *x = a;
}

static inline lanes lanes_within(lanes a, int32_t low, int32_t high)
{
    return a < low ? low : a > high ? high : a;
}

static inline void lanes_store_short(int16_t *x, lanes a)
{
    *x = (int16_t)a;
}

static inline void lanes_store_bytes(int8_t *x, lanes a)
{
    *x = (int8_t)a;
}

static inline void lanes_store_pairs(int32_t *x, lanes a, lanes b)
{
    x[0] = a, x[1] = b;
}

static inline void lanes_store_fours(int32_t *x, lanes a, lanes b, lanes c, lanes d)
{
    x[0] = a, x[1] = b, x[2] = c, x[3] = d;
}

static inline lanes lanes_scale(lanes a, int32_t b)
{
#if UINTPTR_MAX == UINT32_MAX
    /* The upper half alone, of a that has 31 bits. */
    return (lanes)(((wide)(2 * a) * (lanes)((uint32_t)b << 16) + ((wide)1 << 31)) >> 32);
#else
    return (lanes)(((wide)a * b + (1 << 14)) >> 15);
#endif
}

static inline wide wide_load(const int64_t *x)
{
    return *x;
}

static inline void wide_store(int64_t *x, wide a)
{
    *x = a;
}

static inline wide wide_product(lanes a, lanes b)
{
    return (wide)a * b;
}

static inline wide wide_plus_product(wide sum, lanes a, lanes b)
{
    return sum + (wide)a * b;
}

static inline int64_t wide_total(wide a)
{
    return a;
}

static inline wide wide_less_product(wide sum, lanes a, lanes b)
{
    return sum - (wide)a * b;
}

static inline wide wide_negative(wide a)
{
    return -a;
}

static inline wide wide_shift(wide a, int bits)
{
#if UINTPTR_MAX == UINT32_MAX
    /* Such machines take many instructions for what is one where the lower half is of no use. */
    if (bits > 32) return (int32_t)((a + ((int64_t)1 << (bits - 1))) >> 32) >> (bits - 32);
#endif
    /* The same instructions for both directions, so that loops have no branch. */
    const int left = bits < 0 ? -bits : 0, right = bits > 0 ? bits : 0;
    const int64_t half = bits > 0 ? (int64_t)1 << (bits - 1) : 0;
    return ((wide)((uint64_t)a << left) + half) >> right;
}

static inline lanes wide_narrow(wide a)
{
    return (lanes)a;
}

static inline lanes wide_narrow_shifted(wide a, int bits)
{
#if UINTPTR_MAX == UINT32_MAX
    if (bits > 0 && bits < 32) {
        const uint64_t nearest = (uint64_t)a + ((uint32_t)1 << (bits - 1));
        return (lanes)((uint32_t)nearest >> bits | (uint32_t)(nearest >> 32) << (32 - bits));
    }
#endif
    return wide_narrow(wide_shift(a, bits));
}

/* Products, shifted, within 2^30; b has 16 bits without a sign. */
static inline lanes lanes_product_shifted(lanes a, lanes b, int bits)
{
#if UINTPTR_MAX == UINT32_MAX
    /* Half of the product of two numbers of 32 bits is within 2^30. */
    if (bits >= 17 && bits <= 32)
        return (lanes)(((wide)a * (lanes)((uint32_t)b << (32 - bits)) + ((wide)1 << 31)) >> 32);
#endif
    const wide product = wide_shift(wide_product(a, b), bits), limit = (wide)1 << 30;
    return (lanes)(product < -limit ? -limit : product > limit ? limit : product);
}

static inline void lanes_store_sum(int16_t *x, lanes a, lanes b, int bits)
{
    /* Half of each, and what both lost. */
    const int32_t half_sum = (a >> 1) + (b >> 1) + (a & b & 1);
    const int32_t sum = (half_sum + (1 << (bits - 2))) >> (bits - 1);
    *x = (int16_t)(sum < INT16_MIN ? INT16_MIN : sum > INT16_MAX ? INT16_MAX : sum);
}

static inline lanes wide_narrow_shift(wide a, int bits)
{
    return (lanes)((a + ((wide)1 << (bits - 1))) >> bits);
}

static inline lanes lanes_magnitude(lanes re, lanes im)
{
    return (lanes)square_root((uint64_t)((wide)re * re + (wide)im * im));
}

static inline wide_bits wide_no_bits(void)
{
    return 0;
}

static inline wide_bits wide_or_magnitude(wide_bits bits, wide a)
{
    return bits | (uint64_t)(a < 0 ? -a : a);
}

static inline uint64_t wide_all_bits(wide_bits bits)
{
    return bits;
}

#endif

/* Where the lanes from k on begin, of some elements: no further than the end, so that the last ones
   may come twice. */
static inline int lanes_from(int k, int count)
{
    return LANES == 1 || k + LANES <= count ? k : count - LANES;
}
