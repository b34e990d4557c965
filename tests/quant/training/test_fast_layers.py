"""The faster layers give torch's results and gradients, under torch's parameter names."""

import copy

import pytest
import torch
from torch import nn

from quant.networks.registry import find_network
from quant.networks.ul_unas.model import AffinePReLU, Attention
from quant.training.cpu.library import is_compiled_for, library
from quant.training.fast_layers import fast_on_gpu, replace_layers, use_fast_layers
from tests.helpers.running import randomize

# Those that are compiled compute in float32.
COMPILED = [
    (nn.GRU(8, 4, batch_first=True, bidirectional=True), (21, 9, 8)),
    (nn.GRU(3, 16, batch_first=True), (2, 11, 3)),
    (nn.GRU(8, 5, batch_first=True), (8, 1, 8)),
    (nn.BatchNorm2d(6), (3, 6, 5, 7)),
    (randomize(AffinePReLU(6, 7), 0), (3, 6, 5, 7)),
    (Attention(6), (3, 6, 5, 37)),
]
LAYERS = [
    (nn.PReLU(), (2, 3, 5, 7)),
    (nn.ConvTranspose2d(16, 2, (1, 5), stride=(1, 2), padding=(0, 2)), (2, 16, 4, 9)),
    (nn.ConvTranspose2d(16, 8, (1, 5), stride=(1, 2), padding=(0, 2), groups=2), (2, 16, 4, 9)),
    (nn.ConvTranspose2d(8, 8, (2, 3), padding=(1, 1), groups=8), (2, 8, 6, 9)),
    (Attention(6), (3, 6, 5, 7)),  # as it is, when it is not float32
]


@pytest.fixture(params=[1, 3])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


def run(layer, inputs):
    inputs = inputs.clone().requires_grad_()
    output = layer(inputs)
    output = output[0] if isinstance(output, tuple) else output
    weights = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view(output.shape)
    (output * weights).sum().backward()
    return [output.detach(), inputs.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value))
def test_a_fast_layer_equals_torchs_in_output_and_gradients(layer, shape):
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    original = nn.Sequential(copy.deepcopy(layer)).double()
    fast = copy.deepcopy(original)

    use_fast_layers(fast)

    assert type(fast[0]) is not type(original[0])
    for actual, expected in zip(run(fast[0], inputs), run(original[0], inputs), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("layer", "shape"), COMPILED, ids=lambda value: str(value))
def test_a_compiled_layer_equals_torchs_up_to_rounding(layer, shape, threads):
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0)) + 0.1
    fast = nn.Sequential(copy.deepcopy(layer))
    original = copy.deepcopy(fast).double()

    use_fast_layers(fast)

    assert type(fast[0]) is not type(original[0]) and is_compiled_for(inputs)
    expected = [*run(original[0], inputs.double()), *statistics(original)]
    actual = [*run(fast[0], inputs), *statistics(fast)]
    for values, exact in zip(actual, expected, strict=True):
        torch.testing.assert_close(values.double(), exact, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("compiler", ["false", "no-such-compiler"])
def test_without_a_compiler_training_says_so_and_goes_on(compiler, monkeypatch, capfd):
    monkeypatch.setenv("CC", compiler)
    library.cache_clear()
    layer = nn.Sequential(nn.GRU(3, 4, batch_first=True))
    inputs = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    expected = run(layer[0], inputs)
    use_fast_layers(layer)
    try:
        actual = run(layer[0], inputs)
    finally:
        library.cache_clear()

    assert all(torch.equal(*pair) for pair in zip(actual[:2], expected[:2], strict=True))
    said = capfd.readouterr().err
    assert said.count("training with torch's own layers, which takes longer") == 1
    assert compiler in said


def statistics(layer):
    return [value.double() for value in layer.buffers()]


GPU_LAYERS = [
    (nn.BatchNorm2d(6), (3, 6, 5, 7)),
    (nn.Conv2d(16, 8, (1, 5), stride=(1, 2), padding=(0, 2), groups=2), (2, 16, 4, 9)),
    (nn.ConvTranspose2d(8, 8, (3, 3), padding=(4, 1), dilation=(2, 1), groups=8), (2, 8, 9, 5)),
    (nn.ConvTranspose2d(8, 12, (1, 1), bias=False), (2, 8, 4, 5)),
]


@pytest.mark.parametrize(("layer", "shape"), GPU_LAYERS, ids=lambda value: str(value))
def test_a_layer_for_gpus_equals_torchs_on_a_cpu_too(layer, shape):
    inputs = 2 + torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    original = nn.Sequential(copy.deepcopy(layer)).double()
    with torch.no_grad():
        for parameter in original.parameters():
            parameter.add_(0.3 * torch.arange(parameter.numel()).view(parameter.shape).sin())
    fast = copy.deepcopy(original)

    replace_layers(fast, fast_on_gpu)

    assert type(fast[0]) is not type(original[0])
    for actual, expected in zip(run(fast[0], inputs), run(original[0], inputs), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    for actual, expected in zip(statistics(fast), statistics(original), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-10)
    evaluated = [sequence.eval()(inputs) for sequence in (fast, original)]
    torch.testing.assert_close(*evaluated, rtol=1e-10, atol=1e-10)


def test_the_state_dict_stays_as_it_was():
    model = find_network("gtcrn").create()
    before = {name: value.clone() for name, value in model.state_dict().items()}

    use_fast_layers(model)

    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("network", ["gtcrn", "ul_unas"])
def test_the_whole_network_gives_the_same_output(network):
    model = find_network(network).create().eval()
    spectrogram = torch.randn(1, 257, 12, 2, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = model(spectrogram)
        use_fast_layers(model)
        actual = model(spectrogram)

    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
