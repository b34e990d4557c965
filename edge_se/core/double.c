/* What the library exports of the STFT in double. */

#define STFT_VALUE double
#include "stft.h"

void edge_se_stft_analyse_double(struct stft *c)
{
    stft_analyse(c);
}

void edge_se_stft_synthesise_double(struct stft *c)
{
    stft_synthesise(c);
}
