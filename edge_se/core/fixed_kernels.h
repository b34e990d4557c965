/* The layers of a network in integers; docs/c-engine.md states the arithmetic, which
   quant/c/fixed_engine.py writes the weights and calls for.

   A value is an array of rows (frequency positions) of channels, 16 bits each. Sizes are constants
   wherever a function is called. Weights have 8 bits and lie in the order in which they are read,
   [tap][input / 4][output][4] unless said otherwise; sums have 32. Right shifts of negative numbers
   are arithmetic. Sums of weights that nobody checked wrap around. */

#ifndef FIXED_KERNELS_H
#define FIXED_KERNELS_H

#include <string.h>

#include "fixed_lanes.h"

enum activation { LINEAR, LEAKY, WIDE };

/* Fractional bits of normalized values and of weights between bands of the mask. */
#define NORMAL_BITS 10
#define BAND_BITS 7
/* Centred values are taken times count and this, which fits 16 bits. */
#define CENTRED_BITS 5
#define CENTRED_GAIN (1 << CENTRED_BITS)
/* Loops over finished sums: unrolled where bringing them to 16 bits takes a few instructions. */
#if defined(__aarch64__)
#define MAYBE_UNROLL UNROLL
#else
#define MAYBE_UNROLL ROLLED
#endif
/* Loops so brief that counting is much of them. */
#if defined(__aarch64__)
#define BRIEF BY_THREE
#else
#define BRIEF ROLLED
#endif
/* What is called from several layers: of its own where it is long, without registers for all of it. */
#if defined(__aarch64__)
#define SHARED INLINE
#else
#define SHARED APART
#endif

/* sigmoid(2 x) from tanh(x), 0 to 32767 */
INLINE h8 h8_sigmoid(h8 tanh) { return h8_half_sum(tanh, h8_all(INT16_MAX)); }

struct convolution {
    int positions, block, step; /* elements from one position's input to the next */
    int taps, inputs, row;      /* elements from one tap's input to the next */
    int groups, outputs;        /* of a group, all phases */
    int phases, channels;       /* of a result's row */
    int of_four;                /* inputs that are read of each four: 3 where one is padding */
    enum activation activation;
};

/* Weights, and what turns sums of them into results: (sum 2^shift m + 2^30) / 2^31. */
struct affine {
    const int8_t *weight;
    const int32_t *rows; /* biases, those for DOT_PRODUCTS, multipliers, and if LEAKY those of
                            negative sums; depthwise without the second */
};

/* Biases and multipliers of a group's outputs. */
INLINE const int32_t *biases_of(const struct affine a, int outputs, int group, int groups)
{
    return a.rows + (DOT_PRODUCTS * groups + group) * outputs;
}

INLINE const int32_t *multipliers_of(const struct affine a, int outputs, int group, int groups)
{
    return a.rows + (2 * groups + group) * outputs;
}

/* Positions that are worked on at once, of those whose sums 32 registers hold. */
#if PAIRED_PRODUCTS
#define BLOCK(block, quads) ((block) < 3 || (quads) % 2 ? 1 : 3)
#else
#define BLOCK(block, quads) (block)
#endif

#define GATES_LIMIT (CUBICS_LIMIT / 2)
#define BLOCK_LIMIT 16
#define QUAD_LIMIT 12

struct extent {
    int block, quads; /* positions and, by fours, outputs */
    int taps, inputs, of_four;
    int step, row; /* elements from one position's input to the next, and from one tap's */
};

/* What sums of the positions of a block start with. */
struct biases {
    const int32_t *first, *middle, *last;
};

INLINE i4 start_of(const struct biases bias, const struct extent e, int position, int output)
{
    const int32_t *row = position == 0             ? bias.first
                         : position == e.block - 1 ? bias.last
                                                   : bias.middle;
    return i4_load(row + output);
}

#if DOT_PRODUCTS

/* Weighted sums of some inputs side by side, eight at most, their two bytes apart: four products with
   each lane of an instruction. */
INLINE void weigh(const struct extent e, int inputs, int quads, const int16_t *x,
                  const int8_t *weight, i4 lower[BLOCK_LIMIT][QUAD_LIMIT],
                  i4 upper[BLOCK_LIMIT][QUAD_LIMIT])
{
    b16 given[BLOCK_LIMIT];
    UNROLL for (int p = 0; p < e.block; p++)
        given[p] = b16_apart(inputs < 8 ? h8_load_half(x + p * e.step) : h8_load(x + p * e.step));
    UNROLL for (int four = 0; four < inputs / 4; four++) {
        UNROLL for (int o = 0; o < quads; o++) {
            const b16 weights = b16_load(weight + 16 * (four * e.quads + o));
            UNROLL for (int p = 0; p < e.block; p++) {
                lower[p][o] = i4_dot(lower[p][o], weights, given[p], four);
                upper[p][o] = i4_dot(upper[p][o], weights, given[p], 2 + four);
            }
        }
    }
}

