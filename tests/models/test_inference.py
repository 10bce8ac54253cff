"""What a forecast may read and what it must survive."""

from dataclasses import replace

import numpy as np
import pytest

from models.forecaster import Forecaster
from models.inference import MINIMUM_DAYS, answerable, predict
from models.panel import Panel
from models.training import Trained, train
from models.windows import MEMORY
from tests.models.panels import START, make_panel, small

LAST = 159


@pytest.fixture
def forecaster(trained: Trained) -> Forecaster:
    return trained.forecaster


def sound(forecaster: Forecaster, panel: Panel, cutoff: int = LAST) -> np.ndarray:
    """The means of a forecast whose values are all finite, ordered and at least zero."""
    forecast = predict(forecaster, panel, cutoff)
    assert np.isfinite(forecast.mean_SH).all() and np.isfinite(forecast.quantiles_SHQ).all()
    assert (forecast.mean_SH >= 0).all() and (forecast.quantiles_SHQ >= 0).all()
    assert (np.diff(forecast.quantiles_SHQ, axis=2) >= 0).all()
    return forecast.mean_SH


def with_series(quantity: np.ndarray) -> Panel:
    return Panel(["new"], [""], START, quantity.astype(np.float32)[None])


def test_nothing_after_the_cutoff_changes_a_forecast(forecaster: Forecaster) -> None:
    panel = make_panel()
    shuffled = replace(panel, quantity_ST=panel.quantity_ST.copy())
    shuffled.quantity_ST[:, 121:] = np.random.default_rng(1).permutation(shuffled.quantity_ST[:, 121:], axis=1) * 7 + 3
    ours, theirs = predict(forecaster, panel, 120), predict(forecaster, shuffled, 120)
    np.testing.assert_array_equal(ours.quantiles_SHQ, theirs.quantiles_SHQ)
    np.testing.assert_array_equal(ours.mean_SH, theirs.mean_SH)
    cut = predict(forecaster, panel.until(START + np.timedelta64(120, "D")), 120)
    np.testing.assert_array_equal(ours.quantiles_SHQ, cut.quantiles_SHQ)


def test_the_future_of_a_past_covariate_changes_no_forecast() -> None:
    rain = np.random.default_rng(2).random((5, 160)).astype(np.float32)
    panel = replace(make_panel(), past={"rain": rain})
    forecaster = train(panel, small(past=("rain",), epochs=1)).forecaster
    later, earlier = rain.copy(), rain.copy()
    later[:, 121:], earlier[:, 115:121] = 0, 0
    ours = predict(forecaster, panel, 120).mean_SH
    np.testing.assert_array_equal(ours, predict(forecaster, replace(panel, past={"rain": later}), 120).mean_SH)
    assert not np.array_equal(ours, predict(forecaster, replace(panel, past={"rain": earlier}), 120).mean_SH)


def test_days_before_the_context_change_nothing(forecaster: Forecaster) -> None:
    panel = make_panel(days=500)
    cut = Panel(
        panel.skus, panel.locations, START + np.timedelta64(500 - MEMORY, "D"), panel.quantity_ST[:, -MEMORY:].copy()
    )
    assert forecaster.context_days == MEMORY
    np.testing.assert_array_equal(
        predict(forecaster, panel, 499).quantiles_SHQ, predict(forecaster, cut, MEMORY - 1).quantiles_SHQ
    )


def test_each_series_has_its_own_cutoff(forecaster: Forecaster) -> None:
    panel = make_panel()
    mixed = predict(forecaster, panel, np.array([159, 100, 159, 120, 159])).mean_SH
    np.testing.assert_allclose(mixed[1], predict(forecaster, panel, 100).mean_SH[1], rtol=1e-5)
    np.testing.assert_allclose(mixed[3], predict(forecaster, panel, 120).mean_SH[3], rtol=1e-5)


