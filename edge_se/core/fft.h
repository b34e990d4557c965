/* Complex FFT of 256 points, of the type `value`, which the includer defines beside turned_real and
   turned_imaginary, the parts of a product with cosine + i sine. */

#define POINTS 256

/* Four elements of x, a quarter apart, to the four sums that a radix-4 stage turns. */
#define BUTTERFLY(xr, xi, at)                                                                       \
    const value ar = xr[at], br = xr[at + 64], cr = xr[at + 128], dr = xr[at + 192];               \
    const value ai = xi[at], bi = xi[at + 64], ci = xi[at + 128], di = xi[at + 192];               \
    const value sum_r = ar + cr, sum_i = ai + ci, even_r = ar - cr, even_i = ai - ci;              \
    const value rest_r = br + dr, rest_i = bi + di, odd_r = br - dr, odd_i = bi - di;              \
    const value re0 = sum_r + rest_r, re1 = even_r + odd_i, re2 = sum_r - rest_r, re3 = even_r - odd_i; \
    const value im0 = sum_i + rest_i, im1 = even_i - odd_r, im2 = sum_i - rest_i, im3 = even_i + odd_r

/* The other sums turned and stored a distance s apart, by the twiddles in column p of [2][3][n/4]. */
#define STORE_TURNED(yr, yi, to, s, twiddles, quarter, p)                                           \
    const value *cosines = twiddles + p, *sines = cosines + 3 * quarter;                            \
    yr[to] = re0;                                                                                   \
    yi[to] = im0;                                                                                   \
    yr[to + s] = turned_real(re1, im1, cosines[0], sines[0]);                                       \
    yi[to + s] = turned_imaginary(re1, im1, cosines[0], sines[0]);                                  \
    yr[to + 2 * s] = turned_real(re2, im2, cosines[quarter], sines[quarter]);                       \
    yi[to + 2 * s] = turned_imaginary(re2, im2, cosines[quarter], sines[quarter]);                  \
    yr[to + 3 * s] = turned_real(re3, im3, cosines[2 * quarter], sines[2 * quarter]);               \
    yi[to + 3 * s] = turned_imaginary(re3, im3, cosines[2 * quarter], sines[2 * quarter])

/* The stages of Stockham's radix-4 FFT, x[q + s (p + r n/4)] to y[q + s (4 p + r)], s = 256 / n,
   three functions so that the inner loop always runs over what is contiguous. n = 256: */
static void first_stage(const value *restrict xr, const value *restrict xi, value *restrict yr,
                        value *restrict yi, const value *restrict twiddles)
{
    for (int p = 0; p < 64; p++) {
        BUTTERFLY(xr, xi, p);
        STORE_TURNED(yr, yi, 4 * p, 1, twiddles, 64, p);
    }
}

static inline void middle_stage(int s, const value *restrict xr, const value *restrict xi,
                                value *restrict yr, value *restrict yi,
                                const value *restrict twiddles)
{
    const int quarter = POINTS / 4 / s;
    for (int p = 0; p < quarter; p++) {
        for (int q = 0; q < s; q++) {
            BUTTERFLY(xr, xi, q + s * p);
            STORE_TURNED(yr, yi, q + 4 * s * p, s, twiddles, quarter, p);
        }
    }
}

/* n = 4: nothing to turn. */
static void last_stage(const value *restrict xr, const value *restrict xi, value *restrict yr,
                       value *restrict yi)
{
    for (int q = 0; q < POINTS / 4; q++) {
        BUTTERFLY(xr, xi, q);
        yr[q] = re0, yr[q + 64] = re1, yr[q + 128] = re2, yr[q + 192] = re3;
        yi[q] = im0, yi[q + 64] = im1, yi[q + 128] = im2, yi[q + 192] = im3;
    }
}

/* Unscaled complex FFT of 256 points in place. */
static void fft(value *re, value *im, const value *twiddles)
{
    value other_re[POINTS], other_im[POINTS];
    first_stage(re, im, other_re, other_im, twiddles);
    middle_stage(4, other_re, other_im, re, im, twiddles + 2 * 3 * 64);
    middle_stage(16, re, im, other_re, other_im, twiddles + 2 * 3 * (64 + 16));
    last_stage(other_re, other_im, re, im);
}
