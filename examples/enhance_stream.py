"""Enhance a WAV file hop by hop, as a live loop would: what comes in, goes out 256 samples later.

Run it as: python examples/enhance_stream.py noisy.wav enhanced.wav [model.tflite]

Files are mono, 16 bits, at the model's rate (16 kHz for the built-in one). `edge-se enhance` takes
all others, and takes the delay out again.
"""

import sys
import wave

import numpy as np

from edge_se import Enhancer


def main(source: str, target: str, model: str | None = None) -> None:
    """Enhance one file."""
    enhancer = Enhancer(model)
    hop = enhancer.hop_size
    with wave.open(source) as noisy, wave.open(target, "wb") as enhanced:
        if noisy.getparams()[:3] != (1, 2, enhancer.sample_rate):
            raise SystemExit(f"{source} is not mono, 16 bits, {enhancer.sample_rate} Hz")
        enhanced.setparams(noisy.getparams())
        # A buffer for each direction, made once: a live loop should not allocate.
        frame, out = np.zeros(hop, np.float32), np.zeros(hop, np.float32)
        while data := noisy.readframes(hop):
            samples = np.frombuffer(data, "<i2")
            frame[: len(samples)] = samples / 32768
            frame[len(samples) :] = 0  # the last hop may be short
            enhancer.process(frame, out)
            rounded = np.clip(np.rint(out[: len(samples)] * 32768), -32768, 32767)
            enhanced.writeframes(rounded.astype("<i2").tobytes())


if __name__ == "__main__":
    main(*sys.argv[1:])
