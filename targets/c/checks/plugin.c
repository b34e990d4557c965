/* A plugin under a host that does all that LADSPA allows, and some that it does not: several rates
   and instances by turns, blocks of any size, controls that jump, samples that are no numbers. Fails
   if an output is not finite, if the latency changes, or if memory is allocated or freed while a
   plugin runs. Built with sanitizers, which watch every access. */

#include "ladspa_abi.h"
#include "ports.h"

#include <stdio.h>

extern const LADSPA_Descriptor *ladspa_descriptor(unsigned long index);
extern int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void *, size_t),
                                                     void (*on_free)(const volatile void *));

#define INSTANCES 2
#define LONGEST 8192
#define BLOCKS 40 /* of each rate */

static const unsigned long rates[] = {4000, 8000, 11025, 16000, 22050, 44100, 48000, 96000, 384000};
static const unsigned long refused[] = {0, 1, 3999, 44099, 384001, 4294967295ul};
static const unsigned long sizes[] = {0, 1, 2, 3, 64, 255, 256, 257, 480, 1024, 4096, LONGEST};
static const float any[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 1e-40f, 1e-12f, 1e6f, 1, -1, 0};

static uint32_t seed = 1;
static int running;
static long changes; /* of memory, meanwhile */

static void on_malloc(const volatile void *memory, size_t size)
{
    (void)memory;
    (void)size;
    changes += running;
}

static void on_free(const volatile void *memory)
{
    (void)memory;
    changes += running;
}

static uint32_t dice(size_t sides)
{
    seed = seed * 1664525u + 1013904223u;
    return (seed >> 8) % (uint32_t)sides;
}

static float noise(void)
{
    return (float)dice(1 << 24) / (1 << 23) - 1;
}

#define ONE_OF(list) (list)[dice(sizeof(list) / sizeof *(list))]

static float number(void)
{
    return dice(20) ? noise() : ONE_OF(any);
}

static int run_once(const LADSPA_Descriptor *plugin, void *handle, unsigned long size)
{
    /* As long as the block, so that what lies beyond is seen. */
    float *in = malloc(sizeof(float) * (size ? size : 1));
    float *out = dice(2) ? in : malloc(sizeof(float) * (size ? size : 1));
    int fine = 1;
    for (unsigned long n = 0; n < size; n++) in[n] = number();
    plugin->connect_port(handle, INPUT, in);
    plugin->connect_port(handle, OUTPUT, out);
    running = 1;
    plugin->run(handle, size);
    running = 0;
    for (unsigned long n = 0; n < size; n++) fine &= fabsf(out[n]) < 1e6f;
    if (out != in) free(out);
    free(in);
    return fine;
}

static const char *check_rate(const LADSPA_Descriptor *plugin, unsigned long rate)
{
    void *handles[INSTANCES];
    float controls[INSTANCES][PORTS] = {{0}};
    float latency = 0;
    for (int k = 0; k < INSTANCES; k++) {
        handles[k] = plugin->instantiate(plugin, rate);
        if (!handles[k]) return "a rate was refused";
        for (unsigned long port = MAX_ATTENUATION; port < PORTS; port++) {
            plugin->connect_port(handles[k], port, &controls[k][port]);
        }
        plugin->connect_port(handles[k], PORTS, 0); /* which there is none of */
        if (k) plugin->activate(handles[k]);        /* some hosts forget it */
    }
    for (int block = 0; block < BLOCKS; block++) {
        const int k = (int)dice(INSTANCES);
        if (!dice(10)) plugin->activate(handles[k]);
        controls[k][MAX_ATTENUATION] = 50 + 60 * number();
        controls[k][MIX] = number();
        controls[k][BYPASS] = (float)dice(2);
        if (!run_once(plugin, handles[k], ONE_OF(sizes))) return "an output was not finite";
        if (latency > 0 && controls[k][LATENCY] != latency) return "the latency changed";
        latency = controls[k][LATENCY];
    }
    for (int k = 0; k < INSTANCES; k++) plugin->cleanup(handles[k]);
    return changes ? "memory was allocated or freed" : NULL;
}

int main(void)
{
    const LADSPA_Descriptor *plugin = ladspa_descriptor(0);
    if (!plugin || ladspa_descriptor(1)) return 1;
    __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
    for (size_t k = 0; k < sizeof refused / sizeof *refused; k++) {
        if (plugin->instantiate(plugin, refused[k])) {
            fprintf(stderr, "%lu Hz was not refused\n", refused[k]);
            return 1;
        }
    }
    for (size_t k = 0; k < sizeof rates / sizeof *rates; k++) {
        const char *fault = check_rate(plugin, rates[k]);
        if (fault) {
            fprintf(stderr, "%lu Hz: %s\n", rates[k], fault);
            return 1;
        }
    }
    printf("%d blocks at %d rates, all finite, no memory allocated\n",
           BLOCKS * (int)(sizeof rates / sizeof *rates), (int)(sizeof rates / sizeof *rates));
    return 0;
}
