/* Samples of one hop between float in [-1, 1] and int16: the same bits as edge_se/quantized.py. */

#include <stdint.h>

/* Mirrored by edge_se.core.Samples. */
struct samples {
    float *floats;     /* [256] */
    int16_t *integers; /* [256] */
};

static void samples_to_int16(const struct samples *c)
{
    /* In floats of this size the last bit is 1: adding it rounds, ties to even. */
    const float magic = 12582912.0f;
    for (int n = 0; n < 256; n++) {
        float x = c->floats[n] * 32768.0f;
        x = x < -32768.0f ? -32768.0f : x;
        x = x > 32767.0f ? 32767.0f : x;
        c->integers[n] = (int16_t)(x + magic - magic);
    }
}

static void samples_to_float(const struct samples *c)
{
    for (int n = 0; n < 256; n++) c->floats[n] = (float)c->integers[n] * (1.0f / 32768.0f);
}
