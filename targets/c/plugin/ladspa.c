/* A speech enhancement engine as a LADSPA plugin. */

#include "ladspa_abi.h"
#include "ports.h"

#define CONTROL (LADSPA_PORT_INPUT | LADSPA_PORT_CONTROL)
#define BOUNDED (LADSPA_HINT_BOUNDED_BELOW | LADSPA_HINT_BOUNDED_ABOVE)

static const int kinds[PORTS] = {
    [INPUT] = LADSPA_PORT_INPUT | LADSPA_PORT_AUDIO,
    [OUTPUT] = LADSPA_PORT_OUTPUT | LADSPA_PORT_AUDIO,
    [MAX_ATTENUATION] = CONTROL,
    [MIX] = CONTROL,
    [BYPASS] = CONTROL,
    [LATENCY] = LADSPA_PORT_OUTPUT | LADSPA_PORT_CONTROL,
};

static const char *const names[PORTS] = {
    [INPUT] = "Input",
    [OUTPUT] = "Output",
    [MAX_ATTENUATION] = "Max attenuation (dB)",
    [MIX] = "Mix",
    [BYPASS] = "Bypass",
    [LATENCY] = "latency", /* hosts know it by this name */
};

static const LADSPA_PortRangeHint hints[PORTS] = {
    [MAX_ATTENUATION] = {BOUNDED | LADSPA_HINT_DEFAULT_100, 0, 100},
    [MIX] = {BOUNDED | LADSPA_HINT_DEFAULT_0, 0, 1},
    [BYPASS] = {LADSPA_HINT_TOGGLED | LADSPA_HINT_DEFAULT_0, 0, 1},
    [LATENCY] = {LADSPA_HINT_INTEGER, 0, 0},
};

static void *instantiate(const LADSPA_Descriptor *descriptor, unsigned long rate)
{
    (void)descriptor;
    return instance_new((double)rate);
}

static void run(void *handle, unsigned long count)
{
    const struct instance *instance = handle;
    instance_run(instance, count, instance_control(instance, BYPASS, 0) > 0);
}

static const LADSPA_Descriptor plugin = {
    .UniqueID = PLUGIN_ID,
    .Label = PLUGIN_NAME,
    .Properties = LADSPA_PROPERTY_HARD_RT_CAPABLE,
    .Name = PLUGIN_TITLE,
    .Maker = "edge-se",
    .Copyright = PLUGIN_LICENSE,
    .PortCount = PORTS,
    .PortDescriptors = kinds,
    .PortNames = names,
    .PortRangeHints = hints,
    .instantiate = instantiate,
    .connect_port = instance_connect,
    .activate = instance_reset,
    .run = run,
    .cleanup = instance_free,
};

EXPORTED const LADSPA_Descriptor *ladspa_descriptor(unsigned long index);

const LADSPA_Descriptor *ladspa_descriptor(unsigned long index)
{
    return index == 0 ? &plugin : 0;
}
