/* What the library exports of the float signal path. */

#include "float_level.h"
#include "stft.h"

/* Mirrored by edge_se.core.FloatLevel. */
struct float_level {
    struct level *level;
    float *samples; /* [256], of the newest hop, without DC from the call on */
    float mean;
    int32_t exponent; /* of two, that the frame's features are multiplied by */
};

void edge_se_float_level(struct float_level *c)
{
    c->exponent = float_exponent(c->level, &c->mean, c->samples);
}

void edge_se_stft_analyse(struct stft *c)
{
    stft_analyse(c);
}

void edge_se_stft_synthesise(struct stft *c)
{
    stft_synthesise(c);
}
