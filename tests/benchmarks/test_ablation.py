"""The ablation table trains, quantizes and measures every fusion alike."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile

from benchmarks.ablation import Variant, format_table
from quant.training.validation import Scores


def test_table_has_a_row_for_each_variant():
    trained, quantized = Scores(1.5, 9.0), Scores(1.4, 8.5)
    times = {"p5": 100.2, "p50": 119.9}
    variant = Variant("add", 7, 36000, 55_900_000, 51424, times, 214.3, trained, quantized)

    table = format_table([variant], Scores(1.2, 5.0)).splitlines()

    assert table[2] == "| noisy |  |  |  |  |  |  | 1.200 | 5.00 |"
    assert table[3].split(" | ")[1:6] == ["7", "36000", "55.9", "51424", "100 / 120"]
    assert table[3].endswith("| 214 | 1.500 / 1.400 | 9.00 / 8.50 |")


def ablation(*arguments):
    command = [sys.executable, "-m", "benchmarks.ablation", *map(str, arguments)]
    root = Path(__file__).parents[2]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=900)


def test_unknown_fusions_are_refused(tmp_path):
    folders = ("--clean", tmp_path, "--noise", tmp_path, "--out", tmp_path / "out")

    result = ablation(*folders, "--fusions", "product")

    assert result.returncode != 0 and "no fusion 'product'" in result.stderr


@pytest.mark.slow
def test_fusions_are_trained_and_compared(training_folders, noisy, tmp_path):
    (tmp_path / "clips").mkdir()
    for index, samples in enumerate(noisy[:4]):
        soundfile.write(tmp_path / "clips" / f"{index}.wav", samples[:8000], 16000)
    folders = ("--clean", training_folders / "clean", "--noise", training_folders / "noise")
    options = ("--fusions", "none", "concat", "--steps", 2, "--validation-mixtures", 2)

    result = ablation(
        *(*folders, *options, "--clips", tmp_path / "clips"),
        *("--out", tmp_path / "out", "--json", tmp_path / "rows.json"),
    )

    none, concat = json.loads((tmp_path / "rows.json").read_text())
    rows = [line.split()[1] for line in result.stdout.splitlines() if line.startswith("| ")]
    assert result.returncode == 0 and {"none", "concat"} < set(rows)
    # Six 1x1 convolutions of 32 to 16 channels.
    assert concat["parameters"] - none["parameters"] == 6 * (32 * 16 + 16)
    assert concat["macs_per_second"] - none["macs_per_second"] == 62.5 * 3 * (33 + 65) * 32 * 16
    assert concat["state_bytes"] == none["state_bytes"]
