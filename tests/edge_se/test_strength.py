"""How much is taken away: what a limit and a mix make of a mask, live, by default and by option."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from edge_se import Enhancer
from edge_se.cli import main
from edge_se.engines.fixed_path import FixedPath, MaskScale
from edge_se.engines.float_path import MaskApplier
from edge_se.errors import UserError
from edge_se.fixed import STRENGTH_BITS, limited
from edge_se.manifest import Manifest, TensorSpec
from edge_se.model_file import attach_manifest, read_model
from edge_se.strength import ONE, Strength
from tests.helpers.fixed_signals import BINS, MASK, buffers, manifest
from tests.helpers.tiny_model import write_tiny

INT16_MASK = TensorSpec(1, (2, BINS), "int16", 2.0**-13, 0)
NONE, TWELVE_DB = Strength(), Strength(12.0)


def by_definition(mask: np.ndarray, strength: Strength) -> np.ndarray:
    """What becomes of a complex mask [257], in float64."""
    mask = mask.astype(complex)
    mask.imag[[0, -1]] = 0
    floor = 10 ** (-strength.max_attenuation_db / 20) if strength.max_attenuation_db else 0
    floor = 1 if strength.max_attenuation_db == 0 else floor
    phase = np.where(mask == 0, 1, mask / np.where(mask == 0, 1, np.abs(mask)))
    held = np.where(np.abs(mask) < floor, floor * phase, mask)
    return (1 - strength.mix) * held + strength.mix


def some_mask() -> np.ndarray:
    """Gains from -80 to 6 dB of all phases, and some that are 0."""
    random = np.random.default_rng(0)
    gains = 10 ** (random.uniform(-80, 6, BINS) / 20)
    mask = gains * np.exp(2j * np.pi * random.random(BINS))
    mask[40:60] = 0
    return mask


STRENGTHS = [
    Strength(12.0),
    Strength(0.0),
    Strength(30.0, 0.25),
    Strength(None, 0.5),
    Strength(None, 1.0),
    Strength(100.0, 1.0),
]


@pytest.mark.parametrize("strength", STRENGTHS)
def test_a_float_mask_is_held_and_mixed(strength):
    mask = some_mask()
    rows = np.stack([mask.real, mask.imag]).astype(np.float32)
    apply = MaskApplier(rows, TensorSpec(0, (2, BINS)))
    apply.set_strength(strength)

    enhanced = apply(np.ones(BINS, np.complex64))

    np.testing.assert_allclose(enhanced, by_definition(mask, strength), rtol=1e-4, atol=2e-5)


def test_a_real_mask_keeps_its_sign_and_gets_no_phase():
    gains = np.linspace(-0.5, 1.5, BINS, dtype=np.float32)[None]
    apply = MaskApplier(gains, TensorSpec(0, (1, BINS)))
    apply.set_strength(Strength(20.0))

    enhanced = apply(np.ones(BINS, np.complex64))

    expected = np.where(gains[0] < 0, -1, 1) * np.maximum(np.abs(gains[0]), 0.1)
    np.testing.assert_allclose(enhanced, expected, atol=1e-4)


@pytest.mark.parametrize("spec", [MASK, INT16_MASK], ids=["int8", "int16"])
@pytest.mark.parametrize("strength", STRENGTHS)
def test_an_integer_mask_is_held_and_mixed(spec, strength):
    scale = MaskScale(spec)
    stored = np.rint(np.stack([some_mask().real, some_mask().imag]) / spec.scale).astype(np.int64)
    stored = stored.clip(np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max)
    real = (stored[0] + 1j * stored[1]) * spec.scale

    found = limited(stored, scale.unit, strength.least_gain, strength.dry)

    step = spec.scale / 2**STRENGTH_BITS
    expected = by_definition(real, strength)
    # Sizes are rounded down to a step, and no mask but 0 has fewer than 2**8 of them.
    got = (found[0] + 1j * found[1]) * step
    np.testing.assert_allclose(got, expected, rtol=2.0**-8, atol=2 * step + 2e-5)


@pytest.mark.parametrize("lookahead", [0, 2])
def test_all_of_the_dry_signal_is_the_input_to_the_sample(tiny_float, tmp_path, noise, lookahead):
    model = write_tiny(tmp_path / "ahead.tflite", lookahead_frames=lookahead)
    enhancer = Enhancer(model)
    enhancer.mix = 1

    np.testing.assert_allclose(enhancer.enhance(noise), noise, rtol=0, atol=1e-6)


@pytest.mark.parametrize("spec", [MASK, INT16_MASK], ids=["int8", "int16"])
def test_all_of_the_dry_signal_is_the_input_in_integers(spec):
    described = manifest(mask=spec)
    features, mask = buffers(described)
    path = FixedPath(described, features, mask)
    path.set_strength(Strength(mix=1.0))
    random = np.random.default_rng(0)
    hops = random.integers(-20000, 20000, (12, 256)).astype(np.int16)
    out = np.zeros_like(hops)

    for hop, result in zip(hops, out, strict=True):
        path.analyse(hop)
        mask[...] = random.integers(-100, 100, mask.shape)
        path.synthesise(result)

    # As near as the transform itself gives back such loud noise.
    np.testing.assert_allclose(out[1:].astype(int), hops[:-1], atol=2)


def test_a_limit_holds_what_the_network_would_remove(tiny, noise):
    enhancer = Enhancer(tiny)
    full = enhancer.enhance(noise)
    enhancer.max_attenuation_db = 1

    limited_output = enhancer.enhance(noise)

    loss = [10 * np.log10(np.mean(x**2) / np.mean(noise**2)) for x in (full, limited_output)]
    assert loss[0] < -2.5
    assert -1.1 < loss[1] < -0.5


def test_strength_changes_between_frames_and_stays_across_resets(tiny, noise):
    frames = noise[: 8 * 256].reshape(8, 256)
    steady, changed = Enhancer(tiny), Enhancer(tiny)
    steady.mix = 1.0
    for frame in frames[:4]:
        steady.process(frame), changed.process(frame)

    changed.mix = 1.0
    changed.process(frames[4])  # the last of the old strength is in its overlap
    np.testing.assert_allclose(
        changed.process(frames[5]), steady_output(steady, frames[4:6]), atol=1e-6
    )

    for enhancer in (changed, steady):
        enhancer.reset()
    np.testing.assert_array_equal(changed.process(frames[0]), steady.process(frames[0]))
    assert changed.mix == 1.0


def steady_output(enhancer: Enhancer, frames: np.ndarray) -> np.ndarray:
    outputs = [enhancer.process(frame) for frame in frames]
    return outputs[-1]


def test_full_strength_gives_the_same_bits_as_before(tiny, noise):
    enhancer = Enhancer(tiny)
    before = enhancer.enhance(noise)

    enhancer.max_attenuation_db, enhancer.mix = 6, 0.5
    assert not np.array_equal(enhancer.enhance(noise), before)
    enhancer.max_attenuation_db, enhancer.mix = None, 0

    np.testing.assert_array_equal(enhancer.enhance(noise), before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("max_attenuation_db", -0.1),
        ("max_attenuation_db", 100.1),
        ("max_attenuation_db", float("nan")),
        ("max_attenuation_db", float("inf")),
        ("max_attenuation_db", False),
        ("max_attenuation_db", "12"),
        ("max_attenuation_db", [12]),
        ("mix", -1e-9),
        ("mix", 1.001),
        ("mix", float("nan")),
        ("mix", None),
        ("mix", True),
        ("mix", "a half"),
    ],
)
def test_what_is_out_of_reach_is_refused_and_changes_nothing(tiny_float, name, value):
    enhancer = Enhancer(tiny_float)
    enhancer.max_attenuation_db, enhancer.mix = 9, 0.125

    with pytest.raises(ValueError, match=f"{name} is .*, and has to be a number between 0 and"):
        setattr(enhancer, name, value)

    assert enhancer.strength == Strength(9, 0.125)


def test_gains_are_whole_steps():
    assert (Strength(12).least_gain, Strength(12).dry) == (8231, 0)
    assert (Strength(None).least_gain, Strength(100).least_gain) == (0, 0)
    assert (Strength(0, 1).least_gain, Strength(0, 1).dry) == (ONE, ONE)
    assert Strength(np.float32(6), np.float64(0.5)).dry == ONE // 2


def with_strength(model: Path, path: Path, strength: Strength) -> Path:
    data, described = read_model(model)
    path.write_bytes(attach_manifest(data, replace(described, strength=strength)))
    return path


def test_a_model_says_what_holds_where_nothing_is_asked_for(tiny, tmp_path, noise):
    asked = Enhancer(tiny)
    asked.max_attenuation_db, asked.mix = 6, 0.25

    told = Enhancer(with_strength(tiny, tmp_path / "told.tflite", Strength(6.0, 0.25)))

    assert told.strength == Strength(6.0, 0.25)
    np.testing.assert_array_equal(told.enhance(noise), asked.enhance(noise))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ({"max_attenuation_db": 101.0, "mix": 0.0}, "max_attenuation_db is 101.0"),
        ({"max_attenuation_db": None, "mix": -0.5}, "mix is -0.5"),
        ({"max_attenuation_db": None}, "no mix"),
        ({"max_attenuation_db": "12", "mix": 0.0}, "max_attenuation_db '12'"),
        ({"mix": 0.0, "gate": 1}, "unknown field gate"),
        (12, "strength is 12"),
    ],
)
def test_a_manifest_with_another_strength_is_refused(content, complaint):
    described = json.loads(manifest().to_json()) | {"strength": content}

    with pytest.raises(UserError, match=complaint):
        Manifest.from_json(json.dumps(described), "model.tflite")


def test_a_manifest_from_before_there_was_one_means_full_strength():
    described = json.loads(manifest().to_json())
    del described["strength"]

    assert Manifest.from_json(json.dumps(described), "old.tflite").strength == NONE


def test_enhance_takes_a_limit_and_a_mix(edge_se, tiny_int8, tmp_path, noise):
    told = with_strength(tiny_int8, tmp_path / "told.tflite", Strength(6.0, 0.5))
    soundfile.write(tmp_path / "in.wav", noise, 16000, subtype="FLOAT")
    expected = Enhancer(tiny_int8)
    expected.max_attenuation_db, expected.mix = 12, 0.5

    result = edge_se(
        *("enhance", "in.wav", "out.wav", "--model", told, "--max-attenuation", 12),
    )

    assert result.returncode == 0, result.stderr
    found = soundfile.read(tmp_path / "out.wav", dtype="float32")[0]
    heard = soundfile.read(tmp_path / "in.wav", dtype="float32")[0]
    np.testing.assert_allclose(found, expected.enhance(heard), atol=1e-6)


@pytest.mark.parametrize("command", ["enhance", "stream", "benchmark", "evaluate", "quantize"])
@pytest.mark.parametrize(
    "option", ["--max-attenuation=-1", "--max-attenuation=nan", "--mix=1.5", "--mix=no"]
)
def test_every_command_refuses_strengths_out_of_reach(command, option, capsys):
    assert main([command, option]) == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def test_stream_takes_a_mix(edge_se, tiny_int8, noise, tmp_path):
    pcm = (noise[:2560] * 32767).astype("<i2")
    (tmp_path / "in.raw").write_bytes(pcm.tobytes())
    with (tmp_path / "in.raw").open("rb") as source:
        done = subprocess.run(
            [sys.executable, "-m", "edge_se", "stream", "--model", tiny_int8, "--mix", "1"],
            stdin=source,
            capture_output=True,
            timeout=60,
        )

    out = np.frombuffer(done.stdout, "<i2")
    np.testing.assert_allclose(out[256:2560].astype(int), pcm[: 2560 - 256], atol=1)
