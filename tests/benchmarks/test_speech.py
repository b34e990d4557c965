"""What the probability of speech is compared by, and both tables."""

import json
import sys

import numpy as np
import pytest

from benchmarks import speech
from calib_data import clips_folder
from edge_se import Enhancer
from edge_se.speech import ODDS, POWER
from tests.helpers.tiny_model import write_tiny


def test_the_area_counts_pairs_told_right_and_ties_by_half():
    told = np.array([0.1, 0.5, 0.5, 0.9, 0.2])
    is_speech = np.array([False, False, True, True, False])

    assert speech.area(told, is_speech) == pytest.approx((2.5 + 3) / 6)
    assert speech.area(told, ~is_speech) == pytest.approx(0.5 / 6)


def test_windows_are_speech_down_to_so_many_db_below_the_loudest():
    levels = np.array([0, -29, -31, -39, -41] + 5 * [0])
    samples = np.repeat(10 ** (levels / 20), speech.WINDOW).astype(np.float32)

    for within_db, count in ((30, 7), (40, 9)):
        expected = levels > -within_db
        assert expected.sum() == count
        np.testing.assert_array_equal(speech.is_speech(samples, within_db), expected)


def test_a_probability_is_of_the_window_that_its_frame_ends(tmp_path):
    samples = np.zeros(20 * speech.WINDOW + 100, np.float32)
    random = np.random.default_rng(0)
    samples[10 * speech.WINDOW :][: speech.WINDOW] = 0.1 * random.standard_normal(speech.WINDOW)

    told = speech.told_by(Enhancer(write_tiny(tmp_path / "tiny.tflite")))(samples)

    assert len(told) == 20
    assert told[10] > 0.5 and not told[np.arange(20) != 10].any()


@pytest.mark.parametrize(("odds", "power"), [(ODDS, POWER), (5.0, 1.5)])
def test_the_fit_finds_the_curve_that_speech_follows(odds, power):
    random = np.random.default_rng(0)
    share = 10 ** random.uniform(-4, 0, 100_000)
    told, true = (a * share**b / (1 + a * share**b) for a, b in ((ODDS, POWER), (odds, power)))

    found = speech.fitted(told, random.random(len(share)) < true)

    assert found == pytest.approx((odds, power), rel=0.05)


def test_both_tables_are_written(pairs_of_two, tmp_path, monkeypatch):
    target = tmp_path / "10.json"
    arguments = [*pairs_of_two, f"--calibration={clips_folder()}", "--json", str(target)]
    monkeypatch.setattr(sys, "argv", ["speech", *arguments])
    monkeypatch.setattr(speech, "silero", lambda: ("Silero VAD", lambda x: np.ones(len(x) // 512)))

    speech.main()

    areas, meaning = json.loads(target.read_text())["tables"]
    first, *_, last = areas["rows"]
    assert first[:2] == ["30 dB", "all SNRs"] and last[:2] == ["40 dB", "all SNRs"]
    for row in areas["rows"]:
        built_in, in_c, constant = map(float, row[2:])
        assert min(built_in, in_c) > 0.7 and constant == 0.5
    shares = [float(row[1].split()[0]) for row in meaning["rows"]]
    assert sum(shares) == pytest.approx(100, abs=3)
    low, high = (float(meaning["rows"][index][2].split()[0]) for index in (0, -1))
    assert low < 20 and high > 90
