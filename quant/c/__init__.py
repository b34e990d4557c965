"""A network as the layers, the frame and the weights of a C engine.

`lowering` turns the graph of one frame into a few layers; `float_engine` and `fixed_engine` write
the calls of the frame, which are the same for every checkpoint of a network, and gather what is
not in `weights`. `int8_engine` does so from an INT8 file, operator by operator. The kernels lie in
`edge_se/core`, readable C; `targets/c` writes whole sources.
"""
