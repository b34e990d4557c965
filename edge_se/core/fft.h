/* Complex FFT of 256 points, of the type `value`, which the includer defines beside turned_real and
   turned_imaginary, the parts of a product with cosine + i sine. Where it defines LANES too, as many
   values are worked on at once. */

#define POINTS 256

#ifndef LANES
#define LANES 1

typedef value lanes;

static inline lanes lanes_load(const value *x)
{
    return *x;
}

static inline lanes lanes_all(value x)
{
    return x;
}

static inline void lanes_store(value *x, lanes a)
{
    *x = a;
}

static inline void lanes_store_fours(value *x, lanes a, lanes b, lanes c, lanes d)
{
    x[0] = a, x[1] = b, x[2] = c, x[3] = d;
}
#endif

/* Four elements of x, a quarter apart, to the four sums that a radix-4 stage turns. */
#define BUTTERFLY(xr, xi, at)                                                                       \
    const lanes ar = lanes_load(xr + (at)), br = lanes_load(xr + (at) + 64);                        \
    const lanes cr = lanes_load(xr + (at) + 128), dr = lanes_load(xr + (at) + 192);                 \
    const lanes ai = lanes_load(xi + (at)), bi = lanes_load(xi + (at) + 64);                        \
    const lanes ci = lanes_load(xi + (at) + 128), di = lanes_load(xi + (at) + 192);                 \
    const lanes sum_r = ar + cr, sum_i = ai + ci, even_r = ar - cr, even_i = ai - ci;               \
    const lanes rest_r = br + dr, rest_i = bi + di, odd_r = br - dr, odd_i = bi - di;               \
    const lanes re0 = sum_r + rest_r, re1 = even_r + odd_i, re2 = sum_r - rest_r, re3 = even_r - odd_i;\
    const lanes im0 = sum_i + rest_i, im1 = even_i - odd_r, im2 = sum_i - rest_i, im3 = even_i + odd_r

/* The sums but the first, turned by the twiddles in column p of [2][3][64], which `read` reads. */
#define TURN(twiddles, p, read)                                                                     \
    const value *cosines = twiddles + (p), *sines = cosines + 3 * 64;                               \
    const lanes cos1 = read(cosines), cos2 = read(cosines + 64);                                    \
    const lanes cos3 = read(cosines + 2 * 64), sin1 = read(sines);                                  \
    const lanes sin2 = read(sines + 64), sin3 = read(sines + 2 * 64);                               \
    const lanes real1 = turned_real(re1, im1, cos1, sin1);                                          \
    const lanes real2 = turned_real(re2, im2, cos2, sin2);                                          \
    const lanes real3 = turned_real(re3, im3, cos3, sin3);                                          \
    const lanes imaginary1 = turned_imaginary(re1, im1, cos1, sin1);                                \
    const lanes imaginary2 = turned_imaginary(re2, im2, cos2, sin2);                                \
    const lanes imaginary3 = turned_imaginary(re3, im3, cos3, sin3)

#define LOAD_ALL(x) lanes_all(*(x))

static inline void store_apart(value *x, int s, lanes a, lanes b, lanes c, lanes d)
{
    lanes_store(x, a);
    lanes_store(x + s, b);
    lanes_store(x + 2 * s, c);
    lanes_store(x + 3 * s, d);
}

/* The stages of Stockham's radix-4 FFT, x[q + s (p + r n/4)] to y[q + s (4 p + r)], s = 256 / n,
   three functions so that the inner loop always runs over what is contiguous. The twiddles of n are
   every s-th of those of 256. n = 256: */
static void first_stage(const value *restrict xr, const value *restrict xi, value *restrict yr,
                        value *restrict yi, const value *restrict twiddles)
{
    for (int p = 0; p < 64; p += LANES) {
        BUTTERFLY(xr, xi, p);
        TURN(twiddles, p, lanes_load);
        lanes_store_fours(yr + 4 * p, re0, real1, real2, real3);
        lanes_store_fours(yi + 4 * p, im0, imaginary1, imaginary2, imaginary3);
    }
}

static inline void middle_stage(int s, const value *restrict xr, const value *restrict xi,
                                value *restrict yr, value *restrict yi,
                                const value *restrict twiddles)
{
    for (int p = 0; p < POINTS / 4 / s; p++) {
        for (int q = 0; q < s; q += LANES) {
            const int to = q + 4 * s * p;
            BUTTERFLY(xr, xi, q + s * p);
            TURN(twiddles, s * p, LOAD_ALL);
            store_apart(yr + to, s, re0, real1, real2, real3);
            store_apart(yi + to, s, im0, imaginary1, imaginary2, imaginary3);
        }
    }
}

/* n = 4: nothing to turn. */
static void last_stage(const value *restrict xr, const value *restrict xi, value *restrict yr,
                       value *restrict yi)
{
    for (int q = 0; q < POINTS / 4; q += LANES) {
        BUTTERFLY(xr, xi, q);
        store_apart(yr + q, 64, re0, re1, re2, re3);
        store_apart(yi + q, 64, im0, im1, im2, im3);
    }
}

/* Unscaled complex FFT of 256 points in place. */
static void fft(value *re, value *im, const value *twiddles)
{
    value other_re[POINTS], other_im[POINTS];
    first_stage(re, im, other_re, other_im, twiddles);
    middle_stage(4, other_re, other_im, re, im, twiddles);
    middle_stage(16, re, im, other_re, other_im, twiddles);
    last_stage(other_re, other_im, re, im);
}
