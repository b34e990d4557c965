/* Magnitudes of pairs of 32-bit numbers, four pairs at a time: real parts, then imaginary ones. */

#include <stdio.h>

#include "wide.h"

int main(void)
{
    int32_t parts[2][4], magnitudes[4];
    while (fread(parts, sizeof parts, 1, stdin)) {
        for (int k = 0; k < 4; k += LANES)
            lanes_store(magnitudes + k,
                        lanes_magnitude(lanes_load(parts[0] + k), lanes_load(parts[1] + k)));
        fwrite(magnitudes, sizeof magnitudes, 1, stdout);
    }
    return 0;
}
