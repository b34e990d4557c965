/* What reads and writes much for what it computes, in as few passes over memory as there can be.

   Maps x are [B, C, T, F] float32, contiguous. Clips from `first` up to `last` are computed, so
   that threads can share them (channels in `batch_norm`); gradients of weights are added up. */

#include <math.h>

/* max(x, 0) + slope min(x, 0) + gain x + bias: gain and bias [C, F], slope [C]. */
void affine_prelu(const float *restrict x, const float *restrict gain, const float *restrict bias,
                  const float *restrict slope, float *restrict y, long channels, long frames,
                  long bands, long first, long last)
{
    for (long clip = first; clip < last; clip++)
        for (long c = 0; c < channels; c++) {
            const float below = slope[c], *times = gain + c * bands, *plus = bias + c * bands;
            for (long t = 0; t < frames; t++) {
                const long row = ((clip * channels + c) * frames + t) * bands;
                for (long f = 0; f < bands; f++) {
                    const float value = x[row + f];
                    y[row + f] = plus[f] + value * (times[f] + (value > 0 ? 1 : below));
                }
            }
        }
}

/* `of_slope` [C, F] has the slopes' gradients by band. */
void affine_prelu_backward(const float *restrict given, const float *restrict x,
                           const float *restrict gain, const float *restrict slope,
                           float *restrict of_x, float *restrict of_gain, float *restrict of_bias,
                           float *restrict of_slope, long channels, long frames, long bands,
                           long first, long last)
{
    for (long clip = first; clip < last; clip++)
        for (long c = 0; c < channels; c++) {
            const float below = slope[c], *times = gain + c * bands;
            float *of_times = of_gain + c * bands, *of_plus = of_bias + c * bands;
            float *of_below = of_slope + c * bands;
            for (long t = 0; t < frames; t++) {
                const long row = ((clip * channels + c) * frames + t) * bands;
                for (long f = 0; f < bands; f++) {
                    const float value = x[row + f], product = given[row + f] * value;
                    of_x[row + f] = given[row + f] * (times[f] + (value > 0 ? 1 : below));
                    of_times[f] += product;
                    of_plus[f] += given[row + f];
                    of_below[f] += value > 0 ? 0 : product;
                }
            }
        }
}

/* Mean squares over bands, [B, C, T], and over channels, [B, T, F], which is zero before. */
void energies(const float *restrict x, float *restrict of_channels, float *restrict of_bands,
              long channels, long frames, long bands, long first, long last)
{
    for (long clip = first; clip < last; clip++)
        for (long c = 0; c < channels; c++)
            for (long t = 0; t < frames; t++) {
                const float *row = x + ((clip * channels + c) * frames + t) * bands;
                float *over_channels = of_bands + (clip * frames + t) * bands, sum = 0;
                for (long f = 0; f < bands; f++) {
                    const float square = row[f] * row[f];
                    over_channels[f] += square / (float)channels;
                    sum += square;
                }
                of_channels[(clip * channels + c) * frames + t] = sum / (float)bands;
            }
}

/* `of_x` is what else pulls at x, plus what its energies do. */
void energies_backward(const float *restrict given, const float *restrict x,
                       const float *restrict of_channels, const float *restrict of_bands,
                       float *restrict of_x, long channels, long frames, long bands, long first,
                       long last)
{
    for (long clip = first; clip < last; clip++)
        for (long c = 0; c < channels; c++)
            for (long t = 0; t < frames; t++) {
                const long row = ((clip * channels + c) * frames + t) * bands;
                const float *by_band = of_bands + (clip * frames + t) * bands;
                const float by_channel =
                    2 * of_channels[(clip * channels + c) * frames + t] / (float)bands;
                for (long f = 0; f < bands; f++)
                    of_x[row + f] = given[row + f] +
                                    x[row + f] * (by_channel + 2 / (float)channels * by_band[f]);
            }
}