/* Biases and weighted sums of all taps and inputs. */
INLINE void accumulate(const struct extent e, const int16_t *x, const int8_t *weight,
                       const struct biases bias, i4 sums[BLOCK_LIMIT][QUAD_LIMIT])
{
    const int whole = e.inputs / 8 * 8;
    /* As many as registers hold, two for each. */
    const int together = e.block * e.quads > 12 ? e.quads / 2 : e.quads;
    UNROLL for (int first = 0; first < e.quads; first += together) {
        i4 lower[BLOCK_LIMIT][QUAD_LIMIT], upper[BLOCK_LIMIT][QUAD_LIMIT];
        UNROLL for (int p = 0; p < e.block; p++) {
            UNROLL for (int o = 0; o < together; o++) {
                lower[p][o] = start_of(bias, e, p, 4 * (first + o));
                upper[p][o] = i4_all(0);
            }
        }
        const int8_t *w = weight + 16 * first;
        ROLLED for (int t = 0; t < e.taps; t++, w += 4 * e.quads * e.inputs) {
            const int16_t *given = x + t * e.row;
            ROLLED for (int i = 0; i < whole; i += 8)
                weigh(e, 8, together, given + i, w + 4 * e.quads * i, lower, upper);
            if (whole < e.inputs)
                weigh(e, 4, together, given + whole, w + 4 * e.quads * whole, lower, upper);
        }
        UNROLL for (int p = 0; p < e.block; p++)
            UNROLL for (int o = 0; o < together; o++)
                sums[p][first + o] = i4_joined(upper[p][o], lower[p][o]);
    }
}

#elif PAIRED_PRODUCTS

/* Biases and weighted sums of all taps and inputs: products are added by pairs of inputs, the pairs
   last, of as many positions and outputs as registers hold sums for. */
INLINE void accumulate_pairs(int block, int together, const struct extent *e, const int16_t *x,
                             const int8_t *weight, const struct biases *bias,
                             i4 sums[BLOCK_LIMIT][QUAD_LIMIT])
{
    ROLLED for (int first = 0; first < e->quads; first += together) {
        i4 pairs[BLOCK_LIMIT][2][2]; /* of the first two outputs of a quad, and of the others */
        UNROLL for (int p = 0; p < block; p++)
            UNROLL for (int o = 0; o < 2 * together; o++) pairs[p][o / 2][o % 2] = i4_all(0);
        ROLLED for (int t = 0; t < e->taps; t++) {
            ROLLED for (int i = 0; i < e->inputs; i += 4) {
                const int8_t *w = weight + 4 * ((t * e->inputs + i) * e->quads + 4 * first);
                h8 weights[2][2];
                UNROLL for (int o = 0; o < 2 * together; o++)
                    weights[o / 2][o % 2] = h8_weights(w + 8 * o);
                UNROLL for (int p = 0; p < block; p++) {
                    const h8 given = h8_load_twice(x + p * e->step + t * e->row + i);
                    UNROLL for (int o = 0; o < 2 * together; o++)
                        pairs[p][o / 2][o % 2] =
                            i4_mac_pairs(pairs[p][o / 2][o % 2], weights[o / 2][o % 2], given);
                }
            }
        }
        UNROLL for (int p = 0; p < block; p++)
            UNROLL for (int o = 0; o < together; o++)
                sums[p][first + o] = i4_add(i4_join_pairs(pairs[p][o][0], pairs[p][o][1]),
                                            start_of(*bias, *e, p, 4 * (first + o)));
    }
}

/* Code for some numbers of positions and outputs, not for each layer. */
#define ACCUMULATE(name, block, together)                                                \
    APART void name(const struct extent *e, const int16_t *x, const int8_t *weight,      \
                    const struct biases *bias, i4 sums[BLOCK_LIMIT][QUAD_LIMIT])         \
    {                                                                                    \
        accumulate_pairs(block, together, e, x, weight, bias, sums);                     \
    }
ACCUMULATE(accumulate_quad, 1, 1)
ACCUMULATE(accumulate_row, 1, 2)
ACCUMULATE(accumulate_rows, 3, 2)

INLINE void accumulate(const struct extent e, const int16_t *x, const int8_t *weight,
                       const struct biases bias, i4 sums[BLOCK_LIMIT][QUAD_LIMIT])
{
    if (e.block == 3)
        accumulate_rows(&e, x, weight, &bias, sums);
    else if (e.quads % 2 == 0)
        accumulate_row(&e, x, weight, &bias, sums);
    else
        accumulate_quad(&e, x, weight, &bias, sums);
}

#elif VECTORS

/* Weighted sums of some inputs side by side, eight at most. */
INLINE void weigh(const struct extent e, int inputs, const int16_t *x, const int8_t *weight,
                  i4 sums[BLOCK_LIMIT][QUAD_LIMIT])
{
    h8 given[BLOCK_LIMIT];
    UNROLL for (int p = 0; p < e.block; p++) {
        given[p] = inputs < 8 ? h8_load_half(x + p * e.step) : h8_load(x + p * e.step);
        if (e.of_four < 4) given[p] = h8_whole(given[p]);
    }
    /* Weights come for two quads of outputs, or for one and twice as many inputs. */
    UNROLL for (int quad = 0; quad < inputs / 4 * e.quads; quad += 2) {
        h8 weights[4];
        h8_weights_of_four(weight + 16 * quad, weights);
        UNROLL for (int k = 0; k < e.of_four; k++) {
            UNROLL for (int h = 0; h < 2; h++) {
                const int o = (quad + h) % e.quads, lane = (quad + h) / e.quads * 4 + k;
                UNROLL for (int p = 0; p < e.block; p++)
                    sums[p][o] = i4_mac_lane(sums[p][o], weights[k], h, given[p], lane);
            }
        }
    }
}

