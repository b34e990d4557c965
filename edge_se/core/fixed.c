/* What the library exports of the fixed-point signal path. */

#include "fixed_path.h"

void edge_se_fixed_analyse(struct context *c)
{
    fixed_analyse(c);
}

void edge_se_fixed_synthesise(struct context *c)
{
    fixed_synthesise(c);
}

/* Raised whenever `struct context` or what the functions do changes. */
int edge_se_core_version(void)
{
    return 3;
}
