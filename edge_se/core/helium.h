/* What dsp.h has for processors with Helium, four numbers of 32 bits at a time: Cortex-M55, M85. The
   same bits. Weights lie by output, all inputs of all taps side by side, so that a vector of eight is
   multiplied and added up by one instruction. */

#ifndef HELIUM_H
#define HELIUM_H

#include <arm_mve.h>

/* Four values of 16 bits from memory, and to memory within them. */
INLINE int32x4_t four_at(const int16_t *x) { return vldrhq_s32(x); }
INLINE void store_four(int16_t *y, int32x4_t a)
{
    vstrhq_s32(y, vreinterpretq_s32_s16(vqmovnbq_s32(vreinterpretq_s16_s32(a), a)));
}
INLINE int32x4_t four_narrowed(int32x4_t a)
{
    return vmovlbq_s16(vqmovnbq_s32(vreinterpretq_s16_s32(a), a));
}
/* a + (b c + 2^31) / 2^32, rounded down */
INLINE int32x4_t add_four_scaled(int32x4_t a, int32x4_t b, int32x4_t c)
{
    return vaddq_s32(a, vrmulhq_s32(b, c));
}
/* A layer's results from its sums. */
INLINE int32x4_t four_scaled(int32x4_t sums, const int32_t *above, const int32_t *below)
{
    const int32x4_t by = vldrwq_s32(above);
    if (!below) return vrmulhq_s32(sums, by);
    const int32x4_t more = vandq_s32(vsubq_s32(vldrwq_s32(below), by), vshrq_n_s32(sums, 31));
    return vrmulhq_s32(sums, vaddq_s32(by, more));
}
/* tanh_of each. */
INLINE int32x4_t four_tanh(int32x4_t x, const coefficient *table)
{
    const uint32x4_t bits = vreinterpretq_u32_s32(x);
    const uint32x4_t span = vandq_u32(vshrq_n_u32(bits, SPAN_BITS - 2), vdupq_n_u32(4 * (SPANS - 1)));
    const int32x4_t d = vreinterpretq_s32_u32(
        veorq_u32(vshlq_n_u32(bits, 32 - SPAN_BITS), vdupq_n_u32(0x80000000u)));
    int32x4_t y = vldrwq_gather_shifted_offset_s32(table + 3, span);
    y = add_four_scaled(vldrwq_gather_shifted_offset_s32(table + 2, span), y, d);
    y = vaddq_s32(vldrwq_gather_shifted_offset_s32(table + 1, span), vqrdmulhq_s32(y, d));
    return vaddq_s32(vldrwq_gather_shifted_offset_s32(table, span), vqrdmulhq_s32(y, d));
}

/* Biases and weighted sums of four outputs. */
INLINE int32x4_t four_sums(const struct extent e, const int16_t *x, const int8_t *weight,
                           const int32_t *bias)
{
    const int all = e.taps * e.inputs;
    int32_t sums[4];
    UNROLL for (int t = 0; t < e.taps; t++) {
        UNROLL for (int i = 0; i < e.inputs; i += 8) {
            const int16_t *given = x + t * e.row + i;
            const int8_t *w = weight + t * e.inputs + i + 2 * all;
            OPAQUE(w); /* in the middle: addresses of loads reach 127 bytes to both sides */
            const mve_pred16_t some = vctp16q((uint32_t)(e.inputs - i));
            const int whole = i + 8 <= e.inputs;
            const int16x8_t eight = whole ? vldrhq_s16(given) : vldrhq_z_s16(given, some);
            UNROLL for (int o = 0; o < 4; o++) {
                const int8_t *of = w + (o - 2) * all;
                const int16x8_t weights = whole ? vldrbq_s16(of) : vldrbq_z_s16(of, some);
                sums[o] = t || i ? vmladavaq_s16(sums[o], eight, weights) : vmladavq_s16(eight, weights);
            }
        }
    }
    const int32x4_t four = {sums[0], sums[1], sums[2], sums[3]};
    return vaddq_s32(four, vldrwq_s32(bias));
}