/* Biases and weighted sums of all taps and inputs. */
INLINE void accumulate(const struct extent e, const int16_t *x, const int8_t *weight,
                       const struct biases bias, i4 sums[BLOCK_LIMIT][QUAD_LIMIT])
{
    const int whole = e.inputs / 8 * 8;
    i4 partial[BLOCK_LIMIT][QUAD_LIMIT]; /* of its own, so that it stays in registers */
    UNROLL for (int p = 0; p < e.block; p++)
        UNROLL for (int o = 0; o < e.quads; o++) partial[p][o] = start_of(bias, e, p, 4 * o);
    ROLLED for (int t = 0; t < e.taps; t++, weight += 4 * e.quads * e.inputs) {
        const int16_t *given = x + t * e.row;
        ROLLED for (int i = 0; i < whole; i += 8)
            weigh(e, 8, given + i, weight + 4 * e.quads * i, partial);
        if (whole < e.inputs)
            weigh(e, 4, given + whole, weight + 4 * e.quads * whole, partial);
    }
    UNROLL for (int p = 0; p < e.block; p++)
        UNROLL for (int o = 0; o < e.quads; o++) sums[p][o] = partial[p][o];
}

#else

/* Biases and weighted sums of all taps and inputs. */
INLINE void accumulate(const struct extent e, const int16_t *x, const int8_t *weight,
                       const struct biases bias, i4 sums[BLOCK_LIMIT][QUAD_LIMIT])
{
#if defined(BY_OUTPUT)
    const int next = 4, apart = e.taps * e.inputs, next_quad = 4 * apart;
#else
    const int next = 16 * e.quads, apart = 4, next_quad = 16;
#endif
    ROLLED for (int p = 0; p < e.block; p++) {
        ROLLED for (int o = 0; o < e.quads; o++) {
            i4 sum = start_of(bias, e, p, 4 * o);
            const int8_t *w = weight + o * next_quad;
            ROLLED for (int t = 0; t < e.taps; t++)
                ROLLED for (int i = 0; i < e.inputs; i += 4, w += next)
                    sum = i4_weigh_four(sum, w, apart, x + p * e.step + t * e.row + i);
            sums[p][o] = sum;
        }
    }
}

#endif

/* Sums to the left, which hardly any layer's have to go. */
INLINE void shift_left(int positions, int quads, int shift, i4 sums[][QUAD_LIMIT])
{
    if (!shift) return;
    MAYBE_UNROLL for (int p = 0; p < positions; p++)
        MAYBE_UNROLL for (int o = 0; o < quads; o++)
            sums[p][o] = i4_shift_left_saturated(sums[p][o], shift);
}

INLINE i4 rescale(i4 sum, int shift, i4 multiplier)
{
    return i4_scale(shift ? i4_shift_left_saturated(sum, shift) : sum, multiplier);
}

/* Biases [outputs] with what an edge [3][outputs] adds for the three channels of a band. */
SHARED void add_edge(int outputs, const int32_t *bias, const int8_t *edge, const int16_t *x,
                     int32_t *sums)
{
    const h8 given = h8_load_half(x);
    MAYBE_UNROLL for (int o = 0; o < outputs; o += 8) {
        UNROLL for (int h = 0; h < 2; h++) {
            i4 sum = i4_load(bias + o + 4 * h);
            UNROLL for (int k = 0; k < 3; k++)
                sum = i4_mac_lane(sum, h8_weights(edge + k * outputs + o), h, given, k);
            i4_store(sums + o + 4 * h, sum);
        }
    }
}

struct recurrence {
    int rows, block, groups, inputs, units; /* of a group */
};

struct normalization {
    int64_t epsilon;  /* in units of count^2 times a squared step of x */
    int32_t residual; /* multiplier of the residual to the result's steps, of 16 bits */
    int32_t step;     /* of the shifts, of 16 bits */
    int bits;         /* fractional, of all that is added */
};

/* Where so many values begin, those at `first`: the last of them earlier, where they would reach beyond
   the end. What they hold twice is made twice, from other memory. */
INLINE int tile_from(int first, int values, int count)
{
    return count % values && first + values > count ? count - values : first;
}

#if WORD_PAIRS
#include "dsp.h"
#endif

/* One group. `edges` [2][3][outputs] or none: what to add at the first and the last position for
   `ends` [2][4], the first row of x that is no padding and the last one. Sums go `shift` to the left.
   `y` has 16 bits, or 32 if WIDE. */
