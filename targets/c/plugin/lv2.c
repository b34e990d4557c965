/* A speech enhancement engine as an LV2 plugin; the files beside it in Turtle describe its ports. */

#include "lv2_abi.h"
#include "ports.h"

static void *instantiate(const LV2_Descriptor *descriptor, double rate, const char *bundle,
                         const LV2_Feature *const *features)
{
    (void)descriptor;
    (void)bundle;
    (void)features;
    return instance_new(rate);
}

static void connect_port(void *handle, uint32_t port, void *location)
{
    instance_connect(handle, port, location);
}

static void run(void *handle, uint32_t count)
{
    const struct instance *instance = handle;
    /* LV2's hosts switch plugins on by it, where LADSPA's bypass them. */
    const int enabled = instance_control(instance, BYPASS, 1) > 0;
    instance_run(instance, count, !enabled);
}

static const LV2_Descriptor plugin = {
    .URI = PLUGIN_URI,
    .instantiate = instantiate,
    .connect_port = connect_port,
    .activate = instance_reset,
    .run = run,
    .cleanup = instance_free,
};

EXPORTED const LV2_Descriptor *lv2_descriptor(uint32_t index);

const LV2_Descriptor *lv2_descriptor(uint32_t index)
{
    return index == 0 ? &plugin : 0;
}
