/* Four floats at once. With gcc and clang these become vector instructions of any machine that has
   them; minimum, maximum and interleaving, which C has no operators for, are the only intrinsics.
   Elsewhere plain C does the same. */

#ifndef LANES_H
#define LANES_H

#include "compiler.h"

#if defined(__GNUC__) && (defined(__ARM_NEON) || defined(__SSE2__))

typedef float f4 __attribute__((vector_size(16)));
typedef float f4_in_memory __attribute__((vector_size(16), aligned(4), may_alias));

INLINE f4 f4_load(const float *x) { return *(const f4_in_memory *)x; }
INLINE void f4_store(float *x, f4 a) { *(f4_in_memory *)x = a; }
INLINE f4 f4_all(float x) { return (f4){x, x, x, x}; }
/* Factors for f4_fma_lane. gcc would see through it and keep each in a register of its own. */
INLINE f4 f4_of(float a, float b, float c, float d)
{
    f4 x = {a, b, c, d};
#if defined(__aarch64__)
    __asm__("" : "+w"(x));
#endif
    return x;
}
INLINE f4 f4_add(f4 a, f4 b) { return a + b; }
INLINE f4 f4_sub(f4 a, f4 b) { return a - b; }
INLINE f4 f4_mul(f4 a, f4 b) { return a * b; }
INLINE f4 f4_div(f4 a, f4 b) { return a / b; }
/* sum + a * b */
INLINE f4 f4_fma(f4 sum, f4 a, f4 b) { return sum + a * b; }
INLINE float f4_sum(f4 a) { return (a[0] + a[1]) + (a[2] + a[3]); }

#if defined(__ARM_NEON)
#include <arm_neon.h>
INLINE f4 f4_min(f4 a, f4 b) { return (f4)vminq_f32((float32x4_t)a, (float32x4_t)b); }
INLINE f4 f4_max(f4 a, f4 b) { return (f4)vmaxq_f32((float32x4_t)a, (float32x4_t)b); }
/* sum + a * b with one lane of b */
INLINE f4 f4_fma_lane(f4 sum, f4 a, f4 b, int lane)
{
#if defined(__aarch64__)
    /* Said outright, or gcc loads each lane on its own. */
    switch (lane) {
    case 0: return (f4)vfmaq_laneq_f32((float32x4_t)sum, (float32x4_t)a, (float32x4_t)b, 0);
    case 1: return (f4)vfmaq_laneq_f32((float32x4_t)sum, (float32x4_t)a, (float32x4_t)b, 1);
    case 2: return (f4)vfmaq_laneq_f32((float32x4_t)sum, (float32x4_t)a, (float32x4_t)b, 2);
    default: return (f4)vfmaq_laneq_f32((float32x4_t)sum, (float32x4_t)a, (float32x4_t)b, 3);
    }
#else
    return sum + a * b[lane];
#endif
}
/* {a0, b0, a1, b1, a2, b2, a3, b3} */
INLINE void f4_store_pairs(float *x, f4 a, f4 b)
{
    const float32x4x2_t pair = {{(float32x4_t)a, (float32x4_t)b}};
    vst2q_f32(x, pair);
}
#else
#include <xmmintrin.h>
INLINE f4 f4_min(f4 a, f4 b) { return (f4)_mm_min_ps((__m128)a, (__m128)b); }
INLINE f4 f4_max(f4 a, f4 b) { return (f4)_mm_max_ps((__m128)a, (__m128)b); }
INLINE f4 f4_fma_lane(f4 sum, f4 a, f4 b, int lane) { return sum + a * b[lane]; }
INLINE void f4_store_pairs(float *x, f4 a, f4 b)
{
    f4_store(x, (f4)_mm_unpacklo_ps((__m128)a, (__m128)b));
    f4_store(x + 4, (f4)_mm_unpackhi_ps((__m128)a, (__m128)b));
}
#endif

#else

typedef struct {
    float at[4];
} f4;

#define F4_EACH(expression)                                   \
    do {                                                      \
        f4 each;                                              \
        for (int i = 0; i < 4; i++) each.at[i] = (expression); \
        return each;                                          \
    } while (0)

INLINE f4 f4_load(const float *x) { F4_EACH(x[i]); }
INLINE void f4_store(float *x, f4 a)
{
    for (int i = 0; i < 4; i++) x[i] = a.at[i];
}
INLINE f4 f4_all(float x) { F4_EACH(x); }
INLINE f4 f4_of(float a, float b, float c, float d) { return (f4){{a, b, c, d}}; }
INLINE f4 f4_add(f4 a, f4 b) { F4_EACH(a.at[i] + b.at[i]); }
INLINE f4 f4_sub(f4 a, f4 b) { F4_EACH(a.at[i] - b.at[i]); }
INLINE f4 f4_mul(f4 a, f4 b) { F4_EACH(a.at[i] * b.at[i]); }
INLINE f4 f4_div(f4 a, f4 b) { F4_EACH(a.at[i] / b.at[i]); }
INLINE f4 f4_fma(f4 sum, f4 a, f4 b) { F4_EACH(sum.at[i] + a.at[i] * b.at[i]); }
INLINE f4 f4_fma_lane(f4 sum, f4 a, f4 b, int lane) { F4_EACH(sum.at[i] + a.at[i] * b.at[lane]); }
INLINE float f4_sum(f4 a) { return (a.at[0] + a.at[1]) + (a.at[2] + a.at[3]); }
INLINE f4 f4_min(f4 a, f4 b) { F4_EACH(a.at[i] < b.at[i] ? a.at[i] : b.at[i]); }
INLINE f4 f4_max(f4 a, f4 b) { F4_EACH(a.at[i] > b.at[i] ? a.at[i] : b.at[i]); }
INLINE void f4_store_pairs(float *x, f4 a, f4 b)
{
    for (int i = 0; i < 4; i++) {
        x[2 * i] = a.at[i];
        x[2 * i + 1] = b.at[i];
    }
}

#endif
#endif
