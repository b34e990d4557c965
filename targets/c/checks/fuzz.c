/* libFuzzer's target: any bytes as samples, one hop after the other, in a fresh state. */

#include "gtcrn.h"
#include "gtcrn_weights.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#ifdef FIXED
typedef int16_t sample;
#else
typedef float sample;
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static gtcrn_state state;
    sample hop[GTCRN_HOP], out[GTCRN_HOP];
    if (gtcrn_load(&state, gtcrn_weights, GTCRN_WEIGHTS_SIZE)) abort();
    /* A short input is repeated: it takes some frames until all states hold something. */
    size_t at = 0;
    if (size < sizeof(sample)) return 0;
    for (int frame = 0; frame < 12; frame++) {
        for (int n = 0; n < GTCRN_HOP; n++) {
            if (at + sizeof(sample) > size) at = 0;
            memcpy(hop + n, data + at, sizeof(sample));
            at += sizeof(sample);
        }
        gtcrn_process(&state, hop, out);
        for (int n = 0; n < GTCRN_HOP; n++)
            if (!(fabs((double)out[n]) < 1e9)) abort();
    }
    return 0;
}