INLINE void convolve(const struct convolution c, const int16_t *x, const struct affine a,
                     int shift, const int8_t *edges, const int16_t *ends, void *y, int group)
{
    const int quads = c.outputs / 4, of_phase = c.outputs / c.phases, row = c.phases * c.channels;
    const int joined = c.inputs == c.row; /* taps lie side by side */
    const int taps = joined ? 1 : c.taps, inputs = joined ? c.taps * c.inputs : c.inputs;
    const int block = BLOCK(c.block, quads);
    const struct extent e = {block, quads, taps, inputs, c.of_four, c.step, c.row};
    const int8_t *weight = a.weight + group * c.taps * c.inputs * c.outputs;
    const int32_t *bias = biases_of(a, c.outputs, group, c.groups);
    const int32_t *multiplier = multipliers_of(a, c.outputs, group, c.groups);
    const int32_t *below = multiplier + c.groups * c.outputs;
    int16_t *results16 = (int16_t *)y + group * of_phase;
    int32_t *results32 = (int32_t *)y + group * of_phase;
    int32_t with_edge[2][4 * QUAD_LIMIT];
    x += group * c.inputs;
    if (edges) {
        ROLLED for (int end = 0; end < 2; end++)
            add_edge(c.outputs, bias, edges + end * 3 * c.outputs, ends + 4 * end, with_edge[end]);
    }
#if WORD_PAIRS
    const int32_t *const starts[3] = {edges ? with_edge[0] : bias, bias, edges ? with_edge[1] : bias};
    convolve_tiles(c, e, c.positions < TILE ? 1 : TILE, x, weight, starts, bias,
                   c.activation == WIDE ? (void *)results32 : (void *)results16);
    return;
#endif
    ROLLED for (int first = 0; first < c.positions; first += block) {
        const int from = tile_from(first, block, c.positions);
        struct biases biases = {bias, bias, bias};
        if (edges) {
            if (from == 0) biases.first = with_edge[0];
            if (from + block == c.positions) biases.last = with_edge[1];
            OPAQUE(biases.first);
            OPAQUE(biases.last);
        }
        i4 sums[BLOCK_LIMIT][QUAD_LIMIT];
        accumulate(e, x + from * c.step, weight, biases, sums);
        shift_left(block, quads, shift, sums);
        int16_t *to16 = results16 + from * row;
        int32_t *to32 = results32 + from * row;
        MAYBE_UNROLL for (int o = 0; o < quads; o += 2) {
            const int both = o + 1 < quads;
            const int at = c.groups == 1 ? 4 * o : 4 * o / of_phase * c.channels + 4 * o % of_phase;
            i4 above[2], under[2];
            UNROLL for (int h = 0; h <= both; h++) {
                above[h] = i4_load(multiplier + 4 * (o + h));
                if (c.activation == LEAKY) under[h] = i4_load(below + 4 * (o + h));
            }
            MAYBE_UNROLL for (int p = 0; p < block; p++) {
                const int to = p * row + at;
                i4 results[2];
                MAYBE_UNROLL for (int h = 0; h <= both; h++) {
                    const i4 sum = sums[p][o + h];
                    results[h] = c.activation == LEAKY
                                     ? i4_scale_leaky(sum, above[h], under[h])
                                     : i4_scale_layer(sum, above[h]);
                    if (c.activation == WIDE) i4_store(to32 + to + 4 * h, results[h]);
                }
                if (c.activation == WIDE) continue;
                if (both)
                    h8_store(to16 + to, h8_narrow(results[0], results[1]));
                else
                    h8_store_half(to16 + to, h8_narrow(results[0], results[0]));
            }
        }
    }
}

/* tanh of sums, eight at least. */
INLINE void bound(int count, const int16_t *sums, const coefficient *tanh_table, int16_t *y)
{
#if WORD_PAIRS
    ROLLED for (int i = 0; i < count; i++) y[i] = (int16_t)tanh_of(sums[i], tanh_table);
    return;
#endif
    ROLLED for (int first = 0; first < count; first += 8) {
        const int i = first + 8 <= count ? first : count - 8;
        h8 values = h8_load(sums + i);
        h8_cubics(1, &values, tanh_table, &values);
        h8_store(y + i, values);
    }
}

/* Depthwise, 3 rows by 3 frames; the frames' first rows are padding. */
INLINE void convolve_frames(int rows, int channels, int at_once, int shift, const int16_t *oldest,
                            const int16_t *middle, const int16_t *newest, const struct affine a,
                            int16_t *y)
{
    const int16_t *const frames[3] = {oldest, middle, newest};
    const int block = VECTORS && !PAIRED_PRODUCTS ? at_once : 1;
#if WORD_PAIRS
    convolve_frames_in_pairs(rows, channels, frames, a, y);
    return;
#endif
    ROLLED for (int c = 0; c < channels; c += 8) {
        h8 w[10];
        i4 bias[2], above[2], below[2];
        w[9] = h8_all(0);
        UNROLL for (int k = 0; k < 9; k++)
            w[k] = h8_weights(a.weight + k * channels + c);
        UNROLL for (int h = 0; h < 2; h++) {
            bias[h] = i4_load(a.rows + c + 4 * h);
            above[h] = i4_load(a.rows + channels + c + 4 * h);
            below[h] = i4_load(a.rows + 2 * channels + c + 4 * h);
        }
        ROLLED for (int first = 0; first < rows; first += block) {
            const int from = first + block <= rows ? first : rows - block;
            i4 sums[BLOCK_LIMIT][QUAD_LIMIT];
            UNROLL for (int p = 0; p < block; p++)
                UNROLL for (int h = 0; h < 2; h++) sums[p][h] = bias[h];
#if PAIRED_PRODUCTS
            h8 x[10];
            x[9] = h8_all(0);
            UNROLL for (int k = 0; k < 9; k++)
                x[k] = h8_load(frames[k / 3] + (from + k % 3) * channels + c);
            UNROLL for (int k = 0; k < 10; k += 2)
                UNROLL for (int h = 0; h < 2; h++)
                    sums[0][h] = i4_mac_pairs(sums[0][h], h8_paired(x[k], x[k + 1], h),
                                              h8_paired(w[k], w[k + 1], h));
#else
            UNROLL for (int t = 0; t < 3; t++) {
                const int16_t *frame = frames[t] + from * channels + c;
                UNROLL for (int r = 0; r < block + 2; r++) {
                    const h8 x = h8_load(frame + r * channels);
                    UNROLL for (int k = 0; k < 3; k++)
                        if (r - k >= 0 && r - k < block)
                            UNROLL for (int h = 0; h < 2; h++)
                                sums[r - k][h] = i4_mac(sums[r - k][h], x, w[3 * t + k], h);
                }
            }
#endif
            shift_left(block, 2, shift, sums);
            int16_t *to = y + from * channels + c;
            UNROLL for (int p = 0; p < block; p++) {
                MAYBE_UNROLL for (int h = 0; h < 2; h++)
                    sums[p][h] = i4_scale_leaky(sums[p][h], above[h], below[h]);
                h8_store(to + p * channels, h8_narrow(sums[p][0], sums[p][1]));
            }
        }
    }
}

