/* The layers of the network in integers; docs/c-engine.md states the arithmetic, which
   targets/c/fixed_engine.py writes the tables and calls for.

   A value is an array of rows (frequency positions) of channels, 16 bits each. Sizes are constants
   wherever a function is called. Weights have 8 bits and lie in the order in which they are read:
   [tap][input][output]; sums have 32. Right shifts of negative numbers are arithmetic. */

#ifndef FIXED_KERNELS_H
#define FIXED_KERNELS_H

#include <string.h>

#include "fixed_lanes.h"

enum activation { LINEAR, LEAKY, BOUNDED, WIDE };

/* Fractional bits of sums before gates, of gates and states, of normalized values. */
#define SUM_BITS 12
#define UNIT_BITS 15
#define NORMAL_BITS 10
/* Centred values are taken times count and this, which fits 16 bits. */
#define CENTRED_BITS 5
#define CENTRED_GAIN (1 << CENTRED_BITS)
/* Loops over finished sums: unrolled where bringing them to 16 bits takes a few instructions. */
#if defined(__aarch64__)
#define MAYBE_UNROLL UNROLL
#else
#define MAYBE_UNROLL ROLLED
#endif

/* tanh over -8 to 8 in 2^TANH_INDEX_BITS steps. */
#define TANH_INDEX_BITS 10
#define TANH_STEP_BITS (SUM_BITS + 4 - TANH_INDEX_BITS)

/* tanh of sums, from a table of values (upper 16 bits) and what they rise by to the next (lower);
   `table` is the entry of zero. */
INLINE i4 i4_tanh(i4 x, const int32_t *table)
{
    x = i4_clip(x, -(8 << SUM_BITS), (8 << SUM_BITS) - 1);
    const i4 entries = i4_gather(table, i4_shift_right(x, TANH_STEP_BITS));
    const i4 rise = i4_and(entries, 0xffff), part = i4_and(x, (1 << TANH_STEP_BITS) - 1);
    /* A rise is below 2^(16 - TANH_STEP_BITS), so that this is the value alone, shifted left. */
    const i4 start = i4_shift_right(entries, 16 - TANH_STEP_BITS);
    return i4_round_shift(i4_mul_add(start, rise, part), TANH_STEP_BITS);
}

/* sigmoid(2 x), 0 to 32767 */
INLINE i4 i4_sigmoid(i4 half, const int32_t *table)
{
    return i4_half_sum(i4_tanh(half, table), i4_all(1 << UNIT_BITS));
}

struct convolution {
    int positions, block, step; /* elements from one position's input to the next */
    int taps, inputs, row;      /* elements from one tap's input to the next */
    int groups, outputs;        /* of a group, all phases */
    int phases, channels;       /* of a result's row */
    int shift;                  /* of sums, to the left */
    enum activation activation;
};

/* Sums to results: (sum 2^shift m + 2^30) / 2^31, m another one for negative sums. */
struct affine {
    const int8_t *weight;
    const int32_t *bias, *multiplier, *below; /* [group][output] */
};

#define BLOCK_LIMIT 16
#define QUAD_LIMIT 12

struct extent {
    int block, quads; /* positions and, by fours, outputs */
    int taps, inputs;
    int step, row; /* elements from one position's input to the next, and from one tap's */
};

/* Biases and weighted sums of all taps and inputs. With vector registers all sums of a block are made
   at once, elsewhere four. */
INLINE void accumulate(const struct extent e, const int16_t *x, const int8_t *weight,
                       const int32_t *bias, i4 sums[BLOCK_LIMIT][QUAD_LIMIT])
{
    const int together = VECTORS ? e.quads : 1, block = VECTORS ? e.block : 1;
    ROLLED for (int from = 0; from < e.block; from += block) {
        ROLLED for (int first = 0; first < e.quads; first += together) {
            i4 partial[BLOCK_LIMIT][QUAD_LIMIT];
            UNROLL for (int p = 0; p < block; p++)
                UNROLL for (int o = 0; o < together; o++)
                    partial[p][o] = i4_load(bias + 4 * (first + o));
            ROLLED for (int t = 0; t < e.taps; t++) {
                ROLLED for (int i = 0; i < e.inputs; i += 4) {
                    const int8_t *w = weight + (t * e.inputs + i) * e.quads * 4;
                    h4 given[BLOCK_LIMIT];
                    UNROLL for (int p = 0; p < block; p++)
                        given[p] = h4_load(x + (from + p) * e.step + t * e.row + i);
                    UNROLL for (int k = 0; k < 4; k++) {
                        UNROLL for (int o = 0; o < together; o++) {
                            /* Weights are loaded for two quads at a time. */
                            const int quad = k * e.quads + first + o;
                            const w8 eight = w8_load(w + 8 * (quad / 2));
                            UNROLL for (int p = 0; p < block; p++)
                                partial[p][o] = quad % 2
                                                    ? i4_mac_high(partial[p][o], eight, given[p], k)
                                                    : i4_mac_low(partial[p][o], eight, given[p], k);
                        }
                    }
                }
            }
            UNROLL for (int p = 0; p < block; p++)
                UNROLL for (int o = 0; o < together; o++)
                    sums[from + p][first + o] = partial[p][o];
        }
    }
}

