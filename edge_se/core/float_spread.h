/* The layers in float that UL-UNAS has and GTCRN has not; quant/c/float_spread.py writes their
   weights and calls. As in float_kernels.h, sizes are constants wherever a function is called. */

#ifndef FLOAT_SPREAD_H
#define FLOAT_SPREAD_H

#include "float_kernels.h"

/* log10 of the magnitude of `bins` bins, which is taken to be 1e-12 at least. The power's exponent
   and mantissa apart; ln(m) = 2 artanh((m - 1) / (m + 1)), m between the root of 1/2 and that of 2,
   by five terms of its series: within 4e-7 of the number, all of which is rounding. */
INLINE void measure_logarithm(int bins, const float *spectrum, float *features)
{
    for (int k = 0; k < bins; k++) {
        const float re = spectrum[2 * k], im = spectrum[2 * k + 1];
        float power = re * re + im * im;
        power = power > 1e-24f ? power : 1e-24f;
        int32_t bits;
        memcpy(&bits, &power, sizeof bits);
        const int32_t exponent = (bits - 0x3f3504f3) >> 23; /* of the root of 1/2 */
        bits -= exponent * (1 << 23);
        float mantissa;
        memcpy(&mantissa, &bits, sizeof mantissa);
        const float t = (mantissa - 1) / (mantissa + 1), u = t * t;
        const float series =
            1 + u * (0.333333333f + u * (0.2f + u * (0.142857143f + u * 0.111111111f)));
        /* 10 ^ (1/2) and 2 ^ (1/2), to the base 10: log10(e), log10(2) / 2 */
        features[k] = 0.434294482f * t * series + 0.150514998f * (float)exponent;
    }
}

/* `merge` of float_kernels.h for one row of features. */
INLINE void merge_row(int bands, const uint16_t *first, const uint16_t *until, const float *weight,
                      const float *bins, float *y)
{
    for (int b = 0; b < bands; b++) {
        float sum = 0;
        const float *x = bins + first[b] - until[b];
        for (int k = until[b]; k < until[b + 1]; k++) sum += x[k] * weight[k];
        y[b] = sum;
    }
}

/* `mask_bands` and `mask_bins` of float_kernels.h for real gains. */
INLINE void gain_bands(int bins, const float *bands, const float *spectrum, float *masked)
{
    for (int k = 0; k < bins; k++) {
        masked[2 * k] = spectrum[2 * k] * bands[k];
        masked[2 * k + 1] = spectrum[2 * k + 1] * bands[k];
    }
}

INLINE void gain_bins(int bins, const uint16_t *first, const float *weight, const float *bands,
                      const float *spectrum, float *masked)
{
    for (int k = 0; k < bins; k++) {
        const float *low = bands + first[k];
        const float gain = weight[2 * k] * low[0] + weight[2 * k + 1] * low[1];
        masked[2 * k] = spectrum[2 * k] * gain;
        masked[2 * k + 1] = spectrum[2 * k + 1] * gain;
    }
}

/* Positive values times `above`, the size of negative ones times `below`, and a shift. */
INLINE void rectify(int count, const float *x, const float *above, const float *below,
                    const float *shift, float *y)
{
    for (int i = 0; i < count; i += 4) {
        const f4 given = f4_load(x + i), zero = f4_all(0);
        const f4 sum = f4_fma(f4_load(shift + i), f4_max(given, zero), f4_load(above + i));
        f4_store(y + i, f4_fma(sum, f4_max(f4_sub(zero, given), zero), f4_load(below + i)));
    }
}

INLINE f4 f4_sigmoid(f4 x)
{
    const f4 half = f4_all(0.5f);
    return f4_fma(half, f4_tanh(f4_mul(x, half)), half);
}

/* Of at least four values, to another place. */
INLINE void sigmoid(int count, const float *x, float *y)
{
    for (int i = 0; i < count; i += 4) {
        const int at = i + 4 <= count ? i : count - 4;
        f4_store(y + at, f4_sigmoid(f4_load(x + at)));
    }
}

/* Convolutions over frames and neighbouring bands ------------------------------------------- */

#define FRAME_LIMIT 3
#define TAP_LIMIT 5

struct spread {
    int positions, block, stride;
    int frames, taps, channels;
    int phases; /* 2: rows between those of the positions too */
};

/* Frames' rows with their margins, oldest first: [frames][rows][channels], one of which is the
   newest. `history` holds them in turns, `oldest` says which one comes next. */
INLINE void keep_frame(int frames, int frame, int margin, int count, float *history,
                       int32_t *oldest, const float *newest, const float **ordered)
{
    memcpy(history + *oldest * frame + margin, newest, sizeof(float) * (size_t)count);
    *oldest = *oldest + 1 == frames ? 0 : *oldest + 1;
    UNROLL for (int f = 0; f < frames; f++) {
        const int at = *oldest + f;
        ordered[f] = history + (at < frames ? at : at - frames) * frame;
    }
}

