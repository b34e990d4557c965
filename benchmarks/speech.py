"""How well the probability of speech tells speech, beside Silero VAD, and what it means.

`python -m benchmarks.speech --noisy DIR --clean DIR --calibration DIR` runs the built-in GTCRN
over pairs, for areas under ROC curves, and over mixtures of a calibration folder's clips, whose
speakers and noises it should not have been trained on, for how much of what it gives a probability
is speech. Both tables go into a file of `benchmarks/results/`. After it,
`python -m benchmarks.results` writes the page. It needs the package silero-vad.
"""

import argparse
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.recogniser import clips_to_mix
from benchmarks.results import FOLDER, put
from edge_se.enhancer import Enhancer
from edge_se.errors import UserError, run_script
from edge_se.speech import ODDS, POWER
from quant.audio.mixing import Mixture, calibration_mixtures
from quant.evaluation.evaluate import bucket_db
from quant.evaluation.metrics import Samples, si_snr
from quant.evaluation.pairs import Pair, load_pairs

COMMAND = "python -m benchmarks.speech --noisy NOISY --clean CLEAN --calibration DIR"
WINDOW, RATE = 512, 16000  # of Silero VAD, and of the built-in GTCRN
WITHIN_DB, PERCENTILE = (30, 40), 95
SNRS_DB = tuple(range(-3, 19, 3))
LONGEST_PAUSE_S, SEED = 1.5, 0
BOUNDS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)

# Probabilities [windows] of samples [n], of windows one after another.
Tell = Callable[[Samples], NDArray[np.float64]]


