"""Clips of any rate and channel count are read; bad ones are named, not fatal."""

import numpy as np
import pytest
import soundfile

from edge_se.errors import UserError
from quant.audio.clips import (
    Clip,
    SkippedClip,
    find_clips,
    hold_out,
    read_calibration_clips,
    read_clip,
    read_clips,
)

SAMPLE_RATE = 16000


def tone(rate, seconds=1.0, hertz=440.0, amplitude=0.5):
    return amplitude * np.sin(2 * np.pi * hertz * np.arange(round(rate * seconds)) / rate)


def write(path, samples, rate=SAMPLE_RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate)
    return path


@pytest.mark.parametrize("rate", [8000, 11025, 16000, 44100, 48000])
def test_any_sample_rate_becomes_16_khz(tmp_path, rate):
    path = write(tmp_path / "tone.wav", tone(rate), rate)

    clip = read_clip(path, 16000)

    assert isinstance(clip, Clip)
    middle = slice(2000, 14000)
    assert len(clip.samples) == pytest.approx(SAMPLE_RATE, abs=1)
    np.testing.assert_allclose(clip.samples[middle], tone(SAMPLE_RATE)[middle], atol=1e-3)


def test_channels_are_averaged(tmp_path):
    left, right = tone(16000), tone(16000, hertz=1000)
    path = write(tmp_path / "stereo.flac", np.stack([left, right], axis=1))

    clip = read_clip(path, 16000)

    assert isinstance(clip, Clip)
    assert clip.samples.dtype == np.float32
    np.testing.assert_allclose(clip.samples, (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("text.wav", b"not audio at all", "can't be read as audio"),
        ("empty.flac", b"", "is empty: it has no bytes"),
        ("silent.wav", np.zeros(16000), "silent"),
        ("short.wav", tone(16000, seconds=0.2), "too short: 0.20 s"),
        ("nan.wav", np.full(16000, np.nan, np.float32), "NaN or infinite samples"),
    ],
)
def test_an_unusable_clip_is_skipped_with_its_name_and_the_reason(tmp_path, name, content, reason):
    path = tmp_path / name
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        soundfile.write(path, content, SAMPLE_RATE, "FLOAT" if "nan" in name else "PCM_16")

    result = read_clip(path, 16000)

    assert isinstance(result, SkippedClip)
    assert name in str(result)
    assert reason in str(result)


def test_a_truncated_flac_does_not_pass_for_a_clip(tmp_path):
    random = np.random.default_rng(0)
    whole = write(tmp_path / "whole.flac", random.uniform(-0.5, 0.5, 32000))
    cut = tmp_path / "cut.flac"
    cut.write_bytes(whole.read_bytes()[:3000])

    assert isinstance(read_clip(cut, 16000), SkippedClip)


def test_a_folder_keeps_its_good_clips_and_names_the_bad(tmp_path):
    write(tmp_path / "b.wav", tone(16000))
    write(tmp_path / "speaker" / "a.flac", tone(44100), 44100)
    (tmp_path / "broken.wav").write_bytes(b"RIFF")
    (tmp_path / "notes.txt").write_text("no audio")

    folder = read_clips(tmp_path, SAMPLE_RATE)

    assert [clip.path.name for clip in folder.clips] == ["b.wav", "a.flac"]
    assert [clip.path.name for clip in folder.skipped] == ["broken.wav"]
    assert folder.seconds == pytest.approx(2.0, abs=0.01)


def test_patterns_choose_by_file_name(tmp_path):
    for name in ("train_a.wav", "calib_a.wav", "train_b.flac"):
        write(tmp_path / name, tone(16000))

    paths = find_clips(tmp_path, ["train_*"])

    assert [path.name for path in paths] == ["train_a.wav", "train_b.flac"]


def test_too_few_usable_clips_names_those_skipped(tmp_path):
    write(tmp_path / "good.wav", tone(16000))
    write(tmp_path / "hush.wav", np.zeros(16000))

    with pytest.raises(UserError, match=r"1 usable clip, at least 4 needed .*hush.wav: silent"):
        read_clips(tmp_path, SAMPLE_RATE, minimum_clips=4)


