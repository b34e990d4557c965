"""Audio files as other people's recorders, converters and disks leave them."""

import io
import os
import struct
import subprocess
import sys
import warnings

import numpy as np
import pytest
import soundfile

from edge_se import Enhancer
from edge_se.audio import AudioFile, AudioWarning, Recording, read, write, writing
from edge_se.audio.enhancing import enhance_file
from edge_se.audio.formats import FORMATS
from edge_se.errors import UserError

RATE = 16000
SAMPLES = (0.1 * np.random.default_rng(0).standard_normal((4000, 2))).astype(np.float32)
VALUES = np.round(SAMPLES * 32768).astype(np.int16)


@pytest.fixture(params=["soundfile", "bare"])
def reader(request, monkeypatch):
    """With the extra `audio`, and without."""
    if request.param == "bare":
        monkeypatch.setitem(sys.modules, "soundfile", None)
    return request.param


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    padding = b"\0" * (len(content) % 2)
    return name + struct.pack("<I", len(content) if size is None else size) + content + padding


def wav(
    data=None, size=None, channels=2, rate=RATE, before=b"", after=b"", fmt=b"", riff=None
) -> bytes:
    data = VALUES.tobytes() if data is None else data
    fmt = fmt or struct.pack("<HHIIHH", 1, channels, rate, 4 * RATE, 4, 16)
    body = b"WAVE" + chunk(b"fmt ", fmt) + before + chunk(b"data", data, size) + after
    return chunk(b"RIFF", body, riff)


def flac(count: int) -> bytes:
    """A FLAC file whose header says that it has so many samples."""
    file = io.BytesIO()
    soundfile.write(file, VALUES, RATE, format="FLAC")
    content = bytearray(file.getvalue())
    value = int.from_bytes(content[18:26], "big")
    content[18:26] = (value >> 36 << 36 | count).to_bytes(8, "big")
    return bytes(content)


def save(tmp_path, content: bytes, name="in.wav"):
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


EXTENSIBLE = struct.pack("<HHIIHHHHIH14s", 0xFFFE, 2, RATE, 4 * RATE, 4, 16, 22, 16, 3, 1, bytes(
    [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]
))  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        wav(),
        wav(size=0xFFFFFFFF, riff=0xFFFFFFFF),
        wav(size=0x7FFFF000),
        wav(before=chunk(b"LIST", b"odd"), after=chunk(b"id3 ", b"tags")),
        wav(fmt=EXTENSIBLE),
        wav(after=bytes(64)),
    ],
    ids=["plain", "stream", "sox", "odd chunks", "extensible", "padding"],
)
def test_wav_files_that_are_right_are_read_without_a_word(tmp_path, reader, content):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read(save(tmp_path, content)).samples, VALUES / 2.0**15)


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (wav(size=0, riff=0), 4000),
        (wav(size=0), 4000),
        (wav(size=400), 4000),
        (wav(size=10**9), 4000),
        (wav()[:8044], 2000),
        (wav(size=0, after=chunk(b"LIST", b"text"), data=b""), 0),
    ],
    ids=["died", "no size", "stale", "lies", "cut off", "empty is empty"],
)
def test_what_a_wav_file_holds_is_used_and_what_it_claims_is_told(tmp_path, reader, content, count):
    path = save(tmp_path, content)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samples = read(path).samples

    np.testing.assert_array_equal(samples, VALUES[:count] / 2.0**15)
    assert [warning.category for warning in caught] == [AudioWarning] * (count > 0)


@pytest.mark.parametrize("format_", ["AIFF", "AU", "CAF", "W64", "RF64"])
def test_other_containers_that_were_cut_off_are_read_with_a_warning(tmp_path, format_):
    file = io.BytesIO()
    soundfile.write(file, VALUES, RATE, format=format_)
    path = save(tmp_path, file.getvalue()[: -4 * 1000], "in.any")

    with pytest.warns(AudioWarning, match="what it holds is used"):
        samples = read(path).samples

    # Alignment of headers may cost a few samples.
    assert 2980 <= len(samples) <= 3000
    np.testing.assert_array_equal(samples, VALUES[: len(samples)] / 2.0**15)


@pytest.mark.parametrize(("count", "told"), [(4000, 0), (0, 0), (2**36 - 1, 1), (100, 1)])
def test_any_sample_count_of_a_flac_file_gives_its_samples(tmp_path, count, told):
    path = save(tmp_path, flac(count), "in.flac")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        np.testing.assert_array_equal(read(path).samples, VALUES / 2.0**15)

    assert len(caught) == told


