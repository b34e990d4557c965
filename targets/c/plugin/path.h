/* One channel at any rate through an engine, as many samples out as in, by a constant latency later.

   Samples go to the network's rate, hop by hop through the engine, and back. What lies above the
   network's band follows the top of its own (docs/full-band.md): the output is what the network
   changes, resampled, plus a gain times the input. Bypassed, it is the input, as late. Nothing is
   allocated but the path itself. */

#ifndef PATH_H
#define PATH_H

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "engine_weights.h"
#include "plugin_names.h"
#include "resampler.h"
#include "top_gain.h"

#define LOWEST_RATE 4000
#define HIGHEST_RATE 384000
#define FULL_SCALE 32768.0f
/* As the engines do: what is softer than -180 dBFS is silence, what is louder is cut off. */
#define FAINTEST 9.3132257e-10f
#define LOUDEST 1024.0f

struct path {
    engine_state engine;
    int resampled;           /* whether the host's rate is another one than the network's */
    struct resampler down, up;
    int full_band;           /* whether there is something above the network's band */
    struct top_gain top;
    int latency;             /* samples that output lags input */
    int ramp;                /* samples of a hop, over which the bypass fades */
    int size;                /* latency + 1, of the rings */
    float *input;            /* [size] */
    float *changed, *gain;   /* [size] what comes out is changed + gain * input */
    int now;                 /* in the rings: sample that comes in, and that goes out */
    int next;                /* where the next enhanced sample goes */
    float heard[ENGINE_LATENCY + ENGINE_HOP]; /* at the network's rate, oldest first */
    int filled;              /* samples of the newest hop */
    int early;               /* enhanced samples that lie before the first one */
    float gains[3];          /* at the ends of the last hops, the newest last */
    int hops;                /* 0 until there is a gain */
    float bypassed;          /* share of the input, 0 to 1; negative before the first sample */
    float max_attenuation, mix; /* what the engine was told; negative before */
};

static inline float clipped(float x, float low, float high)
{
    return x > low ? (x < high ? x : high) : low; /* what is no number is the lowest */
}

static inline float usable(float sample)
{
    if (!isfinite(sample) || fabsf(sample) < FAINTEST) return 0;
    return clipped(sample, -LOUDEST, LOUDEST);
}

/* Forget all samples; controls that moved meanwhile hold at once. */
static void path_reset(struct path *p)
{
    const size_t size = sizeof(float) * (size_t)p->size;
    engine_reset(&p->engine);
    if (p->resampled) {
        resampler_reset(&p->down);
        resampler_reset(&p->up);
    }
    top_gain_reset(&p->top);
    memset(p->input, 0, size);
    memset(p->changed, 0, size);
    memset(p->gain, 0, size);
    memset(p->heard, 0, sizeof p->heard);
    p->now = p->filled = 0;
    p->next = p->latency;
    p->early = ENGINE_LATENCY;
    p->hops = 0;
    p->bypassed = -1;
}

/* A path at a rate in Hz; null where there is no memory, or no way from this rate to the network's.
   Freed by free(). */
static struct path *path_new(double rate)
{
    const int model = ENGINE_SAMPLE_RATE;
    if (!(rate >= LOWEST_RATE && rate <= HIGHEST_RATE) || rate != floor(rate)) return NULL;
    const int host = (int)rate;
    struct resampler down = {0}, up = {0};
    int latency = ENGINE_LATENCY, ramp = ENGINE_HOP;
    size_t of_down = 0, of_up = 0;
    if (host != model) {
        if (!resampler_plan(&down, host, model) || !resampler_plan(&up, model, host)) return NULL;
        latency = down.half + resampler_count(&up, ENGINE_LATENCY + up.half);
        ramp = resampler_count(&up, ENGINE_HOP);
        of_down = resampler_floats(&down);
        of_up = resampler_floats(&up);
    }
    latency += ramp; /* a hop is collected first */
    const size_t ring = (size_t)latency + 1;
    struct path *p = malloc(sizeof *p + sizeof(float) * (of_down + of_up + 3 * ring));
    if (!p) return NULL;
    memset(p, 0, sizeof *p);
    float *memory = (float *)(void *)(p + 1);
    p->resampled = host != model;
    p->full_band = host > model;
    p->down = down;
    p->up = up;
    if (p->resampled) {
        resampler_init(&p->down, memory);
        resampler_init(&p->up, memory + of_down);
    }
    p->input = memory + of_down + of_up;
    p->changed = p->input + ring;
    p->gain = p->changed + ring;
    p->latency = latency;
    p->ramp = ramp;
    p->size = (int)ring;
    p->max_attenuation = p->mix = -1;
    top_gain_init(&p->top, model);
    if (engine_load(&p->engine, engine_weights, ENGINE_WEIGHTS_SIZE)) {
        free(p);
        return NULL;
    }
    path_reset(p);
    return p;
}

