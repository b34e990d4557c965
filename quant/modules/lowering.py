"""Lowering exported programs to TFLite by litert-torch, in a process of its own.

    python -m quant.modules.lowering FOLDER NAME...

reads FOLDER/NAME.pt2, writes FOLDER/NAME.tflite, and tells of each on standard output in a line of
JSON why it could not be lowered or run, or null. What the converter says otherwise, or dies of, is
kept from whoever asked.
"""

import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import fx

from quant.modules.recurrent import shorten_recurrences

_IDLE = ("aten.detach.default", "aten.detach_.default", "aten.lift_fresh_copy.default")


def _has_one(parts: Any) -> bool:
    return isinstance(parts, Sequence) and len(parts) == 1


def drop_idle(module: fx.GraphModule) -> None:
    """Take out of a frame what changes nothing, and what litert-torch 0.10 fails on all the same.

    That is a split into a single part, and what torch.export makes of a constant that forward
    writes out, such as torch.tensor([0.5]).
    """
    for node in list(module.graph.nodes):
        value = node.meta.get("val")
        if str(node.target) in _IDLE:
            node.replace_all_uses_with(node.args[0])
        elif re.search("split|chunk", str(node.target)) and _has_one(value):
            for part in list(node.users):
                part.replace_all_uses_with(node.args[0])
                module.graph.erase_node(part)
        else:
            continue
        module.graph.erase_node(node)
    module.recompile()


def lower(source: Path, target: Path) -> None:
    """Lower one exported program; what comes of it runs once."""
    import litert_torch
    import numpy as np
    import torch
    from ai_edge_litert.interpreter import Interpreter

    program = torch.export.load(source)
    examples = tuple(
        torch.zeros(tuple(node.meta["val"].shape), dtype=node.meta["val"].dtype)
        for node in program.graph.nodes
        if node.op == "placeholder" and node.name in program.graph_signature.user_inputs
    )
    module = program.module()
    drop_idle(module)
    shorten_recurrences(module)
    content = litert_torch.convert(module, examples).model_content()
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    for detail in interpreter.get_input_details():
        interpreter.set_tensor(detail["index"], np.zeros(detail["shape"], detail["dtype"]))
    interpreter.invoke()
    target.write_bytes(content)


def main(folder: Path, names: list[str]) -> None:
    """Lower the programs called so."""
    answers, sys.stdout = sys.stdout, sys.stderr
    for name in names:
        try:
            lower(folder / f"{name}.pt2", folder / f"{name}.tflite")
            reason = None
        except Exception as error:  # whatever the converter raises is an answer
            reason = f"{type(error).__name__}: {error}"
        print(json.dumps({"name": name, "reason": reason}), file=answers, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
