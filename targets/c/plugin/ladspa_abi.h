/* The binary interface of LADSPA 1.1, as far as this plugin needs it, declared anew from its
   specification (https://www.ladspa.org/ladspa_sdk/ladspa.h.txt), whose names these are. */

#ifndef LADSPA_ABI_H
#define LADSPA_ABI_H

#define LADSPA_PROPERTY_HARD_RT_CAPABLE 0x4

#define LADSPA_PORT_INPUT 0x1
#define LADSPA_PORT_OUTPUT 0x2
#define LADSPA_PORT_CONTROL 0x4
#define LADSPA_PORT_AUDIO 0x8

#define LADSPA_HINT_BOUNDED_BELOW 0x1
#define LADSPA_HINT_BOUNDED_ABOVE 0x2
#define LADSPA_HINT_TOGGLED 0x4
#define LADSPA_HINT_INTEGER 0x20
#define LADSPA_HINT_DEFAULT_0 0x200
#define LADSPA_HINT_DEFAULT_100 0x280

typedef struct {
    int HintDescriptor;
    float LowerBound, UpperBound;
} LADSPA_PortRangeHint;

typedef struct LADSPA_Descriptor {
    unsigned long UniqueID;
    const char *Label;
    int Properties;
    const char *Name, *Maker, *Copyright;
    unsigned long PortCount;
    const int *PortDescriptors;
    const char *const *PortNames;
    const LADSPA_PortRangeHint *PortRangeHints;
    void *ImplementationData;
    void *(*instantiate)(const struct LADSPA_Descriptor *descriptor, unsigned long rate);
    void (*connect_port)(void *instance, unsigned long port, float *location);
    void (*activate)(void *instance);
    void (*run)(void *instance, unsigned long count);
    void (*run_adding)(void *instance, unsigned long count);
    void (*set_run_adding_gain)(void *instance, float gain);
    void (*deactivate)(void *instance);
    void (*cleanup)(void *instance);
} LADSPA_Descriptor;

#endif
