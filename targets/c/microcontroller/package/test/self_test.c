#include "self_test.h"

#include "self_test_vector.h"

int edge_se_self_test(edge_se *stream)
{
    if (!stream) return -1;
    for (int hop = 0; hop < SELF_TEST_HOPS; hop++) {
        int16_t out[EDGE_SE_HOP];
        edge_se_process(stream, self_test_input[hop], out);
        for (int n = 0; n < EDGE_SE_HOP; n++)
            if (out[n] != self_test_output[hop][n]) return hop + 1;
    }
    edge_se_reset(stream);
    return 0;
}
