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
from models.inference import answerable, predict
from models.newcomers import (
    FIRST_WEEKS,
    MOST_SIBLINGS,
    SETTLED_DAYS,
    Doubles,
    OwnDays,
    launch_factor,
    launches_of,
    likeness,
    mixed,
    of_siblings,
    replacing,
    trust_in,
)
from models.panel import Floats, Panel
from models.training_config import LEVELS

YEAR = 364
Figures = tuple[Floats, Floats]


class Alike:
    """The series that others may be like, their forecasts at a cutoff, and what their items are known by."""

    def __init__(self, forecaster: Forecaster, there: Panel, cutoff: int, names: list[str]) -> None:
        self.there, self.cutoff, self.names = there, cutoff, names
        self.known = np.flatnonzero(answerable(there, cutoff)).tolist()
        self.forecast = predict(forecaster, there, cutoff)
        self.told = [self.of(there, row) for row in self.known]

    def of(self, panel: Panel, row: int) -> dict[str, str]:
        return {name: panel.static[name][row] for name in self.names}

    def weights(self, panel: Panel, row: int) -> Doubles:
        """How like a series each of the known is; those of its own SKU are left out."""
        same = [self.there.locations[i] == panel.locations[row] for i in self.known]
        weight_S = likeness(self.of(panel, row), self.told, same)
        weight_S[[self.there.skus[i] == panel.skus[row] for i in self.known]] = 0.0
        return weight_S

    def nearest(self, location: str, weight_S: Doubles) -> int | None:
        """The most similar at a location, of equals the first by name; None without any."""
        here = [k for k, i in enumerate(self.known) if weight_S[k] > 0 and self.there.locations[i] == location]
        best = min(here, key=lambda k: (-weight_S[k], self.there.skus[self.known[k]]), default=None)
        return None if best is None else self.known[best]

    def answer(self, weight_S: Doubles, own_T: Floats) -> Figures | None:
        """What the service says of a newcomer by its siblings; None without any."""
        best = [k for k in np.argsort(-weight_S, kind="stable")[:MOST_SIBLINGS].tolist() if weight_S[k] > 0]
        if not best:
            return None
        alike = [self.known[k] for k in best]
        seen = own_T[np.isfinite(own_T)]
        factor = launch_factor(launches_of(self.there, alike, self.cutoff))
        own = OwnDays(len(seen), float(seen.sum()))
        return of_siblings(self.forecast.rows(alike), weight_S[best], factor=factor, own=own)

    def category(self, own: dict[str, str]) -> Figures:
        """The pooled weekday quantiles of the first attribute's kind at all locations, and about their mean."""
        kind = self.names[0]
        members = [i for i, told in zip(self.known, self.told, strict=True) if told[kind] == own[kind]]
        quantiles_HQ = weekday_quantiles(self.there, members, self.cutoff)
        return quantiles_HQ.mean(axis=1), quantiles_HQ


@dataclass(frozen=True)
class Asked:
    """Series that replace others: both as they are known, how like the first are to all others, and what came in."""

    old: Panel
    new: Panel
    weights: list[Doubles]
    truth: Truth


def score_relaunch(
    pooled: Pooled, forecaster: Forecaster, panel: Panel, cutoff: int, *, names: list[str], own_days: Sequence[int]
) -> None:
    """The same articles under a new name from some days before the cutoff on; siblings are all other articles."""
    rows = sold_before(panel, cutoff)
    old, truth = panel.rows(rows), truth_of(panel, cutoff, FIRST_WEEKS).rows(rows)
    pooled.add("relaunch: under its old name", truth, predict(forecaster, old, cutoff))
    pooled.add("relaunch: climatology of its past", truth, fallback(old, cutoff, FIRST_WEEKS)[0])
    alike = Alike(forecaster, panel, cutoff, names)
    weights = [alike.weights(old, row) for row in range(old.series)]
    new = replace(old, skus=[f"{sku}, new" for sku in old.skus])
    for days in own_days:
        before = replace(old, quantity_ST=up_to(old.quantity_ST, cutoff - days))
        asked = Asked(before, shown(new, cutoff, days), weights, truth)
        answer_all(pooled, f"relaunch, {days} days", forecaster, asked, alike)


def score_look_alikes(
    pooled: Pooled, forecaster: Forecaster, new: Panel, alike: Alike, *, own_days: Sequence[int]
) -> None:
    """Hidden articles, each said to replace its most similar one at the same location, beside siblings and category."""
    cutoff = alike.cutoff
    weights = {row: alike.weights(new, row) for row in sold_before(new, cutoff)}
    nearest = {row: alike.nearest(new.locations[row], weight_S) for row, weight_S in weights.items()}
    pairs = [(row, other) for row, other in nearest.items() if other is not None]
    rows, others = [row for row, _ in pairs], [other for _, other in pairs]
    truth = truth_of(new, cutoff, FIRST_WEEKS).rows(rows)
    usual = [alike.category(alike.of(new, row)) for row in rows]
    pooled.add("look-alike: category's weekday quantiles", truth, forecast_of(usual))
    for days in own_days:
        shown_days = shown(new.rows(rows), cutoff, days)
        asked = Asked(alike.there.rows(others), shown_days, [weights[row] for row in rows], truth)
        answer_all(pooled, f"look-alike, {days} days", forecaster, asked, alike)


def answer_all(pooled: Pooled, name: str, forecaster: Forecaster, asked: Asked, alike: Alike) -> None:
    """What the service says, and what else could be said: by the past of the replaced alone, by siblings, by own days alone."""
    cutoff, new, truth = alike.cutoff, asked.new, asked.truth
    pairs = [(asked.old.rows([row]), new.rows([row])) for row in range(new.series)]
    spliced = predict(forecaster, joined([successor(old, own, cutoff) for old, own in pairs]), cutoff)
    trust_S = [trust_in(old, own, cutoff) for old, own in pairs]
    simple = fallback(new, cutoff, FIRST_WEEKS)[0]
    by_network_S = answerable(new, cutoff)
    network = predict(forecaster, new, cutoff)
    siblings = [alike.answer(w, own_T) for w, own_T in zip(asked.weights, new.quantity_ST, strict=True)]
    said = []
    for row, trust in enumerate(trust_S):
        other = figures(network, row) if by_network_S[row] else siblings[row] or figures(simple, row)
        said.append(mixed(figures(spliced, row), other, trust))
    pooled.add(f"{name}: the service", truth, forecast_of(said))
    pooled.add(f"{name}: the replaced past alone", truth, spliced)
    found = [one for one in siblings if one is not None]
    if len(found) == new.series:
        pooled.add(f"{name}: siblings", truth, forecast_of(found))
    if np.isfinite(new.quantity_ST).any():
        pooled.add(f"{name}: fallback on own days", truth, simple)
    if by_network_S.all():
        pooled.add(f"{name}: network on own days", truth, network)


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


def successor(old: Panel, own: Panel, cutoff: int) -> Panel:
    """One series as the service puts it together from what it replaces and its own days."""
    static = {name: texts[0] for name, texts in own.static.items()}
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


def figures(forecast: Forecast, row: int) -> Figures:
    return forecast.mean_SH[row], forecast.quantiles_SHQ[row]


def forecast_of(answers: Sequence[Figures]) -> Forecast:
    means, quantiles = zip(*answers, strict=True)
    return Forecast(np.stack(means), np.stack(quantiles), np.array(LEVELS))
