"""Which weights of a network's layers are zero in every checkpoint.

An engine leaves them out, and its frame has to serve all checkpoints, so zeros that one checkpoint
has by itself are none of these. What an untrained network has as zeros comes of the graph alone.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from quant.c.int8_program import Operation, Program, content_of, read_program
from quant.graph.encoding import assign_encodings
from quant.graph.recipes import RECIPES
from quant.graph.tflite import write_tflite
from quant.networks.registry import NETWORKS

WEIGHTED = {"CONV_2D", "DEPTHWISE_CONV_2D"}


def used_weights(program: Program, architecture: str) -> Mapping[Operation, Any]:
    """Of each layer of a file which weights may be other than zero, bool of the weight's shape.

    Args:
        program: of the file.
        architecture: of the network; of one that isn't known, the file's own zeros count.
    """
    layers = [op for op in program.operations if op.kind in WEIGHTED]
    found = {op: content_of(op.input(1)) != 0 for op in layers}
    of_all = _untrained(architecture)
    if len(of_all) == len(layers):
        for op, used in zip(layers, of_all, strict=True):
            if used.shape == found[op].shape:  # bands of other options may have others
                found[op] = found[op] | used
    return found


@cache
def _untrained(architecture: str) -> list[Any]:
    if architecture not in NETWORKS:
        return []
    network, recipe = NETWORKS[architecture], RECIPES["int8"]
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        graph = network.step(network.create().eval(), recipe.splits)
    values = [*graph.inputs, *(value for op in graph.operators for value in op.outputs)]
    ranges = {value.range_key: (-1.0, 1.0) for value in values}
    encodings = assign_encodings(graph, recipe.choose, ranges, recipe.signals)
    program = read_program(write_tflite(graph, encodings, recipe.choose).content)
    return [content_of(op.input(1)) != 0 for op in program.operations if op.kind in WEIGHTED]
