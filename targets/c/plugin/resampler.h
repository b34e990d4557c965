/* One channel from one rate to another by linear-phase filters, sample by sample, aligned: as
   edge_se/resampling.py, which explains the numbers. */

#ifndef RESAMPLER_H
#define RESAMPLER_H

#include <math.h>
#include <stddef.h>
#include <string.h>

#define RESAMPLER_HALF 48
#define RESAMPLER_CUTOFF 0.95
#define RESAMPLER_KAISER 7.86
#define RESAMPLER_MOST_PHASES 2000
#define RESAMPLER_ROOM 1024 /* samples that are taken in before the last ones are moved */

struct resampler {
    int up, down;   /* the new rate over the old one, in lowest terms */
    int half, taps; /* how far the filter reaches on one side, and both together */
    int count;      /* samples that are kept */
    int whole;      /* when the next sample is: samples after the first that is kept, */
    int phase;      /* and parts of 1 / up */
    int step;       /* from one sample to the next: as `whole`, */
    int turn;       /* and as `phase` */
    int size;       /* samples that there is room for */
    float *kernels; /* [up][taps] */
    float *kept;    /* [size] */
};

static inline int resampler_common(int a, int b)
{
    while (b) {
        const int rest = a % b;
        a = b, b = rest;
    }
    return a;
}

/* Describe a resampler between two different rates; 0 where their ratio is none of small numbers. */
static int resampler_plan(struct resampler *r, int rate, int new_rate)
{
    const int common = resampler_common(rate, new_rate);
    const double ratio = rate > new_rate ? (double)rate / new_rate : 1.0;
    memset(r, 0, sizeof *r);
    r->up = new_rate / common;
    r->down = rate / common;
    r->step = r->down / r->up;
    r->turn = r->down % r->up;
    r->half = (int)ceil(RESAMPLER_HALF * ratio);
    r->taps = 2 * r->half;
    return r->up <= RESAMPLER_MOST_PHASES && r->down <= RESAMPLER_MOST_PHASES;
}

/* How many new samples begin in so many old ones. */
static inline int resampler_count(const struct resampler *r, int count)
{
    return (count * r->up + r->down - 1) / r->down;
}

/* Floats of memory that it needs. */
static size_t resampler_floats(struct resampler *r)
{
    r->size = r->taps + RESAMPLER_ROOM;
    return (size_t)r->up * (size_t)r->taps + (size_t)r->size;
}

static void resampler_reset(struct resampler *r)
{
    memset(r->kept, 0, sizeof(float) * (size_t)r->size);
    r->count = r->whole = r->half - 1; /* silence before the first sample */
    r->phase = 0;
}

/* The modified Bessel function of the first kind and order 0. */
static double resampler_bessel(double x)
{
    double term = 1, sum = 1;
    for (int k = 1; term > sum * 1e-17; k++) {
        term *= x * x / (4.0 * k * k);
        sum += term;
    }
    return sum;
}

/* Compute the filters in memory that lasts as long as the resampler does. */
static void resampler_init(struct resampler *r, float *memory)
{
    const double ratio = r->down > r->up ? (double)r->down / r->up : 1.0;
    const double turn = acos(-1.0) * RESAMPLER_CUTOFF / ratio;
    r->kernels = memory;
    r->kept = memory + (size_t)r->up * (size_t)r->taps;
    for (int phase = 0; phase < r->up; phase++) {
        float *kernel = r->kernels + (size_t)phase * (size_t)r->taps;
        double sum = 0;
        for (int pass = 0; pass < 2; pass++) { /* once for their sum, and once for the taps */
            for (int k = 0; k < r->taps; k++) {
                const double distance = 1 - r->half + k - (double)phase / r->up;
                const double share = distance / r->half, room = 1 - share * share;
                const double window = resampler_bessel(RESAMPLER_KAISER * sqrt(room > 0 ? room : 0));
                const double angle = turn * distance;
                const double tap = window * (angle == 0 ? 1 : sin(angle) / angle);
                if (pass) kernel[k] = (float)(tap / sum);
                else sum += tap;
            }
        }
    }
    resampler_reset(r);
}

/* Take in a sample. */
static inline void resampler_push(struct resampler *r, float sample)
{
    if (r->count == r->size) {
        const int done = r->whole - r->half + 1;
        r->count -= done;
        r->whole -= done;
        memmove(r->kept, r->kept + done, sizeof(float) * (size_t)r->count);
    }
    r->kept[r->count++] = sample;
}

/* Whether another one is ready; all of them have to be taken before the next one is taken in. */
static inline int resampler_ready(const struct resampler *r)
{
    return r->whole < r->count - r->half;
}

/* When the next one is, in samples after the newest but `half`, from 0 to 1. */
static inline float resampler_phase(const struct resampler *r)
{
    return (float)r->phase / (float)r->up;
}

/* The next one. */
static inline float resampler_next(struct resampler *r)
{
    const float *x = r->kept + r->whole - r->half + 1;
    const float *kernel = r->kernels + (size_t)r->phase * (size_t)r->taps;
    double sums[8] = {0}; /* apart, so that they can be added up at once */
    double sum = 0;
    int k = 0;
    for (; k + 8 <= r->taps; k += 8) {
        for (int lane = 0; lane < 8; lane++) sums[lane] += (double)x[k + lane] * kernel[k + lane];
    }
    for (; k < r->taps; k++) sum += (double)x[k] * kernel[k];
    for (int lane = 0; lane < 8; lane++) sum += sums[lane];
    r->whole += r->step;
    r->phase += r->turn;
    if (r->phase >= r->up) {
        r->phase -= r->up;
        r->whole++;
    }
    return (float)sum;
}

#endif
