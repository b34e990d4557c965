/* An engine that delays its input by a hop, and multiplies it by the least gain, if there is one. */

#ifndef PLAIN_ENGINE_H
#define PLAIN_ENGINE_H

#include <string.h>

#include "plugin_names.h"

#define ENGINE_HOP 256
#define ENGINE_LATENCY 256
#define ENGINE_SAMPLE_RATE 16000
#define ENGINE_WEIGHTS_SIZE 0
#define engine_weights ((const void *)0)

typedef struct {
    float gain;
    engine_sample last[ENGINE_HOP];
} engine_state;

static inline void engine_reset(engine_state *s)
{
    memset(s->last, 0, sizeof s->last);
}

static inline const char *engine_load(engine_state *s, const void *weights, int size)
{
    (void)weights;
    (void)size;
    s->gain = 1;
    engine_reset(s);
    return 0;
}

static inline void engine_set_strength(engine_state *s, int32_t least_gain, int32_t dry)
{
    (void)dry;
    s->gain = least_gain ? (float)least_gain / 32768 : 1;
}

static inline void engine_process(engine_state *s, const engine_sample *in, engine_sample *out)
{
    for (int n = 0; n < ENGINE_HOP; n++) {
        const engine_sample newest = in[n];
        out[n] = (engine_sample)((float)s->last[n] * s->gain);
        s->last[n] = newest;
    }
}

#endif