def told_by(enhancer: Enhancer) -> Tell:
    """The probabilities of an enhancer without lookahead, whose windows are two hops."""

    def tell(samples: Samples) -> NDArray[np.float64]:
        enhancer.reset()
        told = []
        for frame in samples[: len(samples) // WINDOW * WINDOW].reshape(-1, enhancer.hop_size):
            enhancer.process(frame)
            told.append(enhancer.speech_probability)
        return np.array(told[1::2])  # a window ends with each hop; every other follows the last

    return tell


def silero() -> tuple[str, Tell]:
    """Silero VAD in ONNX: its name with its version, and its probabilities.

    Raises:
        UserError: It is not installed.
    """
    try:
        import torch
        from silero_vad import load_silero_vad
    except ModuleNotFoundError:
        raise UserError("this needs Silero VAD; pip install silero-vad") from None
    model = load_silero_vad(onnx=True)

    def tell(samples: Samples) -> NDArray[np.float64]:
        model.reset_states()
        windows = torch.from_numpy(samples[: len(samples) // WINDOW * WINDOW]).reshape(-1, WINDOW)
        return np.array([model(window, RATE).item() for window in windows])

    return f"Silero VAD {version('silero-vad')}", tell


def is_speech(clean: Samples, within_db: float) -> NDArray[np.bool_]:
    """Which windows of clean speech [n] are within so many dB of the 95th percentile: [windows]."""
    windows = clean[: len(clean) // WINDOW * WINDOW].reshape(-1, WINDOW).astype(np.float64)
    energy = np.square(windows).sum(1)
    return energy > np.percentile(energy, PERCENTILE) * 10 ** (-within_db / 10)


def area(told: NDArray[np.float64], speech: NDArray[np.bool_]) -> float:
    """Under the ROC curve: how often speech is told more than other windows, ties by half."""
    others = np.sort(told[~speech])
    below, not_above = (np.searchsorted(others, told[speech], side) for side in ("left", "right"))
    return float((below + not_above).mean() / 2 / len(others))


def areas(pairs: Sequence[Pair], systems: dict[str, Tell]) -> dict[str, Any]:
    """The table of areas by system."""
    told = [[tell(pair.noisy) for pair in pairs] for tell in systems.values()]
    snrs = [
        bucket_db(si_snr(pair.noisy, pair.clean) if pair.snr_db is None else pair.snr_db)
        for pair in pairs
    ]

    def row(within_db: float, snr_db: int | None) -> list[str]:
        chosen = [i for i, found in enumerate(snrs) if snr_db in (None, found)]
        speech = np.concatenate([is_speech(pairs[i].clean, within_db) for i in chosen])
        cells = (area(np.concatenate([of[i] for i in chosen]), speech) for of in told)
        name = "all SNRs" if snr_db is None else f"{snr_db} dB"
        return [f"{within_db} dB", name, *(f"{cell:.3f}" for cell in cells)]

    first, second = WITHIN_DB
    rows = [row(first, None), *(row(first, snr) for snr in sorted(set(snrs))), row(second, None)]
    return {
        "title": "Speech probability",
        "command": [COMMAND],
        "measured": f"Area under the ROC curve over the windows of {len(pairs)} noisy clips, one "
        "every 32 ms, of the built-in GTCRN and of Silero VAD (in ONNX). A window counts as "
        "speech where the clean recording's energy in it is within so many dB of the recording's "
        f"{PERCENTILE}th percentile.",
        "columns": ["speech is within", "clips at", *systems],
        "rows": rows,
    }


def with_pauses(folder: Path) -> list[Mixture]:
    """Clips of a calibration folder with noise, and with pauses before and after."""
    clips, random = clips_to_mix(folder, RATE), np.random.default_rng(SEED)
    longest = round(LONGEST_PAUSE_S * RATE)
    clean = [np.pad(clip.samples, random.integers(0, longest, 2)) for clip in clips.clean]
    return calibration_mixtures(clean, [clip.samples for clip in clips.noise], SEED, SNRS_DB)


def fitted(told: NDArray[np.float64], speech: NDArray[np.bool_]) -> tuple[float, float]:
    """What `ODDS` and `POWER` would be by logistic regression, for windows [n] told by them."""
    within = told.clip(1e-6, 1 - 1e-6)
    inputs = np.stack([np.ones(len(told)), np.log(within / (1 - within))])
    weights = np.array([0.0, 1.0])
    for _ in range(20):  # Newton's method
        found = 1 / (1 + np.exp(-weights @ inputs))
        curvature = (inputs * found * (1 - found)) @ inputs.T
        weights += np.linalg.solve(curvature, inputs @ (speech - found))
    shift, slope = weights
    return float(np.exp(shift) * ODDS**slope), float(slope * POWER)


def meaning(mixtures: Sequence[Mixture], tell: Tell) -> dict[str, Any]:
    """The table of how much of what is given a probability is speech."""
    within_db = WITHIN_DB[0]
    told = np.concatenate([tell(mixture.noisy) for mixture in mixtures])
    speech = np.concatenate([is_speech(mixture.clean, within_db) for mixture in mixtures])
    places = np.searchsorted(BOUNDS[1:-1], told, "right")
    rows = []
    for place, bounds in enumerate(pairwise(BOUNDS)):
        inside = places == place
        cells = (f"{100 * share:.0f} %" for share in (inside.mean(), speech[inside].mean()))
        rows.append(["{:g} to {:g}".format(*bounds), *cells])
    odds, power = fitted(told, speech)
    return {
        "title": "What a probability of speech means",
        "command": [COMMAND],
        "measured": f"Windows of {len(mixtures)} mixtures of recordings, of speakers and noises "
        f"that the network was not trained on ({min(SNRS_DB)} to {max(SNRS_DB)} dB, pauses of up "
        f"to {LONGEST_PAUSE_S:g} s), by the built-in file; speech is within {within_db} dB.",
        "columns": ["probability", "windows", "of these with speech"],
        "rows": rows,
        "footnotes": [
            f"The area under the ROC curve is {area(told, speech):.3f}. The odds are {ODDS:g} "
            f"times the share of energy that the mask leaves to the power of {POWER:g}; fitted to "
            f"these windows they would be {odds:.1f} times it to that of {power:.2f}."
        ],
    }


def main() -> None:
    """Measure, and write what was found."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name in ("noisy", "clean", "calibration"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--model", default="gtcrn", help="model file, or a built-in one (default: gtcrn)"
    )
    parser.add_argument("--json", type=Path, default=FOLDER / "10_quality.json", metavar="FILE")
    arguments = parser.parse_args()
    built_in = told_by(Enhancer(arguments.model))
    in_c = told_by(Enhancer(arguments.model, engine="c", stft="fixed"))
    systems = dict([("built-in file", built_in), ("C engine, fixed", in_c), silero()])
    pairs = load_pairs(arguments.noisy, arguments.clean, RATE)
    tables = areas(pairs, systems), meaning(with_pauses(arguments.calibration), built_in)
    for table in tables:
        for row in table["rows"]:
            print(*row, sep=" | ")
    put(arguments.json, *tables)


if __name__ == "__main__":
    run_script(main)
