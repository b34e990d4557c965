/* Level normalization in integers: the same bits as edge_se/level.py, which explains the numbers.
   The includer defines bit_length. */

#define LEVEL_ONE 65536
#define LEVEL_SMALLEST_EXPONENT -4
#define LEVEL_MOST_HOPS 32768
#define LEVEL_TOLERANCE 131072
#define LEVEL_RELEASE 32768
#define LEVEL_CURVATURE 22545

/* Mirrored by edge_se.core.Level. */
struct level {
    int32_t target, silence, rise, fall, first_weight; /* of the signal, as LevelNormalizer has them */
    int32_t estimate;                                  /* the target at reset; the others are 0 then */
    int32_t hops;
    int32_t exponent;
};

/* Octaves of RMS, 16 fractional bits, of an energy from 1 to 2^46. */
static inline int32_t hop_level(uint64_t energy)
{
    const int whole = bit_length(energy) - 1;
    const int64_t fraction = (int64_t)((energy << 16) >> whole) - LEVEL_ONE;
    const int64_t arc = (fraction * (LEVEL_ONE - fraction)) >> 16;
    const int64_t curved = fraction + ((LEVEL_CURVATURE * arc) >> 16);
    return (int32_t)((whole << 15) + (curved >> 1));
}

/* Take in one hop; the exponent of two that its frame's features are multiplied by. */
static int level_exponent(struct level *l, const int16_t *samples, int count)
{
    uint64_t energy = 0;
    for (int n = 0; n < count; n++) energy += (uint32_t)((int32_t)samples[n] * samples[n]);
    const int32_t level = energy ? hop_level(energy) : 0;
    if (level <= l->silence) return l->exponent;
    if (l->hops < LEVEL_MOST_HOPS) l->hops++;
    const int32_t distance = level - l->estimate;
    if (distance > 0) {
        l->estimate += (int32_t)(((int64_t)l->rise * distance) >> 16);
    } else {
        const int32_t first = -distance / (l->first_weight + l->hops);
        const int32_t fall = -distance < l->fall ? -distance : l->fall;
        l->estimate -= first > fall ? first : fall;
    }
    const int32_t off = l->target - l->estimate - l->exponent * LEVEL_ONE;
    if (off < -LEVEL_TOLERANCE && l->exponent > LEVEL_SMALLEST_EXPONENT) l->exponent--;
    if (off > LEVEL_RELEASE && l->exponent < 0) l->exponent++;
    return l->exponent;
}
