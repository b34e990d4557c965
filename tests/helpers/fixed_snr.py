"""Prints the SNRs of the STFT in integers, as published: `python -m tests.helpers.fixed_snr`."""

import numpy as np
import soundfile

from calib_data import clips_folder
from edge_se.engines.fixed_path import FixedPath
from tests.helpers.fixed_signals import (
    at_level,
    buffers,
    manifest,
    passing_mask,
    reference,
    snr_db,
    stream,
)

LEVELS = (-20, -30, -40, -50)
CLIPS = ("en_03", "de_01", "tr_01")


def main() -> None:
    """SNR of the path, and of the float64 output rounded to int16, by signal and level."""
    described = manifest()
    features, mask = buffers(described)
    mask[...] = passing_mask()
    signals = {"white noise": np.random.default_rng(1).standard_normal(32000)}
    for name in CLIPS:
        path = clips_folder() / "clean" / f"{name}.flac"
        signals[name], _ = soundfile.read(path, frames=64000)
    print("| signal | level dBFS | SNR dB | int16 rounding alone |")
    print("|---|---|---|---|")
    for name, signal in signals.items():
        for level in LEVELS:
            samples = at_level(signal, level)
            expected = reference(samples, mask)
            output = stream(FixedPath(described, features, mask), samples)
            rounded = np.clip(np.rint(expected), -32768, 32767)
            cells = snr_db(expected, output), snr_db(expected, rounded)
            print(f"| {name} | {level} | {cells[0]:.1f} | {cells[1]:.1f} |")


if __name__ == "__main__":
    main()
