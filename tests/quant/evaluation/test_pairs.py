from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from edge_se.errors import UserError
from quant.evaluation.pairs import load_pairs


def write(path: Path, seconds: float = 1.0, rate: int = 16000, level: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = level * np.random.default_rng(0).standard_normal(round(seconds * rate))
    sf.write(path, samples, rate)


def test_clips_are_paired_by_name_whatever_the_suffix(tmp_path):
    write(tmp_path / "noisy" / "room" / "a.wav")
    write(tmp_path / "clean" / "room" / "a.flac")
    write(tmp_path / "clean" / "unused.flac")

    (pair,) = load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)

    assert pair.name == "room/a"
    assert pair.noisy.shape == pair.clean.shape == (16000,)
    assert pair.snr_db is None


def test_pairs_csv_names_the_clean_clip_and_what_is_known(tmp_path):
    write(tmp_path / "noisy" / "a_5dB.wav")
    write(tmp_path / "clean" / "a.wav")
    (tmp_path / "pairs.csv").write_text(
        "noisy,clean,snr_db,noise_type,level_dbfs\nnoisy/a_5dB.wav,clean/a.wav,5,rain,-20.5\n"
    )

    (pair,) = load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)

    assert (pair.snr_db, pair.noise_type, pair.level_dbfs) == (5.0, "rain", -20.5)


def test_pairs_csv_knows_clips_that_are_links(tmp_path):
    write(tmp_path / "store" / "1.wav")
    write(tmp_path / "store" / "2.wav", level=0.2)
    for name, target in (
        ("noisy/a.wav", "1.wav"),
        ("clean/a.wav", "2.wav"),
        ("clean/b.wav", "1.wav"),
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(tmp_path / "store" / target)
    (tmp_path / "pairs.csv").write_text("noisy,clean,snr_db\nnoisy/a.wav,clean/b.wav,5\n")

    (pair,) = load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)

    assert pair.snr_db == 5
    np.testing.assert_array_equal(pair.noisy, pair.clean)


def test_a_pairs_csv_beside_linked_folders_counts(tmp_path):
    write(tmp_path / "disk" / "deep" / "noisy" / "a.wav")
    write(tmp_path / "disk" / "clean" / "a.wav")
    (tmp_path / "noisy").symlink_to(tmp_path / "disk" / "deep" / "noisy")
    (tmp_path / "clean").symlink_to(tmp_path / "disk" / "clean")
    (tmp_path / "pairs.csv").write_text("noisy,clean,snr_db\nnoisy/a.wav,clean/a.wav,5\n")

    (pair,) = load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)

    assert pair.snr_db == 5


def test_rows_that_name_no_file_are_told_where_clips_have_none(tmp_path):
    for name in ("noisy/a.wav", "clean/a.wav"):
        write(tmp_path / name)
    (tmp_path / "pairs.csv").write_text("noisy,clean,snr_db\na.wav,clean/a.wav,5\n")

    with pytest.raises(UserError, match=r"names files that are not there \(a.wav\)"):
        load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)


def test_a_part_of_a_set_needs_no_other_table(tmp_path):
    for name in ("noisy/a.wav", "clean/a.wav"):
        write(tmp_path / name)
    rows = "".join(f"noisy/{name}.wav,clean/{name}.wav,5\n" for name in "ab")
    (tmp_path / "pairs.csv").write_text("noisy,clean,snr_db\n" + rows)

    (pair,) = load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)

    assert pair.snr_db == 5


def test_relative_folders_find_pairs_csv_too(tmp_path, monkeypatch):
    write(tmp_path / "noisy" / "a.wav")
    write(tmp_path / "clean" / "a.wav")
    (tmp_path / "pairs.csv").write_text("noisy,clean,snr_db\nnoisy/a.wav,clean/a.wav,10\n")
    monkeypatch.chdir(tmp_path / "noisy")

    (pair,) = load_pairs(Path(), Path("../clean"), 16000)

    assert pair.snr_db == 10


