/* The STFT of edge_se/stft.py: window, real FFT, and overlap-add, one hop at a time. */

#define WINDOW 512
#define HOP 256
#define BINS 257

/* In what it is computed; samples, spectra and windows are floats all the same. */
#ifndef STFT_VALUE
#define STFT_VALUE float
#endif
typedef STFT_VALUE value;

static inline value turned_real(value re, value im, value cosine, value sine)
{
    return re * cosine - im * sine;
}

static inline value turned_imaginary(value re, value im, value cosine, value sine)
{
    return re * sine + im * cosine;
}

#include "fft.h"

/* Mirrored by edge_se.core.StftContext. */
struct stft {
    const float *window;    /* [512] */
    const float *synthesis; /* [512] window after the inverse transform */
    const value *cosines;   /* [257] */
    const value *sines;     /* [257] */
    const value *twiddles;  /* [2][3][64] */
    float *samples;         /* [512] previous and newest hop */
    float *spectrum;        /* [257][2] of the newest window */
    float *masked;          /* [257][2] to transform back */
    float *tail;            /* [256] */
    float *output;          /* [256] finished hop */
};

/* Spectrum of the samples; the newest hop becomes the previous one. */
static void stft_analyse(struct stft *c)
{
    value re[POINTS], im[POINTS];
    for (int n = 0; n < POINTS; n++) {
        re[n] = (value)c->samples[2 * n] * c->window[2 * n];
        im[n] = (value)c->samples[2 * n + 1] * c->window[2 * n + 1];
    }
    fft(re, im, c->twiddles);
    const value half = (value)0.5;
    for (int k = 0; k < BINS; k++) {
        const int low = k % POINTS, high = (POINTS - k) % POINTS;
        const value both_r = re[low] + re[high], both_i = im[low] - im[high];
        const value apart_r = re[low] - re[high], apart_i = im[low] + im[high];
        c->spectrum[2 * k] =
            (float)(half * (both_r + turned_real(apart_r, apart_i, -c->sines[k], -c->cosines[k])));
        c->spectrum[2 * k + 1] = (float)(half * (both_i + turned_imaginary(apart_r, apart_i,
                                                                           -c->sines[k],
                                                                           -c->cosines[k])));
    }
    for (int n = 0; n < HOP; n++) c->samples[n] = c->samples[HOP + n];
}

/* Overlap-add of the masked spectrum; the finished hop is in `output`. */
static void stft_synthesise(struct stft *c)
{
    value re[POINTS], im[POINTS];
    c->masked[1] = c->masked[2 * BINS - 1] = 0; /* a real signal's */
    for (int k = 0; k < POINTS; k++) {
        const float *low = c->masked + 2 * k, *high = c->masked + 2 * (POINTS - k);
        const value both_r = low[0] + high[0], both_i = low[1] - high[1];
        const value apart_r = low[0] - high[0], apart_i = low[1] + high[1];
        re[k] = both_r + turned_real(apart_r, apart_i, -c->sines[k], c->cosines[k]);
        im[k] = both_i + turned_imaginary(apart_r, apart_i, -c->sines[k], c->cosines[k]);
    }
    fft(im, re, c->twiddles); /* parts swapped: the inverse */
    const value scale = (value)1 / WINDOW;
    for (int n = 0; n < HOP / 2; n++) {
        c->output[2 * n] = c->tail[2 * n] + (float)(re[n] * c->synthesis[2 * n] * scale);
        c->output[2 * n + 1] =
            c->tail[2 * n + 1] + (float)(im[n] * c->synthesis[2 * n + 1] * scale);
    }
    for (int n = HOP / 2; n < POINTS; n++) {
        c->tail[2 * n - HOP] = (float)(re[n] * c->synthesis[2 * n] * scale);
        c->tail[2 * n + 1 - HOP] = (float)(im[n] * c->synthesis[2 * n + 1] * scale);
    }
}
