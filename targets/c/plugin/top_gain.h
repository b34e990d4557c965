/* How much a network attenuates the top of its band, hop by hop: edge_se/full_band.py's TopGain,
   which explains the numbers. */

#ifndef TOP_GAIN_H
#define TOP_GAIN_H

#include <math.h>
#include <string.h>

#include "engine.h"

#define TOP_WINDOW (2 * ENGINE_HOP)
#define TOP_FIRST (ENGINE_HOP * 3 / 4)                      /* bins, of ENGINE_HOP */
#define TOP_BINS ((ENGINE_HOP * 19 + 10) / 20 - TOP_FIRST + 1)
#define TOP_SMOOTHING_S 0.04
#define TOP_NOTHING 1e-10

struct top_gain {
    float window[TOP_WINDOW];
    float turns[TOP_BINS]; /* twice the cosine of each bin's angle a sample */
    double scale, kept;
    float heard[TOP_WINDOW], enhanced[TOP_WINDOW]; /* two hops */
    double before, after;                          /* energies, smoothed */
};

static void top_gain_reset(struct top_gain *t)
{
    memset(t->heard, 0, sizeof t->heard);
    memset(t->enhanced, 0, sizeof t->enhanced);
    t->before = t->after = 0;
}

static void top_gain_init(struct top_gain *t, double rate)
{
    const double turn = 2 * acos(-1.0) / TOP_WINDOW;
    double energy = 0;
    for (int n = 0; n < TOP_WINDOW; n++) {
        t->window[n] = (float)(0.5 - 0.5 * cos(turn * n));
        energy += (double)t->window[n] * (double)t->window[n];
    }
    for (int k = 0; k < TOP_BINS; k++) t->turns[k] = (float)(2 * cos(turn * (TOP_FIRST + k)));
    t->scale = 2 / (TOP_WINDOW * energy);
    t->kept = exp(-ENGINE_HOP / rate / TOP_SMOOTHING_S);
    top_gain_reset(t);
}

/* Energy in the top of the band of two hops, by Goertzel's recurrence for each bin. */
static double top_energy(const struct top_gain *t, const float *samples)
{
    float last[TOP_BINS] = {0}, last_but_one[TOP_BINS] = {0};
    double sum = 0;
    for (int n = 0; n < TOP_WINDOW; n++) {
        const float sample = samples[n] * t->window[n];
        for (int k = 0; k < TOP_BINS; k++) {
            const float next = sample + t->turns[k] * last[k] - last_but_one[k];
            last_but_one[k] = last[k];
            last[k] = next;
        }
    }
    for (int k = 0; k < TOP_BINS; k++) {
        const double a = (double)last[k], b = (double)last_but_one[k];
        sum += a * a + b * b - (double)t->turns[k] * a * b;
    }
    return t->scale * (sum > 0 ? sum : 0);
}

static void top_shift(float *two_hops, const float *hop)
{
    memcpy(two_hops, two_hops + ENGINE_HOP, sizeof(float) * ENGINE_HOP);
    memcpy(two_hops + ENGINE_HOP, hop, sizeof(float) * ENGINE_HOP);
}

/* The gain at the end of the next hop, of what the network heard and what it made of it. */
static float top_gain_next(struct top_gain *t, const float *heard, const float *enhanced)
{
    top_shift(t->heard, heard);
    top_shift(t->enhanced, enhanced);
    t->before += (1 - t->kept) * (top_energy(t, t->heard) - t->before);
    t->after += (1 - t->kept) * (top_energy(t, t->enhanced) - t->after);
    const double gain = sqrt((t->after + TOP_NOTHING) / (t->before + TOP_NOTHING));
    return gain < 1 ? (float)gain : 1;
}

#endif