def test_other_rates_are_resampled(tmp_path):
    write(tmp_path / "noisy" / "a.wav", rate=48000)
    write(tmp_path / "clean" / "a.wav", rate=48000)

    (pair,) = load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)

    assert pair.noisy.shape == (16000,)


def test_a_noisy_clip_without_its_clean_one_is_named(tmp_path):
    write(tmp_path / "noisy" / "alone.wav")
    write(tmp_path / "clean" / "other.wav")

    with pytest.raises(UserError, match=r"1 of the 1 clips .* \(alone.wav\)"):
        load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)


def test_lengths_that_differ_are_told(tmp_path):
    write(tmp_path / "noisy" / "a.wav", seconds=1.5)
    write(tmp_path / "clean" / "a.wav", seconds=1.0)

    with pytest.raises(UserError, match=r"a.wav has 24000 samples and its clean clip 16000"):
        load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)


def test_an_unusable_clip_is_named(tmp_path):
    write(tmp_path / "noisy" / "a.wav")
    write(tmp_path / "clean" / "a.wav", level=0.0)

    with pytest.raises(UserError, match=r"a.wav: silent"):
        load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("file,snr\nnoisy/a.wav,5\n", "columns noisy and clean"),
        ("noisy,clean\nnoisy/a.wav\n", "without a noisy or without a clean"),
        ("noisy,clean,snr_db\nnoisy/a.wav,clean/a.wav,loud\n", "'loud', no number"),
        ("noisy,clean,snr_db\nnoisy/a.wav,clean/a.wav,inf\n", "'inf', no number"),
        ("noisy,clean,snr_db\nnoisy/a.wav,clean/a.wav,nan\n", "'nan', no number"),
    ],
)
def test_a_wrong_pairs_csv_is_explained(tmp_path, content, reason):
    write(tmp_path / "noisy" / "a.wav")
    write(tmp_path / "clean" / "a.wav")
    (tmp_path / "pairs.csv").write_text(content)

    with pytest.raises(UserError, match=reason):
        load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)


@pytest.mark.parametrize(
    ("noisy", "clean"),
    [
        ("noisy_testset_wav/p232_001.wav", "clean_testset_wav/p232_001.wav"),
        ("noisy/clnsp1_train_69005_1_snr15_tl-21_fileid_158.wav", "clean/clean_fileid_158.wav"),
        ("noisy/room/p1.wav", "clean/p1.flac"),
        ("mix/noisy_07.wav", "ref/clean_07.wav"),
        ("mix/07_noisy.wav", "ref/07-clean.wav"),
        ("mix/a-mix.wav", "ref/A.wav"),
    ],
)
def test_data_sets_pair_as_people_have_them(tmp_path, noisy, clean):
    write(tmp_path / noisy, level=0.2)
    write(tmp_path / clean)
    write(tmp_path / clean.split("/")[0] / "clean_fileid_15.wav", seconds=0.7)

    folder, clean_folder = (tmp_path / path.split("/")[0] for path in (noisy, clean))
    (pair,) = load_pairs(folder, clean_folder, 16000)

    assert pair.noisy.shape == pair.clean.shape == (16000,)


def test_what_could_belong_to_two_clips_is_not_paired(tmp_path):
    write(tmp_path / "noisy" / "x_fileid_1.wav")
    for name in ("a", "b"):
        write(tmp_path / "clean" / name / "clean_fileid_1.wav")

    with pytest.raises(UserError, match=r"1 of the 1 clips .* \(x_fileid_1.wav\)"):
        load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)


@pytest.mark.parametrize(
    "content", [b"noisy,clean\n\xff\xfe,b\n", b"noisy,clean\n" + b"x" * 200_000]
)
def test_a_pairs_csv_that_is_none_is_refused(tmp_path, content):
    write(tmp_path / "noisy" / "a.wav")
    write(tmp_path / "clean" / "a.wav")
    (tmp_path / "pairs.csv").write_bytes(content)

    with pytest.raises(UserError, match="can't be read as CSV in UTF-8"):
        load_pairs(tmp_path / "noisy", tmp_path / "clean", 16000)