INLINE void convolve_tiles(const struct convolution c, const struct extent e, int positions,
                           const int16_t *x, const int8_t *weight,
                           const int32_t *const biases[3], const int32_t *rows, void *y)
{
    const int of_phase = c.outputs / c.phases, row = c.phases * c.channels, all = e.taps * e.inputs;
    const int32_t *above = rows + 2 * c.groups * c.outputs, *below = above + c.groups * c.outputs;
    (void)positions;
    ROLLED for (int p = 0; p < c.positions; p++) {
        const int32_t *bias = biases[p == 0 ? 0 : p == c.positions - 1 ? 2 : 1];
        ROLLED for (int o = 0; o < c.outputs; o += 4) {
            const int at = o / of_phase * c.channels + o % of_phase + p * row;
            const int32x4_t sums = four_sums(e, x + p * c.step, weight + o * all, bias + o);
            const int32x4_t results = four_scaled(sums, above + o, c.activation == LEAKY ? below + o : 0);
            if (c.activation == WIDE)
                vstrwq_s32((int32_t *)y + at, results);
            else
                store_four((int16_t *)y + at, results);
        }
    }
}

INLINE void convolve_frames_in_pairs(int rows, int channels, const int16_t *const frames[3],
                                     const struct affine a, int16_t *y)
{
    ROLLED for (int c = 0; c < channels; c += 4) {
        const int16_t *x[3] = {frames[0] + c, frames[1] + c, frames[2] + c};
        const int8_t *weight = a.weight + c;
        const int32_t *bias = a.rows + c;
        ROLLED for (int p = 0; p < rows; p++) {
            OPAQUE(weight);
            OPAQUE(bias);
            int32x4_t sums = vldrwq_s32(bias);
            UNROLL for (int t = 0; t < 3; t++) {
                UNROLL for (int k = 0; k < 3; k++) {
                    const int32x4_t weights = vldrbq_s32(weight + (3 * t + k) * channels);
                    sums = vaddq_s32(sums, vmulq_s32(four_at(x[t] + k * channels), weights));
                }
                x[t] += channels;
                __asm__("" : "+w"(sums)); /* products are added before there are more of them */
            }
            store_four(y + p * channels + c, four_scaled(sums, bias + channels, bias + 2 * channels));
        }
    }
}

/* `renewed` for four units. */
INLINE void renew_four(int32x4_t reset, int32x4_t update, int32x4_t candidate, int32x4_t remembered,
                       const int16_t *before, int16_t *now, const coefficient *tanh_table)
{
    const int32x4_t state = four_at(before);
    const int32x4_t opened = vaddq_n_s32(four_tanh(four_narrowed(reset), tanh_table), INT16_MAX);
    const int32x4_t kept = add_four_scaled(candidate, vshlq_n_s32(four_narrowed(remembered), 16),
                                           vbicq_n_s32(opened, 1));
    const int32x4_t proposal = four_tanh(four_narrowed(kept), tanh_table);
    const int32x4_t gate = vshlq_n_s32(four_tanh(four_narrowed(update), tanh_table), 16);
    const int32x4_t half = vhsubq_s32(state, proposal);
    store_four(now, add_four_scaled(vsubq_s32(state, half), vshlq_n_s32(half, 1), gate));
}

INLINE void recur_in_tiles(const struct recurrence r, const struct extent e, int positions,
                           const int8_t *weight, const int32_t *rows, const int32_t *projected,
                           int16_t *state, const coefficient *tanh_table)
{
    const int gate_count = 3 * r.units;
    const int32_t *multiplier = rows + 2 * r.groups * gate_count;
    (void)positions;
    ROLLED for (int p = 0; p < r.rows; p++) {
        int16_t *now = state + p * r.groups * r.units;
        const int32_t *given = projected + p * r.groups * gate_count;
        int32_t all[3 * 16]; /* of the gates, from the state */
        ROLLED for (int o = 0; o < gate_count; o += 4)
            vstrwq_s32(all + o, four_scaled(four_sums(e, now, weight + o * r.units, rows + o),
                                            multiplier + o, 0));
        ROLLED for (int u = 0; u < r.units; u += 4) {
            const int32_t *of = all + u, *from = given + u;
            renew_four(vaddq_s32(vldrwq_s32(of), vldrwq_s32(from)),
                       vaddq_s32(vldrwq_s32(of + r.units), vldrwq_s32(from + r.units)),
                       vldrwq_s32(from + 2 * r.units), vldrwq_s32(of + 2 * r.units), now + u, now + u,
                       tanh_table);
        }
    }
}

