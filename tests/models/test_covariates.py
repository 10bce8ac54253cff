"""What a network is told of covariates: their own past effect, their neighbours in time, and nothing from after the cutoff."""

from dataclasses import replace

import numpy as np
import torch

from models.covariates import (
    AHEAD_CHANNELS,
    CovariateChannels,
    FeatureStatistics,
    ahead_width,
    context_width,
    covariate_channels,
)
from models.identities import identities_of
from models.panel import Panel
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
