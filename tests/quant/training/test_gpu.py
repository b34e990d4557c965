"""What is computed otherwise on a GPU gives what torch's own layers and single kernels give."""

import copy
import re

import pytest
import torch
from torch import nn

from quant.networks.registry import find_network
from quant.training.fast_layers import use_fast_layers
from quant.training.loop import Budget, RunOptions, Trainer, TrainingSettings

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")

SETTINGS = TrainingSettings(
    batch_size=4,
    seconds=0.5,
    warmup_steps=4,
    outlier_weight=0.5,
    perceptual_weight=5.0,
    si_snr_weight=4.0,
)


LAYERS = [
    (nn.GRU(8, 4, batch_first=True, bidirectional=True), (2500, 33, 8)),
    (nn.GRU(8, 8, batch_first=True), (5, 9, 8)),
    (nn.GRU(8, 16, batch_first=True), (3, 188, 8)),
]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda value: str(value))
def test_a_gru_equals_torchs_in_output_and_gradients(layer, shape):
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = copy.deepcopy(layer).double()
    fast = nn.Sequential(copy.deepcopy(layer).cuda())
    use_fast_layers(fast)

    assert type(fast[0]) is not nn.GRU
    results = []
    for gru, given in ((expected, inputs.double()), (fast[0], inputs.cuda())):
        given.requires_grad_()
        output = gru(given)[0]
        weights = torch.linspace(-1, 1, shape[1]).to(output)
        (output * weights[:, None]).sum().backward()
        gradients = [parameter.grad for parameter in gru.parameters()]
        results.append([tensor.double().cpu() for tensor in (output, given.grad, *gradients)])
    for wanted, found in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


def trainer(out, device="cuda") -> Trainer:
    torch.manual_seed(3)
    options = RunOptions(out, Budget(steps=12), device=device)
    return Trainer(find_network("gtcrn").create(), SETTINGS, options)


def is_bias_before_batchnorm(name: str) -> bool:
    """Whether BatchNorm subtracts it again: its gradient is rounding."""
    return re.search(r"conv\d?\.bias$", name) is not None


def test_replayed_steps_are_steps(tmp_path):
    random = torch.Generator().manual_seed(0)
    batches = [0.1 * torch.randn(2, 4, 8000, generator=random) for _ in range(12)]
    captured, plain = trainer(tmp_path), trainer(tmp_path)

    losses = [captured.step(noisy, clean).item() for noisy, clean in batches]
    plain._optimize_batch = plain._optimize
    expected = [plain.step(noisy.cuda(), clean.cuda()).item() for noisy, clean in batches]

    assert losses == pytest.approx(expected, rel=2e-2)
    assert len(set(losses)) == len(losses)
    for name, value in plain.average.items():
        if is_bias_before_batchnorm(name) or "running_mean" in name:
            continue  # these follow gradients that are nothing but rounding
        torch.testing.assert_close(captured.average[name], value, rtol=0.05, atol=5e-3)
    moved = (captured.average["encoder.en_convs.0.conv.weight"]).std()
    assert torch.isfinite(moved) and captured.progress.step == 12


def test_a_step_is_that_on_a_cpu(tmp_path):
    random = torch.Generator().manual_seed(0)
    noisy, clean = 0.1 * torch.randn(2, 4, 8000, generator=random)
    on_gpu, on_cpu = trainer(tmp_path), trainer(tmp_path, "cpu")

    losses = [run.step(noisy, clean).item() for run in (on_gpu, on_cpu)]

    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    for name, expected in on_cpu.model.state_dict().items():
        found = on_gpu.model.state_dict()[name].cpu()
        if "running" in name:
            torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    for (name, parameter), other in zip(
        on_cpu.model.named_parameters(), on_gpu.model.parameters(), strict=True
    ):
        if parameter.grad is not None and not is_bias_before_batchnorm(name):
            assert other.grad is not None
            similarity = torch.cosine_similarity(
                parameter.grad.flatten(), other.grad.cpu().flatten(), dim=0
            )
            assert similarity > 0.99, name