/* Each channel for itself. Weights [phase][frame][tap][channel]; frames begin at their margin. */
INLINE void spread_channels(const struct spread s, const float *const *frames, const float *weight,
                            const float *bias, float *y)
{
    const int row = s.phases * s.channels, of_phase = s.frames * s.taps;
    ROLLED for (int c = 0; c < s.channels; c += 4) {
        UNROLL for (int phase = 0; phase < s.phases; phase++) {
            const int positions = s.positions - phase; /* the last row is that of a position */
            f4 w[FRAME_LIMIT * TAP_LIMIT];
            UNROLL for (int k = 0; k < of_phase; k++)
                w[k] = f4_load(weight + (phase * of_phase + k) * s.channels + c);
            const f4 b = f4_load(bias + phase * s.channels + c);
            ROLLED for (int first = 0; first < positions; first += s.block) {
                const int from = first + s.block <= positions ? first : positions - s.block;
                f4 sums[BLOCK_LIMIT];
                UNROLL for (int p = 0; p < s.block; p++) sums[p] = b;
                UNROLL for (int f = 0; f < s.frames; f++) {
                    UNROLL for (int r = 0; r < (s.block - 1) * s.stride + s.taps; r++) {
                        const f4 x = f4_load(frames[f] + (from * s.stride + r) * s.channels + c);
                        UNROLL for (int k = 0; k < s.taps; k++) {
                            const int ahead = r - k;
                            if (ahead >= 0 && ahead % s.stride == 0 && ahead / s.stride < s.block)
                                sums[ahead / s.stride] =
                                    f4_fma(sums[ahead / s.stride], x, w[f * s.taps + k]);
                        }
                    }
                }
                float *to = y + from * row + phase * s.channels + c;
                UNROLL for (int p = 0; p < s.block; p++) f4_store(to + p * row, sums[p]);
            }
        }
    }
}

/* All channels to one. Weights [phase][frame][tap][channel]. */
INLINE void spread_to_one(const struct spread s, const float *const *frames, const float *weight,
                          const float *bias, float *y)
{
    const int inputs = s.taps * s.channels;
    ROLLED for (int p = 0; p < s.positions; p++) {
        f4 sums[2] = {f4_all(0), f4_all(0)};
        UNROLL for (int f = 0; f < s.frames; f++)
            UNROLL for (int i = 0; i < inputs; i += 4) {
                const f4 x = f4_load(frames[f] + p * s.channels + i);
                UNROLL for (int phase = 0; phase < s.phases; phase++)
                    sums[phase] = f4_fma(sums[phase], x,
                                         f4_load(weight + (phase * s.frames + f) * inputs + i));
            }
        y[s.phases * p] = bias[0] + f4_sum(sums[0]);
        if (s.phases == 2 && p + 1 < s.positions) y[2 * p + 1] = bias[1] + f4_sum(sums[1]);
    }
}

/* The newest value of one channel beside those of the frames before: [rows][4], oldest first, of
   which the first is left and a zero comes last. */
INLINE void stack_frames(int rows, const float *newest, float *stacked)
{
    for (int r = 0; r < rows; r++) {
        float *row = stacked + 4 * r;
        row[0] = row[1];
        row[1] = row[2];
        row[2] = newest[r];
    }
}

/* Attention over time and over bands ---------------------------------------------------------- */

#define UNIT_LIMIT 64

/* Adds inputs times weights [input][3][4] to three sums of four units each. */
INLINE void add_products(int count, const float *x, const float *weight, f4 *first, f4 *second,
                         f4 *third)
{
    ROLLED for (int i = 0; i < count; i += 4) {
        const float *w = weight + i * 12;
        const f4 given = f4_load(x + i);
        UNROLL for (int k = 0; k < 4; k++, w += 12) {
            *first = f4_fma_lane(*first, f4_load(w), given, k);
            *second = f4_fma_lane(*second, f4_load(w + 4), given, k);
            *third = f4_fma_lane(*third, f4_load(w + 8), given, k);
        }
    }
}

/* `recur` of float_kernels.h for one row and many units. Weights lie by four units:
   [quad][input][3][4], [quad][3][4], [quad][unit][3][4], [quad][4]. */
