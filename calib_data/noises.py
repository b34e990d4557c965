"""Noise clips, one function per kind: `(rng, length) -> samples [length]`, at any level.

Nothing is recorded: impacts are decaying resonances, machines are harmonics of a wandering speed,
weather is filtered noise, crowds are many espeak-ng voices.
"""

from collections.abc import Callable

import numpy as np
from scipy.signal import fftconvolve, lfilter

from calib_data.signals import (
    SAMPLE_RATE,
    Samples,
    add_at,
    coloured_noise,
    count,
    drifting,
    drifting_gain,
    event_starts,
    ring,
    rms,
    tone,
)
from calib_data.speech import in_room, speak, through_microphone
from calib_data.utterances import UTTERANCES, Talker

Noise = Callable[[np.random.Generator, int], Samples]

# Stationary.


def white(rng: np.random.Generator, length: int) -> Samples:
    """Equal power at all frequencies."""
    return coloured_noise(rng, length)


def pink(rng: np.random.Generator, length: int) -> Samples:
    """Falling by 3 dB per octave."""
    return coloured_noise(rng, length, slope_db=3)


def brown(rng: np.random.Generator, length: int) -> Samples:
    """Falling by 6 dB per octave."""
    return coloured_noise(rng, length, slope_db=6, low_hz=40)


def hum(rng: np.random.Generator, length: int) -> Samples:
    """Mains hum at 50 Hz with harmonics up to 2 kHz, and hiss."""
    harmonics = np.arange(1, 41)
    amplitudes = harmonics**-0.8 * rng.uniform(0.3, 1, 40) * np.where(harmonics % 2 == 0, 0.4, 1)
    buzz = tone(50 + 0.05 * drifting(rng, length, 0.5), length, amplitudes)
    return buzz / rms(buzz) + 0.08 * coloured_noise(rng, length, slope_db=-1)


# Machines.


def fan(rng: np.random.Generator, length: int) -> Samples:
    """Air noise beaten by blades at 90 Hz, and the motor's tone."""
    speed = 30 + 0.3 * drifting(rng, length, 1)
    beat = 1 + 0.35 * tone(3 * speed, length, [1.0, 0.4]) + 0.15 * tone(speed, length, [1.0])
    air = coloured_noise(rng, length, slope_db=5, low_hz=80, high_hz=4000)
    return air * beat + 0.3 * tone(120.0, length, [1.0, 0.6, 0.2, 0.3])


def engine(rng: np.random.Generator, length: int) -> Samples:
    """A motor that speeds up and slows down: harmonics of the firing rate and pulsed roar."""
    rate = 38 * 2 ** (0.5 * drifting(rng, length, 0.8))
    amplitudes = np.arange(1, 61) ** -1.0 * rng.lognormal(0, 0.6, 60)
    firing = tone(rate, length, amplitudes)
    roar = coloured_noise(rng, length, slope_db=5, low_hz=80, high_hz=3000)
    return firing / rms(firing) + 0.5 * roar * (1 + 0.8 * np.sin(np.cumsum(rate) * 2e-4 * np.pi))


def car(rng: np.random.Generator, length: int) -> Samples:
    """Inside a car: low rumble, tyres, a trace of the engine."""
    rumble = coloured_noise(rng, length, slope_db=8, low_hz=30, high_hz=400)
    tyres = coloured_noise(rng, length, slope_db=4, low_hz=200, high_hz=2500)
    motor = tone(55 + drifting(rng, length, 0.7), length, np.arange(1, 16) ** -1.2)
    bumps = drifting_gain(rng, length, points_per_s=6, depth_db=2)
    return rumble * bumps + 0.15 * tyres + 0.12 * motor