/* What new states of gated recurrent units are made of: sums before the gates, those of reset and
   update halved; the candidate's from the input, eight of 32 bits, and from the state. */
struct gates {
    h8 reset, update, remembered;
    const int32_t *candidate[2]; /* by halves */
};

/* New states of some vectors of units. */
SHARED void renew(int count, const struct gates *sums, const coefficient *tanh_table, h8 *states)
{
    h8 resets[GATES_LIMIT], updates[GATES_LIMIT], proposals[GATES_LIMIT];
    MAYBE_UNROLL for (int n = 0; n < count; n++) resets[n] = sums[n].reset;
    h8_cubics(count, resets, tanh_table, resets);
    MAYBE_UNROLL for (int n = 0; n < count; n++) {
        const h8 kept = h8_scale(sums[n].remembered, h8_sigmoid(resets[n]));
        proposals[n] = h8_narrow(i4_add_half(i4_load(sums[n].candidate[0]), kept, 0),
                                 i4_add_half(i4_load(sums[n].candidate[1]), kept, 1));
    }
    h8_cubics(count, proposals, tanh_table, proposals);
    MAYBE_UNROLL for (int n = 0; n < count; n++) updates[n] = sums[n].update;
    h8_cubics(count, updates, tanh_table, updates);
    MAYBE_UNROLL for (int n = 0; n < count; n++) {
        /* The update's gate is (1 + tanh) / 2. */
        const h8 change = h8_scale(h8_half_difference(states[n], proposals[n]), updates[n]);
        states[n] = h8_add(h8_mean(states[n], proposals[n]), change);
    }
}

/* What differs between layers of one shape, which share their code. */
struct levels {
    int input_shift, hidden_shift, gate_shift; /* of sums, to the left */
    int32_t energy;       /* multiplier of the sums of squares */
    int energy_shift;     /* and the shift to the right after it */
    int32_t gain, passed; /* multipliers of both halves to the result's steps, of 16 bits */
    int bits;             /* fractional, of these two */
};

/* One step of a group's units over frames; `state` [rows][group][unit] is carried on. Outputs of the
   affine maps are [group][gate: reset, update, candidate][unit]. */
INLINE void recur(const struct recurrence r, const struct affine input, int input_shift,
                  const struct affine hidden, int hidden_shift, const int16_t *x,
                  int32_t *projected, int16_t *state, const coefficient *tanh_table, int group)
{
    const int quads = r.units / 4, gate_count = 3 * r.units;
    const struct convolution project = {r.rows,  r.block,
                                        r.groups * r.inputs, 1,
                                        r.inputs, r.groups * r.inputs,
                                        r.groups, gate_count,
                                        1, r.groups * gate_count,
                                        4, WIDE};
    const struct extent e = {r.block, 3 * quads, 1, r.units, 4, r.groups * r.units, 0};
    const int8_t *weight = hidden.weight + group * r.units * gate_count;
    const int32_t *bias = biases_of(hidden, gate_count, group, r.groups);
    const int32_t *multiplier = multipliers_of(hidden, gate_count, group, r.groups);
    const struct biases biases = {bias, bias, bias};
    convolve(project, x, input, input_shift, 0, 0, projected, group);
    projected += group * gate_count;
    state += group * r.units;
#if WORD_PAIRS
    recur_in_tiles(r, e, r.rows < TILE ? 1 : TILE, weight, bias, projected,
                   state, tanh_table);
    return;
#endif
    ROLLED for (int first = 0; first < r.rows; first += r.block) {
        int16_t *now = state + first * r.groups * r.units;
        const int32_t *given = projected + first * r.groups * gate_count;
        i4 sums[BLOCK_LIMIT][QUAD_LIMIT];
        accumulate(e, now, weight, biases, sums);
        shift_left(r.block, 3 * quads, hidden_shift, sums);
        ROLLED for (int q = 0; q < quads; q += 2) {
            struct gates gates[GATES_LIMIT];
            h8 states[GATES_LIMIT];
            MAYBE_UNROLL for (int p = 0; p < r.block; p++) {
                const int32_t *from = given + p * r.groups * gate_count + 4 * q;
                i4 all[3][2];
                UNROLL for (int gate = 0; gate < 3; gate++) {
                    MAYBE_UNROLL for (int h = 0; h < 2; h++) {
                        const int unit = gate * r.units + 4 * h;
                        all[gate][h] = i4_scale_layer(sums[p][gate * quads + q + h],
                                                      i4_load(multiplier + unit + 4 * q));
                        if (gate < 2)
                            all[gate][h] = i4_add(all[gate][h], i4_load(from + unit));
                        else
                            gates[p].candidate[h] = from + unit;
                    }
                }
                gates[p].reset = h8_narrow(all[0][0], all[0][1]);
                gates[p].update = h8_narrow(all[1][0], all[1][1]);
                gates[p].remembered = h8_narrow(all[2][0], all[2][1]);
                states[p] = h8_load(now + p * r.groups * r.units + 4 * q);
            }
            renew(r.block, gates, tanh_table, states);
            MAYBE_UNROLL for (int p = 0; p < r.block; p++)
                h8_store(now + p * r.groups * r.units + 4 * q, states[p]);
        }
    }
}

