"""Raw PCM: formats there and back, and headers that say what follows."""

import io
import wave
from typing import Any, cast

import numpy as np
import pytest
import soundfile

from edge_se.errors import UserError
from edge_se.live import pcm
from edge_se.live.stream import Settings, Stream
from tests.helpers.live import EagerSource, Echo, Speaker, World

STEPS = {"s16le": 2.0**-15, "s24le": 2.0**-23, "s24_3le": 2.0**-23, "s32le": 2.0**-24, "f32le": 0}


@pytest.mark.parametrize("name", pcm.FORMATS)
@pytest.mark.parametrize("channels", [1, 3])
def test_samples_come_back_from_bytes(name, channels):
    samples = np.random.default_rng(0).uniform(-1, 1, (100, channels)).astype(np.float32)
    samples[:2] = [[-1.0], [1.0]]
    layout = pcm.Pcm(48000, channels, name)

    data = layout.encode(samples)
    back = layout.decode(data)

    assert len(data) == 100 * layout.frame_bytes
    scale = 2.0**-15 if back.dtype == np.int16 else 1.0
    np.testing.assert_allclose(back * scale, samples, atol=STEPS[name])


@pytest.mark.parametrize("name", pcm.FORMATS)
def test_full_scale_is_clipped_and_never_wraps(name):
    layout = pcm.Pcm(16000, 1, name)
    loud = np.array([[2.0], [-2.0], [1.0]], np.float32)

    back = layout.decode(layout.encode(loud)).astype(np.float64)[:, 0]

    assert back[0] > 0 > back[1] and back[2] > 0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_floats_without_a_value_are_refused(value):
    with pytest.raises(UserError, match="NaN or infinity"):
        pcm.Pcm(16000, 1, "f32le").decode(np.array([0, value], "<f4").tobytes())


SUBTYPES = {"PCM_16": "s16le", "PCM_24": "s24le", "PCM_32": "s32le", "FLOAT": "f32le"}


def wav(samples: np.ndarray, rate: int, subtype: str, kind: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=kind)
    return file.getvalue()


def run(data: bytes, block: int = 7, **settings) -> tuple[bytes, Stream]:
    world = World()
    sink = Speaker(world)
    source = EagerSource(world, data, block=block)
    stream = Stream(cast(Any, Echo()), source, sink, Settings(**settings), print, clock=world.clock)
    stream.pump()
    return sink.output, stream


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64"])
@pytest.mark.parametrize("subtype", SUBTYPES)
def test_a_wav_header_says_what_follows(subtype, kind):
    samples = np.random.default_rng(0).uniform(-0.9, 0.9, (1000, 2))
    samples[:, 1] = samples[:, 0]
    data = wav(samples, 16000, subtype, kind)

    output, _ = run(data)

    found = pcm.Pcm(16000, 2, SUBTYPES[subtype]).decode(output)
    scale = 2.0**-15 if found.dtype == np.int16 else 1.0
    np.testing.assert_allclose(found * scale, samples, atol=1.1 * 2.0**-15)


