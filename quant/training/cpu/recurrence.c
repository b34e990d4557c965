/* A GRU over whole sequences, forward and backward: eight sequences side by side in the lanes of
   vectors, so that small states waste none of them, and one tile of eight after the other, so that
   what a step needs stays in the cache.

   Arrays are float32 and contiguous. N sequences of L steps of I inputs, D directions (the second
   walks backwards through time), K state values; rows are in torch's order: reset, update, new.

     inputs  [N, L, I]
     weights [D, 3 K, I + K + 2]      a row's weights of inputs and states, and its two biases
     states  [N, L, D, K]             what comes out
     kept    [tiles, D, L, 5, K, 8]   what the way back needs, in the order of `enum kept`

   Tiles from `first` up to `last` are computed, so that threads can share them. */

#include <string.h>

#define LANES 8

typedef float lanes __attribute__((vector_size(4 * LANES)));
typedef int bits __attribute__((vector_size(4 * LANES)));

enum kept { RESET, UPDATE, NEW, REMEMBERED, BEFORE, KEPT };

static inline lanes all(float x)
{
    return (lanes){x, x, x, x, x, x, x, x};
}

static inline lanes bounded(lanes x, float limit)
{
    const bits above = x > limit, below = x < -limit;
    const bits inside = ~(above | below);
    return (lanes)(((bits)x & inside) | ((bits)all(limit) & above) | ((bits)all(-limit) & below));
}

/* x P(x^2) / Q(x^2), both of fourth degree, within 4e-7 of tanh: that of the core's float engine. */
static inline lanes hyperbolic_tangent(lanes x)
{
    x = bounded(x, 9);
    const lanes u = x * x, square = u * u;
    const lanes above =
        (1238603.77f + 166049.761f * u) +
        square * (4367.09096f + 26.1612266f * u + 0.0174633467f * square);
    const lanes below = (783.297556f + 319.924616f * u + square) *
                        (1581.2686f + 93.2349161f * u + square);
    return x * above / below;
}

static inline lanes sigmoid(lanes x)
{
    return 0.5f + 0.5f * hyperbolic_tangent(0.5f * x);
}

/* Sequences of a tile: those beyond the last one are not there. */
static inline long present(long tile, long sequences)
{
    const long left = sequences - LANES * tile;
    return left < LANES ? left : LANES;
}

/* The same value of each sequence, `stride` apart; zero where there is none. */
static inline lanes gather(const float *x, long stride, long count)
{
    if (count == LANES)
        return (lanes){x[0],          x[stride],     x[2 * stride], x[3 * stride],
                       x[4 * stride], x[5 * stride], x[6 * stride], x[7 * stride]};
    lanes values = all(0);
    for (long i = 0; i < count; i++) values[i] = x[i * stride];
    return values;
}

static inline void scatter(float *x, long stride, long count, lanes values)
{
    if (count == LANES)
        for (int i = 0; i < LANES; i++) x[i * stride] = values[i];
    else
        for (long i = 0; i < count; i++) x[i * stride] = values[i];
}

static inline float sum_of(lanes x)
{
    float sum = 0;
    for (int lane = 0; lane < LANES; lane++) sum += x[lane];
    return sum;
}

/* A tile's sequences side by side: [L I] lanes of [8, L I]. */
static void load_tile(lanes *restrict tile, const float *restrict inputs, long values, long count)
{
    for (long i = 0; i < values; i++) tile[i] = gather(inputs + i, values, count);
}

/* `work` [L, I, 8] is a thread's own. */
void gru_forward(const float *restrict inputs, const float *restrict weights,
                 float *restrict states, lanes *restrict kept, lanes *restrict work, long sequences,
                 long length, long directions, long size, long width, long first, long last)
{
    const long values = length * width, stride = length * directions * size;
    const long row_size = width + size + 2;
    for (long tile = first; tile < last; tile++) {
        const long count = present(tile, sequences);
        load_tile(work, inputs + LANES * tile * values, values, count);
        for (long d = 0; d < directions; d++) {
            const float *matrix = weights + d * 3 * size * row_size;
            lanes *step = kept + (tile * directions + d) * length * KEPT * size;
            memset(step + BEFORE * size, 0, (size_t)size * sizeof(lanes));
            for (long i = 0; i < length; i++, step += KEPT * size) {
                const long t = d ? length - 1 - i : i;
                const lanes *input = work + t * width, *before = step + BEFORE * size;
                float *state = states + LANES * tile * stride + (t * directions + d) * size;
                for (long row = 0; row < size; row++) {
                    const float *of_reset = matrix + row * row_size;
                    const float *of_update = of_reset + size * row_size;
                    const float *of_new = of_update + size * row_size;
                    const long biases = width + size;
                    lanes reset = all(of_reset[biases] + of_reset[biases + 1]);
                    lanes update = all(of_update[biases] + of_update[biases + 1]);
                    lanes new = all(of_new[biases]), remembered = all(of_new[biases + 1]);
                    for (long k = 0; k < width; k++) {
                        reset += of_reset[k] * input[k];
                        update += of_update[k] * input[k];
                        new += of_new[k] * input[k];
                    }
                    for (long k = 0; k < size; k++) {
                        reset += of_reset[width + k] * before[k];
                        update += of_update[width + k] * before[k];
                        remembered += of_new[width + k] * before[k];
                    }
                    reset = sigmoid(reset), update = sigmoid(update);
                    new = hyperbolic_tangent(new + reset * remembered);
                    const lanes after = new + update * (before[row] - new);
                    step[RESET * size + row] = reset;
                    step[UPDATE * size + row] = update;
                    step[NEW * size + row] = new;
                    step[REMEMBERED * size + row] = remembered;
                    if (i + 1 < length) step[(KEPT + BEFORE) * size + row] = after;
                    scatter(state + row, stride, count, after);
                }
            }
        }
    }
}

