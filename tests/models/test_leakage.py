"""No leakage, for every model, kind of covariate and treatment of missing days: what comes after a cutoff changes no forecast
from it, to the bit, and what comes after the split changes no weight of the twin and no share that it learned."""

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from models.adjustment import Adjustment
from models.cleaning import Treatment
from models.forecaster import Forecaster, Member
from models.inference import predict
from models.panel import Floats, Panel
from models.training import Course, train, unadjusted
from models.training_config import LEVELS, MODELS
from tests.models.panels import make_panel, small

DAYS, CUTOFF, HORIZON = 500, 420, 7
TREATMENTS: tuple[Treatment, ...] = ("mask", "linear", "mean", "seasonal", "model")
KNOWN, PAST = ("promo", "price", "open", "event=fair"), ("rain", "in_stock")


def rich_panel() -> Panel:
    """Five series with gaps, closed days, days out of stock, an outlier, promotions, prices, events, weather and attributes."""
    panel, rng = make_panel(days=DAYS, missing=0.08), np.random.default_rng(4)
    ahead = DAYS + 30
    known = {
        "promo": (rng.random((5, ahead)) < 0.1).astype(np.float32),
        "price": rng.uniform(1, 2, (5, ahead)).astype(np.float32),
        "open": (np.arange(ahead) % 7 != 6).astype(np.float32)[None].repeat(5, axis=0),
        "event=fair": (rng.random((1, ahead)) < 0.03).astype(np.float32).repeat(5, axis=0),
    }
    past = {
        "rain": rng.random((5, DAYS)).astype(np.float32),
        "in_stock": (rng.random((5, DAYS)) > 0.05).astype(np.float32),
    }
    quantity_ST = np.where(known["open"][:, :DAYS] > 0, panel.quantity_ST, np.float32(0))
    quantity_ST[3, 400] = 900
    static = {"brand": ["x", "y", "x", "", "y"]}
    return replace(panel, quantity_ST=quantity_ST.astype(np.float32), known=known, past=past, static=static)


PANEL = rich_panel()


def changed_after(panel: Panel, day: int, *, known_from: int | None = None) -> Panel:
    """Other sales, weather and stock from the day after `day` on; known covariates from `known_from` on."""
    rng = np.random.default_rng(8)

    def other(values: Floats, first: int) -> Floats:
        changed = values.copy()
        changed[:, first:] = np.where(rng.random(changed[:, first:].shape) < 0.3, np.nan, 50 * rng.random())
        return changed

    known = panel.known if known_from is None else {n: other(v, known_from) for n, v in panel.known.items()}
    past = {name: other(values, day + 1) for name, values in panel.past.items()}
    return replace(panel, quantity_ST=other(panel.quantity_ST, day + 1), past=past, known=known)


@lru_cache
def fresh(model: str, cleaning: Treatment) -> Forecaster:
    """Fresh networks of every member, with all that an adjustment may do to what they say."""
    config = small(model, known=KNOWN, past=PAST, cleaning=cleaning)
    course = Course(PANEL, config.members(), end=CUTOFF + 1)
    members = [Member(fit.network.config, fit.network) for fit in course.fits]
    plain = unadjusted(PANEL, members, course.identities, until=CUTOFF)
    levels_NGQ = np.broadcast_to(0.1 + 0.8 * np.array(LEVELS), (3, 3, len(LEVELS)))
    weights_M = plain.adjustment.weights_M
    return replace(plain, adjustment=Adjustment(weights_M, 0.5, np.array([0.2, 0.1, 0.1]), levels_NGQ, True, area=0.5))


@pytest.mark.parametrize("cleaning", TREATMENTS)
@pytest.mark.parametrize("model", MODELS)
def test_nothing_that_comes_after_a_cutoff_changes_a_forecast(model: str, cleaning: Treatment) -> None:
    forecaster = fresh(model, cleaning)
    ours = predict(forecaster, PANEL, CUTOFF)
    assert np.isfinite(ours.quantiles_SHQ).all()
    until = PANEL.until(PANEL.start + np.timedelta64(CUTOFF, "D"))
    for other in (until, changed_after(PANEL, CUTOFF), changed_after(PANEL, CUTOFF, known_from=CUTOFF + HORIZON + 8)):
        theirs = predict(forecaster, other, CUTOFF)
        np.testing.assert_array_equal(ours.quantiles_SHQ, theirs.quantiles_SHQ)
        np.testing.assert_array_equal(ours.mean_SH, theirs.mean_SH)


@pytest.mark.parametrize("model", MODELS)
def test_what_comes_at_or_before_it_and_what_is_known_of_the_days_ahead_does(model: str) -> None:
    """The same changes a little earlier are seen, or the test above would see nothing."""
    forecaster = fresh(model, "mask")
    ours = predict(forecaster, PANEL, CUTOFF).mean_SH
    assert not np.array_equal(ours, predict(forecaster, changed_after(PANEL, CUTOFF - 1), CUTOFF).mean_SH)
    ahead = replace(PANEL, known=PANEL.known | {"promo": 1 - PANEL.known["promo"]})
    assert not np.array_equal(ours, predict(forecaster, ahead, CUTOFF).mean_SH)


@pytest.mark.parametrize("model", MODELS)
def test_days_after_the_split_change_no_weight_of_the_twin(model: str) -> None:
    config = small(model, known=KNOWN, past=PAST, epochs=1)
    twins = []
    for panel in (PANEL, changed_after(PANEL, 399)):  # the newest fifth is held out
        twin = train(panel, config).forecaster.twin
        assert twin is not None and panel.day_index(twin.trained_until) == 399
        twins.append([member.network.state_dict() for member in twin.members])
    for ours, theirs in zip(*twins, strict=True):
        assert all(ours[name].equal(theirs[name]) for name in ours)
