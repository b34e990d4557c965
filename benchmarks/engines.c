/* Runs an engine over the hops in a file. System calls mark, for a counter of instructions, where the
   counted hops begin and end, after two in a row. */

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "engine.h"
#include "engine_weights.h"

enum { HOP = 256, WARM_UP = 10 };

static engine_state state;
static SAMPLE in[4096][HOP];

int main(int count, char **arguments)
{
    FILE *file = count == 2 ? fopen(arguments[1], "rb") : NULL;
    const size_t hops = file ? fread(in, sizeof in[0], sizeof in / sizeof in[0], file) : 0;
    if (hops <= WARM_UP || engine_load(&state, engine_weights, ENGINE_WEIGHTS_SIZE)) return 1;
    getppid();
    getppid();
    for (size_t n = 0; n < hops; n++) {
        if (n == WARM_UP) getppid();
        engine_process(&state, in[n], in[n]);
    }
    getppid();
    return 0;
}
