/* A generated engine on another machine: hops from standard input to standard output. The compiler is
   told the engine's name, the type of its samples, and how many hops are not to be counted. System
   calls mark for `counter.c` where those after them begin and end, behind two in a row. See engine.py. */

#include <stdio.h>
#include <unistd.h>

#define JOINED(a, b) a##_##b
#define NAME(prefix, word) JOINED(prefix, word)

static NAME(PREFIX, state) state;
static unsigned char weights[1 << 20];
static SAMPLE hops[1 << 13][256];

int main(void)
{
    FILE *file = fopen("weights.bin", "rb");
    if (!file) return 1;
    const size_t size = fread(weights, 1, sizeof weights, file);
    if (NAME(PREFIX, load)(&state, weights, size)) return 1;
    const size_t count = fread(hops, sizeof *hops, sizeof hops / sizeof *hops, stdin);
    getppid();
    getppid();
    for (size_t n = 0; n < count; n++) {
        if (n == WARM_UP) getppid();
        NAME(PREFIX, process)(&state, hops[n], hops[n]);
    }
    getppid();
    fwrite(hops, sizeof *hops, count, stdout);
    return 0;
}
