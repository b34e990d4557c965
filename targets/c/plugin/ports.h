/* What a host connects: the ports of both kinds of plugin, in their order. */

#ifndef PORTS_H
#define PORTS_H

#include "path.h"

/* The one function that a host looks for; all others are hidden. */
#if defined(__GNUC__)
#define EXPORTED __attribute__((visibility("default")))
#else
#define EXPORTED
#endif

enum port { INPUT, OUTPUT, MAX_ATTENUATION, MIX, BYPASS, LATENCY, PORTS };

struct instance {
    struct path *path;
    float *ports[PORTS]; /* null where nothing is connected */
};

static void *instance_new(double rate)
{
    struct instance *instance = calloc(1, sizeof *instance);
    if (!instance) return NULL;
    instance->path = path_new(rate);
    if (instance->path) return instance;
    free(instance);
    return NULL;
}

static void instance_connect(void *handle, unsigned long port, float *location)
{
    if (port < PORTS) ((struct instance *)handle)->ports[port] = location;
}

static float instance_control(const struct instance *instance, enum port port, float usual)
{
    return instance->ports[port] ? *instance->ports[port] : usual;
}

static void instance_tell_latency(const struct instance *instance)
{
    if (instance->ports[LATENCY]) *instance->ports[LATENCY] = (float)instance->path->latency;
}

static void instance_reset(void *handle)
{
    const struct instance *instance = handle;
    path_reset(instance->path);
    instance_tell_latency(instance);
}

static void instance_run(const struct instance *instance, size_t count, int bypass)
{
    const float *in = instance->ports[INPUT];
    float *out = instance->ports[OUTPUT];
    path_set_strength(instance->path, instance_control(instance, MAX_ATTENUATION, 100),
                      instance_control(instance, MIX, 0));
    if (in && out) path_run(instance->path, in, out, count, bypass);
    instance_tell_latency(instance);
}

static void instance_free(void *handle)
{
    free(((struct instance *)handle)->path);
    free(handle);
}

#endif
