import wave

import numpy as np
import pytest
import soundfile

from edge_se import Enhancer, audio
from edge_se.audio import Recording, read, write
from edge_se.audio.enhancing import enhance_blocks
from edge_se.errors import UserError


@pytest.fixture
def bare(monkeypatch):
    """As without the extra `audio`."""
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)


class Delay:
    """Stands for an enhancer: halves the signal, so that only alignment and scale can differ."""

    sample_rate, hop_size, latency_samples = 16000, 256, 256
    sample_dtype = np.float32

    def reset(self):
        self.last = np.zeros(256, np.float32)

    def process(self, frame, out):
        self.last, out[:] = frame * np.float32(0.5), self.last


def enhance(enhancers, recording, length=1000):
    """In blocks of any length, as a file is enhanced."""
    samples = recording.samples
    blocks = (samples[start : start + length] for start in range(0, len(samples), length))
    return np.concatenate(list(enhance_blocks(enhancers, blocks, recording.rate)))


def tones(rate: int, channels: int, seconds: float = 0.731) -> Recording:
    """A different tone in each channel, all of them below the model's 8 kHz."""
    time = np.arange(round(seconds * rate)) / rate
    columns = [0.3 * np.sin(2 * np.pi * (400 + 300 * c) * time) for c in range(channels)]
    return Recording(np.stack(columns, axis=1).astype(np.float32), rate)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_16_bit_samples_survive_a_file(tmp_path, suffix):
    values = np.arange(-32768, 32768, 7).astype(np.float32)[:, None] / np.float32(32768)
    path = tmp_path / f"all{suffix}"

    write(path, Recording(values, 16000))

    np.testing.assert_array_equal(read(path).samples, values)


def test_the_standard_library_writes_what_soundfile_writes(tmp_path, bare, monkeypatch):
    recording = tones(16000, 2)
    write(tmp_path / "bare.wav", recording)
    monkeypatch.undo()

    write(tmp_path / "full.wav", recording)

    bare_samples, _ = soundfile.read(tmp_path / "bare.wav", dtype="int16")
    full_samples, _ = soundfile.read(tmp_path / "full.wav", dtype="int16")
    np.testing.assert_array_equal(bare_samples, full_samples)


def test_the_standard_library_reads_what_soundfile_reads(tmp_path, monkeypatch):
    path = tmp_path / "in.wav"
    write(path, tones(16000, 2))
    expected = read(path)

    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)

    np.testing.assert_array_equal(read(path).samples, expected.samples)
    assert read(path).rate == expected.rate


def test_values_beyond_full_scale_are_clipped(tmp_path):
    write(tmp_path / "loud.wav", Recording(np.array([[-2.0], [2.0]], np.float32), 16000))

    np.testing.assert_array_equal(
        read(tmp_path / "loud.wav").samples, [[-1], [np.float32(32767 / 32768)]]
    )


@pytest.mark.parametrize("rate", [8000, 16000, 22050, 44100, 48000])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_rate_keeps_length_channels_and_alignment(rate, channels):
    recording = tones(rate, channels)

    enhanced = enhance([Delay() for _ in range(channels)], recording)

    assert enhanced.shape == recording.samples.shape
    inner = slice(rate // 20, -rate // 20)
    np.testing.assert_allclose(enhanced[inner], 0.5 * recording.samples[inner], atol=2e-3)


def test_channels_are_enhanced_each_from_a_fresh_start(tiny_float, noise):
    enhancers = [Enhancer(tiny_float), Enhancer(tiny_float)]
    both = Recording(np.stack([noise, noise[::-1]], axis=1), 16000)

    enhanced = enhance(enhancers, both)

    np.testing.assert_array_equal(enhanced[:, 0], enhancers[0].enhance(noise))
    np.testing.assert_array_equal(enhanced[:, 1], enhancers[0].enhance(noise[::-1]))


@pytest.mark.parametrize(
    ("source", "subtype", "target", "expected"),
    [
        ("in.wav", "PCM_24", "out.flac", "PCM_24"),
        ("in.wav", "FLOAT", "out.wav", "FLOAT"),
        ("in.wav", "FLOAT", "out.flac", "PCM_16"),
        ("in.flac", "PCM_16", "out.ogg", "VORBIS"),
        ("in.ogg", "VORBIS", "out.wav", "PCM_16"),
    ],
)
def test_the_sample_format_is_kept_where_the_output_has_it(
    tmp_path, source, subtype, target, expected
):
    samples = tones(16000, 1).samples
    soundfile.write(tmp_path / source, samples, 16000, subtype)

    write(tmp_path / target, read(tmp_path / source))

    assert soundfile.info(tmp_path / target).subtype == expected


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "out.flac"
    path.write_bytes(b"old")

    with pytest.raises(UserError, match="can't be written"):
        write(path, tones(16000, 9))  # FLAC holds at most eight channels

    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.flac"]


def test_a_file_that_is_no_audio_is_refused(tmp_path):
    path = tmp_path / "in.wav"
    path.write_text("no audio")

    with pytest.raises(UserError, match="can't be read as audio"):
        read(path)


def test_nan_in_a_file_is_refused(tmp_path):
    path = tmp_path / "in.wav"
    soundfile.write(path, np.array([0.0, np.nan]), 16000, "FLOAT")

    with pytest.raises(UserError, match="NaN or infinite"):
        read(path)


def test_an_unknown_output_format_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"use \.wav or \.flac"):
        write(tmp_path / "out.xyz", tones(16000, 1))


@pytest.mark.parametrize("suffix", [".flac", ".mp3"])
def test_without_the_extra_other_formats_ask_for_it(tmp_path, bare, suffix):
    with pytest.raises(UserError, match=r"pip install \"edge-se\[audio\]\""):
        write(tmp_path / f"out{suffix}", tones(16000, 1))


def test_without_the_extra_other_sample_formats_ask_for_it(tmp_path, bare):
    path = tmp_path / "in.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 3, 16000, 0, "NONE", ""))
        file.writeframes(bytes(3 * 100))

    with pytest.raises(UserError, match=r"24-bit samples; to read it, pip install"):
        read(path)


def test_without_the_extra_what_is_no_wav_asks_for_it(tmp_path, bare):
    path = tmp_path / "in.wav"
    path.write_bytes(b"fLaC" + bytes(100))

    with pytest.raises(UserError, match=r"not a plain WAV file .* pip install"):
        read(path)


def test_an_empty_recording_stays_empty():
    empty = Recording(np.zeros((0, 2), np.float32), 16000)

    assert enhance([Delay(), Delay()], empty, 1).shape == (0, 2)


def test_without_the_extra_only_wav_is_looked_for(bare):
    assert audio.suffixes() == {".wav"}
