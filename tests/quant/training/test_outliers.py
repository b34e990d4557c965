"""The penalty on rare, large activations."""

import pytest
import torch

from quant.training.outliers import BOUND, OutlierPenalty, watched


def relative_excess(x: torch.Tensor, bound: float = BOUND) -> torch.Tensor:
    return watched(x, bound)[1]


def test_nothing_within_the_bound_costs() -> None:
    x = torch.tensor([1.0, -1.0, 2.0, -2.0])

    assert relative_excess(x, bound=6.0) == 0


def test_what_exceeds_the_bound_costs_its_square_in_units_of_the_usual_size() -> None:
    x = torch.zeros(10000)
    x[0] = 100.0  # root mean square 1

    assert float(relative_excess(x, bound=10.0)) == pytest.approx(90.0**2 / 10000, rel=1e-4)


def test_scaling_everything_changes_nothing() -> None:
    x = torch.randn(1000, generator=torch.Generator().manual_seed(0)).pow(3)

    expected = float(relative_excess(x, 3.0))

    assert float(relative_excess(1000 * x, 3.0)) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # compiled, and torch's
def test_gradient_pulls_outliers_to_the_bound_and_leaves_the_others(dtype: torch.dtype) -> None:
    x = torch.cat([torch.ones(9998), torch.tensor([500.0, -400.0])]).to(dtype).requires_grad_()
    usual = float(x.detach().square().mean().sqrt())

    relative_excess(x).backward()

    assert x.grad is not None and torch.equal(x.grad[:-2], torch.zeros(9998, dtype=dtype))
    unit = 2 / (usual**2 * 10000)
    expected = [unit * (500 - 6 * usual), unit * (-400 + 6 * usual)]
    assert x.grad[-2:].tolist() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_watched_gets_the_penaltys_gradient_beside_its_own(dtype: torch.dtype) -> None:
    layer = torch.nn.BatchNorm2d(1, dtype=dtype)
    penalty = OutlierPenalty(layer, bound=1.0)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(dtype)

    (layer(x).pow(3).sum() + 5 * penalty.take()).backward()
    watched = layer.bias.grad
    y = torch.nn.functional.batch_norm(x, None, None, training=True).requires_grad_()
    (y.pow(3).sum() + 5 * relative_excess(y, 1.0)).backward()

    assert watched is not None and y.grad is not None
    torch.testing.assert_close(watched[0], y.grad.sum(), rtol=1e-4, atol=1e-4)


def test_only_training_is_watched() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.PReLU())
    penalty = OutlierPenalty(model, bound=1.0)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():  # as validation runs it
        model.eval()(x)
    model.train()(x)

    y = torch.nn.functional.batch_norm(x, None, None, training=True)
    expected = (relative_excess(y, 1.0) + relative_excess(torch.where(y > 0, y, 0.25 * y), 1.0)) / 2
    assert float(penalty.take().detach()) == pytest.approx(float(expected), rel=1e-4)