#define GROUP_LIMIT 4

/* Groups of four units over the rows of one frame, from zero, some from the last row to the first.
   `projected` [rows][group][3][4] are the inputs' projections, groups in the order `place`. */
INLINE void scan(int rows, int groups, int shift, const struct affine hidden, const int *place,
                 const int *backward, const int32_t *projected, const coefficient *tanh_table,
                 int16_t *states)
{
#if WORD_PAIRS
    scan_units(rows, groups, hidden, place, backward, projected, tanh_table, states);
    return;
#endif
    h8 state[GROUP_LIMIT / 2], weights[GROUP_LIMIT][6];
    i4 all[3][2];
    MAYBE_UNROLL for (int g = 0; g < groups; g++) {
        state[g / 2] = h8_all(0);
        UNROLL for (int k = 0; k < 6; k++)
            weights[g][k] = h8_weights(hidden.weight + g * 48 + 8 * k);
    }
    ROLLED for (int k = 0; k < rows; k++) {
        struct gates gates[GROUP_LIMIT / 2];
        MAYBE_UNROLL for (int g = 0; g < groups; g++) {
            const int row = backward[g] ? rows - 1 - k : k, half = g % 2;
            const int32_t *given = projected + (row * groups + place[g]) * 12;
            i4 sums[1][QUAD_LIMIT];
            UNROLL for (int gate = 0; gate < 3; gate++) {
                sums[0][gate] = i4_load(hidden.rows + (g * 3 + gate) * 4);
                UNROLL for (int i = 0; i < 4; i++) {
                    const int quad = 3 * i + gate;
                    sums[0][gate] = i4_mac_lane(sums[0][gate], weights[g][quad / 2], quad % 2,
                                                state[g / 2], 4 * half + i);
                }
            }
            shift_left(1, 3, shift, sums);
            UNROLL for (int gate = 0; gate < 3; gate++) {
                const int32_t *multiplier = hidden.rows + (groups * 3 + g * 3 + gate) * 4;
                all[gate][half] = i4_scale_layer(sums[0][gate], i4_load(multiplier));
                if (gate < 2) all[gate][half] = i4_add(all[gate][half], i4_load(given + 4 * gate));
            }
            gates[g / 2].candidate[half] = given + 8;
            if (!half) continue;
            gates[g / 2].reset = h8_narrow(all[0][0], all[0][1]);
            gates[g / 2].update = h8_narrow(all[1][0], all[1][1]);
            gates[g / 2].remembered = h8_narrow(all[2][0], all[2][1]);
        }
        renew(groups / 2, gates, tanh_table, state);
        MAYBE_UNROLL for (int g = 0; g < groups; g += 2) {
            int16_t *const now = states + ((backward[g] ? rows - 1 - k : k) * groups + g) * 4;
            if (backward[g] == backward[g + 1]) {
                h8_store(now, state[g / 2]);
                continue;
            }
            int16_t both[8] ALIGNED;
            h8_store(both, state[g / 2]);
            h8_store_half(now, h8_load_half(both));
            h8_store_half(states + ((backward[g] ? k : rows - 1 - k) * groups + g + 1) * 4,
                          h8_load_half(both + 4));
        }
    }
}

