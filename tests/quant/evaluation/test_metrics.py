import numpy as np
import pytest
import soundfile as sf

from calib_data import clips_folder
from edge_se.errors import UserError
from quant.evaluation.metrics import Dnsmos, MetricError, pesq_wb, si_snr, snr, stoi


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    samples, _ = sf.read(clips_folder() / "clean" / "en_03.flac", dtype="float32")
    return samples


@pytest.fixture(scope="module")
def noise(speech) -> np.ndarray:
    random = np.random.default_rng(0).standard_normal(len(speech))
    return (0.05 * random).astype(np.float32)


def orthogonal(noise: np.ndarray, speech: np.ndarray) -> np.ndarray:
    """`noise` without mean and without anything of `speech`, as strong as `speech`."""
    centred = speech.astype(np.float64) - speech.mean()
    other = noise.astype(np.float64) - noise.mean()
    other -= (other @ centred) / (centred @ centred) * centred
    return other * np.sqrt((centred @ centred) / (other @ other))


@pytest.mark.parametrize("expected_db", [-20.0, 0.0, 7.5, 30.0])
def test_si_snr_of_orthogonal_noise_is_its_level(speech, noise, expected_db):
    noisy = speech + 10 ** (-expected_db / 20) * orthogonal(noise, speech)

    assert si_snr(noisy, speech) == pytest.approx(expected_db, abs=1e-6)


def test_si_snr_does_not_depend_on_scale_or_offset(speech, noise):
    noisy = speech + noise

    assert si_snr(3.7 * noisy + 0.2, speech) == pytest.approx(si_snr(noisy, speech), abs=1e-4)


def test_snr_depends_on_scale(speech):
    assert snr(0.9 * speech, speech) == pytest.approx(20, abs=1e-4)


def test_snr_and_si_snr_stay_within_100_db(speech):
    assert snr(speech, speech) == 100
    assert si_snr(speech, speech) == 100
    assert si_snr(np.zeros_like(speech), speech) == -100


def test_pesq_of_a_clip_against_itself_is_at_the_top_of_its_scale(speech):
    assert pesq_wb(speech, speech) > 4.6


def test_pesq_and_stoi_fall_with_noise(speech, noise):
    little, much = speech + 0.05 * noise, speech + noise

    assert pesq_wb(little, speech) > pesq_wb(much, speech) + 0.5
    assert stoi(little, speech) > stoi(much, speech) + 0.05


def test_stoi_of_a_clip_against_itself_is_one(speech):
    assert stoi(speech, speech) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    ("metric", "enhanced", "clean", "reason"),
    [
        (pesq_wb, np.ones(32000), np.zeros(32000), "the clean clip is silent"),
        (pesq_wb, np.zeros(32000), np.ones(32000), "the output is silent"),
        (pesq_wb, np.ones(2000), np.ones(2000), "1/4 of a second"),
        (pesq_wb, np.full(32000, np.nan), np.ones(32000), "not finite"),
        (stoi, np.ones(2000), np.ones(2000), "too little speech"),
        (si_snr, np.ones(2000), np.zeros(2000), "the clean clip is silent"),
        (snr, np.ones(2000), np.zeros(2000), "the reference is silent"),
    ],
)
def test_a_metric_without_a_value_says_why(metric, enhanced, clean, reason):
    with pytest.raises(MetricError, match=reason):
        metric(enhanced, clean)


def test_lengths_must_be_alike(speech):
    with pytest.raises(ValueError, match="alike"):
        si_snr(speech[:-1], speech)


@pytest.fixture(scope="module")
def dnsmos(assets) -> Dnsmos:
    return Dnsmos(assets / "dnsmos" / "sig_bak_ovr.onnx")


def test_dnsmos_prefers_clean_to_noisy_recordings(dnsmos, audio):
    folder = audio / "eval_public"
    for name in ("pub003", "pub010", "pub016"):
        clean, noisy = (
            dnsmos(sf.read(folder / kind / f"{name}.flac", dtype="float32")[0])
            for kind in ("clean", "noisy")
        )

        assert set(clean) == {"dnsmos_sig", "dnsmos_bak", "dnsmos_ovr"}
        assert all(clean[scale] > noisy[scale] + 0.5 for scale in clean), name


def test_dnsmos_averages_over_windows_every_second(dnsmos, speech):
    long = np.tile(speech, 4)[: 12 * 16000]

    windows = [dnsmos(long[start * 16000 :][: Dnsmos.WINDOW]) for start in range(3)]

    for scale, score in dnsmos(long).items():
        assert score == pytest.approx(np.mean([window[scale] for window in windows]), abs=1e-4)


def test_dnsmos_repeats_short_clips(dnsmos, speech):
    assert dnsmos(speech) == dnsmos(np.concatenate([speech, speech]))


def test_another_file_is_not_taken_for_dnsmos(assets, tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")

    for path in (tmp_path / "none.onnx", broken, assets / "dnsmos" / "model_v8.onnx"):
        with pytest.raises(UserError, match=r"sig_bak_ovr\.onnx"):
            Dnsmos(path)
