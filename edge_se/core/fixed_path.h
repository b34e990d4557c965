/* The fixed-point signal path of docs/fixed-point.md: the same bits as edge_se/engines/fixed_path.py.

   C99, integers only, no library functions. The caller owns all memory; tables come from the caller
   too, so that they are made in one place. Right shifts of negative numbers are arithmetic, as every
   compiler that this is built with has them. */

#include <stdint.h>

#include "compiler.h"
#include "wide.h"

#define WINDOW 512
#define HOP 256
#define BINS 257
#define FEATURE_ROWS 3
#define BLOCK_BITS 20
#define GUARD_BITS 8
#define TABLE_BITS 15
#define SCALE_BITS 31
#define LONGEST_SHIFT 63
#define BAND_WEIGHT_BITS 15
#define BAND_HEADROOM 4 /* bits by which sums of bins may exceed bins */
#define OCTAVE_BITS 16
#define LOGARITHM_BITS 6
#define LOGARITHM_EXPONENT (OCTAVE_BITS - SCALE_BITS)
#define STRENGTH_BITS 8 /* that a mask gains where its strength is limited */
#define SMALL_SHIFT 34  /* of products below 2^62, to within 32 bits with a zero point */

#include "level.h"

/* Mirrored by edge_se.core.Context. */
struct context {
    const int32_t *sines;      /* [512] half a sine */
    const int32_t *window;     /* [512] of the analysis */
    const int32_t *synthesis;  /* [512] its dual */
    const int32_t *logarithms; /* [65] log2 of 1 to 2; none where features are no logarithms */
    const int32_t *twiddles;   /* [2][3][64] */
    int16_t *samples;          /* [512] previous and newest hop */
    int16_t *output;           /* [256] enhanced hop */
    int32_t *spectra;          /* [delay + 1][2][257], newest last */
    int32_t *exponents;        /* [delay + 1] */
    int32_t *tail;             /* [256] */
    struct level *level;       /* none where features keep the input's level */
    const int32_t *band_first; /* first bin of each band that sums up bins */
    const int32_t *band_until; /* where its weights end */
    const int32_t *band_weight;
    void *features;            /* [3][257] int8 or int16, or [6][bands] where there are bands, or
                                  [257] logarithms */
    const void *mask;          /* [2][257] int8 or int16, or [257] where it is real */
    int32_t delay;
    int32_t feature_bytes, feature_multiplier, feature_exponent, feature_zero_point;
    int32_t feature_low, feature_high;
    int32_t least_logarithm;
    int32_t mask_rows, mask_bytes, mask_multiplier, mask_exponent, mask_zero_point;
    int32_t mask_unit;       /* 1 in steps 2^-STRENGTH_BITS as wide as the mask's */
    int32_t least_gain, dry; /* in steps of 2^-15; both 0 where the mask does all it does */
    int32_t bands, bands_alike, bound_exponent, excess_shift;
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
static inline lanes turned_real(lanes re, lanes im, lanes cosine, lanes sine)
{
    return wide_narrow_shift(wide_less_product(wide_product(re, cosine), im, sine), TABLE_BITS);
}

static inline lanes turned_imaginary(lanes re, lanes im, lanes cosine, lanes sine)
{
    return wide_narrow_shift(wide_plus_product(wide_product(re, sine), im, cosine), TABLE_BITS);
}

#include "fft.h"

/* X[k] + X*[256 - k] + (X[k] - X*[256 - k]) (-sin + i sign cos), of x [257], angles being pi k / 256:
   k and 256 - k at once, whose products differ in signs; y may be x. Every second one of `sines` is such
   a sine. */
static inline void fold(const int32_t *xr, const int32_t *xi, int32_t *yr, int32_t *yi,
                        const int32_t *restrict sines, int sign)
{
    const int middle = POINTS / 2;
    BY_LANES for (int k = 0; k < middle; k += LANES) {
        const int mirrored = POINTS - k;
        const lanes low_r = lanes_load(xr + k), high_r = lanes_load_backward(xr + mirrored);
        const lanes low_i = lanes_load(xi + k), high_i = lanes_load_backward(xi + mirrored);
        const lanes both_r = low_r + high_r, both_i = low_i - high_i;
        const lanes apart_r = low_r - high_r, apart_i = low_i + high_i;
        lanes sine, cosine, between;
        lanes_load_pairs(sines + 2 * k, &sine, &between);
        lanes_load_pairs(sines + 2 * (middle + k), &cosine, &between);
        if (sign < 0) cosine = -cosine;
        const wide turned = wide_plus_product(wide_product(apart_r, sine), apart_i, cosine);
        const lanes turned_i = turned_imaginary(apart_r, apart_i, -sine, cosine);
        lanes_store(yr + k, both_r + wide_narrow_shift(wide_negative(turned), TABLE_BITS));
        lanes_store(yi + k, both_i + turned_i);
        lanes_store_backward(yr + mirrored, both_r + wide_narrow_shift(turned, TABLE_BITS));
        lanes_store_backward(yi + mirrored, turned_i - both_i);
    }
    yr[middle] = 2 * xr[middle], yi[middle] = -2 * xi[middle];
}

static inline int32_t clamp(int32_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : x;
}

/* A row of `count` features, saturated, of values that stand for 2^-(exponent + 31) each. */
static inline void quantize(const struct context *c, const int32_t *restrict values, int count, int row,
                            int exponent)
{
    int shift = 2 * SCALE_BITS + exponent - c->feature_exponent;
    shift = shift > LONGEST_SHIFT ? LONGEST_SHIFT : shift;
    const int64_t half = (int64_t)1 << (shift - 1);
    const int32_t multiplier = c->feature_multiplier, zero_point = c->feature_zero_point;
    const lanes multipliers = lanes_all(multiplier), zero_points = lanes_all(zero_point);
    const int32_t low = c->feature_low, high = c->feature_high;
    int8_t *const bytes = (int8_t *)c->features + row * count;
    int16_t *const shorts = (int16_t *)c->features + row * count;
    if (shift >= SMALL_SHIFT && count >= LANES) {
        BY_LANES for (int from = 0; from < count; from += LANES) {
            const int k = lanes_from(from, count);
            const wide scaled = wide_product(lanes_load(values + k), multipliers);
            const lanes y = lanes_within(wide_narrow_shifted(scaled, shift) + zero_points, low, high);
            if (c->feature_bytes == 1)
                lanes_store_bytes(bytes + k, y);
            else
                lanes_store_short(shorts + k, y);
        }
    } else {
        for (int k = 0; k < count; k++) {
            const int64_t scaled = ((int64_t)values[k] * multiplier + half) >> shift;
            const int32_t y = (int32_t)saturate(scaled + zero_point, low, high);
            if (c->feature_bytes == 1)
                bytes[k] = (int8_t)y;
            else
                shorts[k] = (int16_t)y;
        }
    }
}

/* Two times bins [257] to bands, in steps 2^BAND_HEADROOM as wide. */
static inline void merge_bins(const struct context *c, const int32_t *restrict a, const int32_t *restrict b,
                              int32_t *restrict bands_a, int32_t *restrict bands_b)
{
    const int alike = c->bands_alike, shift = BAND_WEIGHT_BITS + BAND_HEADROOM;
    const int32_t *weight = c->band_weight;
    LOOPED for (int k = 0; k < alike; k++) { /* rounded without a 33rd bit */
        bands_a[k] = (a[k] >> BAND_HEADROOM) + ((a[k] >> (BAND_HEADROOM - 1)) & 1);
        bands_b[k] = (b[k] >> BAND_HEADROOM) + ((b[k] >> (BAND_HEADROOM - 1)) & 1);
    }
    for (int k = alike; k < c->bands; k++) {
        const int first = c->band_first[k - alike];
        const int32_t *bin_a = a + first, *bin_b = b + first;
        const int32_t *const until = c->band_weight + c->band_until[k - alike];
        const lanes none = lanes_all(0);
        wide sums_a = wide_product(none, none), sums_b = sums_a;
        for (; until - weight >= LANES; weight += LANES, bin_a += LANES, bin_b += LANES) {
            sums_a = wide_plus_product(sums_a, lanes_load(bin_a), lanes_load(weight));
            sums_b = wide_plus_product(sums_b, lanes_load(bin_b), lanes_load(weight));
        }
        int64_t sum_a = wide_total(sums_a), sum_b = wide_total(sums_b);
        for (; weight < until; weight++) {
            sum_a += (int64_t)*bin_a++ * *weight;
            sum_b += (int64_t)*bin_b++ * *weight;
        }
        bands_a[k] = (int32_t)round_shift(sum_a, shift);
        bands_b[k] = (int32_t)round_shift(sum_b, shift);
    }
}

/* A row of features of bins to both parts of those of bands. A function of its own: what it has on the
   stack is gone before transforms have theirs. */
APART void quantize_in_parts(const struct context *c, const int32_t *restrict values, int row,
                                     int exponent)
{
    const int bits = exponent + SCALE_BITS + c->bound_exponent;
    const int32_t limit = bits >= SCALE_BITS ? INT32_MAX : (int32_t)1 << (bits > 0 ? bits : 0);
    const int coarser = exponent - BAND_HEADROOM;
    int32_t part[BINS], rest[BINS], bands[BINS], bands_of_rest[BINS];
    LOOPED for (int k = 0; k < BINS; k++) {
        part[k] = clamp(values[k], -limit, limit);
        rest[k] = values[k] - part[k];
    }
    merge_bins(c, part, rest, bands, bands_of_rest);
    quantize(c, bands, c->bands, row, coarser);
    quantize(c, bands_of_rest, c->bands, FEATURE_ROWS + row, coarser + c->excess_shift);
}

/* Magnitudes, which stand for 2^-(exponent + 31) each, to their logarithms. */
static inline void take_logarithms(const struct context *c, int32_t *values, int exponent)
{
    const int fine = SCALE_BITS - 1 - LOGARITHM_BITS, part = (1 << OCTAVE_BITS) - 1;
    LOOPED for (int k = 0; k < BINS; k++) {
        const int32_t x = values[k];
        if (!x) {
            values[k] = c->least_logarithm;
            continue;
        }
        const int length = bit_length((uint32_t)x);
        const int32_t fraction = (int32_t)((uint32_t)x << (SCALE_BITS - length) & 0x3fffffffu);
        const int32_t *line = c->logarithms + (fraction >> fine);
        const int32_t beyond = fraction >> (fine - OCTAVE_BITS) & part;
        const int32_t rise = ((line[1] - line[0]) * beyond + (1 << (OCTAVE_BITS - 1))) >> OCTAVE_BITS;
        const int32_t found = (length - 1 - SCALE_BITS - exponent) * (1 << OCTAVE_BITS) + line[0] + rise;
        values[k] = found < c->least_logarithm ? c->least_logarithm : found;
    }
}

/* The newest samples' features. */
static void fixed_analyse(struct context *c)
{
    int32_t magnitudes[BINS];
    const int32_t gain = c->level ? level_exponent(c->level, c->samples + HOP) : 0;
    uint32_t peak = 0;
    for (int n = 0; n < WINDOW; n++) {
        const int32_t product = (int32_t)c->samples[n] * c->window[n];
        peak |= (uint32_t)(product < 0 ? -product : product); /* of its bit length */
    }
    const int exponent = BLOCK_BITS - bit_length(peak);
    /* One of the shifts is by nothing: the same instructions for both. */
    const int left = exponent > 0 ? exponent : 0, right = exponent < 0 ? -exponent : 0;
    const int32_t half = right ? 1 << (right - 1) : 0;
    const int size = 2 * BINS;
    for (int n = 0; n < c->delay * size; n++) c->spectra[n] = c->spectra[n + size];
    for (int n = 0; n < c->delay; n++) c->exponents[n] = c->exponents[n + 1];
    int32_t *real = c->spectra + c->delay * size, *imaginary = real + BINS;
    c->exponents[c->delay] = exponent;
    for (int n = 0; n < POINTS; n++) {
        const int32_t even = c->samples[2 * n] * c->window[2 * n];
        const int32_t odd = c->samples[2 * n + 1] * c->window[2 * n + 1];
        real[n] = ((int32_t)((uint32_t)even << left) + half) >> right;
        imaginary[n] = ((int32_t)((uint32_t)odd << left) + half) >> right;
    }
    fft(real, imaginary, c->twiddles);
    real[POINTS] = real[0], imaginary[POINTS] = imaginary[0];
    fold(real, imaginary, real, imaginary, c->sines, -1);
    BY_LANES for (int from = 0; from < BINS; from += LANES) {
        const int k = lanes_from(from, BINS);
        lanes_store(magnitudes + k, lanes_magnitude(lanes_load(real + k), lanes_load(imaginary + k)));
    }
    if (c->logarithms) {
        take_logarithms(c, magnitudes, exponent - gain);
        quantize(c, magnitudes, BINS, 0, LOGARITHM_EXPONENT);
    } else {
        const int32_t *const rows[FEATURE_ROWS] = {magnitudes, real, imaginary};
        LOOPED for (int row = 0; row < FEATURE_ROWS; row++) {
            if (c->bands)
                quantize_in_parts(c, rows[row], row, exponent - gain);
            else
                quantize(c, rows[row], BINS, row, exponent - gain);
        }
    }
    for (int n = 0; n < HOP; n++) c->samples[n] = c->samples[HOP + n];
}

/* The mask [2][257] without its zero point; the imaginary part of a real one is 0. */
static inline void read_mask(const struct context *c, int32_t *mask)
{
    const int32_t zero_point = c->mask_zero_point;
    const int given = c->mask_rows * BINS;
    if (c->mask_bytes == 1)
        LOOPED for (int n = 0; n < given; n++) mask[n] = ((const int8_t *)c->mask)[n] - zero_point;
    else
        LOOPED for (int n = 0; n < given; n++) mask[n] = ((const int16_t *)c->mask)[n] - zero_point;
    for (int n = given; n < 2 * BINS; n++) mask[n] = 0;
}

/* The mask, in steps 2^-STRENGTH_BITS as wide, held at the least gain and mixed with 1. */
static inline void limit_mask(const struct context *c, int32_t *mask)
{
    const int32_t floor = (int32_t)round_shift((int64_t)c->least_gain * c->mask_unit, TABLE_BITS);
    const int64_t wet = (1 << TABLE_BITS) - c->dry, through = (int64_t)c->dry * c->mask_unit;
    LOOPED for (int n = 0; n < 2 * BINS; n++) mask[n] *= 1 << STRENGTH_BITS;
    BY_LANES for (int from = 0; from < BINS; from += LANES) {
        const int k = lanes_from(from, BINS);
        int32_t sizes[LANES];
        lanes_store(sizes, lanes_magnitude(lanes_load(mask + k), lanes_load(mask + BINS + k)));
        for (int n = from; n < k + LANES; n++) {
            const int32_t size = sizes[n - k];
            int64_t re = mask[n], im = mask[BINS + n];
            if (size < floor) {
                re = size ? re * floor / size : floor;
                im = size ? im * floor / size : 0;
            }
            mask[n] = (int32_t)round_shift(wet * re + through, TABLE_BITS);
            mask[BINS + n] = (int32_t)round_shift(wet * im, TABLE_BITS);
        }
    }
}

/* Probability of speech, as edge_se/speech.py has it, in steps of 2^-15: of a spectrum [2][bins] in
   steps of 2^-(exponent + 31), a mask [2][bins], what 2^-40 of its squares is in steps of 2^-30, and
   the energy of sound that is too soft to tell, in steps of 2^-40. */
static inline int32_t probability_of_speech(int bins, const int32_t *spectrum, int exponent,
                                            const int16_t *mask, uint64_t square, uint64_t soft)
{
    uint32_t peak = 0;
    LOOPED for (int k = 0; k < 2 * bins; k++) {
        peak |= (uint32_t)(spectrum[k] < 0 ? -spectrum[k] : spectrum[k]);
    }
    const int bits = bit_length(peak), shift = bits > 14 ? bits - 14 : 0;
    int64_t heard = 0, left = 0;
    LOOPED for (int k = 0; k < bins; k++) {
        const int32_t re = spectrum[k] >> shift, im = spectrum[bins + k] >> shift;
        const int32_t mask_re = mask[k] >> 5, mask_im = mask[bins + k] >> 5;
        const int32_t energy = re * re + im * im;
        heard += energy;
        left += (int64_t)energy * (mask_re * mask_re + mask_im * mask_im);
    }
    const int finer = 2 * (exponent + 31 - shift) - 40;
    if (finer > 20) return 0; /* all of it is too soft */
    const uint64_t all = (uint64_t)heard + (finer > 0    ? soft << finer
                                            : finer > -63 ? soft >> -finer
                                                          : 0);
    const uint64_t share = (uint64_t)left / (all ? all : 1) * square; /* 30 fractional bits */
    const uint64_t root = square_root(share), odds = (21 * root * square_root(root << 15)) >> 15;
    return (int32_t)((odds << 15) / (odds + 32768));
}

/* Products of the mask with bins from k on. */
static inline void apply_mask(const int32_t *re, const int32_t *im, const int32_t *mask, int k,
                              wide *masked_re, wide *masked_im)
{
    const lanes real = lanes_load(re + k), imaginary = lanes_load(im + k);
    const lanes mask_re = lanes_load(mask + k), mask_im = lanes_load(mask + BINS + k);
    *masked_re = wide_less_product(wide_product(real, mask_re), imaginary, mask_im);
    *masked_im = wide_plus_product(wide_product(real, mask_im), imaginary, mask_re);
}

static inline int is_limited(const struct context *c) { return c->least_gain || c->dry; }

/* The oldest spectrum, which re and im may be, with the mask applied; its exponent. A function of its
   own, as quantize_in_parts. */
APART int mask_oldest(const struct context *c, int32_t *re, int32_t *im)
{
    const int32_t *real = c->spectra, *imaginary = real + BINS;
    int32_t mask[2 * BINS];
    read_mask(c, mask);
    mask[BINS] = mask[2 * BINS - 1] = 0; /* where the spectrum is real */
    if (is_limited(c)) limit_mask(c, mask);
    wide_bits peak = wide_no_bits();
    BY_LANES for (int from = 0; from < BINS; from += LANES) {
        const int k = lanes_from(from, BINS);
        wide masked_re, masked_im;
        apply_mask(real, imaginary, mask, k, &masked_re, &masked_im);
        peak = wide_or_magnitude(wide_or_magnitude(peak, masked_re), masked_im);
    }
    const int exponent = BLOCK_BITS - bit_length(wide_all_bits(peak));
    BY_LANES for (int k = 0; k < POINTS; k += LANES) {
        wide masked_re, masked_im;
        apply_mask(real, imaginary, mask, k, &masked_re, &masked_im);
        lanes_store(re + k, wide_narrow_shifted(masked_re, -exponent));
        lanes_store(im + k, wide_narrow_shifted(masked_im, -exponent));
    }
    re[POINTS] = (int32_t)round_shift((int64_t)real[POINTS] * mask[POINTS], -exponent);
    im[POINTS] = 0;
    return exponent;
}

/* Samples 2 n and on of the segment, times the window of synthesis. */
static inline void write_segment(const struct context *c, const int32_t *re, const int32_t *im, int n,
                                 int shift, int32_t *segment)
{
    lanes even, odd;
    lanes_load_pairs(c->synthesis + 2 * n, &even, &odd);
    even = lanes_scale(even, c->mask_multiplier), odd = lanes_scale(odd, c->mask_multiplier);
    lanes_store_pairs(segment, lanes_product_shifted(lanes_load(re + n), even, shift),
                      lanes_product_shifted(lanes_load(im + n), odd, shift));
}

/* The mask applied; the finished hop is in `output`. */
static void fixed_synthesise(struct context *c)
{
#if defined(LEAN) /* nobody needs the oldest again: speech has been looked for */
    int32_t *re = c->spectra, *im = re + BINS;
#else
    int32_t re[BINS], im[BINS];
#endif
    const int exponent = mask_oldest(c, re, im);
    fold(re, im, re, im, c->sines, 1);
    fft(im, re, c->twiddles); /* parts swapped: the inverse */

    int shift = c->exponents[0] + exponent - c->mask_exponent + 9 + 31 + TABLE_BITS - 15 - GUARD_BITS;
    shift += is_limited(c) ? STRENGTH_BITS : 0;
    shift = shift > LONGEST_SHIFT ? LONGEST_SHIFT : shift;
    BY_LANES for (int n = 0; n < HOP / 2; n += LANES) {
        int32_t segment[2 * LANES]; /* in steps of 2^-8 */
        write_segment(c, re, im, n, shift, segment);
        for (int m = 0; m < 2 * LANES; m += LANES) {
            const lanes before = lanes_load(c->tail + 2 * n + m);
            lanes_store_sum(c->output + 2 * n + m, before, lanes_load(segment + m), GUARD_BITS);
        }
    }
    BY_LANES for (int n = 0; n < HOP / 2; n += LANES)
        write_segment(c, re, im, HOP / 2 + n, shift, c->tail + 2 * n);
}
