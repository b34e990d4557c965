/* The binary interface of LV2's core, as far as this plugin needs it, declared anew from its
   specification (https://lv2plug.in/ns/lv2core), whose names these are. */

#ifndef LV2_ABI_H
#define LV2_ABI_H

#include <stdint.h>

typedef struct {
    const char *URI;
    void *data;
} LV2_Feature;

typedef struct LV2_Descriptor {
    const char *URI;
    void *(*instantiate)(const struct LV2_Descriptor *descriptor, double rate, const char *bundle,
                         const LV2_Feature *const *features);
    void (*connect_port)(void *instance, uint32_t port, void *location);
    void (*activate)(void *instance);
    void (*run)(void *instance, uint32_t count);
    void (*deactivate)(void *instance);
    void (*cleanup)(void *instance);
    const void *(*extension_data)(const char *uri);
} LV2_Descriptor;

#endif
