/* The layers of a network in float; quant/c/float_engine.py writes their weights and calls.

   A value is an array of rows (frequency positions) of channels. Sizes are constants wherever a
   function is called, so that every loop over channels and taps unrolls and all sums stay in
   registers. Weights lie in the order in which they are read: [tap][input][output]. */

#ifndef FLOAT_KERNELS_H
#define FLOAT_KERNELS_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#include "lanes.h"

/* Samples beyond are clipped; full scale is 1. */
#define SAMPLE_LIMIT 1024.0f

#define TANH_LIMIT 8.5f

#define SPEECH_ODDS 21.0f

enum activation { LINEAR, LEAKY, BOUNDED };

/* x P(x^2) / Q(x^2), both of fourth degree and all of it positive, so that nothing cancels: within
   4e-7 of tanh, of which all but 8e-8 is rounding. Not by Horner's rule, since sums of products
   overwrite their first summand, which a constant has to be copied for; factors that are
   constant share registers. */
INLINE f4 f4_tanh(f4 x)
{
    const f4 p = f4_of(166049.761f, 26.1612266f, 0.0174633467f, 0);
    const f4 q = f4_of(319.924616f, 93.2349161f, 0, 0);
    x = f4_max(f4_min(x, f4_all(TANH_LIMIT)), f4_all(-TANH_LIMIT));
    const f4 u = f4_mul(x, x), square = f4_mul(u, u);
    f4 above = f4_fma_lane(f4_all(4367.09096f), u, p, 1);
    above = f4_fma_lane(above, square, p, 2);
    above = f4_fma(f4_fma_lane(f4_all(1238603.77f), u, p, 0), above, square);
    const f4 below = f4_mul(f4_fma_lane(f4_add(square, f4_all(783.297556f)), u, q, 0),
                            f4_fma_lane(f4_add(square, f4_all(1581.2686f)), u, q, 1));
    return f4_div(f4_mul(x, above), below);
}

INLINE f4 activate(f4 x, enum activation kind, float slope)
{
    switch (kind) {
    case LEAKY: return f4_max(x, f4_mul(x, f4_all(slope))); /* slope <= 1 */
    case BOUNDED: return f4_tanh(x);
    default: return x;
    }
}

/* A leaky ReLU of any slope is one of at most 1, and where it is steeper, this after it. */
INLINE float gentle(float slope)
{
    slope = slope > 1 ? 1 : slope;
    OPAQUE(slope); /* or gcc makes loops of their own for slopes of 1 */
    return slope;
}

APART void steepen(int count, float slope, float *y)
{
    ROLLED for (int i = 0; i < count; i += 4) {
        const f4 x = f4_load(y + i);
        f4_store(y + i, f4_min(x, f4_mul(x, f4_all(slope))));
    }
}

struct convolution {
    int positions, block, step; /* floats from one position's input to the next */
    int taps, inputs, row;      /* floats from one tap's input to the next */
    int groups, outputs;        /* of a group, all phases */
    int phases, channels;       /* of a result's row */
    enum activation activation;
};

#define BLOCK_LIMIT 16
#define QUAD_LIMIT 8

/* One group. `edges` [2][inputs][outputs] or none: what to add at the first and the last position for
   the first row of x that is no padding and the last one. */
