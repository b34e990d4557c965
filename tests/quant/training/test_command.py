"""`edge-se train` as a user types it."""

import json
import os
import subprocess
import sys

import pytest
import torch

from edge_se.cli import main
from quant.checkpoints import default_checkpoint_path
from quant.networks.checkpoint import load_checkpoint

QUICK = (
    *("--batch-size", "2", "--seconds", "0.25", "--workers", "1", "--threads", "1"),
    *("--validate-every", "2", "--validation-mixtures", "2"),
)


def train(folder, *arguments):
    command = [sys.executable, "-m", "edge_se", "train", *QUICK]
    folders = ["--clean", folder / "clean", "--noise", folder / "noise", "--out", folder / "run"]
    return subprocess.run(
        [*command, *folders, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        check=False,
    )


@pytest.mark.slow
def test_training_writes_a_usable_checkpoint_and_resumes(training_folders):
    (training_folders / "clean" / "broken.wav").write_bytes(b"RIFF")
    first = train(training_folders, "--steps", "2")
    again = train(training_folders, "--steps", "4", "--resume")

    run = training_folders / "run"
    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    assert "broken.wav: can't be read" in first.stderr
    assert "step 2 " in first.stdout and "step 4 " in again.stdout
    load_checkpoint(run / "best.safetensors")
    history = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert [entry["step"] for entry in history] == [2, 4]


@pytest.mark.slow
def test_a_run_is_not_overwritten(training_folders):
    train(training_folders, "--steps", "2")
    second = train(training_folders, "--steps", "2")

    assert second.returncode == 2
    assert "holds a training run already" in second.stderr


def test_a_folder_without_audio_is_one_clear_line(training_folders):
    for path in (training_folders / "noise").iterdir():
        path.unlink()

    result = train(training_folders, "--steps", "2")

    assert result.returncode == 2
    assert result.stderr.strip().count("\n") == 0
    assert "noise holds no audio file that can be read here" in result.stderr
    assert not (training_folders / "run").exists()


def test_holding_out_everything_is_one_clear_line(training_folders):
    result = train(training_folders, "--steps", "2", "--validation-pattern", "*")

    assert result.returncode == 2
    assert "of its 4 clips 4 would be held out" in result.stderr


def test_a_number_that_makes_no_sense_is_one_clear_line(training_folders):
    result = train(training_folders, "--batch-size", "0")

    assert result.returncode == 2
    assert "argument --batch-size: 0 is not 1 or more" in result.stderr


@pytest.mark.slow
def test_training_starts_from_a_checkpoint_and_keeps_outliers_down(training_folders):
    run = training_folders / "run"
    options = ("--init", default_checkpoint_path(), "--learning-rate", "1e-9", "--steps", "2")

    result = train(
        *(training_folders, *options, "--outlier-weight", "0.5"),
        *("--teacher", default_checkpoint_path(), "--teacher-weight", "0.5"),
    )

    assert result.returncode == 0, result.stderr
    trained = load_checkpoint(run / "best.safetensors").model
    for name, weight in load_checkpoint(default_checkpoint_path()).model.named_parameters():
        torch.testing.assert_close(trained.get_parameter(name), weight, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("architecture", "option"),
    [("cascaded_aspp", "n_fft=big"), ("gtcrn", 'window_function=["hann"]')],
)
def test_options_that_build_no_network_are_one_sentence(
    training_folders, capsys, architecture, option
):
    folders = [
        "--clean",
        str(training_folders / "clean"),
        "--noise",
        str(training_folders / "noise"),
    ]
    arguments = ["--architecture", architecture, "--network-option", option]

    status = main(["train", *folders, "--out", str(training_folders / "run"), *arguments])

    message = capsys.readouterr().err
    assert status == 2 and message.count("\n") == 1
    assert message.startswith(f"edge-se: error: no {architecture} can be built with the options")