static inline void path_give(struct path *p, float changed, float gain)
{
    p->changed[p->next] = changed;
    p->gain[p->next] = gain;
    p->next = p->next + 1 == p->size ? 0 : p->next + 1;
}

/* The newest hop of what is heard, through the engine. */
static void path_enhance(const struct path *p, engine_state *engine, float *enhanced)
{
    const float *hop = p->heard + ENGINE_LATENCY;
    engine_sample samples[ENGINE_HOP];
    for (int n = 0; n < ENGINE_HOP; n++) {
        if (INTEGER_SAMPLES) {
            samples[n] = (engine_sample)lrintf(clipped(hop[n] * FULL_SCALE, -FULL_SCALE, FULL_SCALE - 1));
        } else {
            samples[n] = (engine_sample)hop[n];
        }
    }
    engine_process(engine, samples, samples);
    for (int n = 0; n < ENGINE_HOP; n++) {
        enhanced[n] = INTEGER_SAMPLES ? (float)samples[n] / FULL_SCALE : (float)samples[n];
    }
}

/* Take out of the enhanced hop what the gain times the input puts in. */
static void path_split(struct path *p, float *enhanced)
{
    const float gain = top_gain_next(&p->top, p->heard, enhanced);
    if (!p->hops) p->gains[1] = p->gains[2] = gain;
    p->hops = 1;
    p->gains[0] = p->gains[1];
    p->gains[1] = p->gains[2];
    p->gains[2] = gain;
    for (int n = 0; n < ENGINE_HOP; n++) {
        const float share = (float)n / ENGINE_HOP;
        enhanced[n] -= (p->gains[1] + (gain - p->gains[1]) * share) * p->heard[n];
    }
}

/* The gain at a sample of the newest hop, or before its first. */
static inline float path_gain(const struct path *p, float at)
{
    const float *gains = p->gains + (at < 0 ? 0 : 1);
    const float share = (at < 0 ? at + ENGINE_HOP : at) / ENGINE_HOP;
    return gains[0] + (gains[1] - gains[0]) * share;
}

/* A hop is full. */
static void path_hop(struct path *p)
{
    float enhanced[ENGINE_HOP];
    path_enhance(p, &p->engine, enhanced);
    const int first = p->early < ENGINE_HOP ? p->early : ENGINE_HOP;
    p->early -= first;
    if (p->full_band && !first) path_split(p, enhanced);
    for (int n = first; n < ENGINE_HOP; n++) {
        if (!p->resampled) {
            path_give(p, enhanced[n], 0);
            continue;
        }
        resampler_push(&p->up, enhanced[n]);
        while (resampler_ready(&p->up)) {
            const float at = (float)(n - p->up.half) + resampler_phase(&p->up);
            const float gain = p->full_band ? path_gain(p, at) : 0;
            path_give(p, resampler_next(&p->up), gain);
        }
    }
    memmove(p->heard, p->heard + ENGINE_HOP, sizeof(float) * ENGINE_LATENCY);
    p->filled = 0;
}

static inline void path_hear(struct path *p, float sample)
{
    p->heard[ENGINE_LATENCY + p->filled++] = sample;
    if (p->filled == ENGINE_HOP) path_hop(p);
}

/* What holds from the next hop on; hops overlap, so that a change fades in over one. */
static void path_set_strength(struct path *p, float max_attenuation, float mix)
{
    max_attenuation = clipped(max_attenuation, 0, 100);
    mix = clipped(mix, 0, 1);
    if (max_attenuation == p->max_attenuation && mix == p->mix) return;
    p->max_attenuation = max_attenuation;
    p->mix = mix;
    const double least = (double)FULL_SCALE * pow(10, -(double)max_attenuation / 20);
    engine_set_strength(&p->engine, (int32_t)lrint(least), (int32_t)lrintf(FULL_SCALE * mix));
}

/* Enhance samples; `out` may be `in`. */
static void path_run(struct path *p, const float *in, float *out, size_t count, int bypass)
{
    const float target = bypass ? 1 : 0, step = 1 / (float)p->ramp;
    if (p->bypassed < 0) p->bypassed = target;
    for (size_t n = 0; n < count; n++) {
        const float newest = usable(in[n]);
        const int oldest = p->now + 1 == p->size ? 0 : p->now + 1;
        p->input[p->now] = newest;
        if (p->resampled) {
            resampler_push(&p->down, newest);
            while (resampler_ready(&p->down)) path_hear(p, resampler_next(&p->down));
        } else {
            path_hear(p, newest);
        }
        const float dry = p->input[oldest], wet = p->changed[p->now] + p->gain[p->now] * dry;
        p->bypassed += clipped(target - p->bypassed, -step, step);
        out[n] = p->bypassed * dry + (1 - p->bypassed) * wet;
        p->now = oldest;
    }
}

#endif
