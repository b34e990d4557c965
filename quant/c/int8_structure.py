"""Which weights of a network's layers are zero in every checkpoint.

An engine leaves them out, and its frame has to serve all checkpoints, so zeros that one checkpoint
has by itself are none of these. What an untrained network has as zeros comes of the graph alone.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch

from quant.c.int8_program import Operation, Program, content_of, read_program
from quant.graph.recipes import RECIPES
from quant.graph.specimen import specimen
from quant.networks.registry import NETWORKS


def used_weights(program: Program, architecture: str) -> Mapping[Operation, Any]:
    """Of each layer of a file which weights may be other than zero, bool of the weight's shape.

    Args:
        program: of the file.
        architecture: of the network; of one that isn't known, the file's own zeros count.
    """
    layers = _layers(program)
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
    layers = _layers(read_program(specimen(graph, recipe)))
    return [content_of(op.input(1)) != 0 for op in layers]


def _layers(program: Program) -> list[Operation]:
    return [op for op in program.operations if op.kind == "CONV_2D"]
