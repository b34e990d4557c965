/* Complex FFT of 256 points, of the type `value`, which the includer defines beside turned_real and
   turned_imaginary, the parts of a product with cosine + i sine. */

#define POINTS 256

/* One radix-4 stage of Stockham's FFT: x[q + s (p + r n/4)] to y[q + s (4 p + r)], s = 256 / n. */
static inline void stage(int n, const value *restrict xr, const value *restrict xi,
                         value *restrict yr, value *restrict yi, const value *restrict twiddles)
{
    const int quarter = n / 4, s = POINTS / n;
    const value *cosines = twiddles, *sines = twiddles + 3 * quarter;
    for (int p = 0; p < quarter; p++) {
        for (int q = 0; q < s; q++) {
            const int from = q + s * p, to = q + 4 * s * p;
            const value ar = xr[from], br = xr[from + 64], cr = xr[from + 128], dr = xr[from + 192];
            const value ai = xi[from], bi = xi[from + 64], ci = xi[from + 128], di = xi[from + 192];
            const value sum_r = ar + cr, sum_i = ai + ci, even_r = ar - cr, even_i = ai - ci;
            const value rest_r = br + dr, rest_i = bi + di, odd_r = br - dr, odd_i = bi - di;
            const value re[3] = {even_r + odd_i, sum_r - rest_r, even_r - odd_i};
            const value im[3] = {even_i - odd_r, sum_i - rest_i, even_i + odd_r};
            yr[to] = sum_r + rest_r;
            yi[to] = sum_i + rest_i;
            for (int r = 0; r < 3; r++) {
                const int at = to + (r + 1) * s;
                if (n > 4) {
                    const value cosine = cosines[r * quarter + p], sine = sines[r * quarter + p];
                    yr[at] = turned_real(re[r], im[r], cosine, sine);
                    yi[at] = turned_imaginary(re[r], im[r], cosine, sine);
                } else {
                    yr[at] = re[r];
                    yi[at] = im[r];
                }
            }
        }
    }
}

/* Unscaled complex FFT of 256 points in place. */
static void fft(value *re, value *im, const value *twiddles)
{
    value other_re[POINTS], other_im[POINTS];
    stage(256, re, im, other_re, other_im, twiddles);
    stage(64, other_re, other_im, re, im, twiddles + 2 * 3 * 64);
    stage(16, re, im, other_re, other_im, twiddles + 2 * 3 * (64 + 16));
    stage(4, other_re, other_im, re, im, twiddles);
}
