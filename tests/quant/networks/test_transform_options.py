"""Networks that were trained with another hop or analysis window than upstream's release."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

import quant
from calib_data import clips_folder
from edge_se import Enhancer
from edge_se.core import load_core
from edge_se.errors import UserError
from edge_se.signal import WINDOW_FUNCTIONS
from quant.audio.clips import read_clips
from quant.checkpoints import default_checkpoint_path
from quant.graph.recipes import find_recipe
from quant.networks.checkpoint import load_checkpoint, network_metadata
from quant.networks.registry import find_network
from quant.training.checkpoint import write_tensors

WINDOW = 512


@pytest.fixture(scope="module")
def speech() -> np.ndarray:
    """Four seconds, float32 at 16 kHz."""
    clip = read_clips(clips_folder() / "clean", 16000).clips[0].samples[:64000]
    return clip.astype(np.float32)


def as_trained(
    model: torch.nn.Module, samples: np.ndarray, hop: int, window: str, length: int
) -> np.ndarray:
    """Output of a network between torch's own transforms, as training code has them."""
    shape = torch.from_numpy(WINDOW_FUNCTIONS[window](length).astype(np.float32))
    given = torch.from_numpy(samples)[None]
    spectrum = torch.stft(given, WINDOW, hop, length, shape, return_complex=True)
    with torch.no_grad():
        masked = model(torch.view_as_real(spectrum))
    enhanced = torch.view_as_complex(masked.contiguous())
    return torch.istft(enhanced, WINDOW, hop, length, shape, length=len(samples))[0].numpy()


@pytest.mark.parametrize(
    ("options", "engines"),
    [
        ({"window_function": "hann"}, ("tflite", "c")),
        ({"window_function": "hamming"}, ("tflite", "c")),
        ({"hop": 128}, ("tflite",)),
        ({"hop": 128, "window_function": "hann"}, ("tflite",)),
        ({"window_length": 400}, ("tflite",)),
        ({"window_length": 400, "hop": 100, "window_function": "hamming"}, ("tflite",)),
    ],
    ids=lambda value: str(value),
)
def test_a_file_computes_what_training_did(tmp_path, speech, options, engines):
    checkpoint = load_checkpoint(default_checkpoint_path(), **options)
    length = options.get("window_length", WINDOW)
    hop = options.get("hop", length // 2)
    window = options.get("window_function", "square_root_hann")
    expected = as_trained(checkpoint.model, speech, hop, window, length)
    path = tmp_path / "model.tflite"

    plain = replace(find_recipe("float"), level_dbfs=None)  # no front end, as in training
    quant.quantize(default_checkpoint_path(), precision=plain, network_options=options).save(path)

    for engine in engines:
        if engine == "c" and load_core() is None:
            pytest.skip("this installation has no compiled core (no C compiler)")
        enhancer = Enhancer(path, engine=engine)
        assert enhancer.hop_size == hop
        # Before the signal there are reflections there, and zeros in a stream; that is forgotten.
        later = slice(16000, -2 * WINDOW)
        found = enhancer.enhance(speech)
        np.testing.assert_allclose(found[later], expected[later], atol=1e-4)


def test_what_was_trained_with_an_option_says_so(tmp_path):
    options: dict[str, Any] = {"hop": 128, "window_function": "hann", "window_length": 400}
    model = find_network("gtcrn").create(**options)
    path = tmp_path / "trained.safetensors"
    write_tensors(path, model.state_dict(), network_metadata("gtcrn", options))

    signal = load_checkpoint(path).signal

    assert (signal.hop, signal.window_function, signal.window) == (128, "hann", 400)
    assert signal.bins == 257


@pytest.mark.parametrize(
    ("name", "shape", "read"),
    [
        ("stft.window", torch.hann_window(512), "hann"),
        ("window", torch.hann_window(512).bfloat16(), "hann"),
        ("stft.win", torch.hann_window(512, periodic=False), "hann"),
        ("istft.window", torch.hann_window(512).sqrt(), "square_root_hann"),
        ("window", torch.hamming_window(512), "hamming"),
        ("window", torch.blackman_window(512), "square_root_hann"),
        ("stft.window", torch.hann_window(1024), "square_root_hann"),
        ("stft_loss.window", torch.hann_window(512), "square_root_hann"),
    ],
)
def test_a_window_beside_the_weights_is_read(tmp_path, name, shape, read):
    """Which training code may keep as a buffer; that of a loss says nothing."""
    weights = load_checkpoint(default_checkpoint_path()).model.state_dict() | {name: shape}
    path = tmp_path / "model.pt"
    torch.save({"model": weights}, path)

    checkpoint = load_checkpoint(path)

    assert checkpoint.signal.window_function == read
    told = [note for note in checkpoint.notes if note.startswith(f"took {read}")]
    assert len(told) == (read != "square_root_hann")
    left_out = [note for note in checkpoint.notes if note.startswith("left out")]
    assert len(left_out) == (read == "square_root_hann")
    given = load_checkpoint(path, window_function="square_root_hann")
    assert given.signal.window_function == "square_root_hann"


def test_a_shorter_window_beside_the_weights_is_read(tmp_path):
    weights = load_checkpoint(default_checkpoint_path()).model.state_dict()
    path = tmp_path / "model.pt"
    torch.save(weights | {"stft.window": torch.hann_window(400)}, path)

    found, given = load_checkpoint(path), load_checkpoint(path, hop=100)

    assert (found.signal.window, found.signal.hop, found.signal.points) == (400, 200, 512)
    told = "took hann of 400 samples for the window, whose values are beside the weights"
    assert f"{told} and hops of 200 (or name them: --network-option hop=N)" in found.notes
    assert (given.signal.window, given.signal.hop) == (400, 100)
    assert told in given.notes
    whole = load_checkpoint(path, window_length=512, window_function="square_root_hann")
    assert whole.signal == load_checkpoint(default_checkpoint_path()).signal


@pytest.mark.parametrize("name", ["gtcrn", "gtcrn_light", "gtcrn_unet", "ul_unas"])
def test_every_network_of_frames_has_these_options(name):
    network = find_network(name)
    usual = network.signal(network.create())
    other = "hann" if usual.window_function != "hann" else "square_root_hann"

    changed = network.signal(network.create(hop=128, window_function=other, window_length=400))

    assert (changed.hop, changed.window_function, changed.window) == (128, other, 400)
    assert changed.bins == usual.bins
    assert network.signal(network.create()) == usual


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop": 512}, "a hop of 512 samples does not fit windows of 512"),
        ({"hop": 257}, "take a whole number up to 256"),
        ({"hop": 0}, "a hop of 0 samples"),
        ({"hop": 12.5}, "a hop of 12.5 samples"),
        ({"hop": True}, "a hop of True samples"),
        ({"hop": "many"}, "a hop of many samples"),
        ({"window_length": 400, "hop": 256}, "a hop of 256 samples does not fit windows of 400"),
        ({"window_length": 514}, "a window of 514 samples does not fit 512 points"),
        ({"window_length": 401}, "take an even number up to 512"),
        ({"window_length": 0}, "a window of 0 samples"),
        ({"window_length": "400 samples"}, "a window of 400 samples samples"),
        ({"window_function": "kaiser"}, "choose one of: square_root_hann, hann, hamming"),
        ({"window_function": 3}, "choose one of: square_root_hann, hann, hamming"),
    ],
)
def test_values_that_make_no_sense_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        find_network("gtcrn").create(**options)