@pytest.mark.parametrize("claim", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_a_stream_that_does_not_know_its_length_ends_where_it_ends(claim):
    samples = np.arange(1000, dtype="<i2")
    data = bytearray(wav(samples, 16000, "PCM_16"))
    data[40:44] = claim.to_bytes(4, "little")

    output, _ = run(bytes(data))

    assert output == samples.tobytes()


def test_what_follows_the_samples_of_a_wav_file_is_no_sound():
    samples = np.arange(1000, dtype="<i2")
    data = wav(samples, 16000, "PCM_16") + b"LIST\4\0\0\0abcd"

    output, _ = run(data)

    assert output == samples.tobytes()


@pytest.mark.parametrize(
    ("option", "value"), [("rate", 48000), ("channels", 1), ("format", "s32le")]
)
def test_an_option_against_the_header_is_refused(option, value):
    data = wav(np.zeros((10, 2)), 16000, "PCM_16")

    with pytest.raises(UserError, match=f"against --{option} {value}; leave --{option} out"):
        run(data, **{option: value})


@pytest.mark.parametrize("kind", ["FLAC", "OGG", "AIFF", "AU", "CAF", "RIFX"])
def test_another_file_is_named_and_not_played_as_noise(kind):
    file = io.BytesIO()
    options = {"endian": "BIG", "format": "WAV"} if kind == "RIFX" else {"format": kind}
    soundfile.write(file, np.zeros(100), 16000, **options)

    with pytest.raises(UserError, match="decode it first"):
        run(file.getvalue())


@pytest.mark.parametrize(
    ("head", "named"),
    [
        (b"\0\0\0\x1cftypM4A ", "MP4"),
        (b"\x1a\x45\xdf\xa3\x9fB\x86\x81\1B\xf7\x81", "WebM or Matroska"),
        (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa", "WMA"),
        (b"wvpk\x34\x12\0\0\x10\4\0\0", "WavPack"),
        (b"TTA1\1\0\1\0\x10\0\x80\x3e", "TTA"),
        (b"ID3\2\0\0\0\0\0\0\0\0", "MP3"),
    ],
)
def test_what_soundfile_does_not_write_is_no_noise_either(head, named):
    with pytest.raises(UserError, match=f"standard input is {named}, .* decode it first"):
        run(head + bytes(4000))


def test_a_wav_of_8_bits_is_refused():
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 1, 16000, 0, "NONE", ""))
        writer.writeframes(bytes(100))

    with pytest.raises(UserError, match=r"8 bits, .*ffmpeg -i - -c:a pcm_s16le -f wav -"):
        run(file.getvalue())


@pytest.mark.parametrize(
    ("start", "size", "what"), [(24, 4, "rate would be 4294967295"), (22, 2, "channels would be")]
)
def test_a_header_that_makes_no_sense_is_refused(start, size, what):
    data = bytearray(wav(np.zeros(10), 16000, "PCM_16"))
    data[start : start + size] = b"\xff" * size

    with pytest.raises(UserError, match=f"{what}.*its header is probably damaged"):
        run(bytes(data))


def test_a_header_that_is_cut_is_told():
    with pytest.raises(UserError, match="ends within its header"):
        run(wav(np.zeros(10), 16000, "PCM_16")[:30])


def test_a_channel_that_is_not_there_is_refused():
    with pytest.raises(UserError, match="there is no channel 3 in s16le at 16000 Hz with 2"):
        run(bytes(100), channels=2, channel=3)


@pytest.mark.parametrize(("channel", "expected"), [(1, 100), (2, 300), (None, 200)])
def test_one_channel_or_the_mean_of_all_goes_to_all(channel, expected):
    data = np.tile(np.array([100, 300], "<i2"), 1000).tobytes()

    output, _ = run(data, channels=2, channel=channel)

    assert set(np.frombuffer(output, "<i2")) == {expected}
    assert len(output) == len(data)


@pytest.mark.parametrize("rate", [8000, 44100, 48000, 96000])
def test_other_rates_are_resampled_and_the_latency_is_true(rate):
    frequency = 5.0  # half a period of which is longer than any latency
    times = np.arange(3 * rate) / rate
    tone = (0.3 * np.sin(2 * np.pi * frequency * times)).astype("<f4")

    output, stream = run(tone.tobytes(), block=1023, rate=rate, format="f32le")

    heard = np.frombuffer(output, "<f4")
    latency_s = (stream.summary()["latency_ms"] - 16.0) * 1e-3
    assert len(heard) == len(tone) + round(latency_s * rate)
    inner = slice(rate, 2 * rate)
    waves = np.exp(2j * np.pi * frequency * times[inner])
    turn = np.vdot(waves, heard[inner]) / np.vdot(waves, tone[inner])
    assert abs(-np.angle(turn) / (2 * np.pi * frequency) - latency_s) < 2 / min(rate, 16000)
    residue = heard[inner] - 2 * (np.vdot(waves, heard[inner]) / rate * waves).real
    assert np.sqrt(np.mean(residue**2)) < 1e-4