/* residual + scale * (x - mean) / deviation + shift, over all elements; 528 at most. x may change. */
INLINE void normalize(int count, const struct normalization *n, int16_t *x,
                      const int16_t *residual, const int16_t *scale, const int16_t *shift,
                      int16_t *y)
{
#if WORD_PAIRS
    int64_t squares;
    const int32_t sum = add_up(count, x, &squares);
#else
    i4 sums = i4_all(0);
    l2 all_squares = l2_zero();
    BRIEF for (int i = 0; i < count; i += 8) {
        const h8 given = h8_load(x + i);
        sums = i4_add_pairs(sums, given);
        all_squares = l2_add_squares(all_squares, given);
    }
    const int32_t sum = i4_total(sums);
    const int64_t squares = l2_total(all_squares);
#endif
    int64_t variance = count * squares - (int64_t)sum * sum + n->epsilon;
    variance = variance < 1 ? 1 : variance;
    /* 2^30 to 2^31 - 1 for the root, 2^30 + 1 to 2^31 - 1 for its reciprocal times 2^61 */
    const int even = (62 - bit_length((uint64_t)variance)) & ~1;
    const int64_t root = square_root((uint64_t)variance << even);
    const int64_t reciprocal = ((int64_t)1 << 61) / root;
    const int32_t inverted = (int32_t)(reciprocal > INT32_MAX ? INT32_MAX : reciprocal);
    const int right = 30 - even / 2 + CENTRED_BITS - NORMAL_BITS, bits = n->bits;
#if WORD_PAIRS
    if (right < 0)
        spread_evenly(count, -CENTRED_GAIN * sum, CENTRED_GAIN * count, inverted, -right, 0, n, x,
                      residual, scale, shift, y);
    else
        spread_evenly(count, -CENTRED_GAIN * sum, CENTRED_GAIN * count, inverted, 0, right, n, x,
                      residual, scale, shift, y);
    (void)bits;
    return;
#endif
    const i4 inverse = i4_all(inverted);
    const i4 start = i4_all(-CENTRED_GAIN * sum);
    const h8 gain = h8_all((int16_t)(CENTRED_GAIN * count));
    const h8 step = h8_all((int16_t)n->step), passed = h8_all((int16_t)n->residual);
    BRIEF for (int i = 0; i < count; i += 8) {
        const h8 given = h8_load(x + i), before = h8_load(residual + i);
        const h8 scales = h8_load(scale + i), shifts = h8_load(shift + i);
        i4 parts[2];
        UNROLL for (int h = 0; h < 2; h++) {
            const i4 centred = i4_mac(start, given, gain, h);
            parts[h] = i4_round_shift(i4_scale(centred, inverse), right);
        }
        const h8 normal = h8_narrow(parts[0], parts[1]);
        UNROLL for (int h = 0; h < 2; h++) {
            const i4 scaled = i4_mul_two(shifts, step, normal, scales, h);
            parts[h] = i4_round_shift(i4_mac(scaled, before, passed, h), bits);
        }
        h8_store(y + i, h8_narrow(parts[0], parts[1]));
    }
}

struct attention {
    int rows, channels, units, row; /* elements of a row of what is passed along */
};

/* y[row][2 c] = x[row][c] * gate[c], y[row][2 c + 1] = passed[row][c]; 3 rows by 8 channels at once. */
INLINE void attend(const struct attention a, const struct levels *levels,
                   const struct affine input, const struct affine hidden, const struct affine gate,
                   const int16_t *x, const int16_t *passed, int16_t *state,
                   const coefficient *tanh_table, int16_t *y)
{
    const struct recurrence once = {1, 1, 1, a.channels, a.units};
    const struct convolution project = {1, 1, a.units, 1, a.units, a.units, 1, a.channels,
                                        1, a.channels, 4, LINEAR};
    int16_t energy[16] ALIGNED, opened[16] ALIGNED;
    int32_t projected[64], squares[16];
    ROLLED for (int c = 0; c < a.channels; c += 8) {
        int64_t sums[8] = {0};
        ROLLED for (int p = 0; p < a.rows; p += 3) {
            /* Three squares fill 32 bits without a sign. */
            UNROLL for (int h = 0; h < 2; h++) {
                i4 three = i4_all(0);
                UNROLL for (int k = 0; k < 3; k++) {
                    const h8 given = h8_load(x + (p + k) * a.channels + c);
                    three = k ? i4_mac(three, given, given, h) : i4_mul(given, given, h);
                }
                i4_store(squares + 4 * h, three);
            }
            UNROLL for (int k = 0; k < 8; k++) sums[k] += (uint32_t)squares[k];
        }
        ROLLED for (int k = 0; k < 8; k++)
            energy[c + k] = (int16_t)saturate(
                round_shift(sums[k] * levels->energy, levels->energy_shift), INT16_MIN, INT16_MAX);
    }
    const h8 through = h8_all((int16_t)levels->passed);
    const int bits = levels->bits;
    recur(once, input, levels->input_shift, hidden, levels->hidden_shift, energy, projected, state,
          tanh_table, 0);
    convolve(project, state, gate, levels->gate_shift, 0, 0, opened, 0);
#if WORD_PAIRS
    ROLLED for (int c = 0; c < a.channels; c += 2) {
        int32_t gains[2];
        UNROLL for (int h = 0; h < 2; h++) {
            const int32_t gate = (tanh_of(opened[c + h], tanh_table) + INT16_MAX) >> 1;
            gains[h] = (gate * levels->gain + (1 << 14)) >> 15;
        }
        open_pairs(a.rows, a.channels, a.row, gains[0], gains[1], levels->passed, bits, x + c,
                   passed + c, y + 2 * c);
    }
    (void)through;
    return;
#endif
    ROLLED for (int c = 0; c < a.channels; c += 8) {
        h8 gain = h8_load(opened + c);
        h8_cubics(1, &gain, tanh_table, &gain);
        gain = h8_scale(h8_sigmoid(gain), h8_all((int16_t)levels->gain));
        BRIEF for (int p = 0; p < a.rows; p++) {
            const h8 given = h8_load(x + p * a.channels + c);
            const h8 other = h8_load(passed + p * a.row + c);
            i4 parts[2][2];
            UNROLL for (int h = 0; h < 2; h++) {
                parts[0][h] = i4_round_shift(i4_mul(given, gain, h), bits);
                parts[1][h] = i4_round_shift(i4_mul(other, through, h), bits);
            }
            h8_store_pairs(y + 2 * (p * a.channels + c), h8_narrow(parts[0][0], parts[0][1]),
                           h8_narrow(parts[1][0], parts[1][1]));
        }
    }
}

