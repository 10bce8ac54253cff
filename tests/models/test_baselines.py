"""The simple methods: their points by hand, their quantiles honest, and answers for histories of any kind."""

from collections.abc import Callable

import numpy as np
import pytest

from models.baselines import (
    climatology,
    exponential_smoothing,
    moving_average,
    seasonal_naive,
)
from models.fallback import fallback
from models.forecast import Forecast
from models.metrics import coverage
from models.panel import Panel
from models.training_config import LEVELS
from tests.models.panels import START, make_panel

METHODS = [seasonal_naive, moving_average, exponential_smoothing, climatology]
MEDIAN = LEVELS.index(0.5)
NAN = np.nan


def one(values: list[float] | np.ndarray) -> Panel:
    return Panel(["a"], [""], START, np.asarray(values, np.float32)[None])


def assert_sound(forecast: Forecast) -> None:
    assert np.isfinite(forecast.mean_SH).all() and np.isfinite(forecast.quantiles_SHQ).all()
    assert (forecast.mean_SH >= 0).all() and (forecast.quantiles_SHQ >= 0).all()
    assert (np.diff(forecast.quantiles_SHQ, axis=2) >= 0).all()


def test_the_seasonal_naive_repeats_the_newest_observed_weekday() -> None:
    weeks = [1.0, 2, 3, 4, 5, 6, 7, 10, 20, 30, NAN, 50, 60, 70]
    forecast = seasonal_naive(one(weeks), 13, 9)
    np.testing.assert_array_equal(forecast.mean_SH[0], [10, 20, 30, 4, 50, 60, 70, 10, 20])


def test_the_moving_average_skips_missing_days() -> None:
    values = np.concatenate([np.full(30, 100.0), np.full(20, 2.0), [NAN] * 4, np.full(4, 8.0)])
    assert moving_average(one(values), 57, 2).mean_SH[0] == pytest.approx([3.0, 3.0])


def test_exponential_smoothing_follows_a_shift_and_keeps_the_weekdays() -> None:
    pattern = np.tile([1.0, 1, 1, 1, 1, 3, 3], 30)
    pattern[-56:] *= 4
    mean = exponential_smoothing(one(pattern), len(pattern) - 1, 7).mean_SH[0]
    assert mean == pytest.approx(4 * np.array([1, 1, 1, 1, 1, 3, 3]), rel=0.25)


def test_climatology_gives_each_weekday_its_own_quantiles() -> None:
    rng = np.random.default_rng(0)
    values = np.stack([rng.permutation(52) if day < 5 else 100 + rng.permutation(52) for day in range(7)], axis=1)
    forecast = climatology(one(values.reshape(-1)), 363, 7)
    assert forecast.quantiles_SHQ[0, 0, MEDIAN] == 25.5 and forecast.quantiles_SHQ[0, 6, MEDIAN] == 125.5
    assert forecast.mean_SH[0] == pytest.approx([25.5] * 5 + [125.5] * 2)


@pytest.mark.parametrize("method", METHODS)
def test_quantiles_cover_what_they_say(method: Callable[..., Forecast]) -> None:
    rng = np.random.default_rng(1)
    quantity = rng.gamma(3, 4, size=(300, 420)).astype(np.float32)
    panel = Panel([str(i) for i in range(300)], [""] * 300, START, quantity)
    forecast = method(panel, 391, 28)
    _, share = coverage(quantity[:, 392:], forecast.quantiles_SHQ)
    for level in (0.1, 0.3, 0.5, 0.7, 0.9):
        assert share[LEVELS.index(level)] == pytest.approx(level, abs=0.03)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_after_the_cutoff_is_read(method: Callable[..., Forecast]) -> None:
    panel = make_panel()
    cut = panel.until(START + np.timedelta64(100, "D"))
    whole, part = method(panel, 100, 10), method(cut, 100, 10)
    np.testing.assert_array_equal(whole.quantiles_SHQ, part.quantiles_SHQ)
    np.testing.assert_array_equal(whole.mean_SH, part.mean_SH)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("horizon", [1, 7, 365])
@pytest.mark.parametrize(
    "values",
    [[5.0], [0.0] * 100, [NAN] * 100, [NAN] * 99 + [3.0], [3.0] + [NAN] * 99, [4.0] * 400, [1.0, 1e30, 2.0] * 20],
    ids=["one day", "zeros", "all missing", "newest day only", "oldest day only", "constant", "enormous"],
)
def test_every_history_is_answered(method: Callable[..., Forecast], horizon: int, values: list[float]) -> None:
    forecast = method(one(values), len(values) - 1, horizon)
    assert forecast.mean_SH.shape == (1, horizon)
    assert_sound(forecast)


def test_the_fallback_names_its_method_by_the_days_there_are() -> None:
    quantity = np.full((4, 100), NAN, np.float32)
    quantity[1, -1], quantity[2, -55:], quantity[3, -56:] = 4, 4, 4
    forecast, methods, dependence = fallback(Panel(list("abcd"), [""] * 4, START, quantity), 99, 30)
    assert methods == ["no_history", "few_days", "few_days", "climatology"]
    assert_sound(forecast)
    assert (forecast.mean_SH[0] == 0).all() and forecast.mean_SH[1:] == pytest.approx(np.full((3, 30), 4.0))
    assert dependence.rows_NH.shape[1] == 30


def test_the_fewer_days_the_wider_the_fallback() -> None:
    spread = []
    for days in (1, 10, 50):
        forecast, _, _ = fallback(one(np.full(days, 6.0)), days - 1, 7)
        quantiles = forecast.quantiles_SHQ[0, 0]
        spread.append(quantiles[LEVELS.index(0.9)] - quantiles[LEVELS.index(0.1)])
    assert spread[0] > spread[1] > spread[2] > 0


def test_the_fallback_reaches_a_year_and_no_further() -> None:
    panel = make_panel()
    forecast, _, dependence = fallback(panel, 159, 365)
    assert forecast.quantiles_SHQ.shape[1] == 365 and dependence.rows_NH.shape[1] == 365
    for horizon in (0, 366):
        with pytest.raises(ValueError, match="outside 1 … 365"):
            fallback(panel, 159, horizon)
