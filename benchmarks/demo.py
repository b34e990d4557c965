"""The demonstration's own parts: noisy clips to enhance, and a summary with a picture.

`python -m benchmarks.demo mix FOLDER` writes FOLDER/noisy and FOLDER/clean, mixtures of the
embedded clips other than the ones that calibration hears. `python -m benchmarks.demo summary
FOLDER` draws FOLDER/spectrograms.png and says what was measured and where the results are.
`python -m benchmarks.demo listen docs/audio` makes the two clips that the README lets people hear.
"""

import argparse
import io
import json
import tempfile
from pathlib import Path

import numpy as np

from calib_data import clips_folder
from edge_se import Enhancer
from edge_se.audio import Recording, read, write
from edge_se.errors import run_script
from edge_se.files import written_beside
from quant.audio.clips import read_calibration_clips
from quant.audio.mixing import calibration_mixtures
from quant.checkpoints import default_checkpoint_path
from quant.networks.checkpoint import load_checkpoint
from quant.ptq.pipeline import CALIBRATION_SEED

CLIPS = 8
SNRS_DB = (0.0, 5.0, 10.0, 15.0)
LEVELS_DBFS = (-30.0, -20.0)
SHOWN = "clip_1"  # the clip in the picture


def mix(folder: Path) -> None:
    """Write noisy clips and the clean speech in them."""
    signal = load_checkpoint(default_checkpoint_path()).signal
    clips = read_calibration_clips(clips_folder(), signal.sample_rate)
    mixtures = calibration_mixtures(
        [clip.samples for clip in clips.clean[::5][:CLIPS]],
        [clip.samples for clip in clips.noise],
        CALIBRATION_SEED + 1,
        SNRS_DB,
        LEVELS_DBFS,
    )
    for kind in ("noisy", "clean"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for index, mixture in enumerate(mixtures):
            samples = getattr(mixture, kind)[:, None]
            write(folder / kind / f"clip_{index}.wav", Recording(samples, signal.sample_rate))
    print(f"mixed {len(mixtures)} clips into {folder / 'noisy'}")


def _samples(recording: Recording) -> np.ndarray:
    return recording.samples[:, 0]


def draw_spectrograms(path: Path, signals: dict[str, np.ndarray], rate: int) -> None:
    """Draw one spectrogram under the other, with a common scale, as a PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    figure, axes = pyplot.subplots(
        len(signals), 1, figsize=(9, 2.1 * len(signals)), sharex=True, layout="constrained"
    )
    for axis, (title, samples) in zip(axes, signals.items(), strict=True):
        *_, image = axis.specgram(
            samples,
            NFFT=512,
            Fs=rate / 1000,
            noverlap=384,
            vmin=-110,
            vmax=-40,
            cmap="magma",
        )
        axis.set_facecolor("black")  # of digital silence
        axis.set_title(title, loc="left", fontsize=10)
        axis.set_ylabel("kHz")
    axes[-1].set_xlabel("ms")
    figure.colorbar(image, ax=axes, label="dB", shrink=0.6)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png", dpi=110)
    with written_beside(path) as temporary:  # a third of the bytes in 256 colours
        Image.open(drawn).convert("RGB").quantize().save(temporary, format="png", optimize=True)
    pyplot.close(figure)


def summarize(folder: Path) -> None:
    """Draw the picture and print the figures that count."""
    recording = read(folder / "noisy" / f"{SHOWN}.wav")
    noisy = _samples(recording)
    signals = {"noisy": noisy}
    for title, model in (("float", "gtcrn_float"), ("INT8", "gtcrn_int8")):
        signals[f"enhanced, {title}"] = Enhancer(folder / f"{model}.tflite").enhance(noisy)
    signals["clean"] = _samples(read(folder / "clean" / f"{SHOWN}.wav"))
    picture = folder / "spectrograms.png"
    draw_spectrograms(picture, signals, recording.rate)

    speed = json.loads((folder / "benchmark.json").read_text())
    overall = json.loads((folder / "quality.json").read_text())["overall"]
    quality, snr = overall["means"], overall["snr_to_reference_db"]
    size = (folder / "gtcrn_int8.tflite").stat().st_size / 1000
    pesq = {system: f"{scores['pesq']:.2f}" for system, scores in quality.items()}
    print(
        f"\nINT8 GTCRN, {size:.0f} KB: real-time factor {speed['rtf']:.4f} "
        f"({1 / speed['rtf']:.0f} times real time) on this machine\n"
        f"PESQ-WB: noisy {pesq['noisy']}, float {pesq['reference']}, INT8 {pesq['enhanced']}; "
        f"INT8 against float {snr:.1f} dB SNR\n"
        f"model      {folder / 'gtcrn_int8.tflite'}\n"
        f"audio      {folder / 'noisy'} -> {folder / 'enhanced'}\n"
        f"figures    {folder / 'benchmark.json'}, {folder / 'quality.json'}\n"
        f"picture    {picture}"
    )


def listen(folder: Path) -> None:
    """Write one noisy clip, and the same enhanced as it is by default, as FLAC."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as mixed:
        mix(Path(mixed))
        recording = read(Path(mixed) / "noisy" / f"{SHOWN}.wav")
    enhanced = Enhancer().enhance(_samples(recording))[:, None]
    write(folder / "noisy.flac", recording)
    write(folder / "enhanced.flac", Recording(enhanced, recording.rate))


def main() -> None:
    """Run one part of the demonstration."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("mix", "summary", "listen"))
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    {"mix": mix, "summary": summarize, "listen": listen}[arguments.part](arguments.folder)


if __name__ == "__main__":
    run_script(main)
