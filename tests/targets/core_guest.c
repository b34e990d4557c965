/* The fixed-point path on another machine: what Python would give it from standard input, the
   features and samples it makes of that to standard output. See test_cross.py. */

#include <stdio.h>

#include "fixed_path.h"

#define READ(array) (fread(array, sizeof *(array), sizeof(array) / sizeof *(array), stdin))

static int32_t window[WINDOW], synthesis[WINDOW], cosines[BINS], sines[BINS], twiddles[504];
static int32_t spectra[2 * BINS], exponents[1], tail[HOP];
static int16_t samples[WINDOW], output[HOP], features[3 * BINS], mask[2 * BINS];

int main(void)
{
    int32_t numbers[10], level[2];
    READ(numbers), READ(level);
    READ(window), READ(synthesis), READ(cosines), READ(sines), READ(twiddles);
    struct level normalizer = {level[1], level[1], 0, 0};
    struct context c = {
        window,  synthesis, cosines,    sines,      twiddles,   samples,    output,
        spectra, exponents, tail,       level[0] ? &normalizer : 0,         features,
        mask,    numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5],
        numbers[6], numbers[7], numbers[8], numbers[9],
    };
    while (fread(samples + HOP, sizeof *samples, HOP, stdin) == HOP) {
        fread(mask, (size_t)c.mask_bytes, 2 * BINS, stdin);
        fixed_analyse(&c);
        fixed_synthesise(&c);
        fwrite(features, (size_t)c.feature_bytes, 3 * BINS, stdout);
        fwrite(output, sizeof *output, HOP, stdout);
    }
    return 0;
}
