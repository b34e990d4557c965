"""What is measured under stress, on models that fail in known ways."""

import numpy as np
import pytest

from edge_se.chunks import AlignedStream
from edge_se.enhancer import Enhancer
from edge_se.errors import UserError
from quant.evaluation.metrics import si_snr
from quant.evaluation.report import stress_tables
from quant.evaluation.stress import (
    AFTER_S,
    KNOCKS,
    LEVELS_DBFS,
    Stress,
    at_level,
    measure_stress,
    recorded,
)
from quant.report.plots import stress as draw


class Model(Enhancer):
    """Gives what it hears, and is deaf, by 40 dB, for a time after a full-scale sample."""

    latency_samples, sample_dtype = 0, np.dtype(np.float32)

    def __init__(self, rate: int = 16000, deaf_s: float = 0.0) -> None:
        self.sample_rate, self.hop_size = rate, rate // 20
        self._hops = round(deaf_s * 20)
        self.reset()

    def reset(self) -> None:
        self._deaf, self.silent_hops = 0, 0

    def process(self, frame, out=None):
        assert out is not None
        if np.abs(frame).max() > 0.99:
            self._deaf = self._hops
        elif self._deaf:
            self._deaf -= 1
            out[...] = 0.01 * frame
        self.silent_hops += not frame.any()
        return out

    def enhance(self, samples, rate=None, full_band=True):
        stream = AlignedStream(self)
        return np.concatenate([stream.push(samples), stream.finish()])


class AfterSilence(Model):
    """Mutes everything once it has heard so many hops of silence."""

    def process(self, frame, out=None):
        out = super().process(frame, out)
        if self.silent_hops >= 100:
            out[...] = 0
        return out