def ogg(subtype: str, count: int = 40_000) -> bytes:
    file = io.BytesIO()
    noise = 0.1 * np.random.default_rng(1).standard_normal(count)
    soundfile.write(file, noise, RATE, format="OGG", subtype=subtype)
    return file.getvalue()


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda content: content, None),
        (lambda content: content[: len(content) // 2], "ends before its last page"),
        (lambda content: content[:-1], "ends before its last page"),
        (lambda content: content + content, "several recordings in a row"),
    ],
)
def test_an_ogg_file_that_is_cut_off_or_chained_is_told(tmp_path, subtype, damage, said):
    path = save(tmp_path, damage(ogg(subtype)), "in.ogg")

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        samples = read(path).samples

    assert 0 < len(samples) <= 40_000
    assert [said in str(warning.message) for warning in caught] == [True] * (said is not None)


def test_a_flac_file_that_was_cut_off_gives_what_is_whole(tmp_path):
    samples = (0.1 * np.random.default_rng(0).standard_normal(40000)).astype(np.float32)
    write(tmp_path / "in.flac", Recording(samples[:, None], RATE))
    content = (tmp_path / "in.flac").read_bytes()
    path = save(tmp_path, content[: len(content) // 2], "in.flac")

    with pytest.warns(AudioWarning, match="speaks of 40,000 samples"):
        found = read(path).samples[:, 0]

    assert len(found) > 10000
    np.testing.assert_allclose(found, samples[: len(found)], atol=0.51 / 32768)


def test_a_flac_file_that_is_damaged_inside_says_where(tmp_path):
    content = bytearray(flac(4000))
    middle = len(content) // 2
    content[middle : middle + 100] = bytes(100)
    path = save(tmp_path, bytes(content) + bytes(100_000), "in.flac")

    with pytest.raises(UserError, match=r"lost sync.*damaged after 0\.0 s"):
        read(path)


@pytest.mark.parametrize("subtype", ["GSM610", "IMA_ADPCM", "MS_ADPCM", "G721_32", "NMS_ADPCM_16"])
def test_codecs_in_blocks_come_out_as_long_as_they_are_read(tmp_path, tiny_float, subtype):
    soundfile.write(tmp_path / "in.wav", SAMPLES[:, 0], 8000, subtype)
    with AudioFile(tmp_path / "in.wav") as file:
        count = sum(map(len, file.blocks()))

    with pytest.warns(AudioWarning, match=rf"in\.wav is {subtype}.* the output is PCM_16"):
        enhance_file(
            lambda channels: [Enhancer(tiny_float)], tmp_path / "in.wav", tmp_path / "out.wav"
        )

    info = soundfile.info(tmp_path / "out.wav")
    assert (info.frames, info.subtype) == (count, "PCM_16")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty: it has no bytes"),
        (b"hello", "in.wav"),
        (wav()[:30], "in.wav"),
        (wav(channels=0), "has 0 channels"),
        (wav(channels=1000), "has 1000 channels"),
        (wav(rate=0), "its rate is 0 Hz"),
        (wav(rate=4_000_000_000), "its rate is 4000000000 Hz"),
    ],
)
def test_files_that_make_no_sense_are_refused(tmp_path, reader, content, complaint):
    with pytest.raises(UserError, match=complaint):
        read(save(tmp_path, content))


@pytest.mark.parametrize("peak", [100.0, 32768.0, 1e15, 3e38])
def test_samples_in_other_units_are_refused_from_files_and_by_the_api(tmp_path, tiny_float, peak):
    samples = np.where(SAMPLES[:, 0] > 0, peak, -peak).astype(np.float32)
    soundfile.write(tmp_path / "in.wav", samples, RATE, "FLOAT")
    enhancer = Enhancer(tiny_float)

    with pytest.raises(UserError, match=r"in.wav holds samples of up to .* scale"):
        read(tmp_path / "in.wav")
    with pytest.raises(ValueError, match="far beyond full scale"):
        enhancer.enhance(samples)
    with pytest.warns(RuntimeWarning, match="far beyond full scale"):
        enhancer.process(np.full(256, peak, np.float32))


def test_float_samples_a_little_beyond_full_scale_are_kept(tmp_path):
    write(tmp_path / "in.wav", Recording(20 * SAMPLES, RATE, "FLOAT"))
    np.testing.assert_array_equal(read(tmp_path / "in.wav").samples, 20 * SAMPLES)


