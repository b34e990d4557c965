/* The 8-bit operators that UL-UNAS has and GTCRN has not, as int8_kernels.h has the others: sums over
   frames and means in rows. */

#ifndef INT8_SPREAD_H
#define INT8_SPREAD_H

#include "int8_kernels.h"

/* Bands of the weights of bins from first[b] on, until[b + 1] - until[b] of them. */
INLINE void merge_bands(int bands, const uint16_t *first, const uint16_t *until, struct affine a,
                        const int8_t *x, int8_t *y)
{
    ROLLED for (int b = 0; b < bands; b++) {
        const int8_t *given = x + first[b] - until[b];
        int32_t sum = 0;
        for (int n = until[b]; n < until[b + 1]; n++) sum += a.weight[n] * given[n];
        y[b] = finished(a, b, sum);
    }
}

/* Each element of x, `step` apart, as often as there are columns. */
INLINE void repeat(int rows, int columns, const int8_t *x, int step, int8_t *y, int row)
{
    for (int r = 0; r < rows; r++) memset(y + r * row, x[r * step], (size_t)columns);
}

/* Inputs of each position side by side: `size` of each frame, frames `frame` apart. */
INLINE void gather(int positions, int frames, int size, int step, int frame, int width, const int8_t *x,
                   int8_t *restrict y)
{
    for (int p = 0; p < positions; p++)
        UNROLL for (int f = 0; f < frames; f++)
            memcpy(y + p * width + f * size, x + f * frame + p * step, (size_t)size);
}

/* A sum of so many values, to be their mean. */
INLINE int8_t mean_finished(int count, int32_t sum, int32_t zero, int32_t multiplier, int32_t exponent,
                            int32_t result_zero)
{
    const int32_t x = minus(sum, zero * count);
    return clipped(plus(rescaled(x, multiplier, exponent), result_zero), LOWEST);
}

/* The mean of each column of up to 256 rows, blocks of which may reach into the next row. */
INLINE void mean_in_columns(int rows, int columns, int32_t zero, int32_t multiplier, int32_t exponent,
                            int32_t result_zero, const int8_t *x, int8_t *y)
{
    if (columns == 1) {
        int32_t sum = 0;
        for (int r = 0; r < rows; r++) sum += x[r];
        *y = mean_finished(rows, sum, zero, multiplier, exponent, result_zero);
        return;
    }
    ROLLED for (int from = 0; from < columns; from += BLOCK) {
        const int begin = from + BLOCK <= columns || columns < BLOCK ? from : columns - BLOCK;
        int16_t sums[BLOCK];
        add_up_columns(rows, columns, x + begin, sums);
        for (int c = begin; c < columns && c < begin + BLOCK; c++)
            y[c] = mean_finished(rows, sums[c - begin], zero, multiplier, exponent, result_zero);
    }
}

/* The mean of each row. */
INLINE void mean_in_rows(int rows, int columns, int32_t zero, int32_t multiplier, int32_t exponent,
                         int32_t result_zero, const int8_t *x, int8_t *y)
{
    ROLLED for (int r = 0; r < rows; r++) {
        int32_t sum = 0;
        for (int c = 0; c < columns; c++) sum += x[r * columns + c];
        y[r] = mean_finished(columns, sum, zero, multiplier, exponent, result_zero);
    }
}

#endif
