"""Forecasts of items without a past: by the network on the past of what they replace, else from their siblings' forecasts.

As soon as an item has days of its own, what it replaces counts by how far they agree with it. Every such answer is labelled.
Where neither can be had (no attributes, no siblings with a network's forecast) there is none.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

import numpy as np

from app.forecasts import store
from app.forecasts.siblings import Newcomer, barely_sold, launches_among, siblings_of, unsold
from app.forecasts.store import SIMPLE, Stored
from app.sales.panel import Context, read_context
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.inference import answerable, predict
from models.newcomers import continued, launch_factor, mixed, of_siblings, replacing, trust_in
from models.panel import Floats
from models.training_config import LEVELS
from models.windows import MEMORY

if TYPE_CHECKING:
    from app.forecasts.inference import Inference


async def of_unsold(inference: "Inference", sku: str, location: str, *, version: int, reach: int) -> Stored | None:
    """The forecast of an item without any sales, as if it were stored; None where it cannot be told from others."""
    if version == SIMPLE:
        return None
    async with inference.database.reading() as connection:
        newcomer = await unsold(connection, sku, location)
    if newcomer is None or not newcomer.says_anything:
        return None
    blank = Stored(0, version, 0, 0, newcomer.cutoff, *_nothing(), None, datetime.now(UTC))
    return await _answer(inference, newcomer, blank, reach)


async def in_place_of_few_days(
    inference: "Inference", made: Sequence[Stored], young: Collection[int], reach: int
) -> list[Stored]:
    """The same forecasts, those of too few days answered as newcomers where that is possible.

    Too few are fewer than a network needs. Of the series `young`, for which a network answered from few days, those that replace
    another are answered with its past as well.
    """
    by_network = [one for one in made if one.series_id in young and one.fallback is None]
    short = {one.series_id: one for one in [*filter(_has_too_few_days, made), *by_network]}
    if not short:
        return list(made)
    async with inference.database.reading() as connection:
        newcomers = await barely_sold(connection, list(short))
    better: dict[int, Stored] = {}
    for newcomer in newcomers:
        assert newcomer.series_id is not None
        blank = short[newcomer.series_id]
        if newcomer.replaced is None and not _has_too_few_days(blank):
            continue
        answer = await _answer(inference, newcomer, blank, reach)
        if answer is not None:
            better[newcomer.series_id] = answer
    return [better.get(one.series_id, one) for one in made]


def _has_too_few_days(made: Stored) -> bool:
    return (made.fallback or {}).get("reason") == "too_little_history"


async def _answer(inference: "Inference", newcomer: Newcomer, blank: Stored, reach: int) -> Stored | None:
    """`blank` is what is answered without knowing of other items; empty for an item without sales."""
    forecaster = await inference.weights.of(blank.version)
    spliced = await _by_replaced(inference, forecaster, newcomer, blank)
    if spliced is not None and not newcomer.own.days:
        return _extended(spliced.answer, reach)
    by_network = newcomer.series_id is not None and blank.fallback is None
    other = None if by_network else await _by_siblings(inference, newcomer, blank)
    if spliced is None:
        return None if other is None else _extended(other, reach)
    beside = "they alone" if other is None else "its siblings"
    return await _beside_the_replaced(inference, spliced, _extended(other or blank, reach), beside, reach)


def _extended(answer: Stored, reach: int) -> Stored:
    mean_H, quantiles_HQ = continued(answer.mean_H, answer.quantiles_HQ, reach)
    return replace(answer, mean_H=mean_H, quantiles_HQ=quantiles_HQ)


@dataclass(frozen=True)
class _Spliced:
    """The forecast by the past of what an item replaces, and how far its own days agree with that (0 … 1)."""

    answer: Stored
    trust: float


async def _beside_the_replaced(
    inference: "Inference", spliced: _Spliced, other: Stored, beside: str, reach: int
) -> Stored:
    """The mixture of both, the replaced one's by how far own days agree with it."""
    answer = _extended(spliced.answer, reach)
    one, two = (answer.mean_H, answer.quantiles_HQ), (other.mean_H, other.quantiles_HQ)
    mean_H, quantiles_HQ = await inference.beside(mixed, one, two, spliced.trust)
    assert answer.fallback is not None
    detail = f"{answer.fallback['detail']} Its own days agree with that to {spliced.trust:.0%}; the rest is what {beside} say."
    return replace(answer, mean_H=mean_H, quantiles_HQ=quantiles_HQ, fallback=answer.fallback | {"detail": detail})


