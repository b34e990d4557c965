/* Bits of a number. */

#ifndef BITS_H
#define BITS_H

#include <stdint.h>

static inline int bit_length(uint64_t x)
{
#ifdef __GNUC__
    return x ? 64 - __builtin_clzll(x) : 0;
#else
    int bits = 0;
    for (; x; x >>= 1) bits++;
    return bits;
#endif
}

#endif
