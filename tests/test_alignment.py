"""What GTCRN's users ask about time: which input an output sample answers, and when it comes."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from calib_data import clips_folder
from edge_se import Enhancer
from edge_se.model_file import built_in_models
from quant.audio.clips import read_clips
from quant.audio.frames import analyse, apply_mask, features, synthesize
from quant.networks.gtcrn.model import MaskingNetwork
from quant.networks.registry import find_network

WINDOW, HOP = 512, 256
SAMPLES = 40 * HOP
# Networks that run frame by frame without looking ahead, with their options.
CAUSAL: tuple[tuple[str, dict[str, object]], ...] = (
    ("gtcrn", {}),
    ("gtcrn_light", {"causal": True}),
    ("gtcrn_unet", {}),
    ("ul_unas", {}),
)
Signal = NDArray[np.float32]


@pytest.fixture(scope="module")
def noise() -> Signal:
    return np.random.default_rng(1).normal(0, 0.1, SAMPLES).astype(np.float32)


@pytest.fixture(scope="module", params=CAUSAL, ids=lambda network: network[0])
def offline(request: pytest.FixtureRequest) -> Callable[[Signal], Signal]:
    """The network over the whole clip at once, with the loop's frames."""
    architecture, options = request.param
    torch.manual_seed(0)
    model = find_network(architecture).create(**options).eval()
    assert isinstance(model, MaskingNetwork)

    @torch.no_grad()
    def enhance(samples: Signal) -> Signal:
        signal = model.signal
        spectra = analyse(torch.from_numpy(samples)[None], signal)
        mask = model.mask(features(spectra, signal).transpose(1, 2)).transpose(1, 2)
        return synthesize(apply_mask(spectra, mask, signal), len(samples), signal)[0].numpy()

    return enhance


@pytest.fixture(scope="module", params=sorted(built_in_models()))
def enhancer(request: pytest.FixtureRequest) -> Enhancer:
    return Enhancer(request.param)


def _looped(enhancer: Enhancer, samples: Signal) -> Signal:
    enhancer.reset()
    return np.concatenate([enhancer.process(hop).copy() for hop in samples.reshape(-1, HOP)])


def _first_difference(a: Signal, b: Signal) -> int:
    return int(np.flatnonzero(a != b)[0])


@pytest.mark.parametrize("changed", [0, 255, 256, 3000, 5119, SAMPLES - 1])
def test_a_sample_changes_no_output_before_its_first_frame(
    offline: Callable[[Signal], Signal], changed: int, noise: Signal
) -> None:
    """Aligned with its input, an output sample looks ahead by its window's rest at most."""
    other = noise.copy()
    other[changed] += 0.5

    first = _first_difference(offline(noise), offline(other))

    assert first >= (changed // HOP) * HOP - (WINDOW - HOP)


# At a Hann window's last samples less is left of the change than a step of 16 bits.
@pytest.mark.parametrize("changed", [0, 255, 256, 3000, 5119, SAMPLES - 16])
def test_a_sample_changes_nothing_that_the_loop_gave_out_before_its_hop(
    enhancer: Enhancer, changed: int, noise: Signal
) -> None:
    other = noise.copy()
    other[changed] += 0.5

    before, after = _looped(enhancer, noise), _looped(enhancer, other)

    start = (changed // HOP) * HOP
    np.testing.assert_array_equal(before[:start], after[:start])
    assert (before[start:] != after[start:]).any()


def test_the_first_hop_out_holds_only_what_lies_before_the_signal(
    enhancer: Enhancer, noise: Signal
) -> None:
    """Its frame is half zeros, half the first hop; its first half answers the zeros before."""
    first = _looped(enhancer, noise[:HOP])

    assert np.square(first).mean() < 0.01 * np.square(noise[:HOP]).mean()


def test_the_loop_delays_by_window_minus_hop(enhancer: Enhancer) -> None:
    """By correlation, on a signal that the network lets through: speech from a clip."""
    clip = read_clips(clips_folder() / "clean", 16000).clips[0].samples
    speech = clip[: len(clip) // HOP * HOP].astype(np.float32)

    out = _looped(enhancer, speech)

    spectrum = np.fft.rfft(out, 2 * len(out)) * np.conj(np.fft.rfft(speech, 2 * len(out)))
    lag = int(np.argmax(np.fft.irfft(spectrum)[: len(out)]))
    assert lag == enhancer.latency_samples == WINDOW - HOP