INLINE i4 rescale(i4 sum, int shift, i4 multiplier)
{
    return i4_scale(shift ? i4_shift_left_saturated(sum, shift) : sum, multiplier);
}

/* The same with a multiplier for negative sums, which is the smaller one. */
INLINE i4 rescale_leaky(i4 sum, int shift, i4 above, i4 below)
{
    return i4_max(rescale(sum, shift, above), rescale(sum, shift, below));
}

/* One group. `edges` [2][inputs][outputs] or none: what to add at the first and the last position for
   `ends`, the first row of x that is no padding and the last one. `y` has 16 bits, or 32 if WIDE. */
INLINE void convolve_group(const struct convolution c, const int16_t *x, const struct affine *a,
                           const int8_t *edges, const int16_t *ends, const int32_t *tanh_table,
                           void *y, int group)
{
    const int quads = c.outputs / 4, of_phase = c.outputs / c.phases;
    const int8_t *weight = a->weight + group * c.taps * c.inputs * c.outputs;
    const int32_t *bias = a->bias + group * c.outputs;
    const int32_t *multiplier = a->multiplier + group * c.outputs;
    const int32_t *below = a->below + group * c.outputs;
    ROLLED for (int first = 0; first < c.positions; first += c.block) {
        const int from = first + c.block <= c.positions ? first : c.positions - c.block;
        const struct extent e = {c.block, quads, c.taps, c.inputs, c.step, c.row};
        i4 sums[BLOCK_LIMIT][QUAD_LIMIT];
        accumulate(e, x + from * c.step, weight, bias, sums);
        if (edges && (from == 0 || from + c.block == c.positions)) {
            const int p = from ? c.block - 1 : 0, side = from ? 1 : 0;
            UNROLL for (int q = 0; q < quads; q++) {
                int32_t sum[4];
                i4_store(sum, sums[p][q]);
                for (int i = 0; i < c.inputs; i++)
                    for (int o = 0; o < 4; o++)
                        sum[o] += edges[(side * c.inputs + i) * c.outputs + 4 * q + o] *
                                  ends[side * c.row + i];
                if (from)
                    sums[c.block - 1][q] = i4_load(sum);
                else
                    sums[0][q] = i4_load(sum);
            }
        }
        MAYBE_UNROLL for (int o = 0; o < quads; o++) {
            const int at = c.groups == 1 ? 4 * o
                                         : 4 * o / of_phase * c.channels + group * of_phase +
                                               4 * o % of_phase;
            const i4 above = i4_load(multiplier + 4 * o);
            const i4 under = c.activation == LEAKY ? i4_load(below + 4 * o) : above;
            MAYBE_UNROLL for (int p = 0; p < c.block; p++) {
                const int to = (from + p) * c.phases * c.channels + at;
                const i4 sum = sums[p][o];
                const i4 result = c.activation == LEAKY
                                      ? rescale_leaky(sum, c.shift, above, under)
                                      : rescale(sum, c.shift, above);
                if (c.activation == WIDE)
                    i4_store((int32_t *)y + to, result);
                else if (c.activation == BOUNDED)
                    h4_store((int16_t *)y + to, i4_tanh(result, tanh_table));
                else
                    h4_store((int16_t *)y + to, result);
            }
        }
    }
}

INLINE void convolve(const struct convolution c, const int16_t *x, const struct affine *a,
                     const int32_t *tanh_table, void *y)
{
    ROLLED for (int g = 0; g < c.groups; g++)
        convolve_group(c, x + g * c.inputs, a, 0, 0, tanh_table, y, g);
}