INLINE void convolve_group(const struct convolution c, const float *x, const float *weight,
                           const float *bias, const float *edges, const float *ends, float slope,
                           float *y, int group)
{
    const int quads = c.outputs / 4, of_phase = c.outputs / c.phases;
    ROLLED for (int first = 0; first < c.positions; first += c.block) {
        const int from = first + c.block <= c.positions ? first : c.positions - c.block;
        f4 sums[BLOCK_LIMIT][QUAD_LIMIT];
        UNROLL for (int p = 0; p < c.block; p++)
            UNROLL for (int o = 0; o < quads; o++) sums[p][o] = f4_load(bias + 4 * o);
        ROLLED for (int t = 0; t < c.taps; t++) {
            ROLLED for (int i = 0; i < c.inputs; i += 4) {
                f4 given[BLOCK_LIMIT];
                UNROLL for (int p = 0; p < c.block; p++)
                    given[p] = f4_load(x + (from + p) * c.step + t * c.row + i);
                const int lanes = c.inputs - i < 4 ? c.inputs - i : 4;
                UNROLL for (int k = 0; k < lanes; k++) {
                    UNROLL for (int o = 0; o < quads; o++) {
                        const f4 w = f4_load(weight + (t * c.inputs + i + k) * c.outputs + 4 * o);
                        UNROLL for (int p = 0; p < c.block; p++)
                            sums[p][o] = f4_fma_lane(sums[p][o], w, given[p], k);
                    }
                }
            }
        }
        if (edges && from == 0)
            UNROLL for (int i = 0; i < c.inputs; i++)
                UNROLL for (int o = 0; o < quads; o++)
                    sums[0][o] = f4_fma(sums[0][o], f4_all(ends[i]),
                                        f4_load(edges + i * c.outputs + 4 * o));
        if (edges && from + c.block == c.positions)
            UNROLL for (int i = 0; i < c.inputs; i++)
                UNROLL for (int o = 0; o < quads; o++)
                    sums[c.block - 1][o] =
                        f4_fma(sums[c.block - 1][o], f4_all(ends[c.row + i]),
                               f4_load(edges + (c.inputs + i) * c.outputs + 4 * o));
        UNROLL for (int p = 0; p < c.block; p++) {
            float *row = y + (from + p) * c.phases * c.channels;
            UNROLL for (int o = 0; o < quads; o++) {
                const int at = c.groups == 1 ? 4 * o
                                             : 4 * o / of_phase * c.channels + group * of_phase +
                                                   4 * o % of_phase;
                f4_store(row + at, activate(sums[p][o], c.activation, slope));
            }
        }
    }
}

INLINE void convolve(const struct convolution c, const float *x, const float *weight,
                     const float *bias, const float *edges, const float *ends, float slope,
                     float *y)
{
    ROLLED for (int g = 0; g < c.groups; g++)
        convolve_group(c, x + g * c.inputs, weight + g * c.taps * c.inputs * c.outputs,
                       bias + g * c.outputs, edges, ends, gentle(slope), y, g);
    if (c.activation == LEAKY && slope > 1) steepen(c.positions * c.phases * c.channels, slope, y);
}

/* Depthwise, 3 rows by 3 frames; the frames' first rows are padding. */
INLINE void convolve_frames(int rows, int channels, int block, const float *oldest,
                            const float *middle, const float *newest, const float *weight,
                            const float *bias, float slope, float *y)
{
    const float *const frames[3] = {oldest, middle, newest};
    ROLLED for (int c = 0; c < channels; c += 4) {
        f4 w[9];
        UNROLL for (int k = 0; k < 9; k++) w[k] = f4_load(weight + k * channels + c);
        const f4 b = f4_load(bias + c);
        ROLLED for (int first = 0; first < rows; first += block) {
            const int from = first + block <= rows ? first : rows - block;
            f4 sums[BLOCK_LIMIT];
            UNROLL for (int p = 0; p < block; p++) sums[p] = b;
            UNROLL for (int t = 0; t < 3; t++) {
                UNROLL for (int r = 0; r < block + 2; r++) {
                    const f4 x = f4_load(frames[t] + (from + r) * channels + c);
                    UNROLL for (int k = 0; k < 3; k++)
                        if (r - k >= 0 && r - k < block)
                            sums[r - k] = f4_fma(sums[r - k], x, w[3 * t + k]);
                }
            }
            float *to = y + from * channels + c;
            UNROLL for (int p = 0; p < block; p++)
                f4_store(to + p * channels, activate(sums[p], LEAKY, gentle(slope)));
        }
    }
    if (slope > 1) steepen(rows * channels, slope, y);
}

/* New states of gated recurrent units, from the sums before the gates. The gates' weights and the
   candidate's hidden ones are stored halved: sigmoid(2 x) = (1 + tanh(x)) / 2. */
INLINE f4 new_state(f4 reset, f4 update, f4 candidate, f4 remembered, f4 before)
{
    const f4 open = f4_tanh(reset), keep = f4_tanh(update);
    const f4 proposal = f4_tanh(f4_fma(f4_add(candidate, remembered), open, remembered));
    const f4 change = f4_mul(f4_sub(before, proposal), f4_all(0.5f));
    return f4_fma(f4_add(proposal, change), keep, change);
}

