/* Ten minutes of what an engine may meet, five seconds each in turn. Fails if an output is not finite,
   or, once the input is usual again, larger than the input was. Built with sanitizers. */

#include "gtcrn.h"
#include "gtcrn_weights.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FIXED
typedef int16_t sample;
#define FULL 32767.0
#else
typedef float sample;
#define FULL 1.0
#endif

#define FRAMES 37500
#define FRAMES_EACH 312

static uint32_t seed = 1;

static double noise(void)
{
    seed = seed * 1664525u + 1013904223u;
    return (double)(seed >> 8) / 8388608.0 - 1.0;
}

enum signal { SPEECHLIKE, SILENCE, SQUARE, NOISE, WHISPER, CONSTANT, IMPULSES, LOWEST, SWEEP,
              NOT_NUMBERS, INFINITE, HUGE_VALUES, TINY, ANY_BITS, SIGNALS };

static sample make(enum signal signal, long n)
{
#ifdef FIXED
    if (signal >= NOT_NUMBERS) signal = NOISE;
#else
    uint32_t bits;
    float any;
    switch (signal) {
    case NOT_NUMBERS: return n % 3 ? (float)NAN : (float)noise();
    case INFINITE: return n % 5 ? (float)(n % 2 ? INFINITY : -INFINITY) : 0.0f;
    case HUGE_VALUES: return (float)(noise() * 3e38);
    case TINY: return (float)(noise() * 1e-40);
    case ANY_BITS:
        noise();
        bits = seed ^ (seed << 13);
        memcpy(&any, &bits, sizeof any);
        return any;
    default: break;
    }
#endif
    switch (signal) {
    case SPEECHLIKE:
        return (sample)(FULL * 0.3 * sin((double)n * 0.05) * sin((double)n * 0.0004) * (1 + noise()) / 2);
    case SQUARE: return (sample)(n / 40 % 2 ? FULL : -FULL);
    case NOISE: return (sample)(FULL * noise());
    case WHISPER: return (sample)(FULL * 1e-4 * noise());
    case CONSTANT: return (sample)FULL;
    case IMPULSES: return (sample)(n % 1000 ? 0 : FULL);
#ifdef FIXED
    case LOWEST: return INT16_MIN;
#else
    case LOWEST: return -1;
#endif
    case SWEEP: return (sample)(FULL * sin((double)(n % 80000) * (double)(n % 80000) * 2e-5));
    default: return 0;
    }
}

int main(void)
{
    gtcrn_state *state = malloc(sizeof *state); /* on the heap: overruns are seen */
    sample in[GTCRN_HOP], out[GTCRN_HOP];
    if (!state) return 1;
    if (gtcrn_load(state, gtcrn_weights, GTCRN_WEIGHTS_SIZE)) return 1;
    double loudest = 0;
    for (long frame = 0; frame < FRAMES; frame++) {
        const long turn = frame / FRAMES_EACH;
        /* Every other turn is usual, so that what came before can show. */
        const enum signal signal = turn % 2 ? (enum signal)(turn / 2 % SIGNALS) : SPEECHLIKE;
        for (long n = 0; n < GTCRN_HOP; n++) in[n] = make(signal, frame * GTCRN_HOP + n);
        gtcrn_process(state, in, out);
        for (int n = 0; n < GTCRN_HOP; n++) {
            const double size = fabs((double)out[n]) / FULL;
            if (!(size <= 1e6)) {
                printf("frame %ld, signal %d: output %g\n", frame, (int)signal, (double)out[n]);
                return 1;
            }
            if (signal == SPEECHLIKE && frame % FRAMES_EACH > 10 && size > loudest) loudest = size;
        }
    }
    printf("%d frames (%d s), loudest output of usual input %.3f of full scale\n", FRAMES,
           FRAMES * GTCRN_HOP / GTCRN_SAMPLE_RATE, loudest);
    free(state);
    return loudest > 1.0;
}
