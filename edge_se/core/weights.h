/* Weights of an engine as data, which quant/c/weights.py writes: what is checked before any is used.
   Little-endian numbers; a machine with another order finds another magic. */

#ifndef WEIGHTS_H
#define WEIGHTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WEIGHTS_MAGIC 0x57455345u /* ESEW */
#define WEIGHTS_VERSION 1u

struct weights_header {
    uint32_t magic, version;
    uint32_t layout[2]; /* of a network, an arithmetic and the arrays that follow */
    uint32_t size;      /* bytes, these included */
    uint32_t crc;       /* CRC-32 of what follows */
    uint32_t sample_rate;
    uint32_t checkpoint; /* first 32 bits of its SHA-256 */
};

/* Numbers that have to lie within bounds, since they shift or point somewhere; floats have to be
   finite. */
enum number { FLOAT32, INT32, UINT16 };
struct bounds {
    uint32_t offset, count;
    enum number kind;
    int32_t low, high;
};

static uint32_t weights_crc(const uint8_t *bytes, size_t count)
{
    /* of the polynomial 0xedb88320, for each four bits */
    static const uint32_t table[16] = {
        0x00000000u, 0x1db71064u, 0x3b6e20c8u, 0x26d930acu, 0x76dc4190u, 0x6b6b51f4u,
        0x4db26158u, 0x5005713cu, 0xedb88320u, 0xf00f9344u, 0xd6d6a3e8u, 0xcb61b38cu,
        0x9b64c2b0u, 0x86d3d2d4u, 0xa00ae278u, 0xbdbdf21cu};
    uint32_t crc = UINT32_MAX;
    for (size_t n = 0; n < count; n++) {
        crc ^= bytes[n];
        crc = crc >> 4 ^ table[crc & 15];
        crc = crc >> 4 ^ table[crc & 15];
    }
    return ~crc;
}

static int weights_within(const uint8_t *weights, const struct bounds *b)
{
    const size_t size = b->kind == UINT16 ? 2 : 4;
    for (size_t n = 0; n < b->count; n++) {
        const uint8_t *at = weights + b->offset + n * size;
        uint32_t word = 0;
        int32_t number;
        uint16_t half;
        if (b->kind == UINT16) {
            memcpy(&half, at, sizeof half);
            number = half;
        } else {
            memcpy(&word, at, sizeof word);
            memcpy(&number, at, sizeof number);
        }
        if (b->kind == FLOAT32 ? (word & 0x7f800000u) == 0x7f800000u
                               : number < b->low || number > b->high)
            return 0;
    }
    return 1;
}

/* What is wrong with weights, or null. */
static const char *weights_fault(const void *weights, size_t size, size_t expected,
                                 const uint32_t layout[2], const struct bounds *bounds, int count)
{
    struct weights_header header;
    if (!weights || size < sizeof header) return "no weights of edge-se";
    memcpy(&header, weights, sizeof header);
    if (header.magic != WEIGHTS_MAGIC) return "no weights of edge-se";
    if (header.version != WEIGHTS_VERSION) return "weights of another version of edge-se";
    if (header.layout[0] != layout[0] || header.layout[1] != layout[1])
        return "weights of another network or arithmetic";
    if (header.size != expected || size != expected) return "weights of another size";
    if ((uintptr_t)weights % 4) return "weights that do not lie at a multiple of 4 bytes";
    const uint8_t *bytes = weights;
    const size_t followed = offsetof(struct weights_header, sample_rate);
    if (weights_crc(bytes + followed, size - followed) != header.crc)
        return "damaged weights";
    for (int n = 0; n < count; n++)
        if (!weights_within(bytes, bounds + n)) return "weights with a number out of its bounds";
    return 0;
}

/* Whether numbers lead from `begin` to no more than `end` in some steps, none of which is backward. */
static inline int ascends(int steps, const uint16_t *x, int begin, int end)
{
    if (x[0] != begin || x[steps] > end) return 0;
    for (int n = 0; n < steps; n++)
        if (x[n + 1] < x[n]) return 0;
    return 1;
}

/* Whether spans of neighbouring inputs, from first[i] on and until[i + 1] - until[i] of them, lie
   within the inputs. */
static inline int spans_fit(int spans, const uint16_t *first, const uint16_t *until, int inputs)
{
    for (int n = 0; n < spans; n++)
        if (first[n] + (until[n + 1] - until[n]) > inputs) return 0;
    return 1;
}

#endif
