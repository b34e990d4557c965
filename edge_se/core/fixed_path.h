/* The fixed-point signal path of docs/fixed-point.md: the same bits as edge_se/engines/fixed_path.py.

   C99, integers only, no library functions. The caller owns all memory; tables come from the caller
   too, so that they are made in one place. Right shifts of negative numbers are arithmetic, as every
   compiler that this is built with has them. */

#include <stdint.h>

#define WINDOW 512
#define HOP 256
#define BINS 257
#define BLOCK_BITS 20
#define GUARD_BITS 8
#define TABLE_BITS 15
#define SCALE_BITS 31
#define LONGEST_SHIFT 63
#define SEGMENT_LIMIT (1 << 30)
#define WIDE_LIMIT (1 << 29) /* beyond what both parts of a feature can hold */
#define SMALL_SHIFT 34       /* of products below 2^62, to below WIDE_LIMIT with a zero point */

static inline int bit_length(uint64_t x)
{
#ifdef __GNUC__
    return x ? 64 - __builtin_clzll(x) : 0;
#else
    int bits = 0;
    for (; x; x >>= 1) bits++;
    return bits;
#endif
}

#include "level.h"

/* Mirrored by edge_se.core.Context. */
struct context {
    const int32_t *window;     /* [512] analysis */
    const int32_t *synthesis;  /* [512] with the mantissa of the mask's scale */
    const int32_t *cosines;    /* [257] */
    const int32_t *sines;      /* [257] */
    const int32_t *twiddles;   /* [2][3][64], then [2][3][16], then [2][3][4] */
    int16_t *samples;          /* [512] previous and newest hop */
    int16_t *output;           /* [256] enhanced hop */
    int32_t *spectra;          /* [delay + 1][2][257], newest last */
    int32_t *exponents;        /* [delay + 1] */
    int32_t *tail;             /* [256] */
    struct level *level;       /* none where features keep the input's level */
    void *features;            /* [3][257] int8 or int16, or [6][257] where parts have a shift */
    const void *mask;          /* [2][257] int8 or int16 */
    int32_t delay;
    int32_t feature_bytes, feature_multiplier, feature_exponent, feature_zero_point;
    int32_t feature_low, feature_high;
    int32_t mask_bytes, mask_exponent, mask_zero_point;
    int32_t excess_shift;
};

static inline int64_t round_shift(int64_t x, int bits)
{
    return bits > 0 ? (x + ((int64_t)1 << (bits - 1))) >> bits : x * ((int64_t)1 << -bits);
}