async def _by_replaced(
    inference: "Inference", forecaster: Forecaster, newcomer: Newcomer, blank: Stored
) -> _Spliced | None:
    """By the network, the replaced series' days standing in for those that the newcomer lacks."""
    if newcomer.replaced is None:
        return None
    old_id, old_sku, old_last_day = newcomer.replaced
    ids = [old_id] if newcomer.series_id is None else [old_id, newcomer.series_id]
    ahead = forecaster.horizon + max((newcomer.cutoff - old_last_day).days, 0)
    async with inference.database.snapshot() as connection:
        context = await read_context(
            connection, ids, days=MEMORY, ahead=ahead, known=forecaster.known, past=forecaster.past
        )
    if context is None or old_id not in context.series_ids:
        return None
    found = await inference.beside(_spliced_forecast, forecaster, context, newcomer)
    if found is None or not np.isfinite(found[0].quantiles_SHQ).all():
        return None
    forecast, trust = found
    detail = (
        f"{_so_far(newcomer)}; forecast by version {blank.version} with the past of {old_sku!r}, which it replaces."
    )
    said = {"method": "new_item:replaces", "reason": _reason(newcomer), "detail": detail}
    answer = replace(blank, mean_H=forecast.mean_SH[0], quantiles_HQ=forecast.quantiles_SHQ[0], fallback=said)
    return _Spliced(answer, trust)


def _spliced_forecast(forecaster: Forecaster, context: Context, newcomer: Newcomer) -> tuple[Forecast, float] | None:
    """The forecast of a newcomer by the past of another and the trust in it; None where both together have too few days."""
    assert newcomer.replaced is not None
    panel = context.panel
    cutoff = panel.day_index(np.datetime64(newcomer.cutoff))
    old = panel.rows([context.series_ids.index(newcomer.replaced[0])])
    own = None
    if newcomer.series_id in context.series_ids:
        own = panel.rows([context.series_ids.index(newcomer.series_id)])
    key = (newcomer.sku, newcomer.location)
    spliced = replacing(old, cutoff, key=key, static=newcomer.attributes, own=own)
    if not answerable(spliced, cutoff).all():
        return None
    return predict(forecaster, spliced, cutoff), 1.0 if own is None else trust_in(old, own, cutoff)


async def _by_siblings(inference: "Inference", newcomer: Newcomer, blank: Stored) -> Stored | None:
    """The mixture of the siblings' forecasts by the same version, those computed that were not fresh."""
    async with inference.database.reading() as connection:
        ids, weight_S = await siblings_of(connection, newcomer)
    fresh = await _forecasts(inference, ids, blank.version)
    kept = [at for at, series_id in enumerate(ids) if series_id in fresh and fresh[series_id].fallback is None]
    if not kept:
        return None
    async with inference.database.reading() as connection:
        launches = await launches_among(connection, ids, newcomer.cutoff)
    stored = [fresh[ids[at]] for at in kept]
    days = [_from(one, newcomer.cutoff) for one in stored]
    siblings = Forecast(
        np.stack([mean_H for mean_H, _ in days]), np.stack([quantiles_HQ for _, quantiles_HQ in days]), np.array(LEVELS)
    )
    factor = launch_factor(launches)
    mean_H, quantiles_HQ = await inference.beside(_mixture, siblings, weight_S[kept], factor, newcomer)
    alike = f"{len(kept)} siblings" if len(kept) > 1 else "one sibling"
    detail = (
        f"{_so_far(newcomer)}; the mixture of the forecasts of {alike} by version {blank.version}, times {factor:.2f}."
    )
    said = {"method": "new_item:siblings", "reason": _reason(newcomer), "detail": detail}
    made = max(one.generated_at for one in stored) if newcomer.series_id is None else blank.generated_at
    return replace(blank, mean_H=mean_H, quantiles_HQ=quantiles_HQ, fallback=said, generated_at=made)


def _mixture(
    siblings: Forecast, weight_S: np.ndarray[tuple[int], np.dtype[np.float64]], factor: float, newcomer: Newcomer
) -> tuple[Floats, Floats]:
    return of_siblings(siblings, weight_S, factor=factor, own=newcomer.own)


async def _forecasts(inference: "Inference", ids: Sequence[int], version: int) -> dict[int, Stored]:
    async with inference.database.snapshot() as snapshot:
        found = await store.look_up_many(await store.planned_anew(snapshot), ids, version=version)
    fresh = {series_id: one.stored for series_id, one in found.items() if one.is_fresh and one.stored is not None}
    stale = [series_id for series_id in found if series_id not in fresh]
    return fresh | (await inference.compute(stale, version, 1, newcomers=False) if stale else {})


def _from(stored: Stored, cutoff: date) -> tuple[Floats, Floats]:
    """A sibling's days from the newcomer's cutoff on; where they do not reach so far, days of the same weekdays."""
    ahead = (cutoff - stored.cutoff).days
    first = ahead if 0 <= ahead <= stored.horizon - 7 else ahead % min(7, stored.horizon)
    return continued(stored.mean_H[first:], stored.quantiles_HQ[first:], stored.horizon)


def _so_far(newcomer: Newcomer) -> str:
    days = newcomer.own.days
    return "No sales yet" if not days else f"{days} {'day' if days == 1 else 'days'} with a known quantity"


def _reason(newcomer: Newcomer) -> str:
    return "no_sales" if newcomer.series_id is None else "too_little_history"


def _nothing() -> tuple[Floats, Floats]:
    return np.zeros(0, np.float32), np.zeros((0, len(LEVELS)), np.float32)