def clips(rate: int, count: int = 2) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Noisy clips of 1.5 s and the "speech" in them, at 10 dB."""
    random = np.random.default_rng(0)
    clean = [random.standard_normal(3 * rate // 2).astype(np.float32) for _ in range(count)]
    noise = [random.standard_normal(3 * rate // 2).astype(np.float32) for _ in range(count)]
    return [c + np.float32(10**-0.5) * n for c, n in zip(clean, noise, strict=True)], clean


def measured(model, rate: int = 16000, **options) -> Stress:
    return measure_stress(model, *clips(rate), **{"silence_s": 1.0, **options})


@pytest.mark.parametrize(
    ("rate", "deaf_s"), [(16000, 0.0), (8000, 0.3), (48000, 0.3), (16000, 9.0)]
)
def test_the_time_after_a_knock_is_found(rate, deaf_s):
    noisy, _ = clips(rate)

    found = measure_stress(Model(rate, deaf_s), noisy, None)

    # The knock's last hop overlaps the next by less than one.
    assert [r.knock for r in found.recoveries] == [knock.name for knock in KNOCKS]
    for recovery in found.recoveries:
        assert recovery.ms == pytest.approx(1000 * deaf_s, abs=100)
        assert recovery.farthest_db == pytest.approx(-40 if deaf_s else 0, abs=0.1)
        # Windows of 50 ms, those that begin 300 ms after the knock or later.
        assert recovery.late_windows == pytest.approx(max(deaf_s - 0.3, 0) / 0.05, abs=2)
    assert found.conditions == ()


def test_one_that_stays_deaf_is_no_number():
    found = measure_stress(Model(deaf_s=60), clips(16000)[0], None)

    assert {recovery.ms for recovery in found.recoveries} == {None}
    assert stress_tables({"enhanced": found})[0][1][1] == f"> {1000 * AFTER_S:.0f}"


def test_one_deaf_clip_of_six_is_seen():
    class Sometimes(Model):
        """Is deaf after knocks into every sixth signal."""

        signals = 0

        def enhance(self, samples, rate=None, full_band=True):
            self._hops = 60 * 20 if self.signals % 6 == 5 else 0
            self.signals += 1
            return super().enhance(samples)

    found = measure_stress(Sometimes(), clips(16000, 6)[0], None)

    assert {recovery.ms for recovery in found.recoveries} == {None}


def test_conditions_are_what_they_are_called():
    found = {condition.name: condition for condition in measured(Model()).conditions}

    assert [c.level_dbfs for c in found.values()][: len(LEVELS_DBFS)] == list(LEVELS_DBFS)
    for condition in found.values():  # the model changes nothing
        assert condition.enhanced_db == pytest.approx(condition.noisy_db, abs=1e-6)
    usual = found["-25 dBFS"]
    assert usual.noisy_db == pytest.approx(10, abs=0.2) and usual.loss.mean == 0
    for name in ("-60 dBFS", "DC of 0.05", "DC of 0.05, soft speech", "after 1 s of silence"):
        assert found[name].loss.mean == pytest.approx(0, abs=0.05)
    # Noise of -35.4 dBFS and hum of -20 in speech of -25.4.
    hum = -25.4 - 10 * np.log10(10**-3.54 + 10**-2)
    assert found["hum at -20 dBFS"].enhanced_db == pytest.approx(hum, abs=0.2)
    clipped = [found[f"{share} % of samples clipped"].loss.mean for share in (1, 10)]
    assert 0 < clipped[0] < clipped[1]
    assert found["0 dBFS"].loss.mean > found["-5 dBFS"].loss.mean > 0.3


def test_a_recorder_has_16_bits_and_full_scale():
    assert recorded(np.array([2.0, -2.0, 0.7 / 32768, 0.2 / 32768])) == pytest.approx(
        [32767 / 32768, -1, 1 / 32768, 0], abs=1e-9
    )
    assert np.sqrt(np.mean(at_level(clips(8000)[0][0], -60.0) ** 2)) == pytest.approx(1e-3)


def test_silence_is_as_long_as_is_asked():
    short, long = (measured(AfterSilence(), silence_s=s) for s in (4.5, 5.5))

    assert short.conditions[-1].name == "after 4.5 s of silence"
    assert short.conditions[-1].loss.mean == pytest.approx(0, abs=1e-6)
    assert long.conditions[-1].enhanced_db == -100
    assert measured(AfterSilence(), silence_s=120).conditions[-1].name == "after 2 min of silence"


def test_a_long_clip_is_used_where_speech_is():
    noisy, clean = clips(16000, 1)
    silent = np.zeros(20 * 16000, np.float32)
    hiss = 0.3 * np.random.default_rng(1).standard_normal(len(silent)).astype(np.float32)

    found = measure_stress(
        Model(),
        [np.concatenate([hiss, noisy[0]])],
        [np.concatenate([silent, clean[0]])],
        silence_s=1.0,
    )

    kept = slice(-6 * 16000, None)
    heard, true = (np.concatenate(parts)[kept] for parts in ((hiss, noisy[0]), (silent, clean[0])))
    assert found.levels[5].noisy_db == pytest.approx(si_snr(heard, true), abs=0.01)


def test_silent_clips_are_left_out_and_nothing_else_is_refused():
    noisy, clean = clips(16000)
    silent = np.zeros_like(noisy[0])

    found = measure_stress(Model(), [silent, *noisy], [silent, *clean], silence_s=1.0)

    assert found.clips == 2
    with pytest.raises(UserError, match="all clips are silent"):
        measure_stress(Model(), noisy, [silent, silent])


def test_progress_reaches_its_end():
    told: list[tuple[str, int, int]] = []

    measured(Model(), progress=lambda *step: told.append(step), stage="mine")

    assert [done for _, done, _ in told] == list(range(1, told[0][2] + 1))
    assert {stage for stage, _, _ in told} == {"mine"}


@pytest.mark.parametrize("with_clean", [True, False])
def test_the_picture_is_one(with_clean):
    noisy, clean = clips(8000, 1)
    found = measure_stress(Model(8000), noisy, clean if with_clean else None, silence_s=1.0)

    assert draw({"enhanced": found, "reference": found}).startswith(b"\x89PNG")
