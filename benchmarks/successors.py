"""Items that replace another: whole SKUs under a new name, or with a look-alike as predecessor, beside what else there is.

Two kinds. "relaunch": the same article under a new name, its past under the old one; the forecaster has learned from the old.
"look-alike": the article is hidden from training at all locations, and the most similar other SKU (by attributes, then by name)
is said to be replaced. In both the new name shows some days of its own. Used by `benchmarks.rare`.

Shapes: S series, H horizon, Q quantile levels, T days.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.newcomers import weekday_quantiles
from benchmarks.pooled import Pooled, Truth, truth_of
from models.fallback import fallback
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.inference import MINIMUM_DAYS, answerable, predict
from models.newcomers import (
    FIRST_WEEKS,
    MOST_SIBLINGS,
    SETTLED_DAYS,
    OwnDays,
    launch_factor,
    launches_of,
    likeness,
    of_siblings,
    replacing,
)
from models.panel import Floats, Panel
from models.training_config import LEVELS

YEAR = 364


@dataclass(frozen=True)
class Hidden:
    """Series whose past is hidden, and the series that are there; `names` are the attributes of items."""

    new: Panel
    there: Panel
    names: list[str]

    def told(self, panel: Panel) -> list[dict[str, str]]:
        return [{name: panel.static[name][row] for name in self.names} for row in range(panel.series)]


def score_relaunch(pooled: Pooled, forecaster: Forecaster, panel: Panel, cutoff: int, own_days: Sequence[int]) -> None:
    """The same articles under a new name from `own_days` before the cutoff on."""
    rows = sold_before(panel, cutoff)
    old = panel.rows(rows)
    truth = truth_of(panel, cutoff, FIRST_WEEKS).rows(rows)
    pooled.add("relaunch: under its old name", truth, predict(forecaster, old, cutoff))
    pooled.add("relaunch: climatology of its past", truth, fallback(old, cutoff, FIRST_WEEKS)[0])
    renamed = replace(old, skus=[f"{sku}, new" for sku in old.skus])
    for days in own_days:
        new = shown(renamed, cutoff, days)
        before = replace(old, quantity_ST=up_to(old.quantity_ST, cutoff - days))
        spliced = joined(
            [successor(before.rows([i]), new.rows([i]), cutoff, list(old.static)) for i in range(old.series)]
        )
        pooled.add(f"relaunch, {days} days: replaces", truth, predict(forecaster, spliced, cutoff))
        add_own(pooled, f"relaunch, {days} days", truth, forecaster, new, cutoff=cutoff, days=days)


def score_look_alikes(
    pooled: Pooled, forecaster: Forecaster, hidden: Hidden, cutoff: int, own_days: Sequence[int]
) -> None:
    """Hidden articles, each said to replace its most similar one at the same location, beside siblings and category."""
    new, there = hidden.new, hidden.there
    known = np.flatnonzero(answerable(there, cutoff)).tolist()
    others = predict(forecaster, there, cutoff)
    told, own_told = hidden.told(there), hidden.told(new)
    found: dict[int, tuple[int, np.ndarray[tuple[int], np.dtype[np.float64]]]] = {}
    for row in sold_before(new, cutoff):
        same = [there.locations[i] == new.locations[row] for i in known]
        weight_S = likeness(own_told[row], [told[i] for i in known], same)
        here = [k for k, at_same in enumerate(same) if at_same and weight_S[k] > 0]
        if here:
            best = min(here, key=lambda k: (-weight_S[k], there.skus[known[k]]))
            found[row] = known[best], weight_S
    rows = list(found)
    truth = truth_of(new, cutoff, FIRST_WEEKS).rows(rows)
    pooled.add(
        "look-alike: category's weekday quantiles",
        truth,
        forecast_of([category(hidden, told, own_told[row], known, cutoff) for row in rows]),
    )
    for days in own_days:
        own = shown(new.rows(rows), cutoff, days)
        spliced = joined(
            [successor(there.rows([found[row][0]]), own.rows([i]), cutoff, hidden.names) for i, row in enumerate(rows)]
        )
        pooled.add(f"look-alike, {days} days: replaces", truth, predict(forecaster, spliced, cutoff))
        alike = [
            siblings(there, others, known, found[row][1], own.quantity_ST[i], cutoff=cutoff)
            for i, row in enumerate(rows)
        ]
        pooled.add(f"look-alike, {days} days: siblings", truth, forecast_of(alike))
        add_own(pooled, f"look-alike, {days} days", truth, forecaster, own, cutoff=cutoff, days=days)


def add_own(
    pooled: Pooled, name: str, truth: Truth, forecaster: Forecaster, own: Panel, *, cutoff: int, days: int
) -> None:
    """What is said of the own days alone: by the fallback, and by the network once it may answer."""
    if days:
        pooled.add(f"{name}: fallback on own days", truth, fallback(own, cutoff, FIRST_WEEKS)[0])
    if days >= MINIMUM_DAYS:
        pooled.add(f"{name}: network on own days", truth, predict(forecaster, own, cutoff))


def sold_before(panel: Panel, cutoff: int) -> list[int]:
    """The series that sold in the year up to a cutoff and began SETTLED_DAYS before it."""
    seen_S = np.isfinite(panel.quantity_ST[:, : cutoff + 1]).sum(axis=1)
    sold_S = np.nansum(panel.quantity_ST[:, max(cutoff + 1 - YEAR, 0) : cutoff + 1], axis=1)
    return np.flatnonzero((seen_S >= SETTLED_DAYS) & (sold_S > 0)).tolist()


def shown(panel: Panel, cutoff: int, days: int) -> Panel:
    """Series of which nothing is known but their last days up to the cutoff; past covariates likewise."""
    first = cutoff + 1 - days

    def last(values_ST: Floats) -> Floats:
        out_ST = up_to(values_ST, cutoff)
        out_ST[:, :first] = np.nan
        return out_ST

    past = {name: last(values) for name, values in panel.past.items()}
    return replace(panel, quantity_ST=last(panel.quantity_ST), past=past)


def up_to(values_ST: Floats, cutoff: int) -> Floats:
    out_ST = values_ST.copy()
    out_ST[:, cutoff + 1 :] = np.nan
    return out_ST


def successor(old: Panel, own: Panel, cutoff: int, names: Sequence[str]) -> Panel:
    """One series as the service puts it together from what it replaces and its own days."""
    static = {name: own.static[name][0] for name in names}
    return replacing(old, cutoff, key=own.keys[0], static=static, own=own)


def joined(panels: Sequence[Panel]) -> Panel:
    """Panels of the same days and covariates as one."""
    first = panels[0]
    return replace(
        first,
        skus=[sku for one in panels for sku in one.skus],
        locations=[location for one in panels for location in one.locations],
        quantity_ST=np.concatenate([one.quantity_ST for one in panels]),
        known={name: np.concatenate([one.known[name] for one in panels]) for name in first.known},
        past={name: np.concatenate([one.past[name] for one in panels]) for name in first.past},
        static={name: [text for one in panels for text in one.static[name]] for name in first.static},
    )


def siblings(
    there: Panel,
    others: Forecast,
    known: list[int],
    weight_S: np.ndarray[tuple[int], np.dtype[np.float64]],
    own_T: Floats,
    *,
    cutoff: int,
) -> tuple[Floats, Floats]:
    """What the service says of a newcomer by its siblings: mean (H) and quantiles (H, Q)."""
    best = [k for k in np.argsort(-weight_S, kind="stable")[:MOST_SIBLINGS].tolist() if weight_S[k] > 0]
    alike = [known[k] for k in best]
    seen = own_T[np.isfinite(own_T)]
    own = OwnDays(len(seen), float(seen.sum()))
    factor = launch_factor(launches_of(there, alike, cutoff))
    return of_siblings(others.rows(alike), weight_S[best], factor=factor, own=own)


def category(
    hidden: Hidden, told: list[dict[str, str]], own: dict[str, str], known: list[int], cutoff: int
) -> tuple[Floats, Floats]:
    """The pooled weekday quantiles of the first attribute's kind at all locations, and about their mean."""
    kind = hidden.names[0]
    quantiles_HQ = weekday_quantiles(hidden.there, [i for i in known if told[i][kind] == own[kind]], cutoff)
    return quantiles_HQ.mean(axis=1), quantiles_HQ


def forecast_of(answers: Sequence[tuple[Floats, Floats]]) -> Forecast:
    means, quantiles = zip(*answers, strict=True)
    return Forecast(np.stack(means), np.stack(quantiles), np.array(LEVELS))
