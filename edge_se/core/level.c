/* What the library exports to follow the level of float samples. */

#include "wide.h"

#include "level.h"

#define MOST_ENERGY (1ull << 46)

/* Mirrored by edge_se.core.FloatLevel. */
struct float_level {
    const float *samples; /* [256] newest hop, full scale 1 */
    struct level level;
};

void edge_se_float_level_follow(struct float_level *c)
{
    float sums[8] = {0};
    for (int n = 0; n < LEVEL_HOP; n += 8)
        for (int k = 0; k < 8; k++) sums[k] += c->samples[n + k] * c->samples[n + k];
    double energy = 0;
    for (int k = 0; k < 8; k++) energy += sums[k];
    energy *= 1 << 30;
    /* What is not below the bound, or not a number, is the bound. */
    level_follow(&c->level, energy < MOST_ENERGY ? (uint64_t)energy : MOST_ENERGY);
}
