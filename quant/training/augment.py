"""Random noisy mixtures: speech and noise as a microphone in a room would record them.

Everything random comes from one `numpy.random.Generator`, so a mixture is a pure function of the
clips and of the generator's state. Filters are applied as one product of spectra per signal, which
keeps a 3 s mixture at about 5 ms of one core.
"""

from dataclasses import dataclass

import numpy as np
from scipy import fft

from quant.audio.mixing import loudest_part, mixing_gains, random_part, rms
from quant.training.curves import stretched
from quant.training.rushing import like_recorded
from quant.training.synthetic_noise import synthetic_noise

Range = tuple[float, float]


@dataclass(frozen=True)
class AugmentSettings:
    """How mixtures vary; a `*_probability` says how often, a range what is drawn from evenly."""

    snr_db: Range = (-5.0, 20.0)
    level_dbfs: Range = (-35.0, -10.0)
    speed_probability: float = 0.4
    speed: Range = (0.85, 1.18)
    noise_speed_probability: float = 0.6
    noise_speed: Range = (0.5, 2.0)
    equalize_probability: float = 0.6
    equalize_db: float = 8.0
    noise_equalize_db: float = 12.0
    band_limit_probability: float = 0.1
    band_limit_hz: Range = (3400.0, 7500.0)
    reverb_probability: float = 0.35
    reverb_seconds: Range = (0.1, 0.7)
    direct_to_reverberant_db: Range = (-2.0, 12.0)
    early_seconds: float = 0.05
    second_noise_probability: float = 0.4
    babble_probability: float = 0.15
    synthetic_noise_probability: float = 0.25
    like_recorded_probability: float = 0.15
    clip_probability: float = 0.05
    clip_db: Range = (3.0, 12.0)