/* Depthwise, 3 rows by 3 frames; the frames' first rows are padding. */
INLINE void convolve_frames(int rows, int channels, int at_once, int shift, const int16_t *oldest,
                            const int16_t *middle, const int16_t *newest, const struct affine *a,
                            int16_t *y)
{
    const int16_t *const frames[3] = {oldest, middle, newest};
    const int block = VECTORS ? at_once : 1;
    ROLLED for (int c = 0; c < channels; c += 4) {
        h4 w[9];
        UNROLL for (int k = 0; k < 9; k++) {
            int16_t wide[4];
            for (int i = 0; i < 4; i++) wide[i] = a->weight[k * channels + c + i];
            w[k] = h4_load(wide);
        }
        const i4 b = i4_load(a->bias + c), above = i4_load(a->multiplier + c);
        const i4 under = i4_load(a->below + c);
        ROLLED for (int first = 0; first < rows; first += block) {
            const int from = first + block <= rows ? first : rows - block;
            i4 sums[BLOCK_LIMIT];
            UNROLL for (int p = 0; p < block; p++) sums[p] = b;
            UNROLL for (int t = 0; t < 3; t++) {
                UNROLL for (int r = 0; r < block + 2; r++) {
                    const h4 x = h4_load(frames[t] + (from + r) * channels + c);
                    UNROLL for (int k = 0; k < 3; k++)
                        if (r - k >= 0 && r - k < block)
                            sums[r - k] = i4_mac(sums[r - k], x, w[3 * t + k]);
                }
            }
            UNROLL for (int p = 0; p < block; p++)
                h4_store(y + (from + p) * channels + c,
                         rescale_leaky(sums[p], shift, above, under));
        }
    }
}

/* New states of gated recurrent units from the sums before the gates (reset and update halved). */
INLINE i4 new_state(i4 reset, i4 update, i4 candidate, i4 remembered, i4 before,
                    const int32_t *tanh_table)
{
    const i4 open = i4_sigmoid(reset, tanh_table), keep = i4_sigmoid(update, tanh_table);
    const i4 kept = i4_scale(remembered, i4_shift_left(open, 31 - UNIT_BITS));
    const i4 proposal = i4_tanh(i4_add(candidate, kept), tanh_table);
    const i4 change = i4_mul(i4_sub(before, proposal), keep);
    return i4_add(proposal, i4_round_shift(change, UNIT_BITS));
}

struct cell {
    struct affine input;  /* outputs [group][3][unit] */
    struct affine hidden; /* outputs [group][3][unit]; the candidate's bias alone */
};

struct recurrence {
    int rows, block, groups, inputs, units; /* of a group */
    int input_shift, hidden_shift;
};

/* One step of units over frames; `state` [rows][group][unit] is carried on. */
INLINE void recur(const struct recurrence r, const struct cell *cell, const int16_t *x,
                  int32_t *projected, int16_t *state, const int32_t *tanh_table)
{
    const int quads = r.units / 4, gates = 3 * r.units;
    const struct convolution project = {r.rows,  r.block < 3 ? r.block : 3,
                                        r.groups * r.inputs, 1,
                                        r.inputs, r.groups * r.inputs,
                                        r.groups, gates,
                                        1, r.groups * gates,
                                        r.input_shift, WIDE};
    ROLLED for (int g = 0; g < r.groups; g++) {
        const int8_t *hidden = cell->hidden.weight + g * r.units * gates;
        const int32_t *bias = cell->hidden.bias + g * gates;
        const int32_t *multiplier = cell->hidden.multiplier + g * gates;
        convolve_group(project, x + g * r.inputs, &cell->input, 0, 0, 0, projected, g);
        ROLLED for (int first = 0; first < r.rows; first += r.block) {
            const struct extent e = {r.block, 3 * quads, 1, r.units, r.groups * r.units, 0};
            i4 sums[BLOCK_LIMIT][QUAD_LIMIT];
            accumulate(e, state + (first * r.groups + g) * r.units, hidden, bias, sums);
            ROLLED for (int p = 0; p < r.block; p++) {
                const int32_t *from = projected + ((first + p) * r.groups + g) * gates;
                ROLLED for (int q = 0; q < quads; q++) {
                    int16_t *at = state + ((first + p) * r.groups + g) * r.units + 4 * q;
                    i4 scaled[3];
                    UNROLL for (int gate = 0; gate < 3; gate++)
                        scaled[gate] = rescale(sums[p][gate * quads + q], r.hidden_shift,
                                               i4_load(multiplier + gate * r.units + 4 * q));
                    const i4 reset = i4_add(i4_load(from + 4 * q), scaled[0]);
                    const i4 update = i4_add(i4_load(from + r.units + 4 * q), scaled[1]);
                    h4_store(at, new_state(reset, update, i4_load(from + 2 * r.units + 4 * q),
                                           scaled[2], i4_widen(h4_load(at)), tanh_table));
                }
            }
        }
    }
}

