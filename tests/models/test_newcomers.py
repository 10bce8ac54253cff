"""Newcomers: mixtures against samples drawn from them, levels and factors against numbers worked out by hand."""

import numpy as np
import pytest

from models.forecast import Forecast
from models.newcomers import (
    Launch,
    OwnDays,
    continued,
    launch_factor,
    launches_of,
    likeness,
    mixed,
    of_siblings,
    replacing,
    trust_in,
)
from models.panel import Panel
from models.training_config import LEVELS

START = np.datetime64("2025-01-01")


def flat(*levels: float, horizon: int = 3) -> Forecast:
    """Siblings that sell between 0 and twice their level, evenly."""
    mean_SH = np.repeat(np.float32(levels)[:, None], horizon, axis=1)
    quantiles_SHQ = mean_SH[..., None] * 2 * np.float32(LEVELS)
    return Forecast(mean_SH, quantiles_SHQ, np.array(LEVELS))


def test_the_mixture_is_that_of_samples_drawn_from_the_siblings_by_weight() -> None:
    mean_H, quantiles_HQ = of_siblings(flat(1.0, 10.0), np.array([3.0, 1.0]))
    assert mean_H == pytest.approx([3.25] * 3)
    rng = np.random.default_rng(0)
    level = np.where(rng.random(200_000) < 0.75, 1.0, 10.0)
    drawn = np.quantile(rng.random(200_000) * 2 * level, LEVELS)
    np.testing.assert_allclose(quantiles_HQ[0], drawn, atol=0.45)
    assert (np.diff(quantiles_HQ, axis=1) >= 0).all()


def test_likeness_counts_shared_attributes_and_the_location_and_nothing_without_any() -> None:
    own = {"category": "tea", "brand": "Alp"}
    others = [{"category": "tea", "brand": "Alp"}, {"category": "tea", "brand": "B"}, {"category": "milk"}]
    assert likeness(own, others, [True, False, True]).tolist() == [27.0, 1.0, 0.0]


def test_own_days_give_the_level_and_siblings_of_that_level_the_shape() -> None:
    weight = np.ones(2)
    mean_H, _ = of_siblings(flat(3.0, 3.0), weight, own=OwnDays(7, 70.0))
    assert mean_H == pytest.approx([(7 * 10.0 + 3.0) / 8] * 3)  # a day's worth is what siblings say
    unlike = flat(0.1, 10.0)
    unlike.quantiles_SHQ[0] = 0.1  # always the same: nothing of that shape is left where ten a day are sold
    _, quantiles_HQ = of_siblings(unlike, weight, own=OwnDays(7, 70.0))
    np.testing.assert_allclose(quantiles_HQ[0], 20.0 * np.array(LEVELS), atol=0.3)
    mean_H, quantiles_HQ = of_siblings(flat(3.0, 3.0), weight, own=OwnDays(13, 0.0))
    assert mean_H == pytest.approx([3.0 / 14] * 3)
    assert (quantiles_HQ >= 0).all()
    assert of_siblings(flat(2.0, 4.0), weight, factor=0.5)[0] == pytest.approx([1.5] * 3)
    silent, _ = of_siblings(flat(0.0), np.ones(1), own=OwnDays(7, 7.0))
    assert np.isfinite(silent).all()


def test_first_weeks_are_compared_with_siblings_that_were_there_already() -> None:
    quantity = np.full((3, 200), 4.0, np.float32)
    quantity[1, :100] = np.nan
    quantity[1, 100:] = 1.0
    quantity[2, :190] = np.nan  # its first weeks are not over
    panel = Panel(list("abc"), [""] * 3, START, quantity)
    assert launches_of(panel, [0, 1, 2], 199) == [Launch("b", 28.0, 4.0 * 28)]
    assert launches_of(panel, [0, 1, 2], 110) == []
    assert launch_factor([]) == launch_factor([Launch("b", 5.0, 0.0)]) == 1.0
    assert launch_factor([Launch(sku, 28.0, 112.0) for sku in "abcdefghij"]) == pytest.approx((1 / 3) ** 0.5)
    assert launch_factor([Launch("a", 112.0, 56.0)] * 30) == pytest.approx(2 ** (1 / 11))  # one item, however often