/* a ma + b mb, whose multipliers have some fractional bits */
INLINE void add(int count, const int16_t *a, int16_t of_a, const int16_t *b, int16_t of_b,
                int bits, int16_t *y)
{
#if WORD_PAIRS
    add_pairs(count, a, of_a, b, of_b, bits, y);
    return;
#endif
    const h8 gain_a = h8_all(of_a), gain_b = h8_all(of_b);
    BRIEF for (int begin = 0; begin < count; begin += 8) {
        const int i = tile_from(begin, 8, count);
        const h8 first = h8_load(a + i), second = h8_load(b + i);
        i4 parts[2];
        UNROLL for (int h = 0; h < 2; h++)
            parts[h] = i4_round_shift(i4_mul_two(first, gain_a, second, gain_b, h), bits);
        h8_store(y + i, h8_narrow(parts[0], parts[1]));
    }
}

/* Bands [bands][4] of features [3][bins]: the first `alike` are bins times a weight and a multiplier,
   the others weighted sums of neighbouring bins: of those, band b has until[b + 1] - until[b] from
   alike + first[b] on. The fourth channel is zero. */
INLINE void merge(int bands, int bins, int alike, int16_t weight_alike, int32_t multiplier_alike,
                  const uint16_t *first, const uint16_t *until, const int8_t *weight,
                  const int32_t *multiplier, int shift, const int16_t *features,
                  int16_t *interleaved, int16_t *y)
{
#if WORD_PAIRS
    merge_rows(bands, bins, alike, weight_alike, multiplier_alike, first, until, weight, multiplier,
               features, y);
    (void)shift, (void)interleaved;
    return;
#endif
    ROLLED for (int from = 0; from < bins; from += 8) {
        const int k = from + 8 <= bins ? from : bins - 8;
        h8_store_threes(interleaved + 4 * k, h8_load(features + k), h8_load(features + bins + k),
                        h8_load(features + 2 * bins + k));
    }
    const h8 one = h8_all(weight_alike);
    const i4 same = i4_all(multiplier_alike);
    ROLLED for (int from = 0; from < alike; from += 2) {
        const int b = from + 2 <= alike ? from : alike - 2;
        const h8 given = h8_load(interleaved + 4 * b);
        h8_store(y + 4 * b, h8_narrow(rescale(i4_mul(given, one, 0), shift, same),
                                      rescale(i4_mul(given, one, 1), shift, same)));
    }
    y += 4 * alike;
    ROLLED for (int b = 0; b < bands - alike; b++) {
        i4 sum = i4_all(0);
        const int16_t *x = interleaved + 4 * (alike + first[b]);
        ROLLED for (int k = until[b]; k < until[b + 1]; k++, x += 4)
            sum = i4_mac(sum, h8_load_half(x), h8_all(weight[k]), 0);
        const i4 result = rescale(sum, shift, i4_all(multiplier[b]));
        h8_store_half(y + 4 * b, h8_narrow(result, result));
    }
}

/* Mask [2][bins] of bands [bands][parts]: the first `alike` bins are bands, the others weighted sums of
   two neighbouring bands, those between until[r] and until[r + 1] of the bands from first[r] on. Eight
   bins are made at once, and what that is too much is made anew; `mask` has room for seven behind its
   end. The weights have BAND_BITS fractional bits and begin with bin `alike`. The second part is zero
   where there is one. */
INLINE void split(int bins, int parts, int alike, int runs, const uint16_t *first,
                  const uint16_t *until, const int16_t *low, const int16_t *high,
                  const int16_t *bands, int16_t *mask)
{
    ROLLED for (int r = 0; r < runs; r++) {
        const int16_t *pair = bands + parts * first[r];
        ROLLED for (int k = until[r]; k < until[r + 1]; k += 8) {
            const h8 weights[2] = {h8_load(low + k - alike), h8_load(high + k - alike)};
            MAYBE_UNROLL for (int part = 0; part < parts; part++) {
                const h8 below = h8_all(pair[part]), above = h8_all(pair[parts + part]);
                i4 sums[2];
                UNROLL for (int h = 0; h < 2; h++)
                    sums[h] = i4_round_shift(i4_mul_two(weights[0], below, weights[1], above, h),
                                             BAND_BITS);
                h8_store(mask + part * bins + k, h8_narrow(sums[0], sums[1]));
            }
        }
    }
    for (int part = 0; part < parts; part++)
        for (int k = 0; k < alike; k++) mask[part * bins + k] = bands[parts * k + part];
    if (parts == 1) memset(mask + bins, 0, sizeof(int16_t) * (size_t)bins);
}

#endif
