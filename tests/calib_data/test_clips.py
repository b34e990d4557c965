"""The embedded clips are what their manifest says, and what calibration needs."""

import hashlib
import json

import numpy as np
import pytest
import soundfile as sf

from calib_data import clips_folder
from calib_data.noises import NOISES
from calib_data.speech import espeak_version
from calib_data.synthesize import ESPEAK_VERSION, synthesize_clean, synthesize_noise
from calib_data.utterances import UTTERANCES
from edge_se.errors import UserError

ROOT = clips_folder().parent
MANIFEST = json.loads((ROOT / "manifest.json").read_text(encoding="utf-8"))
CLIPS = {clip["file"]: clip for clip in MANIFEST["clips"]}


def espeak_or_skip() -> None:
    try:
        version = espeak_version()
    except UserError as error:
        pytest.skip(str(error))
    if version != ESPEAK_VERSION:
        pytest.skip(f"espeak-ng is {version}; the clips were made with {ESPEAK_VERSION}")


def stored(kind: str, name: str) -> np.ndarray:
    samples, _ = sf.read(clips_folder() / kind / f"{name}.flac", dtype="int16")
    return samples.astype(np.int32)


def test_manifest_lists_exactly_the_files_there_are():
    on_disk = {path.relative_to(ROOT).as_posix() for path in clips_folder().rglob("*.flac")}

    assert on_disk == set(CLIPS)


def test_hashes_match_the_files():
    for name, clip in CLIPS.items():
        assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == clip["sha256"], name


def test_every_clip_is_16_khz_mono_pcm16_of_3_to_5_seconds():
    for name, clip in CLIPS.items():
        info = sf.info(ROOT / name)

        assert (info.samplerate, info.channels, info.subtype) == (16000, 1, "PCM_16"), name
        assert 3.0 <= info.duration <= 5.0, name
        assert info.duration == pytest.approx(clip["seconds"], abs=1e-3), name


def test_there_are_at_least_48_clips_in_at_most_4_megabytes():
    size = sum((ROOT / name).stat().st_size for name in CLIPS)

    assert len(CLIPS) >= 48
    assert size <= 4_000_000


def test_no_clip_is_silent_or_clipped():
    for name in CLIPS:
        samples, _ = sf.read(ROOT / name)

        assert np.sqrt(np.mean(samples**2)) > 10 ** (-45 / 20), name
        assert np.abs(samples).max() < 0.9, name


def test_speech_varies_in_language_voice_speed_pitch_and_room():
    talkers = [talker for utterance in UTTERANCES for talker in utterance.talkers]
    voices = {talker.voice for talker in talkers}

    assert len({voice.split("+")[0].split("-")[0] for voice in voices}) >= 20
    assert len({voice.split("+")[1] for voice in voices}) >= 10
    assert max(t.pitch for t in talkers) - min(t.pitch for t in talkers) >= 40
    assert max(t.speed for t in talkers) - min(t.speed for t in talkers) >= 40
    assert sum(u.reverberation_s > 0 for u in UTTERANCES) >= 10
    assert sum(len(u.talkers) > 1 for u in UTTERANCES) >= 3


def test_only_espeaks_own_formant_voices_are_used():
    for clip in CLIPS.values():
        for talker in clip.get("talkers", []):
            voice = talker["command"][talker["command"].index("-v") + 1]

            assert "mb" not in voice.split("+")[0].split("-"), voice
            assert "klatt" not in voice, voice


def test_noises_are_of_many_kinds_with_different_spectra():
    spectra = []
    for kind in NOISES:
        power = np.abs(np.fft.rfft(stored("noise", kind))) ** 2
        octaves = [power[n : 2 * n].sum() for n in (200, 400, 800, 1600, 3200, 6400, 12800)]
        spectra.append(np.array(octaves) / np.sum(octaves))
    distance = np.abs(np.array(spectra)[:, None] - np.array(spectra)[None]).sum(-1)

    assert len(NOISES) >= 20
    assert distance[~np.eye(len(NOISES), dtype=bool)].min() > 0.01


@pytest.mark.parametrize("name", ["de_01", "dialogue_en_01"])
def test_speech_is_made_again_as_stored(name):
    espeak_or_skip()
    utterance = next(u for u in UTTERANCES if u.name == name)

    made = synthesize_clean(utterance).astype(np.int32)

    # Another build of numpy or scipy may round the last bit differently.
    assert np.abs(made - stored("clean", name)).max() <= 1


@pytest.mark.parametrize("kind", ["rain", "engine", "dishes"])
def test_noise_is_made_again_as_stored(kind):
    made = synthesize_noise(kind).astype(np.int32)

    assert np.abs(made - stored("noise", kind)).max() <= 1


def test_babble_is_made_again_as_stored():
    espeak_or_skip()

    made = synthesize_noise("babble_few").astype(np.int32)

    assert np.abs(made - stored("noise", "babble_few")).max() <= 1


def test_a_missing_espeak_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")

    with pytest.raises(UserError, match="espeak-ng is not installed"):
        espeak_version()
