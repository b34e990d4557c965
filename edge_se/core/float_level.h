/* The front end of float samples, whose mean is a float: as edge_se.level.FloatDc, up to rounding. */

#include "level.h"

/* Take in one hop of 256 samples, without DC from here on; what its frame's features are multiplied
   by. */
static inline float level_gain(struct level *l, float *mean, float *samples)
{
    /* Sums of four, which need not be in turn. */
    float sums[4] = {0}, squares[4] = {0};
    if (l->removes_dc) {
        for (int n = 0; n < 256; n++) sums[n % 4] += samples[n];
        if (l->dc_hops < DC_HOPS) l->dc_hops++;
        const float newest = (sums[0] + sums[1] + sums[2] + sums[3]) * (1.0f / 256);
        *mean += (newest - *mean) / (float)l->dc_hops;
        for (int n = 0; n < 256; n++) samples[n] -= *mean;
    }
    for (int n = 0; n < 256; n++) squares[n % 4] += samples[n] * samples[n];
    /* Samples are below 2^11. */
    const float energy = (squares[0] + squares[1] + squares[2] + squares[3]) * 1073741824.0f;
    const int32_t exponent = level_take(l, (uint64_t)energy);
    return exponent < 0 ? 1.0f / (float)(1 << -exponent) : (float)(1 << exponent);
}
