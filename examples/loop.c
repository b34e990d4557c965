/* Enhance raw audio from standard input to standard output with a compiled engine: no Python, no
 * interpreter, no allocation.
 *
 * Build it around the sources of your network, or of the built-in one:
 *
 *   edge-se compile --out engine/
 *   cc -std=c99 -O3 -fno-math-errno -fno-trapping-math -ffp-contract=fast -Iengine \
 *       examples/loop.c engine/gtcrn.c engine/gtcrn_weights.c -lm -o loop
 *
 * and run it on 16-bit samples, one channel, 16 kHz:
 *
 *   arecord -t raw -f S16_LE -r 16000 -c 1 | ./loop | aplay -t raw -f S16_LE -r 16000 -c 1
 *
 * An engine with --arithmetic fixed takes int16_t instead of float: leave out both conversions.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "gtcrn.h"
#include "gtcrn_weights.h"

enum { HOP = 256 };

static gtcrn_state state; /* all memory there is, beside the stack */

static int16_t rounded(float sample)
{
    const float scaled = sample * 32768.0f;
    if (scaled >= 32767.0f)
        return INT16_MAX;
    if (scaled <= -32768.0f)
        return INT16_MIN;
    return (int16_t)(scaled + (scaled < 0 ? -0.5f : 0.5f));
}

int main(void)
{
    int16_t pcm[HOP]; /* as the machine has it: little-endian nearly everywhere */
    float samples[HOP];
    size_t count;

    const char *fault = gtcrn_load(&state, gtcrn_weights, GTCRN_WEIGHTS_SIZE);
    if (fault) {
        fprintf(stderr, "%s\n", fault);
        return 1;
    }
    do {
        count = fread(pcm, sizeof pcm[0], HOP, stdin);
        if (count == 0)
            break;
        memset(pcm + count, 0, (HOP - count) * sizeof pcm[0]); /* the last hop may be short */
        for (int i = 0; i < HOP; i++)
            samples[i] = (float)pcm[i] / 32768.0f;
        gtcrn_process(&state, samples, samples);
        for (int i = 0; i < HOP; i++)
            pcm[i] = rounded(samples[i]);
        if (fwrite(pcm, sizeof pcm[0], count, stdout) != count || fflush(stdout))
            return 1;
    } while (count == HOP);
    return ferror(stdin) ? 1 : 0;
}
