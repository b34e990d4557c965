/* The layers in integers that UL-UNAS has and GTCRN has not; quant/c/fixed_spread.py writes their
   weights and calls. As in fixed_kernels.h, sizes are constants wherever a function is called. */

#ifndef FIXED_SPREAD_H
#define FIXED_SPREAD_H

#include "fixed_kernels.h"

/* A sum to a result, as `rescale` does it. */
INLINE int16_t rescaled(int32_t sum, int shift, int32_t multiplier)
{
    const int64_t wide = saturate((int64_t)sum * ((int64_t)1 << shift), INT32_MIN, INT32_MAX);
    return (int16_t)saturate((wide * multiplier + (1 << 30)) >> 31, INT16_MIN, INT16_MAX);
}

/* `merge` of fixed_kernels.h for one row of features. */
INLINE void merge_row(int bands, int alike, int16_t weight_alike, int32_t multiplier_alike,
                      const uint16_t *first, const uint16_t *until, const int8_t *weight,
                      const int32_t *multiplier, int shift, const int16_t *features, int16_t *y)
{
    const h8 one = h8_all(weight_alike);
    const i4 same = i4_all(multiplier_alike);
    ROLLED for (int from = 0; from < alike; from += 8) {
        const int b = tile_from(from, 8, alike);
        const h8 given = h8_load(features + b);
        h8_store(y + b, h8_narrow(rescale(i4_mul(given, one, 0), shift, same),
                                  rescale(i4_mul(given, one, 1), shift, same)));
    }
    y += alike;
    ROLLED for (int b = 0; b < bands - alike; b++) {
        uint32_t sum = 0;
        const int16_t *x = features + alike + first[b];
        ROLLED for (int k = until[b]; k < until[b + 1]; k++) sum += (uint32_t)(*x++ * weight[k]);
        y[b] = rescaled((int32_t)sum, shift, multiplier[b]);
    }
}

/* Values times `above`, or if they are negative times `below`, and a shift in steps of `step`; all have
   `bits` fractional bits. */
INLINE void rectify(int count, int16_t step, int bits, const int16_t *x, const int16_t *above,
                    const int16_t *below, const int16_t *shift, int16_t *y)
{
    const h8 unit = h8_all(step);
    BRIEF for (int first = 0; first < count; first += 8) {
        const int i = tile_from(first, 8, count);
        const h8 given = h8_load(x + i), shifts = h8_load(shift + i);
        const h8 gain = h8_of_sign(given, h8_load(above + i), h8_load(below + i));
        i4 parts[2];
        UNROLL for (int h = 0; h < 2; h++)
            parts[h] = i4_round_shift(i4_mul_two(shifts, unit, given, gain, h), bits);
        h8_store(y + i, h8_narrow(parts[0], parts[1]));
    }
}

/* Of halves of sums, eight at least. */
INLINE void sigmoids(int count, const int16_t *x, const coefficient *tanh_table, int16_t *y)
{
    ROLLED for (int first = 0; first < count; first += 8) {
        const int i = tile_from(first, 8, count);
        h8 values = h8_load(x + i);
        h8_cubics(1, &values, tanh_table, &values);
        h8_store(y + i, h8_sigmoid(values));
    }
}

/* Convolutions over frames and neighbouring bands ------------------------------------------- */

#define FRAME_LIMIT 3
#define TAP_LIMIT 5
#define SPREAD_LIMIT 136 /* rows of a result of one channel, and what is made beyond them */

struct spread {
    int positions, block, stride;
    int frames, taps, channels;
    int phases; /* 2: rows between those of the positions too */
};

/* Frames' rows with their margins, oldest first: [frames][rows][channels], one of which is the
   newest. `history` holds them in turns, `oldest` says which one comes next. */
INLINE void keep_frame(int frames, int frame, int margin, int count, int16_t *history,
                       int32_t *oldest, const int16_t *newest, const int16_t **ordered)
{
    memcpy(history + *oldest * frame + margin, newest, sizeof(int16_t) * (size_t)count);
    *oldest = *oldest + 1 == frames ? 0 : *oldest + 1;
    UNROLL for (int f = 0; f < frames; f++) {
        const int at = *oldest + f;
        ordered[f] = history + (at < frames ? at : at - frames) * frame;
    }
}

