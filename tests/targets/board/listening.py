"""Sound cards without hardware, and what is heard through them: how late, and how like."""

import io
from dataclasses import dataclass

import numpy as np
import soundfile

from edge_se.audio import resample

RATE = 16000
# Mic and Spk are what edge-se opens; Ref hears what is said into Mic.
CARDS = "options snd-aloop enable=1,1,1 index=0,1,2 id=Mic,Spk,Ref pcm_substreams=1,1,1\n"
RIG = """
pcm.said { type route; slave { pcm { type multi
    slaves { a { pcm "hw:Mic,0" channels 1 } b { pcm "hw:Ref,0" channels 1 } }
    bindings { 0 { slave a channel 0 } 1 { slave b channel 0 } } } channels 2 }
    ttable { 0 { 0 1 1 1 } } }
pcm.heard { type multi
    slaves { a { pcm "hw:Ref,1" channels 1 } b { pcm "hw:Spk,1" channels 1 } }
    bindings { 0 { slave a channel 0 } 1 { slave b channel 0 } } }
"""
WINDOW_S, LONGEST_S = 2.0, 1.0
SILENCE = 1e-3  # RMS of a window in which nothing is said


@dataclass(frozen=True)
class Heard:
    """A window of a recording.

    Attributes:
        start_s: Where it begins in what was said.
        lag_s: How much later it is heard.
        likeness: Correlation with what was said, at most 1.
    """

    start_s: float
    lag_s: float
    likeness: float


def listen(said: np.ndarray, recorded: np.ndarray, rate: int) -> list[Heard]:
    """Find windows of what was said, float [n], in what was recorded meanwhile, float [n]."""
    window, longest = round(WINDOW_S * rate), round(LONGEST_S * rate)
    found = []
    for start in range(0, min(len(said), len(recorded)) - window - longest, window):
        piece = said[start : start + window].astype(float)
        around = recorded[start : start + window + longest].astype(float)
        if piece.std() < SILENCE:
            continue
        size = 2 ** len(around).bit_length()
        products = np.fft.irfft(np.fft.rfft(around, size) * np.fft.rfft(piece, size).conj(), size)
        sums = np.cumsum(np.concatenate([[0.0], around**2]))
        energies = np.maximum(sums[window:] - sums[:-window], 1e-9)
        likeness = products[: len(energies)] / np.sqrt(energies * np.sum(piece**2))
        best = int(np.argmax(likeness))
        found.append(Heard(start / rate, best / rate, float(likeness[best])))
    return found


def wav(samples: np.ndarray, rate: int = RATE, channels: int = 1, subtype: str = "PCM_16") -> bytes:
    """A WAV file of float32 [n] at 16 kHz, resampled, in all channels."""
    file, frames = io.BytesIO(), resample(samples, RATE, rate)
    soundfile.write(file, np.repeat(frames[:, None], channels, 1), rate, subtype, format="WAV")
    return file.getvalue()


def read_wav(content: bytes) -> np.ndarray:
    """Samples of a WAV file, float32 [n, channels]."""
    return soundfile.read(io.BytesIO(content), dtype="float32", always_2d=True)[0]
