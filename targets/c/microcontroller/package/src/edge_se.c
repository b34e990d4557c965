/* The functions of edge_se.h, for the network of this package. */

#include "edge_se.h"

#include "engine.h"
#include "engine_weights.h"

struct edge_se {
    engine_state state;
};

typedef char hops_are_alike[ENGINE_HOP == EDGE_SE_HOP ? 1 : -1];

static struct edge_se own;

static edge_se *begun(edge_se *stream)
{
    return engine_load(&stream->state, engine_weights, ENGINE_WEIGHTS_SIZE) ? 0 : stream;
}

edge_se *edge_se_open(void)
{
    return begun(&own);
}

size_t edge_se_size(void)
{
    return sizeof(edge_se);
}

edge_se *edge_se_open_in(void *memory, size_t size)
{
    return size < sizeof(edge_se) || (uintptr_t)memory % 8 ? 0 : begun(memory);
}

void edge_se_process(edge_se *stream, const int16_t in[EDGE_SE_HOP], int16_t out[EDGE_SE_HOP])
{
    engine_process(&stream->state, in, out);
}

void edge_se_reset(edge_se *stream)
{
    engine_reset(&stream->state);
}

void edge_se_set_strength(edge_se *stream, int32_t least_gain, int32_t dry)
{
    engine_set_strength(&stream->state, least_gain, dry);
}

int32_t edge_se_speech_probability(const edge_se *stream)
{
    return engine_speech_probability(&stream->state);
}

int edge_se_api_version(void)
{
    return EDGE_SE_API_VERSION;
}

uint32_t edge_se_sample_rate(const edge_se *stream)
{
    return engine_sample_rate(&stream->state);
}

int edge_se_latency(void)
{
    return engine_latency();
}
