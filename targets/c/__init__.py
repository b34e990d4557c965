"""Generated C engines: one hop of samples in, one enhanced hop out, no interpreter between.

`lowering` turns the graph of one frame into a few layers; `float_engine` and `fixed_engine` write
their tables and calls; the kernels that they call lie in `edge_se/core`, readable C.
"""
