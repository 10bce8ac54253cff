"""Training as a caller sees it: what comes out, what it says on the way, and what it refuses."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from models import progress
from models.heldout import NotEnoughHistory, compare, days_needed, hold_out
from models.inference import predict
from models.panel import Panel
from models.progress import Progress, TimeLimitReached
from models.training import TIME_NOTE, Trained, train
from models.training_config import RANGES, ConfigError, ResolvedConfig, TrainingConfig
from tests.models.panels import START, make_panel, small

BASELINE_NAMES = ("seasonal_naive", "moving_average", "exponential_smoothing")


def test_metrics_stand_beside_the_baselines_on_the_same_windows(trained: Trained) -> None:
    metrics = trained.metrics
    assert set(metrics) == {"model", *BASELINE_NAMES, "windows", "horizon", "note"}
    for name in ("model", *BASELINE_NAMES):
        assert {"mse", "mae", "mase", "wape", "sql", "wql", "rmsse", "bias"} < set(metrics[name])
        assert set(metrics[name]["coverage"]) == {"0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8", "0.9"}
    assert "twin before the refit" in metrics["note"]
    split = trained.forecaster.twin.trained_until  # type: ignore[union-attr]
    assert all(np.datetime64(day) >= split for day in metrics["windows"])


def test_a_network_learns_more_than_the_seasonal_naive_knows() -> None:
    metrics = train(make_panel(8), small(epochs=6, width=32)).metrics
    assert metrics["model"]["wql"] < 0.9 * metrics["seasonal_naive"]["wql"]
    assert metrics["model"]["sql"] < 0.9 * metrics["seasonal_naive"]["sql"]


def test_the_refit_has_seen_all_days_and_its_twin_only_four_fifths(trained: Trained) -> None:
    panel, twin = make_panel(), trained.forecaster.twin
    assert trained.forecaster.trained_until == panel.end
    assert twin is not None and panel.day_index(twin.trained_until) == 127
    assert not np.array_equal(
        predict(twin, panel, 159).quantiles_SHQ, predict(trained.forecaster, panel, 159).quantiles_SHQ
    )


def test_days_after_the_split_change_nothing_in_the_twin() -> None:
    """Features, scaling, sampling, statistics, weights: none of them has read a later day."""
    panel = make_panel()
    other = replace(panel, quantity_ST=panel.quantity_ST.copy())
    other.quantity_ST[:, 128:] = np.random.default_rng(9).integers(0, 99, other.quantity_ST[:, 128:].shape)
    twins = [train(p, small(epochs=1)).forecaster.twin for p in (panel, other)]
    assert twins[0] is not None and twins[1] is not None
    first, second = twins[0].members[0].network.state_dict(), twins[1].members[0].network.state_dict()
    assert all(first[name].equal(second[name]) for name in first)


def test_progress_never_goes_back_and_ends_at_one() -> None:
    told: list[Progress] = []
    train(make_panel(), small(), report=told.append)
    fractions = [p.fraction for p in told]
    assert fractions == sorted(fractions) and fractions[-1] == 1.0
    assert {p.stage for p in told} >= {"training", "judging", "done"}
    assert told[-1].epoch == 2 and told[-1].loss is not None and told[-1].validation is not None


def test_a_report_that_raises_ends_the_training() -> None:
    class CancelledError(Exception):
        pass

    def cancel(progress: Progress) -> None:
        raise CancelledError

    with pytest.raises(CancelledError):
        train(make_panel(), small(), report=cancel)


def test_the_time_limit_is_kept() -> None:
    with pytest.raises(TimeLimitReached, match="limit of 1 s"):
        train(make_panel(), small(epochs=500, patience=500, max_seconds=1.0, width=512, batch_size=8192))


def test_a_training_learns_at_which_levels_sums_are_read_from_its_weeks() -> None:
    """From the days held out, so by the twin; a horizon without a week leaves the levels as they are."""
    weekly, daily = (train(make_panel(), small(epochs=1, horizon=horizon)).forecaster for horizon in (7, 3))
    assert weekly.twin is not None
    np.testing.assert_array_equal(weekly.dependence.levels_Q, weekly.twin.dependence.levels_Q)
    assert (weekly.dependence.levels_Q != weekly.levels).any() and (np.diff(weekly.dependence.levels_Q) >= 0).all()
    np.testing.assert_array_equal(daily.dependence.levels_Q, daily.levels)


def test_a_twin_stops_in_time_for_the_refit_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that ticks each time it is read: a training told 900 ticks ends within them, short of its 500 epochs."""
    ticks = itertools.count()
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(ticks)))
    trained = train(make_panel(3), small(epochs=500, patience=500, max_seconds=900.0))
    assert 0 < len(trained.history) < 20
    assert trained.metrics["note"].endswith(TIME_NOTE)
    assert trained.seconds < 900


