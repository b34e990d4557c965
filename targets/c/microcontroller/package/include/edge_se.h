/* Speech enhancement of mono audio on a microcontroller: 256 samples of 16 bits in, 256 out, which lag
   by edge_se_latency() samples.

   This header is the same for every network: replace the other files of the package, and nothing that
   calls these functions has to change. Nothing is allocated. */

#ifndef EDGE_SE_H
#define EDGE_SE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define EDGE_SE_API_VERSION 1
#define EDGE_SE_HOP 256 /* samples */

/* A stream. */
typedef struct edge_se edge_se;

/* The stream that has its memory in this package, begun anew; null where the weights in flash are
   damaged. */
edge_se *edge_se_open(void);

/* Another one, in memory of the caller's: at least edge_se_size() bytes at a multiple of 8. Null where
   there are fewer, or the weights are damaged. Streams share work memory: call only one at a time. */
size_t edge_se_size(void);
edge_se *edge_se_open_in(void *memory, size_t size);

/* Take in a hop and write an enhanced one; `in` may be `out`. */
void edge_se_process(edge_se *stream, const int16_t in[EDGE_SE_HOP], int16_t out[EDGE_SE_HOP]);

/* Forget all samples; the strength stays. */
void edge_se_reset(edge_se *stream);

/* Limit what is taken away: no gain below `least_gain` (0: no limit; 8192, a quarter: at most 12 dB),
   and `dry` of the output is the input. Both in steps of 1/32768, from 0 to 32768. */
void edge_se_set_strength(edge_se *stream, int32_t least_gain, int32_t dry);

/* Probability that the newest frame holds speech, in steps of 1/32768. */
int32_t edge_se_speech_probability(const edge_se *stream);

int edge_se_api_version(void); /* EDGE_SE_API_VERSION of the package that was linked */
uint32_t edge_se_sample_rate(const edge_se *stream);
int edge_se_latency(void);

#ifdef __cplusplus
}
#endif

#endif
