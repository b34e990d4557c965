/* The front end: the same bits as edge_se/level.py, which explains the numbers. */

#ifndef LEVEL_H
#define LEVEL_H

#include <stdint.h>

#include "bits.h"

#define LEVEL_ONE 65536
#define LEVEL_SMALLEST_EXPONENT -4
#define LEVEL_MOST_HOPS 32768
#define LEVEL_TOO_LOUD 131072
#define LEVEL_TOO_SOFT 196608
#define LEVEL_SOFT 65536
#define LEVEL_NEAR 32768
#define LEVEL_OVER 98304
#define LEVEL_CLICK 42598
#define LEVEL_OF_ITS_HOP 121242
#define LEVEL_OF_THE_HOP_BEFORE 196608
#define LEVEL_FLOOR_RISE 1024
#define DC_HOPS 32
#define DC_BITS 8
#define DC_FLOOR_BITS 8
#define LEVEL_CURVATURE 22545

/* What the frame loop does to the network's states: keep them, restore them. */
enum level_event { KNOCK_BEGAN = 1, KNOCK_ENDED = 2 };

/* Mirrored by edge_se.core.Level. */
struct level {
    /* Of the signal, as LevelNormalizer has them. */
    int32_t target, silence, rise, fall, first_weight, above_floor, largest, limit, knock,
        patience, removes_dc;
    int32_t estimate, floor;                           /* the target at reset; all others are 0 then */
    int32_t hops, exponent, previous;
    int32_t loud, kept_estimate, kept_exponent; /* hops until a knock is over; before it */
    int32_t event;                              /* of enum level_event, of the newest frame */
    int32_t dc, dc_hops;
};

/* Octaves of RMS, 16 fractional bits, of an energy from 1 to 2^62. */
static inline int32_t hop_level(uint64_t energy)
{
    const int whole = bit_length(energy) - 1;
    const uint64_t mantissa = whole > 16 ? energy >> (whole - 16) : energy << (16 - whole);
    const int64_t fraction = (int64_t)mantissa - LEVEL_ONE;
    const int64_t arc = (fraction * (LEVEL_ONE - fraction)) >> 16;
    const int64_t curved = fraction + ((LEVEL_CURVATURE * arc) >> 16);
    return (int32_t)((whole << 15) + (curved >> 1));
}

/* Follow the level of a hop that is no silence. */
static inline void level_follow(struct level *l, int32_t level)
{
    const int32_t distance = level - l->estimate;
    const int heard = distance > 0 || l->estimate > l->target || level > l->floor + l->above_floor;
    if (heard && l->hops < LEVEL_MOST_HOPS) l->hops++;
    if (distance > 0) {
        l->estimate += (int32_t)(((int64_t)l->rise * distance) >> 16);
    } else if (heard) {
        const int32_t first = -distance / (l->first_weight + l->hops);
        const int32_t fall = -distance < l->fall ? -distance : l->fall;
        l->estimate -= first > fall ? first : fall;
    }
    const int32_t off = l->target - l->estimate - l->exponent * LEVEL_ONE;
    if (off < -LEVEL_TOO_LOUD || (l->exponent > 0 && off < -LEVEL_NEAR)) {
        if (l->exponent > LEVEL_SMALLEST_EXPONENT) l->exponent--;
    } else if (off > (l->exponent < 0   ? LEVEL_NEAR
                      : l->exponent > 0 ? LEVEL_SOFT
                                        : LEVEL_TOO_SOFT)) {
        if (l->exponent < l->largest) l->exponent++;
    }
}

/* Notice where a knock begins, and where it is over: then the level is what it was before. */
static inline void level_notice_knock(struct level *l, int32_t loudest, int is_click)
{
    l->event = 0;
    if (is_click || loudest > l->target + l->knock) {
        if (!l->loud) {
            l->event = KNOCK_BEGAN;
            l->kept_estimate = l->estimate, l->kept_exponent = l->exponent;
        }
        l->loud = l->patience;
    } else if (l->loud && loudest > l->target + LEVEL_OVER) {
        l->loud = l->patience;
    } else if (l->loud && !--l->loud) {
        l->event = KNOCK_ENDED;
        l->estimate = l->kept_estimate, l->exponent = l->kept_exponent;
    }
}

/* Whether a hop of that level, with a loudest sample of that level, holds a click. */
static inline int level_clicks(const struct level *l, int32_t level, int32_t crest)
{
    const int32_t usual = l->estimate > l->target ? l->estimate : l->target;
    return crest > usual + l->knock + LEVEL_CLICK && crest > level + LEVEL_OF_ITS_HOP &&
           crest > l->previous + LEVEL_OF_THE_HOP_BEFORE;
}

/* Take in the energy of one hop, and what it would be if all samples were as the loudest; the exponent
   of two that its frame's features are multiplied by. */
static inline int32_t level_take(struct level *l, uint64_t energy, uint64_t crest)
{
    const int32_t level = energy ? hop_level(energy) : 0;
    const int32_t risen = l->floor + LEVEL_FLOOR_RISE, heard = level > l->silence ? level : l->silence;
    l->floor = risen < heard ? risen : heard;
    const int32_t loudest = level > l->previous ? level : l->previous;
    const int is_click = level_clicks(l, level, crest ? hop_level(crest) : 0);
    l->previous = level;
    level_notice_knock(l, loudest, is_click);
    if (level > l->silence) level_follow(l, level);
    const int32_t most = (l->target + l->limit - loudest) >> 16;
    return l->exponent < most ? l->exponent : most;
}

/* What to take off each of a hop's 256 samples, which it takes in. */
static inline int32_t level_dc(struct level *l, const int16_t *samples)
{
    int32_t sum = 0;
    for (int n = 0; n < 256; n++) sum += samples[n];
    if (l->dc_hops < DC_HOPS) l->dc_hops++;
    const int32_t off = sum - l->dc;
    l->dc += off > 0 ? off / l->dc_hops : -(-off / l->dc_hops);
    int32_t first = DC_HOPS;
    if (l->dc_hops < DC_HOPS) {
        uint64_t energy = 0;
        for (int n = 0; n < 256; n++) energy += (uint32_t)(samples[n] * samples[n]);
        if ((uint64_t)((int64_t)sum * sum) <= 192 * energy) first = l->dc_hops;
    }
    const int32_t all = (1 << (15 + DC_BITS - DC_FLOOR_BITS)) * DC_HOPS / first;
    const int32_t floor = l->exponent > 0 ? all >> l->exponent : all << -l->exponent;
    int32_t size = l->dc < 0 ? -l->dc : l->dc;
    const int32_t beyond = size > floor ? 2 * (size - floor) : 0;
    size = beyond < size ? beyond : size;
    return ((l->dc > 0 ? size : -size) + (1 << (DC_BITS - 1))) >> DC_BITS;
}

/* Take in one hop of 256 samples, without DC from here on; the exponent as above. */
static inline int32_t level_exponent(struct level *l, int16_t *samples)
{
    const int32_t mean = l->removes_dc ? level_dc(l, samples) : 0;
    uint64_t energy = 0;
    uint32_t largest = 0;
    for (int n = 0; n < 256; n++) {
        int32_t x = samples[n] - mean;
        x = x < -32768 ? -32768 : x > 32767 ? 32767 : x;
        samples[n] = (int16_t)x;
        const uint32_t square = (uint32_t)(x * x);
        energy += square;
        largest = square > largest ? square : largest;
    }
    return level_take(l, energy, (uint64_t)largest * 256);
}

#endif