#define GROUP_LIMIT 4

/* Groups of four units over the rows of one frame, from zero, some from the last row to the first.
   `projected` [rows][group][3][4] are the inputs' projections, groups in the order `place`. */
INLINE void scan(int rows, int groups, int shift, const struct cell *cell, const int *place,
                 const int *backward, const int32_t *projected, const int32_t *tanh_table,
                 int16_t *states)
{
    int16_t state[GROUP_LIMIT][4] = {{0}};
    ROLLED for (int k = 0; k < rows; k++) {
        MAYBE_UNROLL for (int g = 0; g < groups; g++) {
            const int row = backward[g] ? rows - 1 - k : k;
            const int32_t *given = projected + (row * groups + place[g]) * 12;
            const struct extent e = {1, 3, 1, 4, 0, 0};
            const i4 before = i4_widen(h4_load(state[g]));
            i4 sums[BLOCK_LIMIT][QUAD_LIMIT], scaled[3];
            accumulate(e, state[g], cell->hidden.weight + g * 48, cell->hidden.bias + g * 12, sums);
            UNROLL for (int gate = 0; gate < 3; gate++)
                scaled[gate] = rescale(sums[0][gate], shift,
                                       i4_load(cell->hidden.multiplier + (g * 3 + gate) * 4));
            const i4 after = new_state(i4_add(i4_load(given), scaled[0]),
                                       i4_add(i4_load(given + 4), scaled[1]), i4_load(given + 8),
                                       scaled[2], before, tanh_table);
            h4_store(state[g], after);
            h4_store(states + (row * groups + g) * 4, after);
        }
    }
}

struct normalization {
    int64_t epsilon;  /* in units of count^2 times a squared step of x */
    int16_t residual; /* multiplier of the residual to the result's steps */
    int16_t step;     /* of the shifts */
    int bits;         /* fractional, of all that is added */
};

/* residual + scale * (x - mean) / deviation + shift, over all elements; 528 at most. */
INLINE void normalize(int count, const struct normalization *n, const int16_t *x,
                      const int16_t *residual, const int16_t *scale, const int16_t *shift,
                      int16_t *y)
{
    int32_t sum = 0;
    int64_t squares = 0;
    for (int i = 0; i < count; i++) sum += x[i];
    for (int i = 0; i < count; i++) squares += x[i] * x[i];
    int64_t variance = count * squares - (int64_t)sum * sum + n->epsilon;
    variance = variance < 1 ? 1 : variance;
    /* 2^30 to 2^31 - 1 for the root, 2^30 + 1 to 2^31 - 1 for its reciprocal times 2^61 */
    const int even = (62 - bit_length((uint64_t)variance)) & ~1;
    const int64_t root = square_root((uint64_t)variance << even);
    const int64_t reciprocal = ((int64_t)1 << 61) / root;
    const i4 inverse = i4_all((int32_t)(reciprocal > INT32_MAX ? INT32_MAX : reciprocal));
    const i4 start = i4_all(-CENTRED_GAIN * sum);
    const int right = 30 - even / 2 + CENTRED_BITS - NORMAL_BITS;
    for (int i = 0; i < count; i += 4) {
        const i4 centred = i4_mac_by(start, h4_load(x + i), (int16_t)(CENTRED_GAIN * count));
        const h4 normal = h4_narrow(i4_round_shift_by(i4_scale(centred, inverse), right));
        const i4 shifted = i4_mul_by(h4_load(shift + i), n->step);
        const i4 scaled = i4_mac(shifted, normal, h4_load(scale + i));
        const i4 all = i4_mac_by(scaled, h4_load(residual + i), n->residual);
        h4_store(y + i, i4_round_shift_by(all, n->bits));
    }
}

struct attention {
    int rows, channels, units, row; /* elements of a row of what is passed along */
};

struct levels {
    int32_t energy;       /* multiplier of the sums of squares */
    int energy_shift;     /* and the shift to the right after it */
    int16_t gain, passed; /* multipliers of both halves to the result's steps */
    int bits;             /* fractional, of these two */
    int input_shift;      /* of the cell's sums, to the left */
    int hidden_shift, gate_shift;
};

