"""What a network is told of covariates: their own past effect, their neighbours in time, and nothing from after the cutoff."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.ages import OLD, with_ages
from models.covariates import (
    AHEAD_CHANNELS,
    CovariateChannels,
    FeatureStatistics,
    ahead_width,
    context_width,
    covariate_channels,
)
from models.fitting import fit_statistics
from models.identities import identities_of
from models.panel import Panel
from models.sampling import WindowSampler
from models.windows import MEMORY, WindowSource
from tests.models.panels import START, make_panel

HORIZON, CONTEXT, CUTOFF = 4, 28, 460
EFFECT = 3  # of the AHEAD_CHANNELS: there, value, relative, effect, day before, day after


def channels(promo: np.ndarray, residual: np.ndarray) -> torch.Tensor:
    """What is told ahead of one series with one covariate known ahead."""
    quantity = np.ones((1, 500), np.float32)
    panel = Panel(["A"], [""], START, quantity, known={"promo": promo.astype(np.float32)[None]})
    source = WindowSource(
        panel, np.zeros((1, 1), np.int64), context_length=CONTEXT, horizon=HORIZON, known=("promo",), past=()
    )
    windows = source.windows(np.array([0]), np.array([CUTOFF]))
    residual_BM = torch.from_numpy(residual.astype(np.float32)[None])
    told = covariate_channels(windows, FeatureStatistics(1), residual_BM, torch.ones(1, MEMORY, dtype=torch.bool))
    assert told.ahead_BHC.shape == (1, HORIZON, AHEAD_CHANNELS)
    return told.ahead_BHC[0]


def test_the_effect_is_what_the_covariate_did_to_this_series_before() -> None:
    """Sales rose by 2 on every second day, promotion's: a day with it is told nearly +1 against the mean, one without -1."""
    promo = (np.arange(500) % 2).astype(float)
    past = promo[CUTOFF - MEMORY + 1 : CUTOFF + 1]
    told = channels(promo, residual=2 * past - 1)
    slope = 2 * MEMORY / 4 / (MEMORY / 4 + 5)
    expected = [slope * (promo[CUTOFF + 1 + day] - 0.5) for day in range(HORIZON)]
    np.testing.assert_allclose(told[:, EFFECT], expected, rtol=1e-4)


def test_a_covariate_that_never_changed_has_no_effect() -> None:
    assert (channels(np.ones(500), residual=np.linspace(-1, 1, MEMORY))[:, EFFECT] == 0).all()


def test_each_day_ahead_knows_the_days_beside_it() -> None:
    promo = np.zeros(500)
    promo[CUTOFF + 2] = 1
    told = channels(promo, residual=np.zeros(MEMORY))
    assert told[:, 1].tolist() == [0, 1, 0, 0]
    assert told[:, 4].tolist() == [0, 0, 1, 0]
    assert told[:, 5].tolist() == [1, 0, 0, 0]


def test_a_value_not_known_ahead_is_told_apart_from_one_that_is_usual() -> None:
    promo = np.zeros(500)
    promo[CUTOFF + 1 :] = np.nan
    told = channels(promo, residual=np.zeros(MEMORY))
    assert (told[:, 0] == 0).all() and (told[:, 1:] == 0).all()


def told_of_price(price: np.ndarray, statistics: FeatureStatistics, *, known: bool) -> CovariateChannels:
    """What is told of one series' price, ahead or in the past alone."""
    panel = Panel(
        ["A"], [""], START, np.ones((1, 500), np.float32), **{"known" if known else "past": {"price": price[None]}}
    )
    names = {"known": ("price",) if known else (), "past": () if known else ("price",)}
    source = WindowSource(panel, np.zeros((1, 1), np.int64), context_length=CONTEXT, horizon=HORIZON, **names)
    windows = source.windows(np.array([0]), np.array([CUTOFF]))
    nothing, all_days = torch.zeros(1, MEMORY), torch.ones(1, MEMORY, dtype=torch.bool)
    return covariate_channels(windows, statistics, nothing, all_days)


def of_prices(*usual: float, own: float = 0.1) -> FeatureStatistics:
    """Constants fitted on series of such usual prices, each a tenth dearer on every second day than on the other."""
    days = np.where(np.arange(500) % 2, 1 + own, 1.0)
    price = (np.array(usual)[:, None] * days).astype(np.float32)
    names = [f"{i}" for i in range(len(usual))]
    panel = Panel(names, [""] * len(usual), START, np.ones_like(price), past={"price": price})
    source = WindowSource(
        panel, identities_of(panel).of(panel), context_length=CONTEXT, horizon=HORIZON, known=(), past=("price",)
    )
    statistics = FeatureStatistics(1)
    sampler = WindowSampler(panel.quantity_ST, horizon=HORIZON, end=panel.days)
    fit_statistics(statistics, source, sampler, end=panel.days, rng=np.random.default_rng(0))
    return statistics


