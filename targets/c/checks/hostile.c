/* Weights that somebody changed, most of them with a checksum that fits again: each has to be refused,
   or to be harmless, whatever the sound becomes. Built with sanitizers. */

#include "gtcrn.h"
#include "gtcrn_weights.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef FIXED
typedef int16_t sample;
#else
typedef float sample;
#endif

#define HEADER 32
#define CHECKED_FROM 24
#define CRC_AT 20
#define SIZE_AT 16
#define FRAMES 2

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed = seed * 1664525u + 1013904223u;
    return (uint32_t)(((uint64_t)seed * below) >> 32);
}

static uint32_t checksum(const uint8_t *bytes, size_t count)
{
    uint32_t crc = UINT32_MAX;
    for (size_t n = 0; n < count; n++) {
        crc ^= bytes[n];
        for (int bit = 0; bit < 8; bit++) crc = (crc & 1) ? crc >> 1 ^ 0xedb88320u : crc >> 1;
    }
    return ~crc;
}

/* Numbers that are at some limit, for a word, half of it or a byte. */
static void mutate(uint8_t *bytes, size_t size)
{
    static const uint32_t limits[] = {0, 1, 0xffffffffu, 0x7fffffffu, 0x80000000u, 0x7f800000u,
                                      0x7fc00001u, 0x7f7fffffu, 0x00008000u, 0x7fff7fffu, 0x80808080u, 64};
    const size_t width = (size_t)1 << any(3);
    /* Half of all changes meet single numbers, which lie first. */
    const size_t from = HEADER, reach = any(2) && size > 1024 ? 1024 : size;
    if (reach < from + 4) return;
    const size_t at = (from + any((uint32_t)(reach - from - 3))) / width * width;
    const uint32_t word = any(3) ? limits[any(sizeof limits / sizeof *limits)] : any(0xffffffffu);
    if (at + width <= size) memcpy(bytes + at, &word, width);
}

int main(int count, char **arguments)
{
    const long mutations = count > 1 ? atol(arguments[1]) : 1000;
    gtcrn_state *state = malloc(sizeof *state);
    sample hop[GTCRN_HOP];
    long refused = 0;
    if (!state) return 1;
    for (long n = 0; n < mutations; n++) {
        /* Of just this size on the heap: what is read beyond it is seen. */
        const size_t size = any(16) ? GTCRN_WEIGHTS_SIZE : any(GTCRN_WEIGHTS_SIZE + 64);
        const size_t copied = size < GTCRN_WEIGHTS_SIZE ? size : GTCRN_WEIGHTS_SIZE;
        uint8_t *bytes = calloc(size + 1, 1);
        if (!bytes) return 1;
        memcpy(bytes, gtcrn_weights, copied);
        for (uint32_t changes = any(8); changes > 0; changes--) mutate(bytes, size);
        if (any(16) == 0 && size > HEADER) bytes[any(HEADER)] = (uint8_t)any(256);
        if (any(8) && size > HEADER) {
            const uint32_t claimed = (uint32_t)size;
            const uint32_t crc = checksum(bytes + CHECKED_FROM, size - CHECKED_FROM);
            memcpy(bytes + CRC_AT, &crc, sizeof crc);
            memcpy(bytes + SIZE_AT, &claimed, sizeof claimed);
        }
        if (gtcrn_load(state, bytes, size)) refused++;
        for (int frame = 0; frame < FRAMES; frame++) {
            for (int k = 0; k < GTCRN_HOP; k++)
                hop[k] = (sample)((double)any(65536) / (sizeof(sample) == 2 ? 1 : 32768) -
                                  (sizeof(sample) == 2 ? 32768 : 1));
            gtcrn_process(state, hop, hop);
        }
        free(bytes);
    }
    printf("%ld changed weights, %ld of them refused\n", mutations, refused);
    free(state);
    return refused == 0 || refused == mutations;
}
