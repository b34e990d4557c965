"""Lowering exported programs to TFLite by litert-torch, in a process of its own.

    python -m quant.modules.lowering FOLDER NAME...

reads FOLDER/NAME.pt2, writes FOLDER/NAME.tflite, and tells of each on standard output in a line of
JSON why it could not be lowered or run, or null. What the converter says otherwise, or dies of, is
kept from whoever asked.
"""

import json
import sys
from pathlib import Path


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
    content = litert_torch.convert(program.module(), examples).model_content()
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
