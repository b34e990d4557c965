import json

import numpy as np
import pytest
import soundfile as sf

from calib_data import clips_folder
from edge_se.errors import UserError
from quant.audio.mixing import mix, random_part
from quant.evaluation.evaluate import bootstrap_difference, evaluate_pairs
from quant.evaluation.pairs import Pair, load_pairs
from quant.evaluation.report import format_report

SI_SNR_ONLY = ("si_snr_db",)


def read(kind: str, name: str) -> np.ndarray:
    return sf.read(clips_folder() / kind / f"{name}.flac", dtype="float32")[0]


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, ...]:
    random = np.random.default_rng(0)
    mixtures = []
    for name, snr_db in (("en_01", 0.0), ("de_01", 5.0), ("es_01", 5.0)):
        clean = read("clean", name)
        noise = random_part(read("noise", "pink"), len(clean), random)
        mixture = mix(clean, noise, snr_db, -25)
        mixtures.append(Pair(name, mixture.noisy, mixture.clean, 16000, snr_db, "pink", -25))
    return tuple(mixtures)


def identity(samples: np.ndarray) -> np.ndarray:
    return samples


def oracle(pairs):
    """Takes 10 dB of the noise away, which no enhancer could without knowing it."""
    clean_of = {pair.noisy.tobytes(): pair.clean for pair in pairs}
    return lambda noisy: noisy + 0.684 * (clean_of[noisy.tobytes()] - noisy)


def test_identity_scores_as_the_noisy_input(pairs):
    result = evaluate_pairs(identity, pairs[:1])

    (clip,) = result.clips
    assert clip.scores["enhanced"] == clip.scores["noisy"]
    assert set(clip.scores["noisy"]) == {"pesq", "stoi", "si_snr_db"}


def test_less_noise_scores_higher_by_what_was_taken_away(pairs):
    result = evaluate_pairs(oracle(pairs), pairs)

    means = result.overall.means
    assert means["enhanced"]["pesq"] > means["noisy"]["pesq"] + 0.2
    assert means["enhanced"]["stoi"] > means["noisy"]["stoi"]
    gain = means["enhanced"]["si_snr_db"] - means["noisy"]["si_snr_db"]
    assert gain == pytest.approx(10, abs=0.1)


def test_buckets_hold_the_clips_of_their_snr(pairs):
    result = evaluate_pairs(identity, pairs, metrics=SI_SNR_ONLY)

    assert [(bucket.label, bucket.clips) for bucket in result.buckets] == [("0 dB", 1), ("5 dB", 2)]
    assert result.buckets[1].means["noisy"]["si_snr_db"] == pytest.approx(5, abs=0.3)
    assert result.overall.clips == 3


def test_an_unknown_snr_is_measured(pairs):
    unknown = Pair("unknown", pairs[1].noisy, pairs[1].clean, 16000)

    result = evaluate_pairs(identity, [unknown], metrics=SI_SNR_ONLY)

    assert result.buckets[0].label == "5 dB"
    assert result.clips[0].snr_db == pytest.approx(5, abs=0.3)


def test_the_noisy_input_need_not_be_scored(pairs):
    result = evaluate_pairs(identity, pairs[:1], metrics=SI_SNR_ONLY, score_noisy=False)

    assert list(result.overall.means) == ["enhanced"]


def test_reference_gives_snr_and_paired_difference(pairs):
    result = evaluate_pairs(
        lambda noisy: 0.9 * noisy, pairs, reference=identity, metrics=SI_SNR_ONLY
    )

    assert result.overall.snr_to_reference_db == pytest.approx(20, abs=1e-3)
    assert result.differences["si_snr_db"].mean == pytest.approx(0, abs=1e-4)
    assert set(result.overall.means) == {"noisy", "enhanced", "reference"}


def test_bootstrap_interval_of_a_normal_sample_is_about_two_standard_errors():
    values = np.random.default_rng(1).standard_normal(400)

    interval = bootstrap_difference(values, seed=0)

    error = values.std() / np.sqrt(400)
    assert interval.mean == pytest.approx(values.mean())
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * error, rel=0.05)
    assert interval == bootstrap_difference(values, seed=0)


def test_a_clip_that_pesq_cannot_score_is_named_and_left_out_for_every_system(pairs):
    def silences_the_first(noisy):
        return np.zeros_like(noisy) if noisy is pairs[0].noisy else noisy

    result = evaluate_pairs(silences_the_first, pairs[:2], metrics=("pesq", "si_snr_db"))

    assert result.failures == ("en_01: enhanced: PESQ: the output is silent",)
    assert result.overall.counts == {"pesq": 1, "si_snr_db": 2}
    assert result.overall.means["noisy"]["pesq"] == result.clips[1].scores["noisy"]["pesq"]
    assert "PESQ-WB over 1 of 2 clips" in format_report(result)
    assert "en_01: enhanced: PESQ: the output is silent" in format_report(result)


def test_an_output_of_another_length_is_an_error(pairs):
    with pytest.raises(ValueError, match="en_01"):
        evaluate_pairs(lambda noisy: noisy[1:], pairs)


def test_a_wrong_dnsmos_file_is_told_before_enhancing(pairs, tmp_path):
    def never(noisy):
        raise AssertionError("enhanced before the DNSMOS file was looked at")

    with pytest.raises(UserError, match="DNSMOS"):
        evaluate_pairs(never, pairs, dnsmos=tmp_path / "none.onnx")


def test_dnsmos_is_reported_beside_the_rest(pairs, assets):
    model = assets / "dnsmos" / "sig_bak_ovr.onnx"

    result = evaluate_pairs(identity, pairs[:1], metrics=SI_SNR_ONLY, dnsmos=model)

    assert set(result.overall.means["enhanced"]) >= {"si_snr_db", "dnsmos_ovr"}
    assert "DNSMOS OVR" in format_report(result)


def test_several_processes_give_the_same_result(pairs):
    alone = evaluate_pairs(oracle(pairs), pairs, metrics=("stoi", "si_snr_db"))

    together = evaluate_pairs(oracle(pairs), pairs, metrics=("stoi", "si_snr_db"), processes=2)

    assert together == alone


def test_result_is_plain_json(pairs):
    result = evaluate_pairs(identity, pairs, reference=identity, metrics=SI_SNR_ONLY)

    read_back = json.loads(json.dumps(result.to_dict(), allow_nan=False))

    assert [clip["name"] for clip in read_back["clips"]] == ["en_01", "de_01", "es_01"]
    assert read_back["overall"]["means"]["noisy"] == result.overall.means["noisy"]


def test_report_has_a_line_per_clip_bucket_and_overall(pairs):
    result = evaluate_pairs(identity, pairs, metrics=SI_SNR_ONLY)

    starts = [line.split("  ")[0] for line in format_report(result).splitlines()]

    assert [s for s in starts if s] == [
        "clip",
        "en_01",
        "de_01",
        "es_01",
        "SNR",
        "0 dB",
        "5 dB",
        "all",
    ]
    assert "en_01" not in format_report(result, per_clip=False)


def test_public_noisy_clips_score_as_measured_with_other_tools(audio):
    folder = audio / "eval_public"
    pairs = load_pairs(folder / "noisy", folder / "clean", 16000)

    result = evaluate_pairs(identity, pairs, metrics=("stoi", "si_snr_db"), score_noisy=False)

    assert [bucket.clips for bucket in result.buckets] == [6, 6, 6, 6]
    assert result.overall.means["enhanced"]["stoi"] == pytest.approx(0.7745, abs=1e-3)
    assert result.overall.means["enhanced"]["si_snr_db"] == pytest.approx(6.36, abs=0.01)