/* Adds to sums[j] those of rows[i] others[i][j] over L steps i and all lanes, j below `count`. */
static void add_products(float *restrict sums, const lanes *restrict rows, long row_stride,
                         const lanes *restrict others, long other_stride, long length, long count)
{
    for (long j = 0; j < count; j += 4) {
        lanes products[4] = {all(0), all(0), all(0), all(0)};
        const lanes *row = rows, *other = others + j;
        if (count - j >= 4) {
            for (long i = 0; i < length; i++, row += row_stride, other += other_stride)
                for (long k = 0; k < 4; k++) products[k] += *row * other[k];
        } else {
            for (long i = 0; i < length; i++, row += row_stride, other += other_stride)
                for (long k = 0; k < count - j; k++) products[k] += *row * other[k];
        }
        for (long k = 0; k < 4 && j + k < count; k++) sums[j + k] += sum_of(products[k]);
    }
}

/* Given the gradient of the states: that of the inputs, and that of the weights added to
   `of_weights`. This and `work` [2 L I + 4 L K + K, 8] are a thread's own. */
void gru_backward(const float *restrict gradient, const float *restrict inputs,
                  const float *restrict weights, const lanes *restrict kept,
                  float *restrict of_inputs, float *restrict of_weights, lanes *restrict work,
                  long sequences, long length, long directions, long size, long width, long first,
                  long last)
{
    const long values = length * width, stride = length * directions * size;
    const long row_size = width + size + 2;
    lanes *input = work, *of_input = input + values, *of_rows = of_input + values;
    lanes *carried = of_rows + length * 4 * size;
    for (long tile = first; tile < last; tile++) {
        const long count = present(tile, sequences);
        load_tile(input, inputs + LANES * tile * values, values, count);
        memset(of_input, 0, (size_t)values * sizeof(lanes));
        for (long d = 0; d < directions; d++) {
            const float *matrix = weights + d * 3 * size * row_size;
            const lanes *start = kept + (tile * directions + d) * length * KEPT * size;
            memset(carried, 0, (size_t)size * sizeof(lanes));
            for (long i = length - 1; i >= 0; i--) {
                const long t = d ? length - 1 - i : i;
                const lanes *step = start + i * KEPT * size;
                /* Of reset, update, new, and of what new remembers. */
                lanes *of_row = of_rows + t * 4 * size, *of_x = of_input + t * width;
                const float *given =
                    gradient + LANES * tile * stride + (t * directions + d) * size;
                for (long row = 0; row < size; row++) {
                    const lanes reset = step[RESET * size + row];
                    const lanes update = step[UPDATE * size + row];
                    const lanes new = step[NEW * size + row];
                    const lanes of_state = carried[row] + gather(given + row, stride, count);
                    const lanes of_new = of_state * (1 - update) * (1 - new * new);
                    of_row[row] = of_new * step[REMEMBERED * size + row] * reset * (1 - reset);
                    of_row[size + row] =
                        of_state * (step[BEFORE * size + row] - new) * update * (1 - update);
                    of_row[2 * size + row] = of_new;
                    of_row[3 * size + row] = of_new * reset;
                    carried[row] = of_state * update;
                }
                for (long row = 0; row < 3 * size; row++) {
                    const float *weight = matrix + row * row_size;
                    const lanes of_state = of_row[row < 2 * size ? row : size + row];
                    for (long k = 0; k < width; k++) of_x[k] += weight[k] * of_row[row];
                    for (long k = 0; k < size; k++) carried[k] += weight[width + k] * of_state;
                }
            }
            for (long row = 0; row < 3 * size; row++) {
                float *sums = of_weights + (d * 3 * size + row) * row_size;
                const lanes *of_row = of_rows + row;
                const lanes *of_state = of_rows + (row < 2 * size ? row : size + row);
                add_products(sums, of_row, 4 * size, input, width, length, width);
                /* States lie in the order of the walk. */
                add_products(sums + width, d ? of_state + (length - 1) * 4 * size : of_state,
                             d ? -4 * size : 4 * size, start + BEFORE * size, KEPT * size, length,
                             size);
                lanes of_bias = all(0), of_state_bias = all(0);
                for (long i = 0; i < length; i++) {
                    of_bias += of_row[i * 4 * size];
                    of_state_bias += of_state[i * 4 * size];
                }
                sums[width + size] += sum_of(of_bias);
                sums[width + size + 1] += sum_of(of_state_bias);
            }
        }
        for (long i = 0; i < values; i++)
            scatter(of_inputs + LANES * tile * values + i, values, count, of_input[i]);
    }
}
