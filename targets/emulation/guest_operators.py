"""Runs inside the emulated board: small models, each invoked once between two marks.

Started as a script with the path of a JSON list of model files, see `targets.emulation.costs`. Each
`os.getppid()` makes the counter write down its counts (see counter.c): two in a row first, then two
around an invocation of each model. Beside the list, `delegated.json` says what XNNPACK took.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from edge_se.engines.tflite import create_interpreter, find_runtime, has_delegate

WARM_UP = 3
INPUT = {"float32": 1, "int8": 100, "int16": 20000}


def main(listed: Path) -> None:
    """Invoke every model of the list."""
    runtime, mark, delegated = find_runtime(), os.getppid, []
    mark()
    mark()
    for path in json.loads(listed.read_text()):
        interpreter = create_interpreter(runtime, Path(path))
        delegated.append(has_delegate(interpreter))
        for detail in interpreter.get_input_details():
            # Some kernels refuse negative values.
            value = np.full(detail["shape"], INPUT[np.dtype(detail["dtype"]).name], detail["dtype"])
            interpreter.set_tensor(detail["index"], value)
        invoke = interpreter._interpreter.Invoke
        for _ in range(WARM_UP):
            invoke()
        mark()
        invoke()
        mark()
    listed.with_name("delegated.json").write_text(json.dumps(delegated))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
