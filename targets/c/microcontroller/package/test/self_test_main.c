/* The self-test as a program: status 0 where it passes. */

#include "self_test.h"

int main(void)
{
    return edge_se_self_test(edge_se_open()) != 0;
}
