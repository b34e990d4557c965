"""Clean clips: espeak-ng's formant voices, heard through a small room and a microphone."""

import os
import shutil
import subprocess

import numpy as np
from scipy.signal import butter, fftconvolve, lfilter, resample_poly, sosfilt

from calib_data.signals import (
    SAMPLE_RATE,
    Samples,
    coloured_noise,
    count,
    drifting_gain,
    rms,
    shape_spectrum,
)
from calib_data.utterances import Talker, Utterance
from edge_se.errors import UserError

ESPEAK_RATE = 22_050
SHORTEST_S, LONGEST_S = 3.0, 5.0


def espeak_version() -> str:
    """Version of the installed espeak-ng, e.g. `1.51`.

    Raises:
        UserError: espeak-ng is not installed.
    """
    if shutil.which("espeak-ng") is None:
        raise UserError("espeak-ng is not installed; install it (apt-get install espeak-ng)")
    answer = subprocess.run(["espeak-ng", "--version"], capture_output=True, text=True, check=True)
    return answer.stdout.split("Data at:")[0].split(":")[-1].strip()


def espeak_arguments(talker: Talker) -> list[str]:
    """The command line that speaks `talker`'s text as a WAV on standard output."""
    options = ["-v", talker.voice, "-s", str(talker.speed), "-p", str(talker.pitch)]
    return ["espeak-ng", "-b", "1", *options, "--stdout", talker.text]


def speak(talker: Talker) -> Samples:
    """`talker`'s text as samples [n] at 16 kHz, silent ends cut, root-mean-square level 1."""
    spoken = subprocess.run(
        espeak_arguments(talker),
        capture_output=True,
        check=True,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    ).stdout
    # A streamed WAV does not know its length: skip the 44 header bytes and read what is there.
    samples = np.frombuffer(spoken[44:], dtype="<i2").astype(np.float64)
    samples = resample_poly(samples, SAMPLE_RATE, ESPEAK_RATE)
    loud = np.flatnonzero(np.abs(samples) > 1e-3 * np.abs(samples).max())
    samples = samples[loud[0] : loud[-1] + 1]
    return samples / rms(samples)


def clean_clip(utterance: Utterance, rng: np.random.Generator) -> Samples:
    """The clip of one utterance: samples [n] at 16 kHz, 3 to 5 s long, at its level."""
    voices = [(count(t.start_s), speak(t)) for t in utterance.talkers]
    lead, tail = (count(s) for s in rng.uniform((0.1, 0.2), (0.4, 0.5)))
    spoken = max(start + len(voice) for start, voice in voices)
    length = max(lead + spoken + tail, count(SHORTEST_S))
    if length > LONGEST_S * SAMPLE_RATE:
        raise ValueError(f"{utterance.name} takes {length / SAMPLE_RATE:.2f} s; shorten its text")
    clip = np.zeros(length)
    for start, voice in voices:
        # Talkers stand at different distances; the first one is the nearest.
        distance = 1.0 if start == 0 else rng.uniform(0.4, 0.9)
        begin = lead + start
        clip[begin : begin + len(voice)] += distance * through_microphone(voice, rng)
    clip *= drifting_gain(rng, length, points_per_s=1.5, depth_db=2.0)
    if utterance.reverberation_s > 0:
        clip = in_room(clip, utterance.reverberation_s, rng)
    # A recording is never quite silent.
    floor = 10 ** (rng.uniform(-70, -45) / 20) * coloured_noise(rng, length, slope_db=3)
    clip += rms(clip) * floor
    return clip * (10 ** (utterance.level_dbfs / 20) / rms(clip))


def through_microphone(samples: Samples, rng: np.random.Generator) -> Samples:
    """`samples` with a random smooth frequency response.

    espeak's voices have nearly one long-term spectrum, with some 6 dB more from 1 kHz up and 6 dB
    less around 125 Hz than recorded speech; recordings scatter by 4 to 6 dB per band around theirs.
    """
    high_pass = butter(2, rng.uniform(30, 90), "highpass", fs=SAMPLE_RATE, output="sos")
    octaves = np.arange(-3, 4)  # 125 Hz to 8 kHz, relative to 1 kHz
    gains_db = np.array([6, 2, 0, -6, -5, -5, -2]) + 4.0 * rng.standard_normal(len(octaves))
    return shape_spectrum(
        sosfilt(high_pass, samples), lambda f: np.interp(np.log2(f / 1000), octaves, gains_db)
    )


def in_room(samples: Samples, reverberation_s: float, rng: np.random.Generator) -> Samples:
    """`samples` in a small synthetic room: direct sound, six reflections, a decaying tail."""
    time = np.arange(count(1.2 * reverberation_s)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time)) * 10 ** (-3 * time / reverberation_s)
    tail[: count(0.004)] = 0.0
    tail = lfilter([0.6], [1, -0.4], tail)  # walls absorb high frequencies first
    response = tail * (rng.uniform(0.25, 0.5) / np.sqrt(np.sum(tail**2)))
    reflections = rng.integers(count(0.002), count(0.02), 6)
    response[reflections] += rng.uniform(-0.35, 0.35, 6)
    response[0] = 1.0
    return fftconvolve(samples, response)[: len(samples)]