/* Each channel for itself. Weights [phase][frame][tap][channel]; frames begin at their margin. */
INLINE void spread_channels(const struct spread s, const int16_t *const *frames,
                            const struct affine a, int shift, int16_t *y)
{
    const int row = s.phases * s.channels, of_phase = s.frames * s.taps;
    const int block = VECTORS && !PAIRED_PRODUCTS ? s.block : 1;
    ROLLED for (int begin = 0; begin < s.channels; begin += 8) {
        const int c = tile_from(begin, 8, s.channels);
        UNROLL for (int phase = 0; phase < s.phases; phase++) {
            const int positions = s.positions - phase; /* the last row is that of a position */
            const int32_t *rows = a.rows + phase * s.channels + c;
            h8 w[FRAME_LIMIT * TAP_LIMIT];
            i4 bias[2], multiplier[2];
            UNROLL for (int k = 0; k < of_phase; k++)
                w[k] = h8_weights(a.weight + (phase * of_phase + k) * s.channels + c);
            UNROLL for (int h = 0; h < 2; h++) {
                bias[h] = i4_load(rows + 4 * h);
                multiplier[h] = i4_load(rows + row + 4 * h);
            }
            ROLLED for (int first = 0; first < positions; first += block) {
                const int from = tile_from(first, block, positions);
                i4 sums[BLOCK_LIMIT][QUAD_LIMIT];
                UNROLL for (int p = 0; p < block; p++)
                    UNROLL for (int h = 0; h < 2; h++) sums[p][h] = bias[h];
                UNROLL for (int f = 0; f < s.frames; f++) {
                    UNROLL for (int r = 0; r < (block - 1) * s.stride + s.taps; r++) {
                        const h8 x = h8_load(frames[f] + (from * s.stride + r) * s.channels + c);
                        UNROLL for (int k = 0; k < s.taps; k++) {
                            const int ahead = r - k, p = ahead / s.stride;
                            if (ahead >= 0 && ahead % s.stride == 0 && p < block)
                                UNROLL for (int h = 0; h < 2; h++)
                                    sums[p][h] = i4_mac(sums[p][h], x, w[f * s.taps + k], h);
                        }
                    }
                }
                shift_left(block, 2, shift, sums);
                int16_t *to = y + from * row + phase * s.channels + c;
                UNROLL for (int p = 0; p < block; p++) {
                    UNROLL for (int h = 0; h < 2; h++)
                        sums[p][h] = i4_scale_layer(sums[p][h], multiplier[h]);
                    h8_store(to + p * row, h8_narrow(sums[p][0], sums[p][1]));
                }
            }
        }
    }
}

/* All channels to one. Weights [phase][frame][tap][channel]; biases and multipliers of four rows. */
INLINE void spread_to_one(const struct spread s, const int16_t *const *frames,
                          const struct affine a, int shift, int16_t *y)
{
    const int inputs = s.taps * s.channels, count = s.phases * s.positions;
    const i4 bias = i4_load(a.rows), multiplier = i4_load(a.rows + 4);
    int32_t sums[SPREAD_LIMIT] ALIGNED;
    int16_t results[SPREAD_LIMIT] ALIGNED;
    ROLLED for (int p = 0; p < s.positions; p++) {
        i4 of_phase[2] = {i4_all(0), i4_all(0)};
        UNROLL for (int f = 0; f < s.frames; f++)
            UNROLL for (int i = 0; i < inputs; i += 8) {
                const h8 x = h8_load(frames[f] + p * s.channels + i);
                UNROLL for (int phase = 0; phase < s.phases; phase++) {
                    const h8 w = h8_weights(a.weight + (phase * s.frames + f) * inputs + i);
                    UNROLL for (int h = 0; h < 2; h++)
                        of_phase[phase] = i4_mac(of_phase[phase], x, w, h);
                }
            }
        UNROLL for (int phase = 0; phase < s.phases; phase++)
            sums[s.phases * p + phase] = i4_total(of_phase[phase]);
    }
    UNROLL for (int i = count; i < (count + 7) / 8 * 8; i++) sums[i] = 0;
    ROLLED for (int i = 0; i < count; i += 8) {
        i4 scaled[1][QUAD_LIMIT];
        UNROLL for (int h = 0; h < 2; h++) scaled[0][h] = i4_add(i4_load(sums + i + 4 * h), bias);
        shift_left(1, 2, shift, scaled);
        UNROLL for (int h = 0; h < 2; h++)
            scaled[0][h] = i4_scale_layer(scaled[0][h], multiplier);
        h8_store(results + i, h8_narrow(scaled[0][0], scaled[0][1]));
    }
    memcpy(y, results, sizeof(int16_t) * (size_t)(count - (s.phases - 1)));
}

/* The newest value of one channel beside those of the frames before: [rows][4], oldest first, of
   which the first is left and a zero comes last. */
INLINE void stack_frames(int rows, const int16_t *newest, int16_t *stacked)
{
    ROLLED for (int r = 0; r < rows; r++) {
        int16_t *row = stacked + 4 * r;
        row[0] = row[1];
        row[1] = row[2];
        row[2] = newest[r];
    }
}

