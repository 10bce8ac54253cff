"""Losses by hand; a missing day weighs nothing, neither in the loss nor in the gradient."""

import numpy as np
import pytest
import torch

from models import losses, negative_binomial

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


def test_a_whole_number_stands_for_all_amounts_that_round_to_it() -> None:
    """The loss is the mean of pinball losses of amounts spread over a unit around the count, here by adding up a thousand."""
    target, levels, day = torch.tensor([[3.0]]), torch.tensor([0.3]), torch.ones(1, 1)
    spread = target + torch.linspace(-0.5, 0.5, 1001)
    for quantile in (2.0, 2.7, 3.0, 3.4, 4.1):
        said = torch.full((1, 1, 1), quantile)
        plain = losses.pinball(spread, said.expand(1, 1001, 1), levels, torch.ones(1, 1001))
        found = losses.pinball(target, said, levels, day, torch.ones(1))
        torch.testing.assert_close(found, plain, atol=1e-3, rtol=0)
        exact = losses.pinball(target, said, levels, day, torch.zeros(1))
        torch.testing.assert_close(exact, losses.pinball(target, said, levels, day))


def test_the_negative_binomial_by_hand() -> None:
    """m = 2, a = 1 is geometric with p = 1 / 3: P(k) = (1 / 3) (2 / 3)^k, at most 0, 1, 2 units: 0.333, 0.556, 0.704."""
    count = torch.tensor([[0.0, 1.0, 4.0]])
    expected = -(torch.log(torch.tensor(1 / 3)) + count * torch.log(torch.tensor(2 / 3)))
    found = negative_binomial.deviance(count, torch.tensor(2.0), torch.tensor(1.0))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(
        losses.negative_binomial(count, torch.full((1, 3), 2.0), torch.ones(1, 3), torch.ones(1, 3)),
        expected.mean(dim=1),
    )
    levels = np.array([0.33, 0.34, 0.55, 0.56, 0.71])
    assert negative_binomial.quantiles(np.array([2.0]), np.array([1.0]), levels)[0].tolist() == [0, 1, 1, 2, 3]


def test_negative_binomial_quantiles_are_those_of_draws() -> None:
    generator = np.random.default_rng(3)
    levels = np.array([0.05, 0.45, 0.9, 0.99])
    for mean, dispersion in ((0.2, 2.0), (7.0, 0.3), (400.0, 0.2)):
        draws = generator.poisson(generator.gamma(1 / dispersion, mean * dispersion, 400_000))
        expected = np.quantile(draws, levels, method="inverted_cdf")
        found = negative_binomial.quantiles(np.array([mean]), np.array([dispersion]), levels)[0]
        np.testing.assert_allclose(found, expected, rtol=0.03, atol=0.5)


@pytest.mark.parametrize("loss", [losses.mse, losses.mae])
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