def test_batches_do_not_change_forecasts(forecaster: Forecaster) -> None:
    panel = make_panel()
    np.testing.assert_allclose(
        predict(forecaster, panel, LAST, batch_size=2).mean_SH, predict(forecaster, panel, LAST).mean_SH, rtol=1e-5
    )


def test_a_series_never_seen_is_answered_by_its_history(forecaster: Forecaster) -> None:
    panel = make_panel()
    renamed = replace(panel, skus=[f"unknown-{i}" for i in range(5)])
    means = sound(forecaster, renamed)
    assert (np.diff(means.mean(axis=1)) > 0).all()
    np.testing.assert_allclose(means[4].mean(), np.nanmean(panel.quantity_ST[4]), rtol=0.4)


def test_a_series_of_zeros_is_forecast_near_zero(forecaster: Forecaster) -> None:
    assert sound(forecaster, with_series(np.zeros(160))).max() < 0.5


def test_a_constant_series_is_forecast_near_its_constant(forecaster: Forecaster) -> None:
    means = sound(forecaster, with_series(np.full(160, 250.0)))
    assert (means > 100).all() and (means < 500).all()


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e4])
def test_units_do_not_matter_much(forecaster: Forecaster, factor: float) -> None:
    """Kilograms or grams: only the feature that tells the size of a series may move the forecast."""
    quantity = np.nan_to_num(make_panel(series=1).quantity_ST[0], nan=8)
    means = sound(forecaster, with_series(quantity * factor)) / factor
    assert 3 < means.mean() < 20


def test_one_enormous_value_does_not_drown_the_rest(forecaster: Forecaster) -> None:
    quantity = np.nan_to_num(make_panel(series=1).quantity_ST[0], nan=8)
    usual = sound(forecaster, with_series(quantity)).mean()
    for value in (1e6, 1e12, 1e30):
        broken = quantity.copy()
        broken[150] = value
        assert sound(forecaster, with_series(broken)).mean() < 2 * usual


def test_training_survives_one_enormous_value() -> None:
    panel = make_panel()
    panel.quantity_ST[2, 60] = 1e12
    forecaster = train(panel, small()).forecaster
    assert sound(forecaster, panel).max() < 500


@pytest.mark.parametrize("seen", [0, 1, 5])
def test_a_history_of_almost_nothing_is_survived(forecaster: Forecaster, seen: int) -> None:
    quantity = np.full(160, np.nan)
    quantity[160 - seen :] = 3
    sound(forecaster, with_series(quantity))
    assert not answerable(with_series(quantity), LAST).any()


def test_a_network_may_answer_from_the_minimum_of_days_on() -> None:
    quantity = np.full(160, np.nan)
    quantity[100 : 100 + MINIMUM_DAYS] = 1
    panel = with_series(quantity)
    assert answerable(panel, LAST).all() and not answerable(panel, 100 + MINIMUM_DAYS - 2).any()


def test_a_cutoff_before_the_panel_sees_nothing(forecaster: Forecaster) -> None:
    sound(forecaster, make_panel(), cutoff=-1)


def test_one_series_one_day_ahead_with_a_context_longer_than_the_history() -> None:
    panel = make_panel(series=1, days=60)
    forecaster = train(panel, small(horizon=1, context_length=364, epochs=1)).forecaster
    assert sound(forecaster, panel, 59).shape == (1, 1)


def test_a_horizon_of_a_year() -> None:
    panel = make_panel(series=2, days=800)
    forecaster = train(panel, small(horizon=365, epochs=1, batch_size=16)).forecaster
    assert sound(forecaster, panel, 799).shape == (2, 365)


def test_horizons_are_cut_or_refused(forecaster: Forecaster) -> None:
    panel = make_panel()
    whole, part = predict(forecaster, panel, LAST), predict(forecaster, panel, LAST, horizon=3)
    np.testing.assert_array_equal(whole.quantiles_SHQ[:, :3], part.quantiles_SHQ)
    for horizon in (0, 8):
        with pytest.raises(ValueError, match="outside 1 … 7"):
            predict(forecaster, panel, LAST, horizon=horizon)