/* Attention over time and over bands ---------------------------------------------------------- */

#define UNIT_LIMIT 64
/* Of squares, which are added up in 32 bits without a sign. */
#define SQUARE_BITS 6

/* Results of 32 bits of an affine map whose outputs come by 24, its `place`-th 24 of `places`. */
INLINE void project_eight(const struct extent e, const struct affine a, int shift, int place,
                          int places, const int16_t *x, i4 sums[BLOCK_LIMIT][QUAD_LIMIT])
{
    const int32_t *bias = biases_of(a, 24, place, places);
    const int32_t *multiplier = multipliers_of(a, 24, place, places);
    const struct biases biases = {bias, bias, bias};
    accumulate(e, x, a.weight + place * 24 * e.inputs, biases, sums);
    shift_left(1, 6, shift, sums);
    UNROLL for (int o = 0; o < 6; o++)
        sums[0][o] = i4_scale_layer(sums[0][o], i4_load(multiplier + 4 * o));
}

/* `recur` of fixed_kernels.h for one row and many units: outputs of both maps are [eight units][gate][8]. */
INLINE void recur_once(int inputs, int units, const struct affine input, int input_shift,
                       const struct affine hidden, int hidden_shift, const int16_t *x,
                       const coefficient *tanh_table, int16_t *state)
{
    const struct extent given = {1, 6, 1, inputs, 4, 0, 0}, kept = {1, 6, 1, units, 4, 0, 0};
    int16_t after[UNIT_LIMIT] ALIGNED;
    ROLLED for (int n = 0; n < units / 8; n++) {
        i4 of_x[BLOCK_LIMIT][QUAD_LIMIT], of_state[BLOCK_LIMIT][QUAD_LIMIT];
        int32_t candidate[8] ALIGNED;
        project_eight(given, input, input_shift, n, units / 8, x, of_x);
        project_eight(kept, hidden, hidden_shift, n, units / 8, state, of_state);
        UNROLL for (int o = 0; o < 4; o++) of_state[0][o] = i4_add(of_state[0][o], of_x[0][o]);
        UNROLL for (int h = 0; h < 2; h++) i4_store(candidate + 4 * h, of_x[0][4 + h]);
        const struct gates gates = {h8_narrow(of_state[0][0], of_state[0][1]),
                                    h8_narrow(of_state[0][2], of_state[0][3]),
                                    h8_narrow(of_state[0][4], of_state[0][5]),
                                    {candidate, candidate + 4}};
        h8 states = h8_load(state + 8 * n);
        renew(1, &gates, tanh_table, &states);
        h8_store(after + 8 * n, states);
    }
    memcpy(state, after, sizeof(int16_t) * (size_t)units);
}

struct both_ways {
    int rows, channels;
    int inputs, units; /* of the unit over frames, multiples of 4 and of 8 */
    int groups;        /* of four neighbouring rows, the last one filled up */
};

struct both_maps {
    struct affine input, hidden, gate, band_input, band_hidden, band_gate;
};

struct both_levels {
    int input_shift, hidden_shift, gate_shift; /* of sums, to the left */
    int band_input_shift, band_hidden_shift, band_gate_shift;
    int32_t energy; /* multiplier of the sums of squares */
    int energy_shift; /* and the shift to the right after it */
    int32_t band_energy;
    int band_energy_shift;
    int32_t gain; /* multiplier to the result's steps, of 16 bits */
    int bits;     /* fractional, of it */
};

#define ROW_LIMIT 136
#define CHANNEL_LIMIT 32

INLINE int16_t energy_of(int32_t sum, int32_t multiplier, int shift)
{
    return (int16_t)saturate(round_shift((int64_t)(uint32_t)sum * multiplier, shift), 0, INT16_MAX);
}

/* Sums of squares of each channel, and of each row. */
INLINE void add_squares(const struct both_ways a, const int16_t *x, int32_t *of_channels,
                        int32_t *of_rows)
{
    if (a.channels == 1) {
        uint32_t sum = 0;
        ROLLED for (int p = 0; p < a.rows; p++) {
            of_rows[p] = (x[p] * x[p] + (1 << (SQUARE_BITS - 1))) >> SQUARE_BITS;
            sum += (uint32_t)of_rows[p];
        }
        of_channels[0] = (int32_t)sum;
        return;
    }
    i4 sums[CHANNEL_LIMIT / 4];
    UNROLL for (int c = 0; c < a.channels / 4; c++) sums[c] = i4_all(0);
    ROLLED for (int p = 0; p < a.rows; p++) {
        i4 of_row = i4_all(0);
        UNROLL for (int c = 0; c < a.channels / 4; c++) {
            const int whole = c / 2 * 8 + 8 <= a.channels;
            const h8 given = whole ? h8_load(x + p * a.channels + c / 2 * 8)
                                   : h8_load_half(x + p * a.channels + 4 * c);
            const i4 squares =
                i4_round_shift(i4_mul(given, given, whole ? c % 2 : 0), SQUARE_BITS);
            sums[c] = i4_add(sums[c], squares);
            of_row = i4_add(of_row, squares);
        }
        of_rows[p] = i4_total(of_row);
    }
    UNROLL for (int c = 0; c < a.channels / 4; c++) i4_store(of_channels + 4 * c, sums[c]);
}

