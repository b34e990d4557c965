"""Runs inside the emulated board: the frame loop, marked so that instructions can be counted.

Started as a script with the path of a JSON job; it imports nothing but the device runtime. Each
`os.getppid()` makes the counter write down its counts (see counter.c): two in a row, two around all
frames, then four around the three stages of each frame of a second pass.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

from edge_se.benchmark import frames_of, undisturbed
from edge_se.enhancer import Enhancer


def main(job: Path) -> None:
    """Do the job, and write the enhanced frames and what ran them beside it."""
    orders = json.loads(job.read_text())
    enhancer = Enhancer(orders["model"], orders["engine"], orders["runtime"], orders["stft"])
    samples = np.load(job.with_name("samples.npy"))
    inputs = frames_of(samples, enhancer.hop_size, enhancer.sample_dtype)
    outputs = np.empty_like(inputs)
    scratch = np.empty(enhancer.hop_size, enhancer.sample_dtype)
    pairs = list(zip(inputs, outputs, strict=True))
    process, mark = enhancer.process, os.getppid
    for frame in inputs[: orders["warm_up_frames"]]:
        process(frame, scratch)
    enhancer.reset()
    with undisturbed():
        mark()
        mark()
        mark()
        for frame, out in pairs:
            process(frame, out)
        mark()
    enhancer.reset()
    analyse, infer = enhancer.engine.analyse, enhancer.engine.infer
    synthesise = enhancer.engine.synthesise
    with undisturbed():
        for frame in inputs[: orders["staged_frames"]]:
            mark()
            analyse(frame)
            mark()
            infer()
            mark()
            synthesise(scratch)
            mark()
    np.save(job.with_name("enhanced.npy"), outputs)
    job.with_name("engine.json").write_text(json.dumps(enhancer.describe()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
