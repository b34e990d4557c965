/* Speech, and what this package makes of it, to the bit: on every machine. */

#ifndef SELF_TEST_H
#define SELF_TEST_H

#include "edge_se.h"

/* 0 where a stream begun anew does what it should; else the first hop, from 1 on, with another bit,
   or -1 where there is no stream. */
int edge_se_self_test(edge_se *stream);

#endif
