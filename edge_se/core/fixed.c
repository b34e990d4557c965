/* What the library exports of the fixed-point signal path. */

#include "fixed_path.h"
#include "samples.h"

void edge_se_fixed_analyse(struct context *c)
{
    fixed_analyse(c);
}

void edge_se_fixed_synthesise(struct context *c)
{
    fixed_synthesise(c);
}

void edge_se_samples_to_int16(struct samples *c)
{
    samples_to_int16(c);
}

void edge_se_samples_to_float(struct samples *c)
{
    samples_to_float(c);
}

/* Raised whenever a struct or what the functions do changes. */
int edge_se_core_version(void)
{
    return 16;
}
