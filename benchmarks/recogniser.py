"""How many words a speech recogniser gets wrong at each strength of suppression.

`python -m benchmarks.recogniser --calibration DIR` mixes a folder's clips, to choose a strength by;
`--noisy DIR --clean DIR` reports on pairs. Both write their table into a file of
`benchmarks/results/` (`--json`), strength by strength; strengths that stand there are left as they
are, so that a run goes on where another ended. Word errors are counted against known texts
(`--texts`), else against what the recogniser hears in the clean recordings. It needs the extra
`recogniser`: PocketSphinx, with the English model inside.
"""

import argparse
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.results import put, rows_of
from edge_se.enhancer import Enhancer
from edge_se.errors import UserError, run_script
from edge_se.strength import FULL, PRESETS, Strength
from quant.audio.clips import CalibrationClips, read_calibration_clips
from quant.audio.mixing import calibration_mixtures
from quant.commands.progress import ProgressBars
from quant.evaluation.evaluate import EvaluationResult, bucket_db, evaluate_pairs
from quant.evaluation.metrics import METRICS, SAMPLE_RATE, Samples, at_metrics_rate
from quant.evaluation.pairs import Pair, load_pairs

SNRS_DB = (0.0, 5.0, 10.0, 15.0)
LEVELS_DBFS = (-35.0, -25.0, -15.0)
SEED = 0
STRENGTHS = {
    "full suppression": FULL,
    **{f"at most {limit} dB": Strength(float(limit)) for limit in (24, 18, 12, 9, 6, 3)},
    **{f"mix {mix}": Strength(None, mix) for mix in (0.25, 0.5, 0.75)},
}
MEASURED = (
    "Share of words that PocketSphinx 5.1 (its own English model, `maxhmmpf` 3000) gets wrong, "
    "against what it hears in the clean recording, at each strength of a built-in network. "
    "[What that tells, and what not](run.md#for-a-recogniser)."
)
PRESET = PRESETS["recogniser"]
# That the search follows in a frame: it takes half as long as by default.
MOST_MODELS = 3000


@dataclass(frozen=True)
class Row:
    """One strength, or the noisy input.

    Attributes:
        name: Of the strength.
        errors: Share of words that are wrong by SNR in dB, and of all under None.
        scores: Means by metric.
    """

    name: str
    errors: dict[int | None, float]
    scores: dict[str, float]


def measure(
    model: Enhancer,
    pairs: Sequence[Pair],
    texts: Sequence[str] | None,
    dnsmos: Path | None = None,
    processes: int = 1,
    known: Collection[str] = (),
) -> Iterator[Row]:
    """The noisy input and every strength, as soon as each is known.

    Args:
        model: Whose strength is changed, and put back.
        pairs: At its rate.
        texts: Of the pairs; None for what is heard in the clean recordings.
        dnsmos: DNSMOS model file.
        processes: How many recognise at the same time.
        known: Names of rows that are left out.
    """
    before, score_noisy = model.strength, "noisy" not in known
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool, ProgressBars() as progress:

        def heard(name: str, clips: Sequence[Samples]) -> list[str]:
            found = []
            for text in pool.map(partial(transcribe, rate=model.sample_rate), clips):
                found.append(text)
                progress(name, len(found), len(clips))
            return found

        expected = list(texts) if texts else heard("clean", [pair.clean for pair in pairs])
        for name, strength in STRENGTHS.items():
            if name in known and not score_noisy:
                continue
            model.strength = strength
            outputs: list[Samples] = []

            def enhance(samples: Samples, outputs: list[Samples] = outputs) -> Samples:
                outputs.append(model.enhance(samples))
                return outputs[-1]

            result = evaluate_pairs(
                enhance, pairs, dnsmos=dnsmos, score_noisy=score_noisy, processes=processes
            )
            means = result.overall.means
            if score_noisy:
                noisy = heard("noisy", [pair.noisy for pair in pairs])
                yield Row("noisy", _errors(result, expected, noisy), means["noisy"])
                score_noisy = False
            found = heard(name, outputs)
            yield Row(name, _errors(result, expected, found), means["enhanced"])
    model.strength = before


def transcribe(samples: Samples, rate: int) -> str:
    """What PocketSphinx hears in samples [n], as English."""
    (samples,) = at_metrics_rate(rate, samples)
    decoder = _decoder()
    decoder.reinit_feat()  # nothing is known of earlier clips
    decoder.start_utt()
    pcm = (np.clip(samples, -1, 1) * 32767).astype("<i2").tobytes()
    decoder.process_raw(pcm, no_search=False, full_utt=True)
    decoder.end_utt()
    found = decoder.hyp()
    return found.hypstr if found else ""


def word_errors(expected: str, found: str) -> tuple[int, int]:
    """Words put in, left out or changed (Levenshtein), and the number of expected words."""
    words, others = expected.lower().split(), found.lower().split()
    costs = list(range(len(others) + 1))
    for index, word in enumerate(words, 1):
        last, costs[0] = costs[0], index
        for place, other in enumerate(others, 1):
            changed = last + (word != other)
            last = costs[place]
            costs[place] = min(changed, last + 1, costs[place - 1] + 1)
    return costs[-1], len(words)


def clips_to_mix(folder: Path, rate: int) -> CalibrationClips:
    """A calibration folder's clips, clean ones and noise.

    Raises:
        UserError: As `read_calibration_clips` does, or its clips are noisy already.
    """
    clips = read_calibration_clips(folder, rate)
    if not clips.clean:
        raise UserError(f"{folder} holds no clean clips; give a folder with clean/ and noise/")
    return clips