@pytest.mark.parametrize("horizon", [1, 7, 28])
def test_too_little_history_says_how_many_days_are_missing(horizon: int) -> None:
    short = make_panel(3, 10, missing=0.0)
    needed = days_needed(horizon)
    with pytest.raises(NotEnoughHistory, match=f"needs {needed} days of history.*{needed - 10} more are missing"):
        train(short, small(horizon=horizon))
    assert train(make_panel(3, needed, missing=0.0), small(horizon=horizon, epochs=1)).steps == 20
    with pytest.raises(NotEnoughHistory, match="1 more are missing"):
        train(make_panel(3, needed - 1, missing=0.0), small(horizon=horizon))


def test_a_panel_without_any_day_is_refused() -> None:
    empty = Panel(["a"], [""], START, np.full((1, 200), np.nan, np.float32))
    with pytest.raises(NotEnoughHistory, match="no observed day"):
        train(empty, small())


def test_series_that_never_overlap_the_held_out_days_are_refused_with_a_sentence() -> None:
    quantity = np.full((2, 200), np.nan, np.float32)
    quantity[0, :100], quantity[1, 190:] = 3, 3
    with pytest.raises(
        NotEnoughHistory,
        match=r"both sides of 2025-06-10, the validation split.*one day of one series is missing.*delete one of them",
    ):
        train(Panel(["a", "b"], ["", ""], START, quantity), small())


def test_one_day_long_before_all_others_is_named_when_it_leaves_nothing_to_train_on() -> None:
    quantity = np.full((2, 2000), np.nan, np.float32)
    quantity[0, 0], quantity[1, -150:] = 1, 3
    with pytest.raises(
        NotEnoughHistory,
        match=r"from 2025-01-01, the first day there is, to 2029-05-20, the split; the one .* lacks 14\..*delete its",
    ):
        train(Panel(["a", "b"], ["", ""], START, quantity), small())


@pytest.mark.parametrize("loss", ["mse", "mae"])
def test_a_point_head_takes_its_quantiles_from_validation_residuals(loss: str) -> None:
    panel = make_panel(8, 300)
    forecaster = train(panel, small(loss=loss, epochs=4)).forecaster
    forecast = predict(forecaster, panel, 299)
    assert (np.diff(forecast.quantiles_SHQ, axis=2) >= 0).all() and (forecast.quantiles_SHQ >= 0).all()
    busy = forecast.quantiles_SHQ[-1]
    assert (busy[:, 13] > busy[:, 3] + 2).all()
    truth = np.nanmean(panel.quantity_ST[-1])
    assert abs(forecast.mean_SH[-1].mean() / truth - 1) < 0.3