def test_a_replaced_series_stands_in_for_the_past_and_own_days_stand_before_it() -> None:
    old = Panel(["old"], ["s"], START, np.float32([[1, 2, 3, 4]]), {"promo": np.float32([[0, 0, 0, 1, 1, 1, 1, 1]])})
    own = Panel(
        ["new"], ["s"], START, np.float32([[np.nan, np.nan, 9, np.nan]]), {"promo": np.full((1, 8), np.nan, np.float32)}
    )
    own.known["promo"][0, 5] = 0.5
    found = replacing(old, 5, key=("new", "s"), static={"brand": "x"}, own=own)
    np.testing.assert_array_equal(found.quantity_ST, [[1, 2, 9, 4, np.nan, np.nan]])
    np.testing.assert_array_equal(found.known["promo"], [[0, 0, 0, 1, 1, 0.5, 1, 1]])
    assert found.keys == [("new", "s")] and found.static == {"brand": ["x"]}
    assert replacing(old, 3, key=("new", "s"), static={}, own=None).quantity_ST.tolist() == [[1, 2, 3, 4]]


def test_what_is_replaced_is_believed_as_far_as_own_days_agree_with_it() -> None:
    def one(*quantities: float) -> Panel:
        return Panel(["x"], [""], START, np.float32([quantities]))

    def own(quantity: float, days: int) -> Panel:
        return one(*[np.nan] * (70 - days), *[quantity] * days, 999.0)

    old = one(*[40.0] * 7, *[4.0] * 56, *[1.0] * 7, 999.0)  # it is sold off while the new one is there already
    assert trust_in(old, own(np.nan, 7), 69) == 1.0  # nothing speaks against it
    assert trust_in(old, own(4.0, 7), 69) == pytest.approx(1.0)
    steady = one(*[4.0] * 71)
    tenth, double, more_days = (trust_in(steady, own(q, days), 69) for q, days in ((0.4, 7), (8.0, 7), (8.0, 28)))
    assert tenth < 0.05 < more_days < double < 1
    late = one(*[np.nan] * 66, *[4.0] * 5)  # it began after the new one: its own days are all there is
    assert trust_in(late, own(4.0, 7), 69) == pytest.approx(1.0)
    assert trust_in(one(*[np.nan] * 71), own(4.0, 7), 69) == 0.0


def test_a_mixture_of_two_is_the_one_the_other_or_between() -> None:
    figures = [(one.mean_SH[0], one.quantiles_SHQ[0]) for one in (flat(1.0), flat(10.0))]
    assert mixed(figures[0], figures[1], 1.0) == figures[0]
    mean_H, quantiles_HQ = mixed(figures[0], figures[1], 0.75)
    assert mean_H == pytest.approx([3.25] * 3)
    np.testing.assert_allclose(quantiles_HQ, of_siblings(flat(1.0, 10.0), np.array([3.0, 1.0]))[1])
    np.testing.assert_allclose(mixed(figures[0], figures[1], 0.0)[0], figures[1][0])


def test_past_the_horizon_the_last_week_repeats() -> None:
    mean_H = np.arange(10, dtype=np.float32)
    mean, quantiles = continued(mean_H, np.repeat(mean_H[:, None], 2, axis=1), 20)
    assert mean.tolist() == [*range(10), 3, 4, 5, 6, 7, 8, 9, 3, 4, 5]
    assert quantiles[:, 1].tolist() == mean.tolist()
    assert continued(mean_H, np.zeros((10, 2), np.float32), 4)[0].tolist() == [0, 1, 2, 3]
