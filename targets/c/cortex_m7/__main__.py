"""Report of the fixed engine on a Cortex-M7: `python -m targets.c.cortex_m7 SOURCES AUDIO`."""

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np

from edge_se.audio import read, resample
from edge_se.errors import UserError
from targets.c.cortex_m7 import HOP, SAMPLE_RATE, run_on_cortex_m7


def main() -> int:
    """Run the engine and print what it took."""
    parser = argparse.ArgumentParser(prog="python -m targets.c.cortex_m7", description=__doc__)
    parser.add_argument("sources", type=Path, help="folder of edge-se compile --arithmetic fixed")
    parser.add_argument("audio", type=Path, help="recording to enhance")
    arguments = parser.parse_args()
    recording = read(arguments.audio)
    samples = resample(recording.samples.mean(axis=1), recording.rate, SAMPLE_RATE)
    whole = samples[: len(samples) // HOP * HOP]
    integers = np.clip(np.rint(whole * 32768), -32768, 32767).astype(np.int16)
    with tempfile.TemporaryDirectory(prefix="edge-se-") as folder:
        report = run_on_cortex_m7(arguments.sources, integers, Path(folder))
    hops = SAMPLE_RATE / HOP
    print(f"frames                 {len(report.enhanced) // HOP}")
    print(f"flash                  {report.flash} bytes")
    print(f"state                  {report.state} bytes")
    print(f"stack                  {report.stack} bytes")
    print(f"instructions per frame {report.instructions:.0f}, at most {report.most_instructions}")
    print(f"in real time           {report.instructions * hops / 1e6:.0f} million a second")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"edge-se: error: {error}")