@pytest.mark.parametrize(
    ("suffix", "subtype", "bits"),
    [
        *(
            (".wav", "PCM_U8", 8),
            (".au", "PCM_S8", 8),
            (".flac", "PCM_S8", 8),
            (".wav", "PCM_16", 16),
        ),
        *((".wav", "PCM_24", 24), (".flac", "PCM_24", 24), (".aiff", "PCM_24", 24)),
        *((".caf", "ALAC_16", 16), (".caf", "ALAC_24", 24)),
    ],
)
def test_integers_are_rounded_and_survive_reading_and_writing(tmp_path, suffix, subtype, bits):
    write(tmp_path / f"a{suffix}", Recording(SAMPLES, RATE, subtype))
    first = read(tmp_path / f"a{suffix}")
    write(tmp_path / f"b{suffix}", first)

    assert first.subtype == subtype
    np.testing.assert_array_equal(read(tmp_path / f"b{suffix}").samples, first.samples)
    error = (first.samples - SAMPLES).astype(float) * 2.0 ** (bits - 1)
    assert np.abs(error).max() <= 0.51
    assert abs(error.mean()) < 0.02


@pytest.mark.parametrize("subtype", ["ULAW", "ALAW"])
def test_companded_samples_survive_reading_and_writing(tmp_path, subtype):
    write(tmp_path / "a.wav", Recording(SAMPLES, RATE, subtype))
    first = read(tmp_path / "a.wav")
    write(tmp_path / "b.wav", first)

    np.testing.assert_array_equal(read(tmp_path / "b.wav").samples, first.samples)


@pytest.mark.parametrize("suffix", sorted(FORMATS))
@pytest.mark.parametrize("subtype", sorted(soundfile.available_subtypes()))
def test_every_format_holds_as_many_samples_as_it_is_given(tmp_path, suffix, subtype):
    path = tmp_path / f"out{suffix}"
    write(path, Recording(SAMPLES[:3999, :1], RATE, subtype))

    found = read(path).samples
    assert found.shape == (3999, 1)
    if suffix not in (".ogg", ".oga", ".opus", ".mp3"):  # those lose much of noise
        error = 2.0**-5 if subtype in ("ULAW", "ALAW") else 2.0**-7
        np.testing.assert_allclose(found, SAMPLES[:3999, :1], atol=error)


def test_a_long_vorbis_file_is_written(tmp_path):
    """In one write, libsndfile's encoder would overflow the stack."""
    with writing(tmp_path / "out.ogg", 48000, 1, "VORBIS") as writer:
        writer.write(np.zeros((2_500_000, 1), np.float32))

    assert soundfile.info(tmp_path / "out.ogg").frames == 2_500_000


@pytest.mark.parametrize(
    ("name", "rate", "channels"),
    [
        ("o.opus", 44100, 1),
        ("o.ogg", 400000, 1),
        ("o.mp3", 96000, 1),
        ("o.mp3", 16000, 3),
        ("o.flac", 700000, 1),
        ("o.flac", 16000, 9),
    ],
)
def test_what_a_format_can_not_hold_is_told_before_anything_is_written(
    tmp_path, name, rate, channels
):
    with (
        pytest.raises(UserError, match=f"{name} can't be written: .* does not hold {channels} ch"),
        writing(tmp_path / name, rate, channels, "PCM_16"),
    ):
        pytest.fail("the block was entered")
    assert not list(tmp_path.iterdir())


def test_a_wav_file_that_would_be_too_long_is_refused_at_once(tmp_path):
    with (
        pytest.raises(UserError, match=r"longer than WAV can hold \(4 GiB\)"),
        writing(tmp_path / "o.wav", 48000, 2, "FLOAT", frames=600_000_000),
    ):
        pytest.fail("the block was entered")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs to mount")
def test_a_full_disk_is_told_in_every_format_and_leaves_nothing(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16k", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("tmpfs can't be mounted here")
    noise = np.random.default_rng(0).uniform(-1, 1, (100_000, 1)).astype(np.float32)
    try:
        for name in ("a.ogg", "a.opus", "a.mp3", "a.wav", "a.flac", "a.caf"):
            subtype = "ALAC_16" if name == "a.caf" else "PCM_16"
            with pytest.raises(UserError, match="No space left on device"):
                write(disk / name, Recording(noise, RATE, subtype))
            assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


_READ_WITHIN = """
import resource, sys
from pathlib import Path
sys.modules["soundfile"] = None
from edge_se.audio import AudioFile
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
with AudioFile(Path(sys.argv[1])) as file:
    print(sum(map(len, file.blocks())))
"""


@pytest.mark.parametrize("claimed", [0xFFFFFFFF, 0x7FFFFFFF, 200 << 20, 0])
def test_the_reader_without_soundfile_needs_no_memory_for_what_headers_claim(tmp_path, claimed):
    frames = (200 << 20) // 4
    path = save(tmp_path, wav(b"", claimed))
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 4 * frames)

    result = subprocess.run(
        [sys.executable, "-c", _READ_WITHIN, path], capture_output=True, text=True
    )

    # Where zero bytes are claimed, zeros that follow are padding.
    assert result.stdout == f"{frames if claimed else 0}\n", result.stderr