INLINE void attend_both_ways(const struct both_ways a, const struct both_maps *maps,
                             const struct both_levels *levels, const int16_t *x, int16_t *state,
                             const coefficient *tanh_table, int16_t *y)
{
    static const int place[2] = {0, 1}, backward[2] = {0, 1};
    const struct convolution opening = {1, 1, a.units, 1, a.units, a.units, 1, a.inputs,
                                        1, a.inputs, 4, LINEAR};
    const struct convolution projection = {a.groups, 3, 4, 1, 4, 4, 1, 24, 1, 24, 4, WIDE};
    const struct convolution joining = {a.groups, 3, 8, 1, 8, 8, 1, 4, 1, 4, 4, LINEAR};
    const int whole = (4 * a.groups + 7) / 8 * 8, bits = levels->bits;
    int32_t sums[ROW_LIMIT] ALIGNED, of_channels[CHANNEL_LIMIT] ALIGNED;
    int32_t projected[ROW_LIMIT / 4 * 24] ALIGNED;
    int16_t rows[ROW_LIMIT] ALIGNED, channels[CHANNEL_LIMIT + 4] ALIGNED;
    int16_t states[ROW_LIMIT / 4 * 8] ALIGNED;

    add_squares(a, x, of_channels, sums);
    ROLLED for (int c = 0; c < a.channels; c++)
        channels[c] = energy_of(of_channels[c], levels->energy, levels->energy_shift);
    UNROLL for (int c = a.channels; c < a.inputs; c++) channels[c] = 0;
    ROLLED for (int p = 0; p < a.rows; p++)
        rows[p] = energy_of(sums[p], levels->band_energy, levels->band_energy_shift);
    UNROLL for (int p = a.rows; p < whole; p++) rows[p] = 0;

    recur_once(a.inputs, a.units, maps->input, levels->input_shift, maps->hidden,
               levels->hidden_shift, channels, tanh_table, state);
    convolve(opening, state, maps->gate, levels->gate_shift, 0, 0, channels, 0);
    UNROLL for (int c = a.inputs; c < (a.inputs + 7) / 8 * 8; c++) channels[c] = 0;
    ROLLED for (int c = 0; c < a.inputs; c += 8) {
        h8 opened = h8_load(channels + c);
        h8_cubics(1, &opened, tanh_table, &opened);
        h8_store(channels + c, h8_scale(h8_sigmoid(opened), h8_all((int16_t)levels->gain)));
    }

    convolve(projection, rows, maps->band_input, levels->band_input_shift, 0, 0, projected, 0);
    scan(a.groups, 2, levels->band_hidden_shift, maps->band_hidden, place, backward, projected,
         tanh_table, states);
    convolve(joining, states, maps->band_gate, levels->band_gate_shift, 0, 0, rows, 0);
    sigmoids(whole, rows, tanh_table, rows);
    if (a.channels == 1) {
        const h8 kept = h8_all(channels[0]);
        ROLLED for (int first = 0; first < a.rows; first += 8) {
            const int p = tile_from(first, 8, a.rows);
            const h8 given = h8_load(x + p), gain = h8_scale(kept, h8_load(rows + p));
            h8_store(y + p, h8_narrow(i4_round_shift(i4_mul(given, gain, 0), bits),
                                      i4_round_shift(i4_mul(given, gain, 1), bits)));
        }
        return;
    }
    ROLLED for (int begin = 0; begin < a.channels; begin += 8) {
        const int c = tile_from(begin, 8, a.channels);
        const h8 kept = h8_load(channels + c);
        BRIEF for (int p = 0; p < a.rows; p++) {
            const h8 given = h8_load(x + p * a.channels + c);
            const h8 gain = h8_scale(kept, h8_all(rows[p]));
            h8_store(y + p * a.channels + c,
                     h8_narrow(i4_round_shift(i4_mul(given, gain, 0), bits),
                               i4_round_shift(i4_mul(given, gain, 1), bits)));
        }
    }
}

#endif