def augmented_mixture(
    speech: list[np.ndarray],
    noise: list[np.ndarray],
    length: int,
    random: np.random.Generator,
    settings: AugmentSettings,
    rate: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Make one noisy mixture and its target.

    The target is the speech with the early part of the room's impulse response, at the gain that it
    has in the mixture.

    Args:
        speech: clean clips to draw from, `int16` [n] each.
        noise: noise clips to draw from, `int16` [n] each.
        length: samples in the mixture.
        random: source of every random choice.
        settings: how mixtures vary.
        rate: of all clips, in Hz.

    Returns:
        noisy and target, `float32` [length] each.
    """
    clean = _speech_part(speech, length, random, settings, rate)
    disturbance = _disturbance(speech, noise, length, random, settings, rate)
    microphone = _colour(random, settings, rate) * _band_limit(random, settings, rate)
    voice = _colour(random, settings, rate) * microphone
    reverberant, target = _in_room(clean, voice, random, settings, rate)
    noise_colour = _noise_colour(random, settings, rate) * microphone
    disturbance = _filtered(disturbance, noise_colour)
    speech_gain, noise_gain = mixing_gains(
        reverberant,
        disturbance,
        random.uniform(*settings.snr_db),
        random.uniform(*settings.level_dbfs),
    )
    noisy = speech_gain * reverberant + noise_gain * disturbance
    target = speech_gain * target
    peak = np.abs(noisy).max()
    if random.random() < settings.clip_probability:
        limit = min(1.0, peak) * 10 ** (-random.uniform(*settings.clip_db) / 20)
        noisy = np.clip(noisy, -limit, limit)
    elif peak > 1:
        noisy, target = noisy / peak, target / peak
    return noisy.astype(np.float32), target.astype(np.float32)


def room_impulse_response(
    random: np.random.Generator, settings: AugmentSettings, rate: int
) -> tuple[np.ndarray, np.ndarray]:
    """Make up a room: direct sound, sparse early reflections and an exponentially decaying tail.

    The tail is Gaussian noise whose energy falls by 60 dB within the drawn reverberation time (the
    statistical model of J. D. Polack, "La transmission de l'énergie sonore dans les salles", 1988).

    Returns:
        The whole response and its early part, both [n]; the direct sound is sample 0, gain 1.
    """
    seconds = random.uniform(*settings.reverb_seconds)
    times = np.arange(int(seconds * rate)) / rate
    decay = 10 ** (-3 * times / seconds)
    tail = random.standard_normal(len(times)) * decay
    early = min(int(settings.early_seconds * rate), len(times))
    # Before the echoes run together they are few: keep one sample in fifty, ever more of them.
    density = np.linspace(0.02, 1.0, early) ** 2 + 0.005
    tail[:early] *= (random.random(early) < density) / np.sqrt(density)
    tail[: int(0.001 * rate)] = 0
    ratio_db = random.uniform(*settings.direct_to_reverberant_db)
    tail *= 10 ** (-ratio_db / 20) / np.sqrt(np.sum(tail**2))
    tail[0] = 1
    return tail, tail[:early]


def _speech_part(
    speech: list[np.ndarray],
    length: int,
    random: np.random.Generator,
    settings: AugmentSettings,
    rate: int,
) -> np.ndarray:
    """Cut out speech, at another speed (and pitch) now and then; short clips get silence around."""
    speed = 1.0
    if random.random() < settings.speed_probability:
        speed = random.uniform(*settings.speed)
    needed = int(np.ceil(length * speed)) + 8
    for _ in range(8):
        clip = speech[_longer_clips_more_often(speech, random, rate)]
        if len(clip) > needed:
            part = random_part(clip, needed, random)
        else:
            part = np.zeros(needed, np.int16)
            start = int(random.integers(needed - len(clip) + 1))
            part[start : start + len(clip)] = clip
        # A pause of a clip is no speech to mix at an SNR.
        if rms(part) > 0.3 * _usual_rms(clip):
            break
    if not part.any():  # clips may be silent nearly everywhere
        part = loudest_part(clip, needed)
    return _resampled(part, speed, length, rate)


def _longer_clips_more_often(
    clips: list[np.ndarray], random: np.random.Generator, rate: int
) -> int:
    """Draw a clip with a probability that grows with its length, up to 15 s, by rejection."""
    longest = 15 * rate
    while True:
        index = int(random.integers(len(clips)))
        if random.random() * longest < len(clips[index]):
            return index


def _disturbance(
    speech: list[np.ndarray],
    noise: list[np.ndarray],
    length: int,
    random: np.random.Generator,
    settings: AugmentSettings,
    rate: int,
) -> np.ndarray:
    """Draw what disturbs: recorded noise mostly, else babble or made-up noise, or two of them."""
    first = _one_disturbance(speech, noise, length, random, settings, rate)
    if random.random() < settings.second_noise_probability:
        second = _one_disturbance(speech, noise, length, random, settings, rate)
        first = first / rms(first) + random.uniform(0.2, 1.0) * second / rms(second)
    return first


def _one_disturbance(
    speech: list[np.ndarray],
    noise: list[np.ndarray],
    length: int,
    random: np.random.Generator,
    settings: AugmentSettings,
    rate: int,
) -> np.ndarray:
    kind = random.random()
    if kind < settings.babble_probability:
        voices = int(random.integers(3, 9))
        parts = [_speech_part(speech, length, random, settings, rate) for _ in range(voices)]
        return np.sum([part / rms(part) * random.uniform(0.4, 1) for part in parts], axis=0)
    if kind < settings.babble_probability + settings.synthetic_noise_probability:
        return synthetic_noise(length, random, rate)
    speed = 1.0
    if random.random() < settings.noise_speed_probability:
        speed = np.exp(random.uniform(*np.log(settings.noise_speed)))
    for _ in range(20):
        clip = noise[int(random.integers(len(noise)))]
        part = random_part(clip, int(np.ceil(length * speed)) + 8, random)
        # Noise that comes in bursts (thunder, an owl) has long gaps; the gain to reach the SNR
        # would lift whatever hiss lies in them.
        if rms(part) > 0.1 * _usual_rms(clip):
            break
    if not part.any():
        part = loudest_part(np.resize(clip, max(len(clip), len(part))), len(part))
    recorded = _resampled(part, speed, length, rate)
    made_up = settings.babble_probability + settings.synthetic_noise_probability
    if kind < made_up + settings.like_recorded_probability:
        return like_recorded(recorded, random, rate)
    return recorded


def _usual_rms(clip: np.ndarray) -> float:
    """RMS of a clip, however long it is, from some of its samples."""
    return rms(clip[:: 1 + len(clip) // 8192])


def _resampled(part: np.ndarray, speed: float, length: int, rate: int) -> np.ndarray:
    samples = part.astype(np.float32) / 32768
    if speed == 1.0:
        return samples[:length]
    import soxr

    samples = soxr.resample(samples, rate * speed, rate, quality="MQ")
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def _frequencies(rate: int) -> np.ndarray:
    """Coarse frequency axis on which gain curves are drawn, in Hz."""
    return np.linspace(0, rate / 2, 257)


def _colour(random: np.random.Generator, settings: AugmentSettings, rate: int) -> np.ndarray:
    """Draw a smooth gain curve over frequency, [257]: a loudspeaker, microphone or distance."""
    if random.random() >= settings.equalize_probability:
        return np.ones(257)
    controls = np.array([0, 100, 250, 600, 1500, 3500, 8000.0])
    gains_db = random.uniform(-1, 1, len(controls)) * settings.equalize_db
    return 10 ** (np.interp(_frequencies(rate), controls, gains_db) / 20)


def _noise_colour(random: np.random.Generator, settings: AugmentSettings, rate: int) -> np.ndarray:
    """Draw a gain curve, [257], less smooth: recordings of noise are few, and heard often."""
    if random.random() >= settings.equalize_probability:
        return np.ones(257)
    controls = np.geomspace(50, rate / 2, int(random.integers(4, 20)))
    gains_db = random.uniform(-1, 1, len(controls)) * settings.noise_equalize_db
    return 10 ** (np.interp(_frequencies(rate), controls, gains_db) / 20)


def _band_limit(random: np.random.Generator, settings: AugmentSettings, rate: int) -> np.ndarray:
    """Draw a low pass, [257], as of a narrow-band line or a low sample rate; mostly none."""
    if random.random() >= settings.band_limit_probability:
        return np.ones(257)
    cutoff = random.uniform(*settings.band_limit_hz)
    return 1 / np.sqrt(1 + (_frequencies(rate) / cutoff) ** 40)


def _spectrum_size(length: int, response: int) -> int:
    return fft.next_fast_len(length + response, real=True)


def _curve(gains: np.ndarray, size: int) -> np.ndarray:
    """Stretch a gain curve [257] to the bins of a real FFT of this size."""
    return stretched(gains, size // 2 + 1).astype(np.float32)


def _filtered(samples: np.ndarray, gains: np.ndarray) -> np.ndarray:
    if (gains == 1).all():
        return samples
    size = _spectrum_size(len(samples), 512)
    return fft.irfft(fft.rfft(samples, size) * _curve(gains, size), size)[: len(samples)]


def _in_room(
    clean: np.ndarray,
    gains: np.ndarray,
    random: np.random.Generator,
    settings: AugmentSettings,
    rate: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the speech as heard in a room, and with the early part of the response alone."""
    if random.random() >= settings.reverb_probability:
        filtered = _filtered(clean, gains)
        return filtered, filtered
    whole, early = room_impulse_response(random, settings, rate)
    size = _spectrum_size(len(clean), len(whole) + 512)
    spectrum = fft.rfft(clean, size) * _curve(gains, size)
    heard, target = (
        fft.irfft(spectrum * fft.rfft(response.astype(np.float32), size), size)[: len(clean)]
        for response in (whole, early)
    )
    return heard, target