INLINE void scan_units(int rows, int groups, const struct affine hidden, const int *place,
                       const int *backward, const int32_t *projected, const coefficient *tanh_table,
                       int16_t *states)
{
    ROLLED for (int g = 0; g < groups; g++) {
        const int8_t *weight = hidden.weight + g * 48;
        const int32_t *bias = hidden.rows + g * 12;
        const int16_t zero[4] = {0};
        const int16_t *before = zero;
        ROLLED for (int k = 0; k < rows; k++) {
            const int row = backward[g] ? rows - 1 - k : k;
            const int32_t *given = projected + (row * groups + place[g]) * 12;
            int16_t *now = states + (row * groups + g) * 4;
            int32x4_t all[3];
            OPAQUE(weight);
            OPAQUE(bias);
            UNROLL for (int gate = 0; gate < 3; gate++) {
                int32x4_t sums = vldrwq_s32(bias + 4 * gate);
                UNROLL for (int i = 0; i < 4; i++)
                    sums = vmlaq_n_s32(sums, vldrbq_s32(weight + 12 * i + 4 * gate), before[i]);
                all[gate] = four_scaled(sums, bias + (groups * 3 + gate) * 4, 0);
            }
            renew_four(vaddq_s32(all[0], vldrwq_s32(given)), vaddq_s32(all[1], vldrwq_s32(given + 4)),
                       vldrwq_s32(given + 8), all[2], before, now, tanh_table);
            before = now;
        }
    }
}

INLINE void add_pairs(int count, const int16_t *a, int32_t of_a, const int16_t *b, int32_t of_b,
                      int bits, int16_t *y)
{
    ROLLED for (int i = 0; i < count; i += 4) {
        const int32x4_t sums = vmlaq_n_s32(vmulq_n_s32(four_at(a + i), of_a), four_at(b + i), of_b);
        store_four(y + i, vrshlq_n_s32(sums, -bits));
    }
}

INLINE int32_t add_up(int count, const int16_t *x, int64_t *squares)
{
    int32_t sum = 0;
    int64_t all = 0;
    ROLLED for (int i = 0; i < count; i += 8) {
        const int16x8_t eight = vldrhq_s16(x + i);
        sum = vaddvaq_s16(sum, eight);
        all = vmlaldavaq_s16(all, eight, eight);
    }
    *squares = all;
    return sum;
}

INLINE void spread_evenly(int count, int32_t start, int32_t gain, int32_t inverse, int left, int right,
                          const struct normalization *n, int16_t *x, const int16_t *residual,
                          const int16_t *scale, const int16_t *shift, int16_t *y)
{
    const int32x4_t twice = vdupq_n_s32((int32_t)((uint32_t)inverse << 1));
    ROLLED for (int i = 0; i < count; i += 4) {
        const int32x4_t centred = vaddq_n_s32(vmulq_n_s32(four_at(x + i), gain), start);
        const int32x4_t scaled = vrshlq_n_s32(add_four_scaled(centred, centred, twice), left - right);
        int32x4_t sums = vmulq_s32(four_narrowed(scaled), four_at(scale + i));
        sums = vmlaq_n_s32(sums, four_at(shift + i), n->step);
        sums = vmlaq_n_s32(sums, four_at(residual + i), n->residual);
        store_four(y + i, vrshlq_n_s32(sums, -n->bits));
    }
}

#endif
