"""The penalty on rare, large activations."""

import pytest
import torch

from quant.training.outliers import OutlierPenalty, relative_excess


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


def test_gradient_pulls_the_outlier_down_and_leaves_the_others() -> None:
    x = torch.cat([torch.ones(999), torch.tensor([500.0])]).requires_grad_()

    relative_excess(x).backward()

    assert x.grad is not None
    assert x.grad[-1] > 0 and torch.equal(x.grad[:-1], torch.zeros(999))


def test_only_training_is_watched() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(1), torch.nn.PReLU())
    penalty = OutlierPenalty(model, bound=1.0)
    x = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))

    with torch.inference_mode():  # as validation runs it
        model.eval()(x)
    model.train()(x)

    y = torch.nn.functional.batch_norm(x, None, None, training=True)
    expected = (relative_excess(y, 1.0) + relative_excess(torch.where(y > 0, y, 0.25 * y), 1.0)) / 2
    assert float(penalty.take()) == pytest.approx(float(expected), rel=1e-4)
