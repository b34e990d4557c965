/* The fixed-point path on another machine: what Python would give it from standard input, the
   features and samples it makes of that to standard output. See test_cross.py. */

#include <stdio.h>

#include "fixed_path.h"

#define READ(array) (fread(array, sizeof *(array), sizeof(array) / sizeof *(array), stdin))

static int32_t sines[WINDOW], window[WINDOW], synthesis[WINDOW], logarithms[65], twiddles[2 * 3 * 64];
static int32_t spectra[2 * BINS], exponents[1], tail[HOP];
static int16_t samples[WINDOW], output[HOP], features[6 * BINS], mask[2 * BINS];

int main(void)
{
    int32_t counts[2], levelled[1];
    struct level level[1];
    struct context c = {0};
    READ(counts); /* of numbers from `delay` on, and of features */
    fread(&c.delay, sizeof c.delay, (size_t)counts[0], stdin);
    READ(levelled), READ(level);
    READ(sines), READ(window), READ(synthesis), READ(logarithms), READ(twiddles);
    c.sines = sines, c.window = window, c.synthesis = synthesis, c.twiddles = twiddles;
    c.logarithms = logarithms[64] ? logarithms : 0;
    c.samples = samples, c.output = output, c.spectra = spectra, c.exponents = exponents;
    c.tail = tail, c.level = levelled[0] ? level : 0, c.features = features, c.mask = mask;
    while (fread(samples + HOP, sizeof *samples, HOP, stdin) == HOP) {
        fread(mask, (size_t)c.mask_bytes, (size_t)c.mask_rows * BINS, stdin);
        fixed_analyse(&c);
        fixed_synthesise(&c);
        fwrite(features, (size_t)c.feature_bytes, (size_t)counts[1], stdout);
        fwrite(output, sizeof *output, HOP, stdout);
    }
    return 0;
}
