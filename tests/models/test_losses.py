"""Losses by hand; a missing day weighs nothing, neither in the loss nor in the gradient."""

import pytest
import torch

from models import losses

NAN = float("nan")
TARGET = torch.tensor([[2.0, 4.0], [1.0, NAN]])
SEEN = losses.day_weights(TARGET)


def test_losses_by_hand() -> None:
    point = torch.tensor([[3.0, 4.0], [3.0, 9.0]])
    torch.testing.assert_close(losses.mse(TARGET, point, SEEN), torch.tensor([0.5, 4.0]))
    torch.testing.assert_close(losses.mae(TARGET, point, SEEN), torch.tensor([0.5, 2.0]))
    levels = torch.tensor([0.1, 0.9])
    quantiles = torch.stack([point - 1, point], dim=2)
    # window 0, day 0: |2-2| * .. = 0 and 2 * 0.1 * 1; day 1: 2 * 0.1 * 1 and 0; window 1: 2 * 0.9 * 1 and 2 * 0.1 * 2
    expected = torch.tensor([(0.1 + 0.1) / 2, (1.8 + 0.4) / 2])
    torch.testing.assert_close(losses.pinball(TARGET, quantiles, levels, SEEN), expected)


def test_the_poisson_deviance_is_least_at_the_mean() -> None:
    sales = torch.tensor([[0.0, 0.0, 0.0, 4.0]])
    means = torch.linspace(0.2, 3.0, 57)
    values = [float(losses.poisson_deviance(sales, m.expand(1, 4), torch.ones(1, 4))) for m in means]
    assert float(means[values.index(min(values))]) == pytest.approx(1.0)


@pytest.mark.parametrize("loss", [losses.mse, losses.mae, losses.poisson_deviance])
def test_a_missing_day_has_no_gradient(loss: object) -> None:
    point = torch.tensor([[3.0, 4.0], [3.0, 9.0]], requires_grad=True)
    loss(TARGET, point, SEEN).sum().backward()  # type: ignore[operator]
    assert point.grad is not None and torch.isfinite(point.grad).all()
    assert point.grad[1, 1] == 0 and point.grad[1, 0] != 0


def test_days_that_few_windows_have_count_for_more() -> None:
    target = torch.tensor([[1.0, 1.0], [1.0, NAN], [1.0, NAN], [1.0, NAN]])
    weights = losses.day_weights(target, by_maturity=True)
    torch.testing.assert_close(weights, torch.tensor([[1.0, 4.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]]))


def test_window_weights_lie_between_the_two_metrics_and_are_bounded() -> None:
    error, scale = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 100.0, 1.0])
    weights = losses.window_weights(error, torch.tensor(0.5), scale)
    torch.testing.assert_close(weights[0], torch.tensor(2.0))
    torch.testing.assert_close(weights[1], torch.tensor(20.0))
    assert torch.isfinite(weights).all() and weights.max() <= 20