/* X times gates of its channels [B, C, T] and of its bands [B, T, F]. */
void gated(const float *restrict x, const float *restrict of_channels,
           const float *restrict of_bands, float *restrict y, long channels, long frames, long bands,
           long first, long last)
{
    for (long clip = first; clip < last; clip++)
        for (long c = 0; c < channels; c++)
            for (long t = 0; t < frames; t++) {
                const long row = ((clip * channels + c) * frames + t) * bands;
                const float *by_band = of_bands + (clip * frames + t) * bands;
                const float by_channel = of_channels[(clip * channels + c) * frames + t];
                for (long f = 0; f < bands; f++) y[row + f] = x[row + f] * by_channel * by_band[f];
            }
}

/* `for_bands` is zero before. */
void gated_backward(const float *restrict given, const float *restrict x,
                    const float *restrict of_channels, const float *restrict of_bands,
                    float *restrict of_x, float *restrict for_channels, float *restrict for_bands,
                    long channels, long frames, long bands, long first, long last)
{
    for (long clip = first; clip < last; clip++)
        for (long c = 0; c < channels; c++)
            for (long t = 0; t < frames; t++) {
                const long row = ((clip * channels + c) * frames + t) * bands;
                const long of_frame = (clip * frames + t) * bands;
                const float by_channel = of_channels[(clip * channels + c) * frames + t];
                float sum = 0;
                for (long f = 0; f < bands; f++) {
                    const float by_band = of_bands[of_frame + f];
                    const float product = given[row + f] * x[row + f];
                    of_x[row + f] = given[row + f] * by_channel * by_band;
                    for_bands[of_frame + f] += product * by_channel;
                    sum += product * by_band;
                }
                for_channels[(clip * channels + c) * frames + t] = sum;
            }
}

/* Normalize each channel to mean 0 and variance 1, times `gain` plus `bias`; `mean` and `variance`
   are the batch's. */
void batch_norm(const float *restrict x, const float *restrict gain, const float *restrict bias,
                float *restrict y, float *restrict mean, float *restrict variance, float epsilon,
                long clips, long channels, long frames, long bands, long first, long last)
{
    const long count = frames * bands;
    for (long c = first; c < last; c++) {
        double sum = 0, squares = 0;
        for (long clip = 0; clip < clips; clip++) {
            const float *map = x + (clip * channels + c) * count;
            for (long t = 0; t < frames; t++) {
                float part = 0;
                for (long f = 0; f < bands; f++) part += map[t * bands + f];
                sum += part;
            }
        }
        const float middle = (float)(sum / ((double)clips * count));
        for (long clip = 0; clip < clips; clip++) {
            const float *map = x + (clip * channels + c) * count;
            for (long t = 0; t < frames; t++) {
                float part = 0;
                for (long f = 0; f < bands; f++) {
                    const float away = map[t * bands + f] - middle;
                    part += away * away;
                }
                squares += part;
            }
        }
        mean[c] = middle;
        variance[c] = (float)(squares / ((double)clips * count));
        const float scale = gain[c] / sqrtf(variance[c] + epsilon);
        for (long clip = 0; clip < clips; clip++) {
            const long map = (clip * channels + c) * count;
            for (long i = 0; i < count; i++) y[map + i] = (x[map + i] - middle) * scale + bias[c];
        }
    }
}

/* Sum of squares of n values. */
double sum_of_squares(const float *restrict x, long n)
{
    double sum = 0;
    for (long start = 0; start < n; start += 1024) {
        const long end = start + 1024 < n ? start + 1024 : n;
        float part = 0;
        for (long i = start; i < end; i++) part += x[i] * x[i];
        sum += part;
    }
    return sum;
}

static inline float beyond(float x, float limit)
{
    return x > limit ? x - limit : x < -limit ? x + limit : 0;
}

/* Sum of squares of that by which n values exceed a limit. */
double sum_of_excesses(const float *restrict x, float limit, long n)
{
    double sum = 0;
    for (long start = 0; start < n; start += 1024) {
        const long end = start + 1024 < n ? start + 1024 : n;
        float part = 0;
        for (long i = start; i < end; i++) part += beyond(x[i], limit) * beyond(x[i], limit);
        sum += part;
    }
    return sum;
}

/* What else pulls at x, plus `scale` times that by which it exceeds the limit. */
void excess_backward(const float *restrict given, const float *restrict x, float *restrict of_x,
                     float limit, float scale, long n)
{
    for (long i = 0; i < n; i++) of_x[i] = given[i] + scale * beyond(x[i], limit);
}
