"""Makes the calibration clips again: `python -m calib_data.synthesize --out DIR`.

Each clip draws from its own random generator, seeded by its name, so the same espeak-ng gives the
same clips, and adding one does not change the others.
"""

import argparse
import hashlib
import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import soundfile as sf
from numpy.typing import NDArray

from calib_data.noises import NOISES
from calib_data.signals import SAMPLE_RATE, Samples, count, rms
from calib_data.speech import clean_clip, espeak_arguments, espeak_version
from calib_data.utterances import UTTERANCES, Utterance
from edge_se.errors import UserError

ESPEAK_VERSION = "1.51"
NOISE_SECONDS = 3.2
NOISE_LEVEL_DBFS = -35.0
LOUDEST = 0.8
LICENCE = (
    "Synthesized by the edge-se project and released under its MIT licence. Sentences and noises "
    "are the project's own; the voices are espeak-ng's own ones, run as an external program."
)


def synthesize_clean(utterance: Utterance) -> NDArray[np.int16]:
    """The clip of one utterance, int16 [n] at 16 kHz."""
    return _to_pcm16(clean_clip(utterance, np.random.default_rng(_seed(utterance.name))))


def synthesize_noise(kind: str) -> NDArray[np.int16]:
    """The clip of one kind of noise (a key of `NOISES`), int16 [n] at 16 kHz."""
    samples = NOISES[kind](np.random.default_rng(_seed(kind)), count(NOISE_SECONDS))
    return _to_pcm16(samples * (10 ** (NOISE_LEVEL_DBFS / 20) / rms(samples)))


def synthesize_all(out: Path) -> Path:
    """Writes `clips/clean/*.flac`, `clips/noise/*.flac` and `manifest.json` under `out`.

    Returns:
        The manifest's path.

    Raises:
        UserError: espeak-ng is not installed.
    """
    version = espeak_version()
    clips = [
        {
            **_write(out, f"clips/clean/{utterance.name}.flac", synthesize_clean(utterance)),
            "kind": "clean",
            "seed": _seed(utterance.name),
            "level_dbfs": utterance.level_dbfs,
            "reverberation_s": utterance.reverberation_s,
            "talkers": [
                {"start_s": talker.start_s, "command": espeak_arguments(talker)}
                for talker in utterance.talkers
            ],
        }
        for utterance in UTTERANCES
    ]
    clips += [
        {
            **_write(out, f"clips/noise/{kind}.flac", synthesize_noise(kind)),
            "kind": "noise",
            "seed": _seed(kind),
            "level_dbfs": NOISE_LEVEL_DBFS,
        }
        for kind in NOISES
    ]
    manifest = {
        "licence": LICENCE,
        "made_by": "python -m calib_data.synthesize",
        "tool": {"name": "espeak-ng", "version": version},
        "sample_rate": SAMPLE_RATE,
        "clips": clips,
    }
    path = out / "manifest.json"
    path.write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _seed(name: str) -> int:
    return zlib.crc32(name.encode())


def _to_pcm16(samples: Samples) -> NDArray[np.int16]:
    """Rounded to 16 bits, made quieter where the peak would pass `LOUDEST`."""
    samples = samples * min(1.0, LOUDEST / float(np.abs(samples).max()))
    return np.rint(samples * 32767).astype(np.int16)


def _write(out: Path, name: str, samples: NDArray[np.int16]) -> dict[str, Any]:
    path = out / name
    path.parent.mkdir(parents=True, exist_ok=True)
    sf.write(path, samples, SAMPLE_RATE, subtype="PCM_16")
    return {
        "file": name,
        "seconds": round(len(samples) / SAMPLE_RATE, 3),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }


def main() -> int:
    """Runs the command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m calib_data.synthesize", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for clips/ and manifest")
    arguments = parser.parse_args()
    try:
        version = espeak_version()
        if version != ESPEAK_VERSION:
            print(
                f"espeak-ng is {version}, the embedded clips were made with {ESPEAK_VERSION}: "
                "the new clips will differ from them",
                file=sys.stderr,
            )
        print(f"wrote {synthesize_all(arguments.out)}")
    except UserError as error:
        print(f"calib_data: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
