"""Series and panels at the edge of what there is: every model trains on them, answers, and the others' answers stay sound."""

from dataclasses import replace

import numpy as np
import pytest

from models.inference import predict
from models.panel import Panel
from models.training import train
from models.training_config import MODELS
from tests.models.panels import START, make_panel, small

DAYS, HORIZON = 230, 7
ODD = ("zeros", "constant", "enormous", "dies", "begins", "gone for half a year", "once a month", "usual")


def odd_panel() -> Panel:
    """One of each of ODD, with a covariate that is never known, one known of some series only, and an unknown brand."""
    rng = np.random.default_rng(1)
    usual_ST = rng.poisson(8, (len(ODD), DAYS)).astype(np.float32)
    usual_ST[0] = 0
    usual_ST[1] = 250
    usual_ST[2, 120] = 1e12
    usual_ST[3, 100:] = 0
    usual_ST[4, : DAYS - 5] = np.nan
    usual_ST[5, 20:203] = 0
    usual_ST[6] = np.where(np.arange(DAYS) % 30 == 3, 2, 0)
    nothing = np.full((len(ODD), DAYS + HORIZON), np.nan, np.float32)
    partly = nothing.copy()
    partly[::2] = rng.random((len(ODD[::2]), DAYS + HORIZON))
    return Panel(
        list(ODD),
        ["north"] * len(ODD),
        START,
        usual_ST,
        known={"price": nothing, "promo": partly},
        past={"rain": nothing[:, :DAYS]},
        static={"brand": ["x", "y", "x", "y", "x", "", "y", "x"]},
    )


@pytest.mark.parametrize("model", MODELS)
def test_odd_series_are_learned_beside_each_other_and_answered_soundly(model: str) -> None:
    panel = odd_panel()
    forecaster = train(panel, small(model, known=("price", "promo"), past=("rain",), epochs=4)).forecaster
    strange = replace(panel, static={"brand": ["never seen"] * len(ODD)})
    for asked in (panel, strange):
        forecast = predict(forecaster, asked, DAYS - 1)
        assert np.isfinite(forecast.mean_SH).all() and np.isfinite(forecast.quantiles_SHQ).all()
        assert (forecast.quantiles_SHQ >= 0).all() and (np.diff(forecast.quantiles_SHQ, axis=2) >= 0).all()
        means = dict(zip(ODD, forecast.mean_SH.mean(axis=1), strict=True))
        assert means["zeros"] < 1 and 100 < means["constant"] < 500
        assert 2 < means["usual"] < 20 and 2 < means["enormous"] < 40 and means["begins"] < 40
        assert means["dies"] < 3 and means["once a month"] < 3


def test_one_series_in_all_is_enough() -> None:
    panel = make_panel(series=1, days=120)
    forecaster = train(panel, small("ensemble", epochs=1)).forecaster
    assert 3 < float(predict(forecaster, panel, 119).mean_SH.mean()) < 20


def test_a_hundred_thousand_series_are_trained_on_and_answered() -> None:
    """Seven weeks of each: what a window needs is cut when it is drawn, so that no copy of all of them is made."""
    series, days = 100_000, 49
    quantity_ST = np.random.default_rng(2).poisson(3, (series, days)).astype(np.float32)
    panel = Panel([str(i) for i in range(series)], [""] * series, START, quantity_ST)
    trained = train(panel, small("mlp", epochs=1, width=8, context_length=14))
    forecast = predict(trained.forecaster, panel, days - 1)
    assert forecast.mean_SH.shape == (series, HORIZON) and np.isfinite(forecast.quantiles_SHQ).all()
    assert 1.5 < float(forecast.mean_SH.mean()) < 6
