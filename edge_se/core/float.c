/* What the library exports of the float STFT. */

#include "stft.h"

void edge_se_stft_analyse(struct stft *c)
{
    stft_analyse(c);
}

void edge_se_stft_synthesise(struct stft *c)
{
    stft_synthesise(c);
}
