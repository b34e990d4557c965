/* The front end of float samples, whose mean is a float: as edge_se.level.FloatDc, up to rounding. */

#include "lanes.h"
#include "level.h"

/* A float times a small power of two. */
static inline float level_scaled(float x, int32_t exponent)
{
    return exponent < 0 ? x / (float)(1 << -exponent) : x * (float)(1 << exponent);
}

/* An energy of samples whose full scale is 1 in steps of int16, saturated. */
static inline uint64_t level_energy(float energy)
{
    return energy < 1073741824.0f ? (uint64_t)(energy * 1073741824.0f) : (uint64_t)1 << 60;
}

/* Take in one hop of 256 samples, without DC from here on; the exponent of two that its frame's
   features are multiplied by. */
static inline int32_t float_exponent(struct level *l, float *mean, float *samples)
{
    f4 sum = f4_all(0.0f), squares = f4_all(0.0f), largest = f4_all(0.0f);
    float constant = 0.0f;
    if (l->removes_dc) {
        for (int n = 0; n < 256; n += 4) sum = f4_add(sum, f4_load(samples + n));
        const float newest = f4_sum(sum) * (1.0f / 256);
        if (l->dc_hops < DC_HOPS) l->dc_hops++;
        *mean += (newest - *mean) / (float)l->dc_hops;
        int32_t first = DC_HOPS;
        if (l->dc_hops < DC_HOPS) {
            f4 energy = f4_all(0.0f);
            for (int n = 0; n < 256; n += 4) {
                const f4 x = f4_load(samples + n);
                energy = f4_fma(energy, x, x);
            }
            if (1024.0f * newest * newest <= 3.0f * f4_sum(energy)) first = l->dc_hops;
        }
        const float floor =
            level_scaled((float)DC_HOPS / (1 << DC_FLOOR_BITS), -l->exponent) / (float)first;
        const float size = *mean < 0.0f ? -*mean : *mean;
        const float beyond = 2.0f * (size - floor);
        constant = beyond < 0.0f ? 0.0f : beyond < size ? beyond : size;
        if (*mean < 0.0f) constant = -constant;
    }
    for (int n = 0; n < 256; n += 4) {
        const f4 x = f4_sub(f4_load(samples + n), f4_all(constant));
        f4_store(samples + n, x);
        squares = f4_fma(squares, x, x);
        largest = f4_max(largest, f4_mul(x, x));
    }
    float lanes[4], crest = 0.0f;
    f4_store(lanes, largest);
    for (int n = 0; n < 4; n++) crest = lanes[n] > crest ? lanes[n] : crest;
    return level_take(l, level_energy(f4_sum(squares)), level_energy(crest * 256));
}

/* The same; what features are multiplied by. */
static inline float level_gain(struct level *l, float *mean, float *samples)
{
    return level_scaled(1.0f, float_exponent(l, mean, samples));
}