def test_covariates_known_ahead_are_learned() -> None:
    """Promotion days sell four times as much; the forecast follows the promotions announced for days to come."""
    rng = np.random.default_rng(0)
    promo = (rng.random((6, 307)) < 0.3).astype(np.float32)
    quantity = rng.poisson(5 * (1 + 3 * promo[:, :300])).astype(np.float32)
    panel = Panel(list("abcdef"), [""] * 6, START, quantity, {"promo": promo})
    forecaster = train(panel, small(known=("promo",), epochs=5, width=32)).forecaster
    forecast = predict(forecaster, panel, 299)
    ahead = promo[:, 300:] > 0
    assert forecast.mean_SH[ahead].mean() > 2 * forecast.mean_SH[~ahead].mean()
    unknown = predict(forecaster, replace(panel, known={"promo": promo[:, :300]}), 299)
    assert forecast.mean_SH[~ahead].mean() < unknown.mean_SH.mean() < forecast.mean_SH[ahead].mean()
    with pytest.raises(ValueError, match="promo"):
        predict(forecaster, replace(panel, known={}), 299)


def test_the_champion_is_compared_on_windows_neither_has_seen(trained: Trained) -> None:
    longer = make_panel(days=230)
    new = train(longer, small(seed=5))
    metrics = compare(new.forecaster, new.metrics, longer, trained.forecaster)
    assert {"model", "champion", *BASELINE_NAMES} < set(metrics)
    learned = trained.forecaster.twin.trained_until  # type: ignore[union-attr]
    assert metrics["windows"] and all(np.datetime64(day) >= learned for day in metrics["windows"])
    assert "champion's twin likewise" in metrics["note"]
    itself = compare(new.forecaster, new.metrics, longer, new.forecaster)
    assert itself["champion"] == itself["model"]


def test_a_champion_of_another_horizon_is_compared_on_the_days_both_reach(trained: Trained) -> None:
    panel = make_panel()
    shorter = train(panel, small(horizon=14))
    metrics = compare(shorter.forecaster, shorter.metrics, panel, trained.forecaster)
    assert metrics["horizon"] == 7


def test_a_champion_that_knows_the_windows_is_said_to(trained: Trained) -> None:
    panel = make_panel()
    ahead = replace(trained.forecaster, twin=replace(trained.forecaster, twin=None))
    assert "champion has learned" in compare(trained.forecaster, trained.metrics, panel, ahead)["note"]


@pytest.mark.parametrize("name", list(RANGES))
def test_every_field_is_held_to_its_range(name: str) -> None:
    bounds = RANGES[name]
    for value in (bounds.low - 1, bounds.high + 1):
        with pytest.raises(ConfigError, match=name):
            TrainingConfig(**{name: value}).members()  # type: ignore[arg-type]
    for architecture in ("lstm", "transformer", "cnn"):
        default = bounds.default_for(architecture)  # type: ignore[arg-type]
        assert bounds.low <= default <= bounds.high
    if bounds.whole:
        with pytest.raises(ConfigError, match="whole number"):
            TrainingConfig(**{name: bounds.low + 0.5}).members()  # type: ignore[arg-type]


def test_impossible_configurations_are_refused() -> None:
    with pytest.raises(ConfigError, match="divide"):
        TrainingConfig("transformer", width=10, heads=4).members()
    with pytest.raises(ConfigError, match="model must be one of"):
        TrainingConfig("arima").members()  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="loss must be one of"):
        TrainingConfig(loss="huber").members()  # type: ignore[arg-type]


def test_a_configuration_survives_json() -> None:
    (config,) = TrainingConfig("cnn", known=("promo",)).members()
    assert ResolvedConfig.from_dict(config.as_dict()) == config
    with pytest.raises(ConfigError, match="fields differ"):
        ResolvedConfig.from_dict({"horizon": 7})


def test_windows_that_judge_are_newest_and_whole() -> None:
    held_out = hold_out(make_panel(5, 400, missing=0.0), horizon=28)
    assert held_out.split == 320
    assert held_out.cutoffs[-1] == 399 - 28 and held_out.cutoffs[0] >= 319
    assert len(held_out.cutoffs) == 8 and set(np.diff(held_out.cutoffs)) == {7}
