"""What the band above 8 kHz costs and looks like, on speech that was recorded at 48 kHz.

`python -m benchmarks.full_band --speech DIR --dnsmos FILE` adds noise to a folder's recordings (say
Debian's /usr/share/sounds/alsa, of alsa-utils), enhances them with that band and without it, writes
DNSMOS into a file of `benchmarks/results/` (`--json`), and draws spectrograms (`--picture`).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.demo import draw_spectrograms
from benchmarks.results import put
from edge_se.audio import read
from edge_se.enhancer import Enhancer
from edge_se.errors import UserError, run_script
from edge_se.resampling import resample
from quant.evaluation.metrics import METRICS, SAMPLE_RATE, load_dnsmos

REPOSITORY = Path(__file__).resolve().parent.parent
FILE = REPOSITORY / "benchmarks" / "results" / "55_full_band.json"
PICTURE = REPOSITORY / "docs" / "pictures" / "full-band.png"
RATE, SNRS_DB = 48000, (5.0, 15.0)
SPEECH_RMS = 0.05


def read_speech(folder: Path) -> np.ndarray:
    """All speech of a folder, one after the other, float32 [n] at 48 kHz.

    Raises:
        UserError: A recording has another rate, or there is none.
    """
    parts = []
    for path in sorted(folder.glob("*.wav")):
        recording = read(path)
        if recording.rate != RATE:
            raise UserError(f"{path} has {recording.rate} Hz; give recordings at {RATE} Hz")
        if "noise" not in path.name.lower():
            parts.append(recording.samples.mean(axis=1))
    if not parts:
        raise UserError(f"there is no WAV file of speech in {folder}")
    speech = np.concatenate(parts)
    return (speech * (SPEECH_RMS / speech.std())).astype(np.float32)


def with_noise(speech: np.ndarray, snr_db: float) -> np.ndarray:
    """Speech beside noise as of a fan, which falls by 3 dB an octave up to 24 kHz."""
    spectrum = np.fft.rfft(np.random.default_rng(0).standard_normal(len(speech)))
    noise = np.fft.irfft(spectrum / np.sqrt(np.arange(len(spectrum)) + 100), len(speech))
    level = speech.std() / noise.std() * 10 ** (-snr_db / 20)
    return (speech + level * noise).astype(np.float32)


def measure(
    speech: np.ndarray, snrs_db: Sequence[float], dnsmos: Path
) -> tuple[list[list[str]], dict[str, np.ndarray]]:
    """Rows of DNSMOS, and the signals of the last ratio by their titles."""
    enhancer, score, rows = Enhancer("gtcrn"), load_dnsmos(dnsmos), []
    for snr_db in snrs_db:
        noisy = with_noise(speech, snr_db)
        signals = {
            "noisy": noisy,
            "enhanced, 8 kHz": enhancer.enhance(noisy, RATE, full_band=False),
            "enhanced, full band": enhancer.enhance(noisy, RATE),
            "clean": speech,
        }
        for title, samples in signals.items():
            scores = score(resample(samples, RATE, SAMPLE_RATE))
            rows.append([f"{snr_db:g}", title, *(f"{value:.2f}" for value in scores.values())])
    return rows, signals


def main() -> int:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--speech", type=Path, required=True, metavar="DIR")
    parser.add_argument("--dnsmos", type=Path, required=True, metavar="FILE")
    parser.add_argument("--json", type=Path, default=FILE, metavar="FILE")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE")
    arguments = parser.parse_args()
    speech = read_speech(arguments.speech)
    rows, signals = measure(speech, SNRS_DB, arguments.dnsmos)
    shown = {title: samples[: 3 * RATE] for title, samples in signals.items()}
    draw_spectrograms(arguments.picture, shown, RATE)
    headings = [metric.heading for name, metric in METRICS.items() if name.startswith("dnsmos")]
    table = {
        "title": "DNSMOS with the full band and without it",
        "command": [
            "python -m benchmarks.full_band --speech /usr/share/sounds/alsa "
            "--dnsmos sig_bak_ovr.onnx"
        ],
        "measured": f"{len(speech) / RATE:.0f} s of speech of Debian's alsa-utils, recorded at 48 "
        "kHz, beside noise that falls by 3 dB an octave up to 24 kHz; the built-in GTCRN. DNSMOS "
        "hears 16 kHz, so what it tells is that the band above 8 kHz harms nothing below; the "
        "[picture](full-band.md) shows the band itself.",
        "columns": ["SNR dB", "", *headings],
        "rows": rows,
    }
    put(arguments.json, table, title="The full band")
    return 0


if __name__ == "__main__":
    run_script(main)
