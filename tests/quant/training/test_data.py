"""Batches are a pure function of seed and number; mixtures are what the settings promise."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from edge_se.errors import UserError
from quant.audio.clips import find_clips
from quant.audio.mixing import level_dbfs, rms
from quant.networks.registry import DEFAULT
from quant.training.accidents import AccidentSettings
from quant.training.augment import AugmentSettings, augmented_mixture, room_impulse_response
from quant.training.data import Corpus, MixtureStream, batches, hold_out, joined, load_corpus
from quant.training.validation import validation_mixtures

SIGNAL = DEFAULT.signal(DEFAULT.create())
PLAIN = AugmentSettings(
    speed_probability=0,
    noise_speed_probability=0,
    equalize_probability=0,
    band_limit_probability=0,
    reverb_probability=0,
    second_noise_probability=0,
    babble_probability=0,
    synthetic_noise_probability=0,
    like_recorded_probability=0,
    clip_probability=0,
)


@pytest.fixture
def stream(speech, noise):
    def make(seed=0, share=0.25):
        settings = AugmentSettings(), AccidentSettings(share=share)
        return MixtureStream(speech, noise, 2, 0.5, seed, *settings, SIGNAL)

    return make


def take(loader, count):
    return [batch for _, batch in zip(range(count), loader, strict=False)]


def test_a_batch_depends_on_seed_and_number_only(stream):
    first, again = stream()[5], stream()[5]

    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[0], stream()[6][0])
    assert not torch.equal(first[0], stream(seed=1)[5][0])


def test_accidents_leave_the_other_mixtures_of_a_batch_as_they_are(stream):
    without, some = (stream(share=share) for share in (0.0, 0.5))

    same = [
        (ours == theirs).all(dim=1)
        for number in range(10)
        for ours, theirs in [(without[number][0], some[number][0])]
    ]

    assert 2 < torch.cat(same).sum() < 18


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_resumed_stream_goes_on_where_it_stopped(stream, workers):
    whole = [stream()[number] for number in range(5)]

    resumed = take(batches(stream(), 2, workers), 3)

    for actual, expected in zip(resumed, whole[2:], strict=True):
        assert torch.equal(actual[0], expected[0])
        assert torch.equal(actual[1], expected[1])


def test_a_batch_is_noisy_and_target_of_the_asked_size(stream):
    noisy, target = stream()[0]

    assert noisy.shape == target.shape == (2, 8000)
    assert noisy.dtype == target.dtype == torch.float32


@pytest.fixture
def mixtures(speech, noise):
    def make(settings, count=40):
        random = np.random.default_rng(0)
        clips = list(speech.clips), list(noise.clips)
        return [augmented_mixture(*clips, 16000, random, settings, 16000) for _ in range(count)]

    return make


def test_clips_that_are_silent_nearly_everywhere_make_mixtures_of_sound():
    gated = np.zeros(1_600_000, np.int16)
    gated[1_000_000:1_000_800] = 1000 * np.sin(np.arange(800))
    random = np.random.default_rng(0)
    for babble in (0.0, 1.0):
        settings = AugmentSettings(babble_probability=babble, synthetic_noise_probability=0.0)
        for _ in range(5):
            mixed = augmented_mixture([gated], [gated], 16000, random, settings, 16000)
            assert all(np.isfinite(signal).all() and signal.any() for signal in mixed)

    corpus = Corpus(("gated.wav",), (gated,), 16000)
    for mixture in validation_mixtures(corpus, corpus, 4, 1.0, 0):
        assert mixture.clean.any() and np.isfinite(mixture.noisy).all()


def test_snr_and_level_lie_within_their_ranges(mixtures):
    found = mixtures(PLAIN)

    snrs = [20 * np.log10(rms(clean) / rms(noisy - clean)) for noisy, clean in found]
    levels = [level_dbfs(noisy) for noisy, _ in found]
    assert -5.1 < min(snrs) < 0
    assert 15 < max(snrs) < 20.1
    assert -35.1 < min(levels) < -30
    assert -15 < max(levels) < -9.9


def test_augmented_mixtures_are_finite_and_within_full_scale(mixtures):
    always = AugmentSettings(
        speed_probability=1,
        noise_speed_probability=1,
        equalize_probability=1,
        band_limit_probability=1,
        reverb_probability=1,
        second_noise_probability=1,
        babble_probability=0.4,
        synthetic_noise_probability=0.2,
        like_recorded_probability=0.2,
        clip_probability=0.5,
    )

    for noisy, target in mixtures(always):
        assert np.isfinite(noisy).all() and np.isfinite(target).all()
        assert np.abs(noisy).max() <= 1 + 1e-6


def test_clipping_flattens_the_peaks_of_the_noisy_side_only(mixtures):
    settings = AugmentSettings(**{**vars(PLAIN), "clip_probability": 1.0, "snr_db": (20, 20)})

    noisy, target = mixtures(settings, 1)[0]

    limit = np.abs(noisy).max()
    assert (np.abs(noisy) == limit).sum() > 10
    assert np.abs(target).max() > limit


def test_a_room_starts_with_the_direct_sound_and_its_early_part_is_a_prefix():
    whole, early = room_impulse_response(np.random.default_rng(0), AugmentSettings(), 16000)

    assert whole[0] == 1
    assert len(early) <= 0.05 * 16000
    np.testing.assert_array_equal(early, whole[: len(early)])
    assert rms(whole[-800:]) < rms(whole[800:1600])


def test_a_corpus_names_the_clips_that_it_skipped(tmp_path):
    soundfile.write(tmp_path / "good.wav", 0.1 * np.sin(np.arange(16000)), 16000)
    (tmp_path / "bad.wav").write_bytes(b"RIFF")

    loaded = load_corpus(tmp_path, find_clips(tmp_path), 16000)

    assert loaded.names == ("good.wav",)
    assert [clip.path.name for clip in loaded.skipped] == ["bad.wav"]
    assert loaded.clips[0].dtype == np.int16


def test_holding_out_by_pattern_splits_without_overlap(speech):
    training, held_out = hold_out([Path("clean")], speech, ["1.*"])

    assert (training.names, held_out.names) == (("0.wav", "2.wav"), ("1.wav",))
    assert held_out.clips[0] is speech.clips[1]


def test_holding_out_by_default_takes_the_same_clips_whatever_their_order(speech):
    backwards = Corpus(speech.names[::-1], speech.clips[::-1], speech.rate)

    first, second = (hold_out([Path("clean")], corpus, None)[1] for corpus in (speech, backwards))

    assert len(first.names) == 1
    assert first.names == second.names


def test_folders_are_joined_in_their_order(tmp_path):
    for name, suffix, frequency in (("one", "wav", 300), ("two", "ogg", 600)):
        (tmp_path / name).mkdir()
        samples = 0.3 * np.sin(2 * np.pi * frequency * np.arange(16000) / 16000)
        codec = "OPUS" if suffix == "ogg" else "PCM_16"
        soundfile.write(tmp_path / name / f"{name}.{suffix}", samples, 16000, subtype=codec)

    folders = [tmp_path / "one", tmp_path / "two"]
    corpus = joined([load_corpus(folder, find_clips(folder), 16000) for folder in folders])

    assert corpus.names == ("one.wav", "two.ogg")
    frequencies = [int(np.abs(np.fft.rfft(clip)).argmax()) for clip in corpus.clips]
    assert frequencies == [300, 600]
    assert corpus.minutes == pytest.approx(2 / 60, rel=1e-3)


def test_a_corpus_without_a_usable_clip_is_an_error(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"RIFF")

    with pytest.raises(UserError, match="0 usable clips"):
        load_corpus(tmp_path, find_clips(tmp_path), 16000)