struct cell {
    const float *input;       /* [group][input][3][unit] */
    const float *input_bias;  /* [group][3][unit] */
    const float *hidden;      /* [group][unit][3][unit] */
    const float *hidden_bias; /* [group][unit], of the candidate */
};

struct recurrence {
    int rows, block, groups, inputs, units; /* of a group */
};

/* One step of units over frames; `state` [rows][group][unit] is carried on. */
INLINE void recur(const struct recurrence r, const struct cell *cell, const float *x, float *state)
{
    const int quads = r.units / 4, gates = 3 * r.units;
    ROLLED for (int g = 0; g < r.groups; g++) {
        const float *input = cell->input + g * r.inputs * gates;
        const float *hidden = cell->hidden + g * r.units * gates;
        const float *input_bias = cell->input_bias + g * gates;
        const float *hidden_bias = cell->hidden_bias + g * r.units;
        ROLLED for (int first = 0; first < r.rows; first += r.block) {
            f4 sums[BLOCK_LIMIT][4][4]; /* reset, update, candidate, remembered */
            UNROLL for (int p = 0; p < r.block; p++)
                UNROLL for (int q = 0; q < quads; q++) {
                    UNROLL for (int gate = 0; gate < 3; gate++)
                        sums[p][gate][q] = f4_load(input_bias + gate * r.units + 4 * q);
                    sums[p][3][q] = f4_load(hidden_bias + 4 * q);
                }
            ROLLED for (int i = 0; i < r.inputs; i += 4) {
                f4 given[BLOCK_LIMIT];
                UNROLL for (int p = 0; p < r.block; p++)
                    given[p] = f4_load(x + ((first + p) * r.groups + g) * r.inputs + i);
                UNROLL for (int k = 0; k < 4; k++)
                    UNROLL for (int gate = 0; gate < 3; gate++)
                        UNROLL for (int q = 0; q < quads; q++) {
                            const f4 w = f4_load(input + (i + k) * gates + gate * r.units + 4 * q);
                            UNROLL for (int p = 0; p < r.block; p++)
                                sums[p][gate][q] = f4_fma_lane(sums[p][gate][q], w, given[p], k);
                        }
            }
            ROLLED for (int i = 0; i < r.units; i += 4) {
                f4 given[BLOCK_LIMIT];
                UNROLL for (int p = 0; p < r.block; p++)
                    given[p] = f4_load(state + ((first + p) * r.groups + g) * r.units + i);
                UNROLL for (int k = 0; k < 4; k++)
                    UNROLL for (int gate = 0; gate < 3; gate++)
                        UNROLL for (int q = 0; q < quads; q++) {
                            const f4 w = f4_load(hidden + (i + k) * gates + gate * r.units + 4 * q);
                            const int into = gate < 2 ? gate : 3;
                            UNROLL for (int p = 0; p < r.block; p++)
                                sums[p][into][q] = f4_fma_lane(sums[p][into][q], w, given[p], k);
                        }
            }
            UNROLL for (int p = 0; p < r.block; p++)
                UNROLL for (int q = 0; q < quads; q++) {
                    float *at = state + ((first + p) * r.groups + g) * r.units + 4 * q;
                    f4_store(at, new_state(sums[p][0][q], sums[p][1][q], sums[p][2][q],
                                           sums[p][3][q], f4_load(at)));
                }
        }
    }
}

#define GROUP_LIMIT 4

/* Groups of four units over the rows of one frame, from zero, some from the last row to the first.
   `projected` [rows][group][3][4] are the inputs' projections, groups in the order `order`. */
INLINE void scan(int rows, int groups, const struct cell *cell, const int *place,
                 const int *backward, const float *projected, float *states)
{
    f4 state[GROUP_LIMIT];
    UNROLL for (int g = 0; g < groups; g++) state[g] = f4_all(0);
    ROLLED for (int k = 0; k < rows; k++) {
        UNROLL for (int g = 0; g < groups; g++) {
            const int row = backward[g] ? rows - 1 - k : k;
            const float *given = projected + (row * groups + place[g]) * 12;
            f4 reset = f4_load(given), update = f4_load(given + 4);
            f4 remembered = f4_load(cell->hidden_bias + 4 * g);
            UNROLL for (int i = 0; i < 4; i++) {
                const float *w = cell->hidden + (g * 4 + i) * 12;
                reset = f4_fma_lane(reset, f4_load(w), state[g], i);
                update = f4_fma_lane(update, f4_load(w + 4), state[g], i);
                remembered = f4_fma_lane(remembered, f4_load(w + 8), state[g], i);
            }
            state[g] = new_state(reset, update, f4_load(given + 8), remembered, state[g]);
            f4_store(states + (row * groups + g) * 4, state[g]);
        }
    }
}