def test_a_missing_folder_an_empty_one_and_a_pattern_without_match_say_so(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "full" / "a.wav", tone(16000))

    with pytest.raises(UserError, match="is not a folder"):
        find_clips(tmp_path / "nowhere")
    with pytest.raises(UserError, match="holds no audio file that can be read here"):
        find_clips(tmp_path / "empty")
    with pytest.raises(UserError, match=r"none of the 1 audio files .* is named train_\*"):
        find_clips(tmp_path / "full", ["train_*"])


def fill(folder, count=4):
    for number in range(count):
        write(folder / f"{number}.wav", tone(16000, hertz=200 + 100 * number))


def test_calibration_clips_clean_and_noise(tmp_path):
    fill(tmp_path / "clean")
    fill(tmp_path / "noise", 1)

    clips = read_calibration_clips(tmp_path, 16000)

    assert (len(clips.clean), len(clips.noise), len(clips.noisy)) == (4, 1, 0)


@pytest.mark.parametrize("inside", ["noisy", "."])
def test_calibration_clips_already_noisy(tmp_path, inside):
    fill(tmp_path / inside)

    clips = read_calibration_clips(tmp_path, 16000)

    assert (len(clips.clean), len(clips.noise), len(clips.noisy)) == (0, 0, 4)
    assert all(isinstance(clip, Clip) for clip in clips.noisy)


def test_calibration_clips_clean_without_noise_says_what_is_missing(tmp_path):
    fill(tmp_path / "clean")

    with pytest.raises(UserError, match="folder clean but none called noise"):
        read_calibration_clips(tmp_path, 16000)


def units(samples):
    return (32768 * samples).astype(np.float32)


@pytest.mark.parametrize(
    ("samples", "reason"),
    [
        (units(tone(16000)), "16-bit units; divide by 32768"),
        (np.full(16000, 3e38, np.float32), "in other units"),
        (np.full(16000, 0.25, np.float32), "silent but for a constant"),
    ],
)
def test_clips_that_would_spoil_ranges_are_skipped_by_name(tmp_path, samples, reason):
    path = tmp_path / "odd.wav"
    soundfile.write(path, samples, 16000, subtype="FLOAT")

    clip = read_clip(path, 16000)

    assert isinstance(clip, SkippedClip) and reason in clip.reason and "odd.wav" in str(clip)


@pytest.mark.parametrize("seconds", [8, 45])
def test_one_long_recording_is_cut_up(tmp_path, seconds):
    write(tmp_path / "all.flac", tone(16000, seconds=seconds))

    clips = read_calibration_clips(tmp_path, 16000)

    assert 4 <= len(clips.noisy) <= 5
    assert sum(clip.seconds for clip in clips.noisy) >= 0.7 * seconds


def test_a_very_long_recording_among_others_is_cut_up(tmp_path):
    write(tmp_path / "long.wav", tone(8000, seconds=660), 8000)
    for name in "abcd":
        write(tmp_path / f"{name}.wav", tone(8000, seconds=2), 8000)

    clips = read_calibration_clips(tmp_path, 8000)

    assert len(clips.noisy) == 4 + 60
    assert max(clip.seconds for clip in clips.noisy) == 10
    assert hold_out(clips)[1].noisy


@pytest.mark.parametrize(
    ("clean", "noise"),
    [
        ("Clean", "NOISE"),
        ("clean_trainset_28spk_wav", "noise-train"),
        ("set/clean/deep/er", "set/noise/deep"),
    ],
)
def test_folders_of_clips_are_found_as_people_name_them(tmp_path, clean, noise):
    for name in "abcd":
        write(tmp_path / clean / f"{name}.wav", tone(16000))
    write(tmp_path / noise / "n.flac", tone(16000))

    clips = read_calibration_clips(tmp_path, 16000)

    assert (len(clips.clean), len(clips.noise), clips.noisy) == (4, 1, ())


@pytest.mark.parametrize("suffix", [".ogg", ".mp3", ".aiff"])
def test_other_formats_in_nested_folders_are_read(tmp_path, suffix):
    for name in "abcd":
        write(tmp_path / "deep" / name / f"x{suffix}", tone(16000))
    (tmp_path / "deep" / "._x.wav").write_bytes(b"no audio")

    clips = read_calibration_clips(tmp_path, 16000)

    assert (len(clips.noisy), clips.skipped) == (4, ())
