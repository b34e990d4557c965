"""Networks are named on the command line, or by the checkpoint itself."""

import argparse

import pytest
import torch
from safetensors.torch import save_file

from quant.commands.options import add_network_arguments
from quant.networks.checkpoint import network_metadata
from quant.networks.registry import find_network


@pytest.fixture
def light(tmp_path):
    """A checkpoint of an untrained GTCRN-Light that does not say what it is."""
    torch.manual_seed(0)
    torch.save(find_network("gtcrn_light").create().state_dict(), tmp_path / "light.pt")
    return tmp_path / "light.pt"


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("causal=true", ("causal", True)),
        ("up_sampling_after=2", ("up_sampling_after", 2)),
        ("fusion=gated", ("fusion", "gated")),
    ],
)
def test_values_are_numbers_truths_or_words(text, option):
    parser = argparse.ArgumentParser()
    add_network_arguments(parser)

    assert parser.parse_args(["--network-option", text]).network_option == [option]


@pytest.mark.parametrize(("causal", "latency"), [("false", "352 ms of it"), ("true", "32 ms algo")])
def test_a_named_network_is_quantized_and_inspected(main, light, causal, latency):
    options = ("--architecture", "gtcrn_light", "--network-option", f"causal={causal}")

    made = main("quantize", light, *options, "--precision", "float", "--out", "light.tflite")
    shown = main("inspect", "light.tflite")

    assert (made[0], shown[0]) == (0, 0)
    assert latency in shown[1] and f"causal {causal.title()}" in shown[1]


def test_a_checkpoint_that_names_its_network_needs_no_option(main, tmp_path):
    options = {"fusion": "gated", "up_sampling_after": 2}
    network = find_network("gtcrn_unet").create(**options)
    metadata = network_metadata("gtcrn_unet", options)
    save_file(network.state_dict(), tmp_path / "unet.safetensors", metadata)

    code, output, _ = main("convert", "unet.safetensors", "--out", "unet.onnx")

    assert code == 0 and "gtcrn_unet from unet.safetensors" in output


def test_a_checkpoint_is_known_by_its_keys(main, light):
    code, output, _ = main("quantize", light, "--precision", "float", "--out", "light.tflite")

    assert code == 0 and "light.tflite: gtcrn_light from" in output


def test_a_checkpoint_of_another_layout_is_told_its_nearest(main, light):
    options = ("--architecture", "gtcrn", "--precision", "float", "--out", "light.tflite")

    code, _, errors = main("quantize", light, *options)

    assert code == 2 and "the nearest known layout is that of gtcrn_light" in errors


def test_a_value_that_is_none_is_refused(main, light):
    options = ("--architecture", "gtcrn_light", "--network-option", "causal=perhaps")

    code, _, errors = main("quantize", light, *options, "--precision", "float", "--out", "x.tflite")

    assert code == 2 and "causal is 'perhaps'" in errors