static inline int64_t saturate(int64_t x, int64_t low, int64_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* A product with cosine + i sine, rounded once for each part. */
static inline int32_t turned_real(int32_t re, int32_t im, int32_t cosine, int32_t sine)
{
    return (int32_t)(((int64_t)re * cosine - (int64_t)im * sine + (1 << (TABLE_BITS - 1))) >> TABLE_BITS);
}

static inline int32_t turned_imaginary(int32_t re, int32_t im, int32_t cosine, int32_t sine)
{
    return (int32_t)(((int64_t)re * sine + (int64_t)im * cosine + (1 << (TABLE_BITS - 1))) >> TABLE_BITS);
}

typedef int32_t value;
#include "fft.h"

/* Largest integer whose square is at most x, for x < 2^62. */
static inline uint32_t square_root(uint64_t x)
{
    if (x == 0) return 0;
    const int shift = (64 - bit_length(x)) & ~1; /* an even one, so that the root shifts by half */
    const uint64_t scaled = x << shift;          /* 2^62 to 2^64 */
    const uint32_t top = (uint32_t)(scaled >> 32);
    /* A line within 5 %, two Newton steps on 16 bits and one on 32: at most two above the root of
       `scaled`, never below it, and so at most one above that of x. */
    uint32_t root = (uint32_t)(((uint64_t)top * 43691 >> 32) + 23211);
    root = (root + top / root) >> 1;
    root = (root + top / root) >> 1;
    uint64_t wide = (uint64_t)root << 16;
    wide = (wide + scaled / wide) >> 1;
    wide >>= shift / 2;
    return (uint32_t)(wide - (wide * wide > x));
}

/* A left shift for positive, a right shift with rounding for negative `bits` of a whole block: the
   same instructions for both. */
struct shift {
    int left, right;
    int64_t half;
};

static inline struct shift shift_of(int bits)
{
    const struct shift s = {bits > 0 ? bits : 0, bits < 0 ? -bits : 0,
                            bits < 0 ? (int64_t)1 << (-bits - 1) : 0};
    return s;
}

/* X[k] + X*[256 - k] + (X[k] - X*[256 - k]) (-sin + i sign cos), of x [257]. */
static inline void fold(int count, const int32_t *restrict xr, const int32_t *restrict xi,
                        int32_t *restrict yr, int32_t *restrict yi, const int32_t *restrict sines,
                        const int32_t *restrict cosines, int sign)
{
    for (int k = 0; k < count; k++) {
        const int32_t both_r = xr[k] + xr[POINTS - k], both_i = xi[k] - xi[POINTS - k];
        const int32_t apart_r = xr[k] - xr[POINTS - k], apart_i = xi[k] + xi[POINTS - k];
        yr[k] = both_r + turned_real(apart_r, apart_i, -sines[k], sign * cosines[k]);
        yi[k] = both_i + turned_imaginary(apart_r, apart_i, -sines[k], sign * cosines[k]);
    }
}

static inline int32_t clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* A row of features, saturated; `x` is [257]. */
static void store(const struct context *c, const int32_t *restrict x, int row)
{
    const int32_t low = c->feature_low, high = c->feature_high;
    if (c->feature_bytes == 1) {
        int8_t *restrict y = (int8_t *)c->features + row * BINS;
        for (int k = 0; k < BINS; k++) y[k] = (int8_t)clamp(x[k], low, high);
    } else {
        int16_t *restrict y = (int16_t *)c->features + row * BINS;
        for (int k = 0; k < BINS; k++) y[k] = (int16_t)clamp(x[k], low, high);
    }
}

/* Features of a row, and three rows further what saturation cut off them. */
static void quantize(const struct context *c, const int32_t *restrict values, int row, int shift)
{
    const int64_t half = (int64_t)1 << (shift - 1);
    const int32_t multiplier = c->feature_multiplier, zero_point = c->feature_zero_point;
    const int32_t low = c->feature_low, high = c->feature_high, excess_shift = c->excess_shift;
    int32_t wide[BINS];
    if (shift >= SMALL_SHIFT) {
        for (int k = 0; k < BINS; k++)
            wide[k] = (int32_t)(((int64_t)values[k] * multiplier + half) >> shift) + zero_point;
    } else {
        for (int k = 0; k < BINS; k++) {
            const int64_t scaled = ((int64_t)values[k] * multiplier + half) >> shift;
            wide[k] = (int32_t)saturate(scaled + zero_point, -WIDE_LIMIT, WIDE_LIMIT);
        }
    }
    store(c, wide, row);
    if (!excess_shift) return;
    const int32_t excess_half = 1 << (excess_shift - 1);
    for (int k = 0; k < BINS; k++) {
        const int32_t excess = wide[k] - clamp(wide[k], low, high);
        wide[k] = ((excess + excess_half) >> excess_shift) + zero_point;
    }
    store(c, wide, row + 3);
}

/* The newest samples' features. */
static void fixed_analyse(struct context *c)
{
    int32_t products[WINDOW], re[BINS], im[BINS], magnitudes[BINS];
    uint32_t peak = 0;
    for (int n = 0; n < WINDOW; n++) {
        products[n] = (int32_t)c->samples[n] * c->window[n];
        peak |= (uint32_t)(products[n] < 0 ? -products[n] : products[n]); /* of its bit length */
    }
    const int exponent = BLOCK_BITS - bit_length(peak);
    const struct shift s = shift_of(exponent);
    const int32_t half = (int32_t)s.half;
    for (int n = 0; n < POINTS; n++) {
        re[n] = ((int32_t)((uint32_t)products[2 * n] << s.left) + half) >> s.right;
        im[n] = ((int32_t)((uint32_t)products[2 * n + 1] << s.left) + half) >> s.right;
    }
    fft(re, im, c->twiddles);
    re[POINTS] = re[0], im[POINTS] = im[0];

    const int size = 2 * BINS;
    for (int n = 0; n < c->delay * size; n++) c->spectra[n] = c->spectra[n + size];
    for (int n = 0; n < c->delay; n++) c->exponents[n] = c->exponents[n + 1];
    int32_t *real = c->spectra + c->delay * size, *imaginary = real + BINS;
    c->exponents[c->delay] = exponent;
    fold(BINS, re, im, real, imaginary, c->sines, c->cosines, -1);
    for (int k = 0; k < BINS; k++)
        magnitudes[k] = (int32_t)square_root(
            (uint64_t)((int64_t)real[k] * real[k] + (int64_t)imaginary[k] * imaginary[k]));
    const int gain = c->level ? level_exponent(c->level, c->samples + HOP, HOP) : 0;
    int shift = 2 * SCALE_BITS + exponent - gain - c->feature_exponent;
    shift = shift > LONGEST_SHIFT ? LONGEST_SHIFT : shift;
    quantize(c, magnitudes, 0, shift);
    quantize(c, real, 1, shift);
    quantize(c, imaginary, 2, shift);
    for (int n = 0; n < HOP; n++) c->samples[n] = c->samples[HOP + n];
}

/* The mask [2][257] without its zero point. */
static inline void read_mask(const struct context *c, int32_t *mask)
{
    const int32_t zero_point = c->mask_zero_point;
    if (c->mask_bytes == 1)
        for (int n = 0; n < 2 * BINS; n++) mask[n] = ((const int8_t *)c->mask)[n] - zero_point;
    else
        for (int n = 0; n < 2 * BINS; n++) mask[n] = ((const int16_t *)c->mask)[n] - zero_point;
}

/* A windowed sample in steps of 2^-8. */
static inline int32_t segment_value(int32_t x, int32_t window, int64_t half, int shift)
{
    return (int32_t)saturate(((int64_t)x * window + half) >> shift, -SEGMENT_LIMIT, SEGMENT_LIMIT);
}

/* The mask applied; the finished hop is in `output`. */
static void fixed_synthesise(struct context *c)
{
    int32_t mask[2 * BINS], block_re[BINS], block_im[BINS], re[POINTS], im[POINTS];
    int64_t masked_re[BINS], masked_im[BINS];
    const int32_t *real = c->spectra, *imaginary = real + BINS;
    read_mask(c, mask);
    for (int k = 0; k < BINS; k++) {
        masked_re[k] = (int64_t)real[k] * mask[k] - (int64_t)imaginary[k] * mask[BINS + k];
        masked_im[k] = (int64_t)real[k] * mask[BINS + k] + (int64_t)imaginary[k] * mask[k];
    }
    masked_im[0] = masked_im[BINS - 1] = 0;
    uint64_t peak = 0;
    for (int k = 0; k < BINS; k++) {
        peak |= (uint64_t)(masked_re[k] < 0 ? -masked_re[k] : masked_re[k]);
        peak |= (uint64_t)(masked_im[k] < 0 ? -masked_im[k] : masked_im[k]);
    }
    const int exponent = BLOCK_BITS - bit_length(peak);
    const struct shift s = shift_of(exponent);
    for (int k = 0; k < BINS; k++) {
        block_re[k] = (int32_t)(((int64_t)((uint64_t)masked_re[k] << s.left) + s.half) >> s.right);
        block_im[k] = (int32_t)(((int64_t)((uint64_t)masked_im[k] << s.left) + s.half) >> s.right);
    }
    fold(POINTS, block_re, block_im, re, im, c->sines, c->cosines, 1);
    fft(im, re, c->twiddles); /* parts swapped: the inverse */

    int shift = c->exponents[0] + exponent - c->mask_exponent + 9 + 31 + TABLE_BITS - 15 - GUARD_BITS;
    shift = shift > LONGEST_SHIFT ? LONGEST_SHIFT : shift;
    const int64_t half = (int64_t)1 << (shift - 1);
    int32_t segment[WINDOW];
    for (int n = 0; n < POINTS; n++) {
        segment[2 * n] = segment_value(re[n], c->synthesis[2 * n], half, shift);
        segment[2 * n + 1] = segment_value(im[n], c->synthesis[2 * n + 1], half, shift);
    }
    for (int n = 0; n < HOP; n++) {
        const int64_t sum = (int64_t)c->tail[n] + segment[n];
        c->output[n] = (int16_t)saturate(round_shift(sum, GUARD_BITS), INT16_MIN, INT16_MAX);
        c->tail[n] = segment[HOP + n];
    }
}