/* y[row][2 c] = x[row][c] * gate[c], y[row][2 c + 1] = passed[row][c]. */
INLINE void attend(const struct attention a, const struct levels *levels, const struct cell *cell,
                   const struct affine *gate, const int16_t *x, const int16_t *passed,
                   int16_t *state, const int32_t *tanh_table, int16_t *y)
{
    const struct recurrence once = {1, 1, 1, a.channels, a.units, levels->input_shift,
                                    levels->hidden_shift};
    const struct convolution project = {1, 1, a.units, 1, a.units, a.units, 1, a.channels,
                                        1, a.channels, levels->gate_shift, WIDE};
    int16_t energy[16];
    int32_t projected[64], sums[16];
    int64_t squares[16] = {0};
    for (int p = 0; p < a.rows; p++)
        for (int c = 0; c < a.channels; c++)
            squares[c] += x[p * a.channels + c] * x[p * a.channels + c];
    for (int c = 0; c < a.channels; c++)
        energy[c] = (int16_t)saturate(
            round_shift(squares[c] * levels->energy, levels->energy_shift), INT16_MIN, INT16_MAX);
    recur(once, cell, energy, projected, state, tanh_table);
    convolve_group(project, state, gate, 0, 0, 0, sums, 0);
    ROLLED for (int c = 0; c < a.channels; c += 4) {
        const i4 open = i4_sigmoid(i4_load(sums + c), tanh_table);
        const h4 gain =
            h4_narrow(i4_scale(i4_shift_left(open, 31 - UNIT_BITS), i4_all(levels->gain)));
        for (int p = 0; p < a.rows; p++) {
            const i4 mine = i4_mac(i4_all(0), h4_load(x + p * a.channels + c), gain);
            const i4 other = i4_mul_by(h4_load(passed + p * a.row + c), levels->passed);
            h4_store_pairs(y + 2 * (p * a.channels + c), i4_round_shift_by(mine, levels->bits),
                           i4_round_shift_by(other, levels->bits));
        }
    }
}

/* a ma + b mb, whose multipliers have some fractional bits */
INLINE void add(int count, const int16_t *a, int16_t of_a, const int16_t *b, int16_t of_b,
                int bits, int16_t *y)
{
    for (int i = 0; i < count; i += 4) {
        const i4 first = i4_mul_by(h4_load(a + i), of_a);
        h4_store(y + i, i4_round_shift_by(i4_mac_by(first, h4_load(b + i), of_b), bits));
    }
}

/* Bands [bands][4] of features [3][bins], as weighted sums of neighbouring bins: for band b from
   first[b] on, until[b + 1] - until[b] of them. The fourth channel is zero. */
INLINE void merge(int bands, int bins, const uint16_t *first, const uint16_t *until,
                  const int8_t *weight, const int32_t *multiplier, int shift,
                  const int16_t *features, int16_t *interleaved, int16_t *y)
{
    for (int k = 0; k < bins; k++) {
        interleaved[4 * k] = features[k];
        interleaved[4 * k + 1] = features[bins + k];
        interleaved[4 * k + 2] = features[2 * bins + k];
        interleaved[4 * k + 3] = 0;
    }
    for (int b = 0; b < bands; b++) {
        i4 sum = i4_all(0);
        const int16_t *x = interleaved + 4 * first[b];
        for (int k = until[b]; k < until[b + 1]; k++, x += 4)
            sum = i4_mac_by(sum, h4_load(x), weight[k]);
        h4_store(y + 4 * b, rescale(sum, shift, i4_all(multiplier[b])));
    }
}

/* Mask [2][bins]: the first `alike` bands as they are, then weighted sums of two neighbouring bands
   from first[k] on; weights have 7 fractional bits. */
INLINE void split(int bins, int alike, const uint8_t *first, const uint8_t *weight,
                  const int16_t *bands, int16_t *mask)
{
    for (int k = 0; k < alike; k++)
        for (int part = 0; part < 2; part++) mask[part * bins + k] = bands[2 * k + part];
    for (int k = alike; k < bins; k++) {
        const uint8_t *w = weight + 2 * (k - alike);
        const int16_t *low = bands + 2 * first[k - alike];
        for (int part = 0; part < 2; part++)
            mask[part * bins + k] = (int16_t)((w[0] * low[part] + w[1] * low[2 + part] + 64) >> 7);
    }
}

#endif