def mixtures(folder: Path, rate: int) -> list[Pair]:
    """Every clean clip of a calibration folder with noise, at the SNRs and levels above."""
    clips = clips_to_mix(folder, rate)
    clean, noise = ([clip.samples for clip in some] for some in (clips.clean, clips.noise))
    return [
        Pair(f"{index}", m.noisy, m.clean, rate, m.snr_db)
        for index, m in enumerate(calibration_mixtures(clean, noise, SEED, SNRS_DB, LEVELS_DBFS))
    ]


def table(title: str, command: str, rows: Sequence[Row], pairs: Sequence[Pair]) -> dict[str, Any]:
    """The rows as `benchmarks.results` takes a table."""
    buckets = [key for key in rows[0].errors if key is not None]
    metrics = [METRICS[name] for name in rows[0].scores]
    return {
        "title": title,
        "command": [command],
        "measured": f"{len(pairs)} recordings, "
        f"{sum(len(pair.noisy) / pair.rate for pair in pairs):.0f} s.",
        "columns": [
            "",
            *(f"word errors at {key} dB" for key in buckets),
            "all",
            *(metric.heading for metric in metrics),
        ],
        "rows": [
            [
                row.name,
                *(f"{100 * row.errors[key]:.1f} %" for key in (*buckets, None)),
                *(f"{row.scores[metric.name]:.{metric.decimals}f}" for metric in metrics),
            ]
            for row in rows
        ],
    }


def with_known_rows(path: Path, new: dict[str, Any]) -> dict[str, Any]:
    """A table with the other rows that a file of results has in the table of its title."""
    rows = {_name(row): row[1:] for row in (*rows_of(path, new["title"]), *new["rows"])}
    preset = " (`--for recogniser`)"
    merged = [
        [name + (preset if STRENGTHS.get(name) == PRESET else ""), *rows[name]]
        for name in ("noisy", *STRENGTHS)
        if name in rows
    ]
    return {**new, "rows": merged}


def known_rows(path: Path, title: str) -> set[str]:
    """Names of the strengths that a file of results has in the table of a title."""
    return {_name(row) for row in rows_of(path, title)}


def _name(row: Sequence[str]) -> str:
    return row[0].partition(" (")[0]


def _errors(
    result: EvaluationResult, expected: Sequence[str], found: Sequence[str]
) -> dict[int | None, float]:
    counts = [word_errors(*texts) for texts in zip(expected, found, strict=True)]
    keys = [bucket_db(clip.snr_db) for clip in result.clips]
    shares: dict[int | None, float] = {}
    for wanted in (*sorted(set(keys)), None):
        chosen = [count for count, key in zip(counts, keys, strict=True) if wanted in (key, None)]
        wrong, words = (sum(values) for values in zip(*chosen, strict=True))
        shares[wanted] = wrong / words if words else float("nan")
    return shares


@cache
def _decoder() -> Any:
    try:
        from pocketsphinx import Decoder
    except ModuleNotFoundError:
        raise UserError('this needs PocketSphinx; pip install "edge-se[recogniser]"') from None
    return Decoder(samprate=SAMPLE_RATE, loglevel="FATAL", maxhmmpf=MOST_MODELS)


def _text(folder: Path, name: str) -> str:
    return (folder / f"{name}.txt").read_text(encoding="utf-8")


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--model", help="model file, or a built-in one (default: the one that runs by default)"
    )
    parser.add_argument("--calibration", type=Path, help="folder with clean/ and noise/ to mix")
    parser.add_argument("--noisy", type=Path, help="folder of noisy clips")
    parser.add_argument("--clean", type=Path, help="folder of clean clips of the same names")
    parser.add_argument("--texts", type=Path, help="folder of NAME.txt, what is said in each clip")
    parser.add_argument("--dnsmos", type=Path, help="sig_bak_ovr.onnx, to score DNSMOS P.835 too")
    parser.add_argument("--json", type=Path, help="file of benchmarks/results/ for the table")
    parser.add_argument(
        "--strength", nargs="+", choices=STRENGTHS, metavar="NAME", help="these alone, by name"
    )
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    if (arguments.calibration is None) == (arguments.noisy is None or arguments.clean is None):
        parser.error("give --calibration DIR, or --noisy DIR and --clean DIR")
    model = Enhancer(arguments.model)
    if arguments.calibration:
        pairs: Sequence[Pair] = mixtures(arguments.calibration, model.sample_rate)
        what, options = "calibration mixtures", "--calibration DIR"
    else:
        pairs = load_pairs(arguments.noisy, arguments.clean, model.sample_rate)
        what, options = "the public evaluation set", "--noisy NOISY --clean CLEAN"
    title = f"Strengths of {model.describe()['architecture']}, on {what}"
    texts = [_text(arguments.texts, pair.name) for pair in pairs] if arguments.texts else None
    known = known_rows(arguments.json, title) if arguments.json else set()
    if arguments.strength:
        known |= STRENGTHS.keys() - set(arguments.strength)
    options = f"--model {arguments.model} {options}" if arguments.model else options
    options += " --dnsmos sig_bak_ovr.onnx" if arguments.dnsmos else ""
    command = f"python -m benchmarks.recogniser {options}"
    for row in measure(model, pairs, texts, arguments.dnsmos, arguments.processes, known):
        found = table(title, command, [row], pairs)
        print("  ".join(found["rows"][0]), flush=True)
        if arguments.json:
            found = with_known_rows(arguments.json, found)
            put(arguments.json, found, title="Speech recognition", measured=MEASURED)


if __name__ == "__main__":
    run_script(main)
