/* A generated engine on another machine: hops from standard input to standard output. The compiler
   is told the engine's name and the type of its samples. See test_engines.py. */

#include <stdio.h>

#define JOINED(a, b) a##_##b
#define NAME(prefix, word) JOINED(prefix, word)

int main(void)
{
    static NAME(PREFIX, state) state;
    SAMPLE hop[256];
    static unsigned char weights[1 << 20];
    FILE *file = fopen("weights.bin", "rb");
    if (!file) return 1;
    const size_t size = fread(weights, 1, sizeof weights, file);
    if (NAME(PREFIX, load)(&state, weights, size)) return 1;
    while (fread(hop, sizeof *hop, 256, stdin) == 256) {
        NAME(PREFIX, process)(&state, hop, hop);
        fwrite(hop, sizeof *hop, 256, stdout);
    }
    return 0;
}