@pytest.mark.parametrize("known", [True, False])
def test_a_price_is_told_as_a_share_of_the_series_own(known: bool) -> None:
    """A fifth off is as much for what costs 0.50 as for what costs 50."""
    statistics = of_prices(0.5, 5.0, 50.0)
    deviation = np.log(1.1) / 2
    assert statistics.own_spread_K[0] == pytest.approx(deviation, rel=0.01)
    relative = []
    for usual in (0.5, 50.0):
        price = np.full(500, usual, np.float32)
        price[CUTOFF - 3 : CUTOFF + 1] = 0.8 * usual
        told = told_of_price(price, statistics, known=known).context_BLC[0, :, 2]
        own = np.log(0.8) * 4 / CONTEXT
        assert told[0] == pytest.approx(-own / deviation, rel=0.02)
        assert told[-1] == pytest.approx((np.log(0.8) - own) / deviation, rel=0.02)
        relative.append(told)
    np.testing.assert_allclose(relative[0], relative[1], atol=1e-4)


def test_a_price_not_known_ahead_is_the_series_own_usual_one_and_said_to_be_unknown() -> None:
    statistics = of_prices(0.5, 5.0, 50.0)
    price = np.full(500, 50.0, np.float32)
    price[CUTOFF + 1 :] = np.nan
    told = told_of_price(price, statistics, known=True)
    assert (told.ahead_BHC[0, :, 0] == 0).all() and (told.ahead_BHC[0, :, 2] == 0).all()
    dear = told.context_BLC[0, -1, 1]
    assert dear > 1
    np.testing.assert_allclose(told.ahead_BHC[0, :, 1], dear, rtol=1e-6)


def test_a_price_of_zero_is_far_below_all_others_and_finite() -> None:
    statistics = of_prices(0.5, 5.0, 50.0)
    price = np.full(500, 0.5, np.float32)
    price[CUTOFF] = 0
    told = told_of_price(price, statistics, known=False).context_BLC[0]
    assert torch.isfinite(told).all() and told[-1, 1] < told[-2, 1] - 1 and told[-1, 2] == -5


def test_an_age_is_known_from_the_launch_on_and_ends_at_a_year() -> None:
    panel = Panel(
        ["A", "B", "C"], [""] * 3, START, np.ones((3, 3), np.float32), known={"promo": np.ones((3, 4), np.float32)}
    )
    launched = np.array([START - 2, START + 1, "NaT"], "datetime64[D]")
    aged = with_ages(panel, launched, ahead=400)
    assert aged.known["age"].shape == aged.known["promo"].shape == (3, 403)
    assert aged.known["age"][:2, :4].tolist() == [[3, 4, 5, 6], [1, 1, 2, 3]]
    assert aged.known["age"][0, -1] == OLD and np.isnan(aged.known["age"][2]).all()
    own = replace(panel, past={"age": np.ones((3, 3), np.float32)})
    assert with_ages(own, launched, ahead=400) is own
    told = replace(panel, known={"age": np.array([[np.nan, 9, np.nan]] * 3, np.float32)})
    assert with_ages(told, launched, ahead=0).known["age"][:2].tolist() == [[3, 9, 5], [1, 9, 2]]


def test_series_and_attributes_have_numbers_and_strangers_zero() -> None:
    panel = replace(make_panel(series=3), static={"brand": ["b", "a", ""]})
    identities = identities_of(panel)
    assert identities.sizes == [3, 2]
    assert identities.of(panel).tolist() == [[1, 2], [2, 1], [3, 0]]
    stranger = replace(panel, skus=["new", "sku-1", "sku-2"], static={"brand": ["a", "z", "b"]})
    assert identities.of(stranger).tolist() == [[0, 1], [2, 0], [3, 2]]
    assert identities.of(replace(stranger, static={})).tolist() == [[0, 0], [2, 0], [3, 0]]


def test_sku_and_location_are_attributes_where_several_series_share_one() -> None:
    panel = Panel(["A", "A", "B", "B"], ["n", "s", "n", "s"], START, np.ones((4, 3), np.float32))
    assert identities_of(panel).attributes == {"sku": ["A", "B"], "location": ["n", "s"]}
    assert identities_of(make_panel()).attributes == {}


def test_a_flag_is_told_by_itself_and_the_days_beside_it_and_known_only_where_it_is() -> None:
    """One value of a text covariate: no effect, no neighbours but the next ones; an unknown future is told apart from none."""
    fair = np.zeros((1, 500), np.float32)
    fair[0, [CUTOFF, CUTOFF + 3]] = 1
    panel = Panel(["A"], [""], START, np.ones((1, 500), np.float32), known={"event=fair": fair})
    names = ("event=fair",)

    def told(panel: Panel) -> CovariateChannels:
        source = WindowSource(
            panel, np.zeros((1, 1), np.int64), context_length=CONTEXT, horizon=HORIZON, known=names, past=()
        )
        windows = source.windows(np.array([0]), np.array([CUTOFF]))
        nothing_BM = torch.zeros(1, MEMORY)
        return covariate_channels(windows, FeatureStatistics(0), nothing_BM, torch.ones(1, MEMORY, dtype=torch.bool))

    channels = told(panel)
    assert channels.context_BLC.shape == (1, CONTEXT, context_width(names, ()))
    assert channels.ahead_BHC.shape == (1, HORIZON, ahead_width(names))
    assert channels.context_BLC[0, -2:, 0].tolist() == [0, 1]
    known, own, before, after = channels.ahead_BHC[0].T.tolist()
    assert (known, own, before, after) == ([1, 1, 1, 1], [0, 0, 1, 0], [1, 0, 0, 1], [0, 1, 0, 0])
    fair[0, CUTOFF + 1 :] = np.nan
    assert told(panel).ahead_BHC[0, :, 0].tolist() == [0, 0, 0, 0]