INLINE void recur_once(int inputs, int units, const struct cell *cell, const float *x, float *state)
{
    float after[UNIT_LIMIT];
    ROLLED for (int q = 0; q < units / 4; q++) {
        const float *bias = cell->input_bias + 12 * q;
        f4 reset = f4_load(bias), update = f4_load(bias + 4), candidate = f4_load(bias + 8);
        f4 remembered = f4_load(cell->hidden_bias + 4 * q);
        add_products(inputs, x, cell->input + q * inputs * 12, &reset, &update, &candidate);
        add_products(units, state, cell->hidden + q * units * 12, &reset, &update, &remembered);
        f4_store(after + 4 * q,
                 new_state(reset, update, candidate, remembered, f4_load(state + 4 * q)));
    }
    memcpy(state, after, sizeof(float) * (size_t)units);
}

struct both_ways {
    int rows, channels;
    int inputs, units; /* of the unit over frames, multiples of 4 */
    int groups;        /* of four neighbouring rows, the last one filled up */
};

#define ROW_LIMIT 132
#define CHANNEL_LIMIT 32

/* Mean squares of each channel, and of each row. */
INLINE void measure_energies(const struct both_ways a, const float *x, float *of_channels,
                             float *of_rows)
{
    const float by_rows = 1 / (float)a.rows, by_channels = 1 / (float)a.channels;
    if (a.channels % 4) { /* one */
        float sum = 0;
        for (int p = 0; p < a.rows; p++) {
            of_rows[p] = x[p] * x[p];
            sum += of_rows[p];
        }
        of_channels[0] = sum * by_rows;
        return;
    }
    f4 sums[CHANNEL_LIMIT / 4];
    UNROLL for (int c = 0; c < a.channels / 4; c++) sums[c] = f4_all(0);
    ROLLED for (int p = 0; p < a.rows; p++) {
        f4 of_row = f4_all(0);
        UNROLL for (int c = 0; c < a.channels / 4; c++) {
            const f4 given = f4_load(x + p * a.channels + 4 * c), squared = f4_mul(given, given);
            sums[c] = f4_add(sums[c], squared);
            of_row = f4_add(of_row, squared);
        }
        of_rows[p] = f4_sum(of_row) * by_channels;
    }
    UNROLL for (int c = 0; c < a.channels / 4; c++)
        f4_store(of_channels + 4 * c, f4_mul(sums[c], f4_all(by_rows)));
}

struct gates {
    const float *weight; /* [unit][channel], halved */
    const float *bias;
    const float *band_weight; /* [8][4], halved */
    const float *band_bias;
};

INLINE void attend_both_ways(const struct both_ways a, const struct cell *cell,
                             const struct cell *bands, const struct gates *gates, const float *x,
                             float *state, float *y)
{
    static const int place[2] = {0, 1}, backward[2] = {0, 1};
    const struct convolution projection = {
        a.groups, ROWS_AT_ONCE, 4, 1, 4, 4, 1, 24, 1, 24, LINEAR};
    const struct convolution joining = {a.groups, ROWS_AT_ONCE, 8, 1, 8, 8, 1, 4, 1, 4, BOUNDED};
    float of_channels[CHANNEL_LIMIT], of_rows[ROW_LIMIT];
    float projected[ROW_LIMIT / 4 * 24], states[ROW_LIMIT / 4 * 8];

    UNROLL for (int c = 0; c < a.inputs; c++) of_channels[c] = 0;
    UNROLL for (int p = a.rows; p < 4 * a.groups; p++) of_rows[p] = 0;
    measure_energies(a, x, of_channels, of_rows);

    recur_once(a.inputs, a.units, cell, of_channels, state);
    ROLLED for (int c = 0; c < a.inputs; c += 4) {
        f4 sum = f4_load(gates->bias + c);
        UNROLL for (int i = 0; i < a.units; i++)
            sum = f4_fma(sum, f4_load(gates->weight + i * a.inputs + c), f4_all(state[i]));
        f4_store(of_channels + c, f4_fma(f4_all(0.5f), f4_tanh(sum), f4_all(0.5f)));
    }

    convolve(projection, of_rows, bands->input, bands->input_bias, 0, 0, 1, projected);
    scan(a.groups, 2, bands, place, backward, projected, states);
    convolve(joining, states, gates->band_weight, gates->band_bias, 0, 0, 1, of_rows);

    if (a.channels % 4) {
        for (int p = 0; p < a.rows; p++)
            y[p] = x[p] * of_channels[0] * (0.5f + 0.5f * of_rows[p]);
        return;
    }
    f4 kept[CHANNEL_LIMIT / 4];
    UNROLL for (int c = 0; c < a.channels / 4; c++) kept[c] = f4_load(of_channels + 4 * c);
    ROLLED for (int p = 0; p < a.rows; p++) {
        const f4 gate = f4_all(0.5f + 0.5f * of_rows[p]);
        UNROLL for (int c = 0; c < a.channels / 4; c++) {
            const float *given = x + p * a.channels + 4 * c;
            f4_store(y + p * a.channels + 4 * c, f4_mul(f4_mul(f4_load(given), kept[c]), gate));
        }
    }
}

#endif