/* result = residual + scale * (x - mean) / deviation + shift, over all `count` elements. */
INLINE void normalize(int count, const float *x, const float *residual, const float *scale,
                      const float *shift, float epsilon, float *result)
{
    f4 sum = f4_all(0), squares = f4_all(0);
    for (int i = 0; i < count; i += 4) sum = f4_add(sum, f4_load(x + i));
    const float mean = f4_sum(sum) / (float)count;
    for (int i = 0; i < count; i += 4) {
        const f4 centred = f4_sub(f4_load(x + i), f4_all(mean));
        squares = f4_fma(squares, centred, centred);
    }
    const float inverse = 1 / sqrtf(f4_sum(squares) / (float)count + epsilon);
    for (int i = 0; i < count; i += 4) {
        const f4 normal =
            f4_mul(f4_sub(f4_load(x + i), f4_all(mean)), f4_all(inverse));
        const f4 scaled = f4_fma(f4_load(shift + i), normal, f4_load(scale + i));
        f4_store(result + i, f4_add(f4_load(residual + i), scaled));
    }
}

struct attention {
    int rows, channels, units, row; /* floats of a row of what is passed along */
};

/* y[row][2 c] = x[row][c] * gate[c], y[row][2 c + 1] = passed[row][c]. */
INLINE void attend(const struct attention a, const struct cell *cell, const float *gate_weight,
                   const float *gate_bias, const float *x, const float *passed, float *state,
                   float *y)
{
    const struct recurrence once = {1, 1, 1, a.channels, a.units};
    float energy[16], gates[16];
    UNROLL for (int c = 0; c < a.channels; c += 4) {
        f4 sum = f4_all(0);
        for (int p = 0; p < a.rows; p++) {
            const f4 given = f4_load(x + p * a.channels + c);
            sum = f4_fma(sum, given, given);
        }
        f4_store(energy + c, f4_mul(sum, f4_all(1 / (float)a.rows)));
    }
    recur(once, cell, energy, state);
    ROLLED for (int c = 0; c < a.channels; c += 4) {
        f4 sum = f4_load(gate_bias + c);
        UNROLL for (int i = 0; i < a.units; i++)
            sum = f4_fma(sum, f4_load(gate_weight + i * a.channels + c), f4_all(state[i]));
        f4_store(gates + c, f4_fma(f4_all(0.5f), f4_tanh(sum), f4_all(0.5f)));
    }
    UNROLL for (int c = 0; c < a.channels; c += 4) {
        const f4 gate = f4_load(gates + c);
        for (int p = 0; p < a.rows; p++)
            f4_store_pairs(y + 2 * (p * a.channels + c),
                           f4_mul(f4_load(x + p * a.channels + c), gate),
                           f4_load(passed + p * a.row + c));
    }
}

INLINE void add(int count, const float *a, const float *b, float *y)
{
    for (int i = 0; i < count; i += 4) f4_store(y + i, f4_add(f4_load(a + i), f4_load(b + i)));
}

/* Magnitude, real and imaginary part of `bins` bins, and a zero: [bins][4]. */
INLINE void measure(int bins, const float *spectrum, float *features)
{
    for (int k = 0; k < bins; k++) {
        const float re = spectrum[2 * k], im = spectrum[2 * k + 1];
        features[4 * k] = sqrtf(re * re + im * im + 1e-12f);
        features[4 * k + 1] = re;
        features[4 * k + 2] = im;
        features[4 * k + 3] = 0;
    }
}

/* Bands as weighted sums of neighbouring bins: from first[b] on, until[b + 1] - until[b] of them. */
INLINE void merge(int bands, const uint16_t *first, const uint16_t *until, const float *weight,
                  const float *bins, float *y)
{
    for (int b = 0; b < bands; b++) {
        f4 sum = f4_all(0);
        const float *x = bins + 4 * first[b];
        for (int k = until[b]; k < until[b + 1]; k++, x += 4)
            sum = f4_fma(sum, f4_load(x), f4_all(weight[k]));
        f4_store(y + 4 * b, sum);
    }
}

