/* Kernels of fixed_kernels.h for processors with instructions for pairs of 16-bit numbers and without
   vectors: Cortex-M4, M7, M33. The same bits. helium.h has others for those with vectors.

   Tiles of three positions by two outputs fill the registers: weights are widened once for three
   positions, inputs are loaded once for two outputs. What enters has to lie at multiples of 4 bytes, and
   weights of four inputs in the order 0, 2, 1, 3, since bytes are widened by twos; multipliers of layers
   have a fractional bit more, and no layer's sums go to the left. */

#ifndef DSP_H
#define DSP_H

#define TILE 3

typedef uint32_t word_in_memory __attribute__((may_alias));
INLINE uint32_t word_at(const void *x) { return *(const word_in_memory *)x; }
/* Bytes 0 and 2, and bytes 1 and 3. */
INLINE int16x2_t even_bytes(uint32_t x) { return __sxtb16((int8x4_t)x); }
INLINE int16x2_t odd_bytes(uint32_t x)
{
    int16x2_t y;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(y) : "r"(x));
    return y;
}
/* sum + a b of the lower or upper halves */
INLINE int32_t add_product(int32_t sum, uint32_t a, uint32_t b)
{
    int32_t y;
    __asm__("smlabb %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}
INLINE int32_t add_upper_product(int32_t sum, uint32_t a, uint32_t b)
{
    int32_t y;
    __asm__("smlatt %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(sum));
    return y;
}
/* The upper halves as one word. */
INLINE uint32_t upper_pair(uint32_t low, uint32_t high)
{
    uint32_t y;
    __asm__("pkhtb %0, %1, %2, asr #16" : "=r"(y) : "r"(high), "r"(low));
    return y;
}
/* (x m + 2^31) / 2^32, rounded down */
INLINE int32_t scaled_once(int32_t x, int32_t m)
{
    int32_t y;
    __asm__("smmulr %0, %1, %2" : "=r"(y) : "r"(x), "r"(m));
    return y;
}
/* x within 16 bits */
INLINE int32_t narrowed(int32_t x)
{
    int32_t y;
    __asm__("ssat %0, #16, %1" : "=r"(y) : "r"(x));
    return y;
}
/* c + (a b + 2^31) / 2^32, rounded down */
INLINE int32_t add_scaled(int32_t c, int32_t a, int32_t b)
{
    int32_t y;
    __asm__("smmlar %0, %1, %2, %3" : "=r"(y) : "r"(a), "r"(b), "r"(c));
    return y;
}
/* tanh of 16 bits, as `cubic` has it: twice the sum so far times half of 2^32 the distance. */
INLINE int32_t tanh_of(int32_t x, const coefficient *table)
{
    const coefficient *c = table + 4 * (((uint32_t)x >> SPAN_BITS) & (SPANS - 1));
    const int32_t d = (int32_t)((uint32_t)x << (32 - SPAN_BITS) ^ 0x80000000u);
    int32_t by_power[4];
    __asm__("ldrd %0, %1, [%2]" : "=r"(by_power[0]), "=r"(by_power[1]) : "r"(c));
    __asm__("ldrd %0, %1, [%2, #8]" : "=r"(by_power[2]), "=r"(by_power[3]) : "r"(c));
    int32_t y = add_scaled(by_power[2], by_power[3], d); /* which the table has twice */
    y = add_scaled(by_power[1], 2 * y, d);
    return add_scaled(by_power[0], 2 * y, d);
}
/* m, or for a negative x another one, which is `more` larger. */
INLINE int32_t of_sign(int32_t x, int32_t m, int32_t more)
{
    return (int32_t)((uint32_t)m + (uint32_t)(more & x >> 31));
}
INLINE int32_t difference(int32_t a, int32_t b) { return (int32_t)((uint32_t)a - (uint32_t)b); }

/* Two values as one word. */
INLINE uint32_t paired(int32_t low, int32_t high)
{
    uint32_t y;
    __asm__("pkhbt %0, %1, %2, lsl #16" : "=r"(y) : "r"(low), "r"(high));
    return y;
}
INLINE void store_pair(int16_t *y, int32_t low, int32_t high)
{
    *(word_in_memory *)y = paired(low, high);
}
INLINE int32_t half_of(int bits) { return bits > 0 ? (int32_t)(1u << (bits - 1)) : 0; }

/* The end of attend for a pair of channels: gates, and what is passed along beside them. */
INLINE void open_pairs(int rows, int channels, int row, int32_t low, int32_t high, int32_t through,
                       int bits, const int16_t *x, const int16_t *passed, int16_t *y)
{
    const int32_t half = half_of(bits);
    const uint32_t gains = paired(low, high), others = paired(through, through);
    ROLLED for (int p = 0; p < rows; p++) {
        const uint32_t given = word_at(x + p * channels), other = word_at(passed + p * row);
        int16_t *to = y + 2 * p * channels;
        store_pair(to, narrowed(add_product(half, given, gains) >> bits),
                   narrowed(add_product(half, other, others) >> bits));
        store_pair(to + 2, narrowed(add_upper_product(half, given, gains) >> bits),
                   narrowed(add_upper_product(half, other, others) >> bits));
    }
}

/* What merge does, whose sums have less than 30 bits. */
INLINE void merge_rows(int bands, int bins, int alike, int16_t weight_alike, int32_t multiplier_alike,
                       const uint16_t *first, const uint16_t *until, const int8_t *weight,
                       const int32_t *multiplier, const int16_t *features, int16_t *y)
{
    ROLLED for (int b = 0; b < bands; b++) {
        const int16_t *x = features + (b < alike ? b : alike + first[b - alike]);
        int32_t sums[3] = {x[0] * weight_alike, x[bins] * weight_alike, x[2 * bins] * weight_alike};
        const int32_t m = b < alike ? multiplier_alike : multiplier[b - alike];
        if (b >= alike) {
            const int8_t *w = weight + until[b - alike], *const end = weight + until[b - alike + 1];
            UNROLL for (int n = 0; n < 3; n++) sums[n] = 0;
            ROLLED for (; w < end; w++, x++)
                UNROLL for (int n = 0; n < 3; n++) sums[n] += x[n * bins] * *w;
        }
        UNROLL for (int n = 0; n < 3; n++)
            y[4 * b + n] = (int16_t)narrowed(scaled_once(2 * sums[n], m));
        y[4 * b + 3] = 0;
    }
}

#if HELIUM
#include "helium.h"
#else

/* Sums of a tile, with what they begin with. Written out, since compilers spill sums. */
INLINE void add_whole_tile(const struct extent e, const int16_t *x, const int8_t *weight,
                           int32_t sums[TILE][2])
{
    uint32_t first, second, a, b, low, high;
#define POSITION(p)                                               \
    "ldrd %[low], %[high], [%[x], #.Lx + " #p " * %c[step]]\n"   \
    "smlad %[s" #p "0], %[a], %[low], %[s" #p "0]\n"             \
    "smlad %[s" #p "1], %[b], %[low], %[s" #p "1]\n"             \
    "smlad %[s" #p "0], %[first], %[high], %[s" #p "0]\n"        \
    "smlad %[s" #p "1], %[second], %[high], %[s" #p "1]\n"
    __asm__(".set .Lweight, 0\n"
            ".set .Lrow, 0\n"
            ".rept %c[taps]\n"
            ".set .Lx, .Lrow\n"
            ".rept %c[fours]\n"
            "ldr %[low], %[w]\n" /* there is no register for it */
            "ldrd %[first], %[second], [%[low], #.Lweight]\n"
            "sxtb16 %[a], %[first]\n"
            "sxtb16 %[b], %[second]\n"
            "sxtb16 %[first], %[first], ror #8\n"
            "sxtb16 %[second], %[second], ror #8\n"
            POSITION(0) POSITION(1) POSITION(2)
            ".set .Lweight, .Lweight + %c[stride]\n"
            ".set .Lx, .Lx + 8\n"
            ".endr\n"
            ".set .Lrow, .Lrow + %c[row]\n"
            ".endr\n"
            : [s00] "+r"(sums[0][0]), [s01] "+r"(sums[0][1]), [s10] "+r"(sums[1][0]),
              [s11] "+r"(sums[1][1]), [s20] "+r"(sums[2][0]), [s21] "+r"(sums[2][1]),
              [first] "=&r"(first), [second] "=&r"(second), [a] "=&r"(a), [b] "=&r"(b),
              [low] "=&r"(low), [high] "=&r"(high)
            : [x] "r"(x), [w] "m"(weight), [taps] "i"(e.taps), [fours] "i"(e.inputs / 4),
              [stride] "i"(16 * e.quads), [row] "i"(2 * e.row), [step] "i"(2 * e.step)
            : "memory");
#undef POSITION
}

/* The same of some positions. */
INLINE void add_tile(const struct extent e, int positions, const int16_t *x, const int8_t *weight,
                     int32_t sums[TILE][2])
{
    if (positions == TILE) {
        add_whole_tile(e, x, weight, sums);
        return;
    }
    ROLLED for (int t = 0; t < e.taps; t++) {
        ROLLED for (int i = 0; i < e.inputs; i += 4) {
            const int8_t *w = weight + 4 * e.quads * (t * e.inputs + i);
            const int16_t *given = x + t * e.row + i;
            const int16x2_t low = (int16x2_t)word_at(given), high = (int16x2_t)word_at(given + 2);
            UNROLL for (int o = 0; o < 2; o++) {
                const uint32_t four = word_at(w + 4 * o);
                sums[0][o] = __smlad(even_bytes(four), low, sums[0][o]);
                sums[0][o] = __smlad(odd_bytes(four), high, sums[0][o]);
            }
        }
    }
}

/* What convolve does, with a block of three positions or, where there is one, of one. */
INLINE void convolve_tiles(const struct convolution c, const struct extent e, int positions,
                           const int16_t *x, const int8_t *weight,
                           const int32_t *const biases[3], const int32_t *rows, void *y)
{
    const int of_phase = c.outputs / c.phases, row = c.phases * c.channels;
    const int multipliers = 2 * c.groups * c.outputs, below = 3 * c.groups * c.outputs;
    ROLLED for (int first = 0; first < c.positions; first += positions) {
        const int from = tile_from(first, positions, c.positions);
        const int32_t *bias[TILE];
        UNROLL for (int p = 0; p < positions; p++) bias[p] = biases[1];
        if (biases[0] != biases[1]) {
            if (from == 0) bias[0] = biases[0];
            if (from + positions == c.positions) bias[positions - 1] = biases[2];
        }
        const int16_t *given = x + from * c.step;
        ROLLED for (int o = 0; o < c.outputs; o += 2) {
            int32_t sums[TILE][2], m[2], more[2];
            UNROLL for (int p = 0; p < positions; p++)
                UNROLL for (int h = 0; h < 2; h++) sums[p][h] = bias[p][o + h];
            add_tile(e, positions, given, weight + 4 * o, sums);
            UNROLL for (int h = 0; h < 2; h++) {
                m[h] = rows[multipliers + o + h];
                more[h] = c.activation == LEAKY ? difference(rows[below + o + h], m[h]) : 0;
            }
            const int at = o / of_phase * c.channels + o % of_phase + from * row;
            UNROLL for (int p = 0; p < positions; p++) {
                UNROLL for (int h = 0; h < 2; h++) {
                    const int32_t sum = sums[p][h];
                    const int32_t by = c.activation == LEAKY ? of_sign(sum, m[h], more[h]) : m[h];
                    const int32_t result = scaled_once(sum, by);
                    if (c.activation == WIDE)
                        ((int32_t *)y)[at + p * row + h] = result;
                    else
                        ((int16_t *)y)[at + p * row + h] = (int16_t)narrowed(result);
                }
            }
        }
    }
}

/* Sums of a tile of channels, with the products of a frame's five rows and three taps. */
INLINE void add_frame(int channels, const int16_t *x, const uint32_t *w, int32_t sums[TILE][2])
{
    uint32_t first, second, third, given;
#define ROW(n) "ldr %[given], [%[x], #" #n " * %c[row]]\n"
#define TAP(p, w)                                             \
    "smlabb %[s" #p "0], %[given], %[" #w "], %[s" #p "0]\n" \
    "smlatt %[s" #p "1], %[given], %[" #w "], %[s" #p "1]\n"
    __asm__("ldr %[first], [%[w]]\n"
            "ldr %[second], [%[w], #4]\n"
            "ldr %[third], [%[w], #8]\n"
            ROW(0) TAP(0, first)
            ROW(1) TAP(0, second) TAP(1, first)
            ROW(2) TAP(0, third) TAP(1, second) TAP(2, first)
            ROW(3) TAP(1, third) TAP(2, second)
            ROW(4) TAP(2, third)
            : [s00] "+r"(sums[0][0]), [s01] "+r"(sums[0][1]), [s10] "+r"(sums[1][0]),
              [s11] "+r"(sums[1][1]), [s20] "+r"(sums[2][0]), [s21] "+r"(sums[2][1]),
              [first] "=&r"(first), [second] "=&r"(second), [third] "=&r"(third),
              [given] "=&r"(given)
            : [x] "r"(x), [w] "r"(w), [row] "i"(2 * channels)
            : "memory");
#undef TAP
#undef ROW
}

/* Depthwise, 3 rows by 3 frames: two channels of three rows at once. */
INLINE void convolve_frames_in_pairs(int rows, int channels,
                                     const int16_t *const frames[3], const struct affine a,
                                     int16_t *y)
{
    ROLLED for (int c = 0; c < channels; c += 2) {
        uint32_t w[9];
        int32_t m[2], more[2];
        UNROLL for (int k = 0; k < 9; k++) {
            const int8_t *pair = a.weight + k * channels + c;
            w[k] = (uint32_t)(uint16_t)pair[0] | (uint32_t)pair[1] << 16;
        }
        UNROLL for (int h = 0; h < 2; h++) {
            m[h] = a.rows[channels + c + h];
            more[h] = difference(a.rows[2 * channels + c + h], m[h]);
        }
        ROLLED for (int first = 0; first < rows; first += TILE) {
            const int from = tile_from(first, TILE, rows);
            int32_t sums[TILE][2];
            UNROLL for (int p = 0; p < TILE; p++)
                UNROLL for (int h = 0; h < 2; h++) sums[p][h] = a.rows[c + h];
            UNROLL for (int t = 0; t < 3; t++)
                add_frame(channels, frames[t] + from * channels + c, w + 3 * t, sums);
            UNROLL for (int p = 0; p < TILE; p++)
                UNROLL for (int h = 0; h < 2; h++)
                    y[(from + p) * channels + c + h] =
                        (int16_t)narrowed(
                            scaled_once(sums[p][h], of_sign(sums[p][h], m[h], more[h])));
        }
    }
}

/* One unit's new state: sums before the gates, those of reset and update halved, and the candidate's
   from the input and from the state. */
INLINE int16_t renewed(int32_t reset, int32_t update, int32_t candidate, int32_t remembered,
                       int32_t state, const coefficient *tanh_table)
{
    const int32_t twice_opened = (tanh_of(narrowed(reset), tanh_table) + INT16_MAX) & ~1;
    const int32_t kept = add_scaled(candidate, narrowed(remembered) * 65536, twice_opened);
    const int32_t proposal = tanh_of(narrowed(kept), tanh_table);
    const int32_t gate = tanh_of(narrowed(update), tanh_table);
    /* (s + p + 1) / 2 is what (s - p) / 2 leaves of s, both rounded down. */
    const int32_t twice_half = (state - proposal) & ~1;
    return (int16_t)narrowed(add_scaled(state - (twice_half >> 1), twice_half, gate * 65536));
}

/* What recur does after the projection: hidden sums of a tile of rows, then their units one by one. */
INLINE void recur_in_tiles(const struct recurrence r, const struct extent e, int positions,
                           const int8_t *weight, const int32_t *rows, const int32_t *projected, int16_t *state,
                           const coefficient *tanh_table)
{
    const int gate_count = 3 * r.units, multipliers = 2 * r.groups * gate_count;
    ROLLED for (int first = 0; first < r.rows; first += positions) {
        int16_t *now = state + first * r.groups * r.units;
        int32_t all[TILE * 3 * 16]; /* of the gates, from the state */
        ROLLED for (int o = 0; o < gate_count; o += 2) {
            int32_t sums[TILE][2];
            UNROLL for (int p = 0; p < positions; p++)
                UNROLL for (int h = 0; h < 2; h++) sums[p][h] = rows[o + h];
            add_tile(e, positions, now, weight + 4 * o, sums);
            UNROLL for (int p = 0; p < positions; p++)
                UNROLL for (int h = 0; h < 2; h++)
                    all[p * gate_count + o + h] = scaled_once(sums[p][h], rows[multipliers + o + h]);
        }
        ROLLED for (int p = 0; p < positions; p++) {
            const int32_t *given = projected + (first + p) * r.groups * gate_count;
            ROLLED for (int u = 0; u < r.units; u++) {
                const int32_t *of = all + p * gate_count + u;
                int16_t *place = now + p * r.groups * r.units + u;
                *place = renewed(of[0] + given[u], of[r.units] + given[u + r.units],
                                 given[u + 2 * r.units], of[2 * r.units], *place, tanh_table);
            }
        }
    }
}

/* What scan does. */
INLINE void scan_units(int rows, int groups, const struct affine hidden, const int *place,
                       const int *backward, const int32_t *projected, const coefficient *tanh_table,
                       int16_t *states)
{
    ROLLED for (int g = 0; g < groups; g++) {
        const int8_t *weight = hidden.weight + g * 48;
        const int32_t *bias = hidden.rows + g * 12, *multiplier = bias + groups * 12;
        uint32_t pairs[24]; /* [gate][unit][input / 2] */
        int16_t zero[4] ALIGNED = {0};
        const int16_t *before = zero;
        UNROLL for (int n = 0; n < 24; n++) {
            const int8_t *w = weight + n % 2 * 24 + n / 2;
            pairs[n] = (uint32_t)(uint16_t)w[0] | (uint32_t)w[12] << 16;
        }
        ROLLED for (int k = 0; k < rows; k++) {
            const int row = backward[g] ? rows - 1 - k : k;
            const int32_t *given = projected + (row * groups + place[g]) * 12;
            const int16x2_t low = (int16x2_t)word_at(before), high = (int16x2_t)word_at(before + 2);
            int16_t *now = states + (row * groups + g) * 4;
            ROLLED for (int u = 0; u < 4; u++) {
                int32_t all[3];
                UNROLL for (int gate = 0; gate < 3; gate++) {
                    const int o = 4 * gate + u;
                    int32_t sum = __smlad((int16x2_t)pairs[2 * o], low, bias[o]);
                    sum = __smlad((int16x2_t)pairs[2 * o + 1], high, sum);
                    all[gate] = scaled_once(sum, multiplier[o]);
                }
                now[u] = renewed(all[0] + given[u], all[1] + given[4 + u], given[8 + u], all[2],
                                 before[u], tanh_table);
            }
            before = now;
        }
    }
}

/* What add does. */
INLINE void add_pairs(int count, const int16_t *a, int32_t of_a, const int16_t *b, int32_t of_b,
                      int bits, int16_t *y)
{
    const int32_t half = half_of(bits);
    const uint32_t gain_a = paired(of_a, of_a), gain_b = paired(of_b, of_b);
    BY_THREE for (int i = 0; i < count; i += 2) {
        const uint32_t first = word_at(a + i), second = word_at(b + i);
        const int32_t low = add_product(add_product(half, first, gain_a), second, gain_b);
        const int32_t high = add_upper_product(add_upper_product(half, first, gain_a), second, gain_b);
        store_pair(y + i, narrowed(low >> bits), narrowed(high >> bits));
    }
}

/* Sum and sum of squares. */
INLINE int32_t add_up(int count, const int16_t *x, int64_t *squares)
{
    int32_t sum = 0;
    int64_t all = 0;
    const int16x2_t one = 0x10001;
    BY_THREE for (int i = 0; i < count; i += 2) {
        const int16x2_t pair = (int16x2_t)word_at(x + i);
        sum = __smlad(pair, one, sum);
        all = __smlald(pair, pair, all);
    }
    *squares = all;
    return sum;
}

/* The second half of normalize: what is centred times its deviation's inverse, which has 31 bits; so its
   double lacks 2^32 to be one without a sign. x becomes what is normalized. */
INLINE void spread_evenly(int count, int32_t start, int32_t gain, int32_t inverse, int left, int right,
                          const struct normalization *n, int16_t *x, const int16_t *residual,
                          const int16_t *scale, const int16_t *shift, int16_t *y)
{
    const int bits = n->bits;
    const int32_t nearest = half_of(right), half = half_of(bits), twice = (int32_t)((uint32_t)inverse << 1);
    const uint32_t gains = paired(gain, gain), factors = paired(n->step, n->residual);
    /* Two loops, whose pointers and constants registers hold. */
    ROLLED for (int i = 0; i < count; i += 2) {
        const uint32_t given = word_at(x + i);
        int32_t normal[2];
        UNROLL for (int h = 0; h < 2; h++) {
            const int32_t centred = h ? add_upper_product(start, given, gains)
                                      : add_product(start, given, gains);
            const int32_t scaled = add_scaled(centred, centred, twice);
            normal[h] = narrowed((int32_t)(((uint32_t)scaled << left) + (uint32_t)nearest) >> right);
        }
        store_pair(x + i, normal[0], normal[1]);
    }
    ROLLED for (int i = 0; i < count; i += 2) {
        const uint32_t normal = word_at(x + i), before = word_at(residual + i);
        const uint32_t scales = word_at(scale + i), shifts = word_at(shift + i);
        const uint32_t low = paired((int32_t)shifts, (int32_t)before), high = upper_pair(shifts, before);
        const int32_t of_low = __smlad((int16x2_t)low, (int16x2_t)factors, add_product(half, normal, scales));
        const int32_t of_high =
            __smlad((int16x2_t)high, (int16x2_t)factors, add_upper_product(half, normal, scales));
        store_pair(y + i, narrowed(of_low >> bits), narrowed(of_high >> bits));
    }
}

#endif
#endif