def traffic(rng: np.random.Generator, length: int) -> Samples:
    """A road at some distance: a steady rush, single vehicles passing, a horn."""
    road = coloured_noise(rng, length, slope_db=6, low_hz=50, high_hz=5000)
    for _ in range(2):
        near = coloured_noise(rng, length, slope_db=rng.uniform(3, 6), low_hz=80, high_hz=6000)
        seconds_off = (np.arange(length) - rng.uniform(0.2, 0.8) * length) / SAMPLE_RATE
        road += rng.uniform(1, 2.5) * near / (1 + (seconds_off / rng.uniform(0.3, 0.8)) ** 2)
    horn = tone(392.0, count(0.35), np.arange(1, 13) ** -0.7)
    add_at(road, int(rng.integers(length // 4, length // 2)), 0.25 * horn)
    return road


def vacuum_cleaner(rng: np.random.Generator, length: int) -> Samples:
    """Broadband suction and the whine of a fast motor."""
    suction = coloured_noise(rng, length, slope_db=3, low_hz=150, high_hz=6500)
    whine = tone(310 + 4 * drifting(rng, length, 2), length, rng.uniform(0.1, 1, 20))
    return suction + 0.35 * whine / rms(whine)


def train(rng: np.random.Generator, length: int) -> Samples:
    """Rolling rumble and pairs of wheels over rail joints."""
    rolling = coloured_noise(rng, length, slope_db=6, low_hz=50, high_hz=3000)
    for axle in np.arange(0.2, length / SAMPLE_RATE, 0.72):
        for offset in (0.0, 0.14):
            body = rng.uniform(90, 900, 8)
            clack = ring(body, rng.uniform(0.01, 0.06, 8), rng.uniform(0.5, 2, 8), 0.25)
            add_at(rolling, count(axle + offset), clack)
    return rolling


# Weather and water.


def wind(rng: np.random.Generator, length: int) -> Samples:
    """Gusts on a microphone: strong low frequencies, each band with its own slow gain."""
    bands = ((20, 80, 1.0), (80, 250, 0.5), (250, 800, 0.2), (800, 2500, 0.07), (2500, 7000, 0.02))
    gusts = drifting_gain(rng, length, points_per_s=1.2, depth_db=6)
    samples = np.zeros(length)
    for low, high, amplitude in bands:
        flutter = drifting_gain(rng, length, points_per_s=8, depth_db=3)
        samples += amplitude * coloured_noise(rng, length, 3, low, high) * flutter
    return samples * gusts


def rain(rng: np.random.Generator, length: int) -> Samples:
    """A hiss of far drops and many near ones."""
    samples = 0.5 * coloured_noise(rng, length, slope_db=-1, low_hz=500, high_hz=7000)
    for centre in np.geomspace(900, 7000, 12):
        drops = np.zeros(length)
        starts = event_starts(rng, length, per_s=40)
        drops[starts] = rng.lognormal(0, 1, len(starts)) * rng.choice([-1, 1], len(starts))
        drop = ring(np.array([centre]), np.array([0.002]), np.ones(1), 0.012)
        samples += 0.5 * fftconvolve(drops, drop)[:length]
    return samples


def tap(rng: np.random.Generator, length: int) -> Samples:
    """Running water: bubbles whose pitch rises, over a rush."""
    samples = 0.4 * coloured_noise(rng, length, slope_db=2, low_hz=300, high_hz=5000)
    for start in event_starts(rng, length, per_s=60):
        time = np.arange(count(0.06)) / SAMPLE_RATE
        pitch = rng.uniform(400, 2200) * (1 + 6 * time)
        bubble = tone(pitch, len(time), [1.0]) * np.exp(-time / rng.uniform(0.005, 0.02))
        add_at(samples, start, rng.lognormal(-0.5, 0.7) * bubble)
    return samples


# People and places.


def _crowd(rng: np.random.Generator, length: int, voices: int, pitch: int, speed: int) -> Samples:
    """`voices` random talkers without pause, in one room."""
    single = [
        u.talkers[0]
        for u in UTTERANCES
        if len(u.talkers) == 1 and "whisper" not in u.talkers[0].voice
    ]
    samples = np.zeros(length)
    for _ in range(voices):
        source = single[int(rng.integers(len(single)))]
        spread = int(rng.integers(-15, 16))
        voice = speak(Talker(source.voice, source.text, speed + spread, pitch + spread))
        voice = through_microphone(np.tile(voice, 3), rng)
        begin = int(rng.integers(len(voice) // 3))
        samples += rng.uniform(0.4, 1) * voice[begin : begin + length]
    return in_room(samples, 0.5, rng)


def babble_few(rng: np.random.Generator, length: int) -> Samples:
    """Four voices that can nearly be understood."""
    return _crowd(rng, length, voices=4, pitch=50, speed=160)


def babble_many(rng: np.random.Generator, length: int) -> Samples:
    """A hall of eighteen voices."""
    return _crowd(rng, length, voices=18, pitch=45, speed=165)


def playground(rng: np.random.Generator, length: int) -> Samples:
    """Nine high and fast voices, and a bouncing ball."""
    samples = _crowd(rng, length, voices=9, pitch=82, speed=190)
    for bounce in np.cumsum(rng.uniform(0.25, 0.7, 12)):
        if count(bounce) < length:
            ball = ring(
                np.array([110.0, 245.0, 610.0]), np.array([0.03, 0.02, 0.008]), np.ones(3), 0.2
            )
            add_at(samples, count(bounce), 4 * ball)
    return samples


def cafe(rng: np.random.Generator, length: int) -> Samples:
    """A crowd, crockery and a coffee machine."""
    machine = coloured_noise(rng, length, slope_db=1, low_hz=800, high_hz=7000)
    steam = np.clip(drifting(rng, length, 1.5), 0, None)
    crowd = _crowd(rng, length, voices=8, pitch=50, speed=165)
    return crowd / rms(crowd) + 0.6 * dishes(rng, length) + 0.25 * machine * steam


# Impacts.


def keyboard(rng: np.random.Generator, length: int) -> Samples:
    """Typing: each key clicks down and up."""
    samples = 0.01 * coloured_noise(rng, length, slope_db=3)
    now = 0.1
    while count(now) < length:
        for when, strength in ((now, 1.0), (now + rng.uniform(0.05, 0.11), 0.4)):
            click = coloured_noise(rng, count(0.03), slope_db=-2, low_hz=1200, high_hz=6500)
            click *= np.exp(-np.arange(len(click)) / count(rng.uniform(0.002, 0.006)))
            thump = ring(rng.uniform(130, 420, 2), np.array([0.01, 0.006]), np.ones(2), 0.05)
            add_at(samples, count(when), strength * rng.uniform(0.5, 1) * click)
            add_at(samples, count(when), strength * 0.4 * thump)
        now += rng.choice([0.09, 0.13, 0.18, 0.45], p=[0.3, 0.35, 0.25, 0.1]) * rng.uniform(
            0.8, 1.2
        )
    return samples


def dishes(rng: np.random.Generator, length: int) -> Samples:
    """Plates, glasses and cutlery."""
    samples = 0.02 * coloured_noise(rng, length, slope_db=3)
    for start in event_starts(rng, length, per_s=5):
        partials = rng.uniform(500, 1500) * np.array([1, 1.59, 2.33, 2.92, 3.6, 4.7, 5.4])
        strike = rng.lognormal(-0.5, 0.7) * rng.uniform(0.1, 1, 7)
        decays = rng.uniform(0.01, 0.12) * np.array([1, 0.8, 0.7, 0.5, 0.4, 0.3, 0.25])
        audible = partials < 7500
        add_at(samples, start, ring(partials[audible], decays[audible], strike[audible], 0.5))
    return in_room(samples, 0.3, rng)


def hammering(rng: np.random.Generator, length: int) -> Samples:
    """Knocks on wood, at an uneven beat, with silence between."""
    samples = 0.003 * coloured_noise(rng, length, slope_db=4)
    for beat in np.arange(0.15, length / SAMPLE_RATE, 0.42):
        body = np.array([160, 310, 540, 820, 1400, 2300]) * rng.uniform(0.9, 1.1, 6)
        decays = np.array([0.05, 0.04, 0.025, 0.015, 0.008, 0.005])
        knock = ring(body, decays, rng.uniform(0.4, 1.2, 6), 0.3)
        add_at(samples, count(beat + rng.uniform(0, 0.08)), rng.uniform(0.5, 1) * knock)
    return in_room(samples, 0.4, rng)


# Tones and music.


def siren(rng: np.random.Generator, length: int) -> Samples:
    """A wailing siren that comes nearer, over distant traffic."""
    time = np.arange(length) / SAMPLE_RATE
    pitch = 950 + 450 * np.sin(2 * np.pi * 0.45 * time + rng.uniform(0, 6))
    wail = tone(pitch, length, [1.0, 0.5, 0.35, 0.2, 0.12, 0.08]) * np.linspace(0.4, 1, length)
    return wail + 0.25 * coloured_noise(rng, length, slope_db=5, low_hz=60, high_hz=4000)


def alarm(rng: np.random.Generator, length: int) -> Samples:
    """Electronic beeps, on and off."""
    samples = 0.01 * coloured_noise(rng, length, slope_db=3)
    for number, start in enumerate(np.arange(0.1, length / SAMPLE_RATE, 0.3)):
        if number % 4 != 3:
            beep = tone(2050.0 if number % 8 < 4 else 2730.0, count(0.12), [1.0, 0.0, 0.4])
            add_at(samples, count(start), beep * np.hanning(len(beep)) ** 0.25)
    return in_room(samples, 0.4, rng)


def birds(rng: np.random.Generator, length: int) -> Samples:
    """Chirps between 2 and 6 kHz over a light wind."""
    samples = 0.06 * coloured_noise(rng, length, slope_db=4, low_hz=60, high_hz=3000)
    for start in event_starts(rng, length, per_s=4):
        low, high = rng.uniform(2000, 3500), rng.uniform(3500, 6000)
        size = count(rng.uniform(0.04, 0.15))
        glide = np.linspace(*((low, high) if rng.random() < 0.5 else (high, low)), size)
        chirp = tone(glide, size, [1.0, 0.1]) * np.hanning(size)
        for repeat in range(int(rng.integers(1, 5))):
            add_at(samples, start + repeat * count(0.16), rng.uniform(0.2, 1) * chirp)
    return samples


def music_strings(rng: np.random.Generator, length: int) -> Samples:
    """Plucked chords (Karplus and Strong, "Digital synthesis of plucked-string", 1983)."""
    samples = np.zeros(length)
    chords = ((0, 4, 7, 12), (-3, 0, 4, 9), (5, 9, 12, 17), (-5, 2, 7, 11))
    for beat, start in enumerate(np.arange(0, length / SAMPLE_RATE, 0.25)):
        chord = chords[(beat // 4) % 4]
        period = round(SAMPLE_RATE / (146.8 * 2 ** (chord[int(rng.integers(4))] / 12)))
        pluck = np.zeros(count(1.2))
        pluck[:period] = rng.uniform(-1, 1, period)
        loop = np.zeros(period + 2)
        loop[[0, period, period + 1]] = 1.0, -0.498, -0.498
        add_at(samples, count(start), lfilter([1.0], loop, pluck))
    return in_room(samples, 0.4, rng)


def music_band(rng: np.random.Generator, length: int) -> Samples:
    """Organ chords, a bass line and drums."""
    samples = np.zeros(length)
    for beat, start in enumerate(np.arange(0, length / SAMPLE_RATE, 0.24)):
        root = 110 * 2 ** ((0, 5, 7, 3)[(beat // 4) % 4] / 12)
        if beat % 4 == 0:
            fade = np.minimum(1, np.linspace(20, 0, count(0.96)))
            for step in (0, 4, 7):
                pipes = tone(2 * root * 2 ** (step / 12), len(fade), [1, 0.6, 0.3, 0.4, 0, 0.2])
                add_at(samples, count(start), 0.2 * pipes * fade)
        bass = tone(root / 2 * (1 + (beat % 3)), count(0.22), [1.0, 0.5, 0.25, 0.12])
        add_at(samples, count(start), 0.5 * bass * np.linspace(1, 0, len(bass)))
        drum = coloured_noise(rng, count(0.15), slope_db=(3, -2)[beat % 2], low_hz=150)
        decay = np.exp(-np.arange(len(drum)) / count((0.03, 0.012)[beat % 2]))
        add_at(samples, count(start), 0.6 * drum * decay)
    return samples


NOISES: dict[str, Noise] = {
    noise.__name__: noise
    for noise in (
        white,
        pink,
        brown,
        hum,
        fan,
        engine,
        car,
        traffic,
        vacuum_cleaner,
        train,
        wind,
        rain,
        tap,
        babble_few,
        babble_many,
        playground,
        cafe,
        keyboard,
        dishes,
        hammering,
        siren,
        alarm,
        birds,
        music_strings,
        music_band,
    )
}
