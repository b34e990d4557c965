import argparse
import json
import shutil

import pytest
import soundfile as sf

from calib_data import clips_folder
from edge_se.errors import UserError
from edge_se.strength import FULL
from quant.audio.mixing import mix
from quant.commands import evaluate


class HalvingEnhancer:
    """Stands for a model: halves every sample."""

    sample_rate, strength = 16000, FULL

    def __init__(self, model_path=None, engine=None, runtime=None, stft=None):
        self.model_path, self.stft = model_path, stft

    def enhance(self, samples):
        return 0.5 * samples

    def describe(self):
        return {"file": str(self.model_path), "stft": self.stft}


@pytest.fixture
def folders(tmp_path):
    noise, _ = sf.read(clips_folder() / "noise" / "white.flac", dtype="float32")
    for name in ("en_01", "de_01"):
        speech, _ = sf.read(clips_folder() / "clean" / f"{name}.flac", dtype="float32")
        length = min(len(speech), len(noise))
        mixture = mix(speech[:length], noise[:length], 5, -25)
        for kind, samples in (("noisy", mixture.noisy), ("clean", mixture.clean)):
            (tmp_path / kind).mkdir(exist_ok=True)
            sf.write(tmp_path / kind / f"{name}.wav", samples, 16000)
    return tmp_path


def run(monkeypatch, *typed, enhancer=HalvingEnhancer) -> int:
    monkeypatch.setattr("edge_se.enhancer.Enhancer", enhancer)
    parser = argparse.ArgumentParser()
    evaluate.add_arguments(parser)
    return evaluate.run(parser.parse_args([str(word) for word in typed]))


def test_command_prints_a_table_and_writes_json(folders, monkeypatch, capsys):
    status = run(
        monkeypatch,
        *("--model", "m.tflite", "--stft", "fixed", "--reference", "r.tflite"),
        *("--noisy", folders / "noisy", "--clean", folders / "clean"),
        *("--json", folders / "scores.json"),
    )

    printed = capsys.readouterr().out
    written = json.loads((folders / "scores.json").read_text())
    assert status == 0
    assert [line.split()[0] for line in printed.splitlines()[2:4]] == ["de_01", "en_01"]
    assert "Enhanced minus reference" in printed
    assert written["model"] == {"file": "m.tflite", "stft": "fixed"}
    assert written["overall"]["clips"] == 2
    assert written["differences"]["pesq"]["mean"] == 0


def test_summary_leaves_the_clips_out(folders, monkeypatch, capsys):
    run(monkeypatch, "--noisy", folders / "noisy", "--clean", folders / "clean", "--summary")

    printed = capsys.readouterr().out
    assert "de_01" not in printed
    assert printed.splitlines()[-1].startswith("all")


def test_a_model_hears_clips_at_its_own_rate(folders, monkeypatch, capsys):
    class At48(HalvingEnhancer):
        sample_rate = 48000

    run(
        monkeypatch,
        *("--noisy", folders / "noisy", "--clean", folders / "clean"),
        enhancer=At48,
    )

    _, _, _, noisy, enhanced, *_ = next(
        line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("de_01")
    )
    # PESQ, for which half as loud is as good.
    assert float(noisy) == pytest.approx(float(enhanced), abs=0.01)


def test_clips_without_clean_ones_are_named(folders, monkeypatch):
    shutil.move(folders / "clean" / "en_01.wav", folders / "clean" / "other.wav")

    with pytest.raises(UserError, match=r"en_01\.wav"):
        run(monkeypatch, "--noisy", folders / "noisy", "--clean", folders / "clean")
