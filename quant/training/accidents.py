"""What happens to microphones, put into mixtures: levels, gain steps, silence, hum, knocks, DC.

A microphone picks speech up soft or loud, somebody turns its gain, hum and knocks come on top, its
16-bit converter clips; then the front end of the deployed file does what it can. A network is to
be trained on what is left, so the files' own front end runs here too.
"""

from dataclasses import dataclass

import numpy as np
import torch

from edge_se.signal import Signal
from quant.audio.frames import front_end
from quant.audio.mixing import gain_to, recorded, rms
from quant.training.augment import Range

MAINS_HZ, HUM_HARMONICS = (50.0, 60.0), 12
KNOCK_HZ = (50.0, 2000.0)
# RMS of a converter's own noise, relative to full scale: half a step. Digital silence would put
# logarithms of nothing into BatchNorm's statistics.
OWN_NOISE = 2.0**-16
# A turned knob: gains change within so long.
TURN_SECONDS = 0.005


@dataclass(frozen=True)
class AccidentSettings:
    """How often something happens to a mixture, and what.

    A `*_probability` is that of one accident in a mixture to which something happens; such a
    mixture has a level of `level_dbfs` in any case. A range is what is drawn from: evenly what is
    in dB, or seconds of silence; sizes of DC and lengths of knocks by their logarithm.

    Attributes:
        share: Of mixtures, to which something happens.
        level_dbfs: Of the mixture, before it is clipped.
        gain_step_db: Of a step up or down, from a random time to another.
        silence_seconds: Before everything else, but for the converter's noise.
        hum_db: Of the mains' harmonics, relative to the mixture.
        dc: Relative to full scale.
        knock_seconds: Of a click or a burst at full scale.
    """

    share: float = 0.25
    level_dbfs: Range = (-60.0, 0.0)
    gain_step_probability: float = 0.3
    gain_step_db: Range = (6.0, 30.0)
    silence_probability: float = 0.2
    silence_seconds: Range = (0.2, 1.0)
    hum_probability: float = 0.25
    hum_db: Range = (-25.0, 5.0)
    dc_probability: float = 0.3
    dc: Range = (0.003, 0.3)
    knock_probability: float = 0.4
    knock_seconds: Range = (0.0005, 0.5)


def with_accidents(
    noisy: np.ndarray,
    target: np.ndarray,
    random: np.random.Generator,
    settings: AccidentSettings,
    signal: Signal,
) -> tuple[np.ndarray, np.ndarray]:
    """Let something happen to a mixture, now and then.

    Level, gain steps and silence are those of speech and noise, so the target has them too; hum,
    knocks, DC and clipping are noise.

    Args:
        noisy: mixture, `float32` [n], not silent.
        target: the speech in it, `float32` [n].
        random: source of every random choice.
        settings: what happens how often.
        signal: of the file that is to hear it, with its front end.

    Returns:
        Mixture and target as the front end hands them on, `float32` [n] each; its gains, which
        change from hop to hop, are in both.
    """
    if random.random() >= settings.share:
        return noisy, target
    rate, length = signal.sample_rate, len(noisy)
    gain = np.full(length, gain_to(noisy, random.uniform(*settings.level_dbfs)))
    if random.random() < settings.gain_step_probability:
        gain *= _turned(length, random, settings, rate)
    delay = 0
    if random.random() < settings.silence_probability:
        delay = min(round(random.uniform(*settings.silence_seconds) * rate), length // 2)
    noisy, target = (np.pad(each, (delay, 0))[:length] * gain for each in (noisy, target))
    heard = noisy + OWN_NOISE * random.standard_normal(length)
    if random.random() < settings.hum_probability:
        hum = _hum(length, random, rate)
        heard += hum * rms(noisy) / rms(hum) * 10 ** (random.uniform(*settings.hum_db) / 20)
    if random.random() < settings.knock_probability:
        _knock(heard, random, settings, rate)
    if random.random() < settings.dc_probability:
        heard += random.choice((-1, 1)) * _by_logarithm(settings.dc, random)
    return _through_front_end(recorded(heard), target, signal)


def _turned(
    length: int, random: np.random.Generator, settings: AccidentSettings, rate: int
) -> np.ndarray:
    """A gain [length] that is another one between two random times, the second maybe the end."""
    step = random.choice((-1, 1)) * random.uniform(*settings.gain_step_db)
    first, last = np.sort(random.integers(0, length + length // 2, 2))
    turn = round(TURN_SECONDS * rate)
    ramp = np.interp(
        np.arange(length), (first, first + turn, last + turn, last + 2 * turn), (0, 1, 1, 0)
    )
    return 10 ** (step * ramp / 20)


def _hum(length: int, random: np.random.Generator, rate: int) -> np.ndarray:
    """Harmonics of the mains, [length], the higher ones mostly the weaker."""
    turns = np.arange(length) * (random.choice(MAINS_HZ) / rate)
    orders = np.arange(1, 1 + int(random.integers(1, HUM_HARMONICS + 1)))[:, None]
    amplitudes = np.exp(random.standard_normal(orders.shape)) / orders
    phases = random.random(orders.shape)
    return (amplitudes * np.sin(2 * np.pi * (turns * orders + phases))).sum(0)


def _knock(
    samples: np.ndarray, random: np.random.Generator, settings: AccidentSettings, rate: int
) -> None:
    """Put a click or a burst into samples: constant, a square, a sine or noise at full scale."""
    length = max(1, round(_by_logarithm(settings.knock_seconds, random) * rate))
    start = int(random.integers(len(samples)))
    place = samples[start : start + length]
    turns = np.arange(len(place)) * (_by_logarithm(KNOCK_HZ, random) / rate)
    wave = (
        np.ones(len(place)),
        np.sign(turns % 1 - 0.5),
        np.sin(2 * np.pi * turns),
        random.standard_normal(len(place)),
    )[int(random.integers(4))]
    place += random.choice((-1, 1)) * wave


def _through_front_end(
    noisy: np.ndarray, target: np.ndarray, signal: Signal
) -> tuple[np.ndarray, np.ndarray]:
    samples, gains = front_end(torch.from_numpy(noisy)[None], signal)
    gain = gains[0].numpy().repeat(signal.hop)[: len(noisy)]
    return samples[0].numpy() * gain, (target * gain).astype(np.float32)


def _by_logarithm(values: Range, random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(*np.log(values))))
