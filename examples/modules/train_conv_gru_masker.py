"""Train the masker beside this file: train_conv_gru_masker.py CLEAN NOISE WEIGHTS.pt [STEPS].

A training script as anyone has one: torch and recordings of 16 kHz, nothing of edge-se but the
signal that the module declares.
"""

import sys
from pathlib import Path

import numpy as np
import soundfile
import torch
from conv_gru_masker import build
from torch import Tensor

SECONDS, BATCH = 2, 8


def recordings(folder: str) -> list[np.ndarray]:
    """All recordings in a folder, float32 [n] each, long ones cut to their first minute."""
    paths = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return [soundfile.read(path, 16000 * 60, dtype="float32")[0] for path in paths]


def parts(clips: list[np.ndarray], random: np.random.Generator) -> Tensor:
    """A random part of random clips, each of the same power: [BATCH, SECONDS * 16000]."""
    length = SECONDS * 16000
    chosen = [clips[number] for number in random.integers(len(clips), size=BATCH)]
    cut = [np.resize(np.roll(clip, -random.integers(len(clip))), length) for clip in chosen]
    batch = torch.from_numpy(np.stack(cut))
    return 0.05 * batch / batch.square().mean(-1, keepdim=True).sqrt().clamp(min=1e-4)


def main(clean_folder: str, noise_folder: str, out: str, steps: str = "300") -> None:
    """Train on random mixtures, and save the state dict."""
    model, random = build(), np.random.default_rng(0)
    clean, noise = recordings(clean_folder), recordings(noise_folder)
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    signal = model.signal
    window = torch.hann_window(signal.window)  # periodic, as the frame loop's

    def magnitudes(samples: Tensor) -> Tensor:
        spectra = torch.stft(
            samples, signal.window, signal.hop, window=window, center=False, return_complex=True
        )
        return spectra.abs().transpose(1, 2)

    for step in range(int(steps)):
        speech = parts(clean, random)
        snr = torch.from_numpy(random.uniform(-5, 15, (BATCH, 1)).astype(np.float32))
        level = torch.from_numpy(random.uniform(-20, 10, (BATCH, 1)).astype(np.float32))
        noisy = (speech + parts(noise, random) * 10 ** (-snr / 20)) * 10 ** (level / 20)
        target, heard = magnitudes(speech * 10 ** (level / 20)), magnitudes(noisy)
        features = heard.clamp(min=1e-5).log10()[:, None]  # "log_magnitude"
        past, hidden = model.initial_states()
        gains, _, _ = model.clip(
            features, past.expand(BATCH, -1, -1, -1), hidden.expand(-1, BATCH, -1).contiguous()
        )
        loss = ((gains * heard).clamp(min=1e-5) ** 0.3 - target.clamp(min=1e-5) ** 0.3).square()
        optimizer.zero_grad()
        loss.mean().backward()
        optimizer.step()
        if step % 50 == 0:
            print(f"step {step}: loss {loss.mean():.4f}", flush=True)
    torch.save(model.state_dict(), out)
    print(f"wrote {out}")


if __name__ == "__main__":
    main(*sys.argv[1:])
