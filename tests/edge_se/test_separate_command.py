"""`edge-se separate` as a user types it, and the files it reads and writes block by block."""

import sys

import numpy as np
import pytest
import soundfile

from edge_se.audio import BLOCK, StereoFile, writing
from edge_se.errors import UserError
from edge_se.separator import Separator


@pytest.fixture
def song(tmp_path):
    samples = 0.1 * np.random.default_rng(0).standard_normal((9001, 2))
    path = tmp_path / "song.wav"
    soundfile.write(path, samples, 8000, "FLOAT")
    return path


def read(path):
    return soundfile.read(path, dtype="float32")


def test_both_stems_are_written(edge_se, song, tiny_separator, tmp_path):
    result = edge_se("separate", "song.wav", "--model", tiny_separator, "--out-dir", "stems")

    assert result.returncode == 0, result.stderr
    samples, _ = read(song)
    vocals, accompaniment = Separator(tiny_separator).separate(samples)
    for name, wanted in (("vocals", vocals), ("accompaniment", accompaniment)):
        found, rate = read(tmp_path / "stems" / f"song_{name}.wav")
        assert rate == 8000
        np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert "RTF" in result.stderr


def test_standard_input_is_separated_as_often_as_one_likes(edge_se, song, tiny_separator, tmp_path):
    for _ in range(2):
        with song.open("rb") as given:
            result = edge_se(
                *("separate", "-", "--model", tiny_separator, "--out-dir", "."), stdin=given
            )
        assert result.returncode == 0, result.stderr

    total = sum(read(tmp_path / f"stdin_{name}.wav")[0] for name in ("vocals", "accompaniment"))
    np.testing.assert_allclose(total, read(song)[0], atol=1e-5)


def test_another_rate_and_mono_keep_rate_and_length(edge_se, tiny_separator, tmp_path):
    soundfile.write(tmp_path / "a.flac", 0.1 * np.sin(np.arange(44100) * 0.05), 44100)

    result = edge_se("separate", "a.flac", "--model", tiny_separator, "--out-dir", ".")

    assert result.returncode == 0, result.stderr
    stems = [read(tmp_path / f"a_{name}.wav") for name in ("vocals", "accompaniment")]
    assert [(stem.shape, rate) for stem, rate in stems] == [((44100, 2), 44100)] * 2
    # What lies below the model's 4 kHz comes back.
    total = (stems[0][0] + stems[1][0])[1000:-1000, 0]
    wanted = 0.1 * np.sin(np.arange(44100) * 0.05)[1000:-1000]
    np.testing.assert_allclose(total, wanted, atol=1e-3)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("absent.wav",), "there is no audio file absent.wav"),
        (("song.wav", "--split-bin", "3"), "--split-bin belongs to --aggressiveness"),
        (("song.wav", "--aggressiveness", "1", "--split-bin", "99"), "model's 33 bins"),
    ],
)
def test_mistakes_are_told(edge_se, song, tiny_separator, arguments, complaint):
    result = edge_se("separate", *arguments, "--model", tiny_separator, "--out-dir", "stems")
    assert result.returncode == 2
    assert complaint in result.stderr


def test_a_file_is_read_in_blocks(tmp_path):
    samples = np.random.default_rng(0).uniform(-1, 1, (BLOCK + 100, 2)).astype(np.float32)
    soundfile.write(tmp_path / "long.wav", samples, 16000, "FLOAT")

    blocks = list(StereoFile(tmp_path / "long.wav").blocks(16000))

    assert max(map(len, blocks)) == BLOCK // 2
    np.testing.assert_array_equal(np.concatenate(blocks), samples)


def test_more_than_two_channels_are_refused(tmp_path):
    soundfile.write(tmp_path / "surround.wav", np.zeros((100, 6)), 16000)
    with pytest.raises(UserError, match="has 6 channels"):
        StereoFile(tmp_path / "surround.wav")


def test_samples_that_are_not_finite_are_refused(tmp_path):
    soundfile.write(tmp_path / "bad.wav", np.full((100, 2), np.nan), 16000, "FLOAT")
    with pytest.raises(UserError, match="NaN or infinite"):
        list(StereoFile(tmp_path / "bad.wav").blocks(16000))


def test_the_standard_library_reads_and_writes_the_same(tmp_path, monkeypatch):
    samples = np.random.default_rng(0).uniform(-1, 1, (1000, 2)).astype(np.float32)

    def copy(name):
        with writing(tmp_path / name, 16000, 2, "PCM_16") as writer:
            writer.write(samples)
        with StereoFile(tmp_path / name) as file:
            return np.concatenate(list(file.blocks(16000)))

    with_soundfile = copy("a.wav")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    np.testing.assert_array_equal(copy("b.wav"), with_soundfile)
    assert with_soundfile.shape == (1000, 2)


def test_a_failure_leaves_no_file(tmp_path):
    with pytest.raises(RuntimeError), writing(tmp_path / "x.wav", 16000, 2, "PCM_16"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())