/* Spectrum times mask, whose bins are weighted sums of two neighbouring bands from first[k] on. */
INLINE void mask_bins(int bins, const uint16_t *first, const float *weight, const float *bands,
                      const float *spectrum, float *masked)
{
    for (int k = 0; k < bins; k++) {
        const float *low = bands + 2 * first[k];
        const float a = weight[2 * k], b = weight[2 * k + 1];
        const float mask_re = a * low[0] + b * low[2], mask_im = a * low[1] + b * low[3];
        const float re = spectrum[2 * k], im = spectrum[2 * k + 1];
        masked[2 * k] = re * mask_re - im * mask_im;
        masked[2 * k + 1] = im * mask_re + re * mask_im;
    }
}

INLINE void mask_bands(int bins, const float *bands, const float *spectrum, float *masked)
{
    for (int k = 0; k < bins; k++) {
        const float re = spectrum[2 * k], im = spectrum[2 * k + 1];
        masked[2 * k] = re * bands[2 * k] - im * bands[2 * k + 1];
        masked[2 * k + 1] = im * bands[2 * k] + re * bands[2 * k + 1];
    }
}

APART float energy(int count, const float *values)
{
    f4 sum = f4_all(0);
    int k = 0;
    for (; k + 4 <= count; k += 4) sum = f4_fma(sum, f4_load(values + k), f4_load(values + k));
    float parts[4], rest = 0;
    f4_store(parts, sum);
    for (; k < count; k++) rest += values[k] * values[k];
    return (parts[0] + parts[1]) + (parts[2] + parts[3]) + rest;
}

/* Probability of speech, as edge_se/speech.py has it, in steps of 2^-15: of energies of a spectrum, what
   came in and what the mask leaves, and of sound that is too soft to tell. */
static inline int32_t probability_of_speech(float heard, float left, float soft)
{
    const float root = sqrtf(left / (heard + soft));
    const float odds = SPEECH_ODDS * root * sqrtf(root);
    return (int32_t)(32768 * odds / (1 + odds) + 0.5f);
}

/* What the mask did, held at a least gain and mixed with the spectrum, both in steps of 2^-15. A bin
   that the mask leaves nothing of, or hardly anything, has the spectrum's phase. */
APART void limit_mask(int bins, int32_t least_gain, int32_t dry, const float *spectrum, float *masked)
{
    if (!(least_gain | dry)) return;
    const float floor = (float)least_gain * (1.0f / 32768), through = (float)dry * (1.0f / 32768);
    masked[1] = masked[2 * bins - 1] = 0; /* a real signal's */
    for (int k = 0; k < bins; k++) {
        const float re = spectrum[2 * k], im = spectrum[2 * k + 1];
        float x = masked[2 * k], y = masked[2 * k + 1];
        const float power = x * x + y * y, least = floor * floor * (re * re + im * im);
        if (power <= least * 1e-12f) {
            x = floor * re, y = floor * im;
        } else if (power < least) {
            const float raised = sqrtf(least / power);
            x *= raised, y *= raised;
        }
        masked[2 * k] = (1 - through) * x + through * re;
        masked[2 * k + 1] = (1 - through) * y + through * im;
    }
}

/* Below 2^-30, half a step of 32-bit samples: squares and products of what they become would be
   denormal numbers, which take processors many times as long. */
#define FAINT_SAMPLE 0x30800000u

/* Samples that no microphone gives are made harmless: NaN, infinity and what is too faint become
   silence. Told by their bits, so that no compiler's assumption about numbers can undo it. */
INLINE void accept(int count, const float *in, float *samples)
{
    for (int n = 0; n < count; n++) {
        uint32_t bits;
        memcpy(&bits, in + n, sizeof bits);
        const uint32_t size = bits & 0x7f800000u;
        bits = size == 0x7f800000u || size < FAINT_SAMPLE ? 0 : bits;
        float sample;
        memcpy(&sample, &bits, sizeof sample);
        sample = sample < SAMPLE_LIMIT ? sample : SAMPLE_LIMIT;
        samples[n] = sample > -SAMPLE_LIMIT ? sample : -SAMPLE_LIMIT;
    }
}

#endif
