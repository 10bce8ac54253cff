"""Many forecasts at once, streamed: batches are looked up, brought up to date and written one after the other.

Whatever can be wrong with a request is found before the first byte. No connection is held while bytes are sent, and
no more than one batch is in memory, beside the items without sales: whether something can be said of those is only known
once it is said, so they are forecast first.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from app.errors import Problem
from app.forecasts import store
from app.forecasts.answers import Ready, answers_of
from app.forecasts.formats import Writer, writer
from app.forecasts.inference import BATCH, Inference
from app.forecasts.newcomers import of_unsold
from app.forecasts.reading import (
    ATTEMPTS,
    check_version,
    horizon_of,
    is_short,
    stand_in_for_damaged,
    too_far,
    unknown_detail,
    unsold_as_found,
)
from app.forecasts.schemas import ForecastQuery, SeriesName, Wanted
from app.forecasts.store import SIMPLE, Found, Serving, StandIn, Stored
from app.registry.artifacts import ArtifactDamaged
from models.forecaster import Forecaster

MOST_UNSOLD = 1_000
"""Items without sales in one query: each is put together from others before the first byte."""
Name = tuple[str, str]


class Plan(NamedTuple):
    """Who answers a whole query: one version from the first series to the last, however long it takes."""

    wanted: Wanted
    serving: Serving
    horizon: int
    forecaster: Forecaster | None
    stand_in: StandIn | None


async def forecast_file(inference: Inference, query: ForecastQuery, media_type: str) -> AsyncIterator[bytes]:
    """The pieces of the answer. Raises Problem before it returns, and computes the first piece before that."""
    wanted = query.wanted()
    plan = await _plan(inference, wanted)
    if query.series is not None:
        batches = _listed(inference, await _asked(inference, query.series, plan), plan)
    else:
        batches = _active(inference, query, plan)
    pieces = _written(inference, plan, batches, writer(media_type, wanted.levels))
    first = await anext(pieces)
    return _chained(first, pieces)


async def _chained(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if first:
        yield first
    async for piece in rest:
        if piece:
            yield piece


async def _plan(inference: Inference, wanted: Wanted) -> Plan:
    for _ in range(ATTEMPTS):
        stand_in = await inference.weights.present_stand_in()
        async with inference.database.reading() as connection:
            serving = await store.serving(connection, version=wanted.version, stand_in=stand_in)
        check_version(wanted, serving.version_horizon)
        horizon = horizon_of(wanted, serving.version_horizon)
        if serving.version_horizon is not None and horizon > serving.version_horizon:
            raise too_far(horizon, serving.version, serving.version_horizon)
        try:
            forecaster = None if serving.version == SIMPLE else await inference.weights.of(serving.version)
        except ArtifactDamaged:
            await stand_in_for_damaged(inference, wanted)
        else:
            return Plan(wanted, serving, horizon, forecaster, stand_in)
    raise Problem("unavailable", "What serves changes faster than it can answer; ask again.")


async def _asked(inference: Inference, asked: Sequence[SeriesName], plan: Plan) -> list[int | Found]:
    """What is asked for: the ids of series with sales, items without any with their forecasts. A 404 names all others."""
    names = [(one.sku, one.location) for one in asked]
    async with inference.database.reading() as connection:
        ids = await store.ids_of(connection, names)
        missing = [row for row, series_id in enumerate(ids) if series_id is None]
        known = await store.known_of_many(connection, [names[row][0] for row in missing]) if missing else {}
    items = [names[row] for row in missing if known[names[row][0]].is_item and not known[names[row][0]].locations]
    unsold = await _unsold(inference, list(dict.fromkeys(items)), plan)
    unknown = {row: unknown_detail(*names[row], known[names[row][0]]) for row in missing if names[row] not in unsold}
    if unknown:
        errors = [
            {"row": row, "field": "series", "code": "unknown_series", "detail": detail}
            for row, detail in unknown.items()
        ]
        more = f" {len(unknown) - 1} more of the series asked for have no sales either." if len(unknown) > 1 else ""
        raise Problem("not_found", next(iter(unknown.values())) + more, errors=errors)
    return [unsold[name] if series_id is None else series_id for name, series_id in zip(names, ids, strict=True)]


async def _unsold(inference: Inference, names: Sequence[Name], plan: Plan) -> dict[Name, Found]:
    """The items without sales of which something can be said, each with its forecast and, in place of an id, a number below 0."""
    if plan.serving.version == SIMPLE:
        return {}
    if len(names) > MOST_UNSOLD:
        detail = (
            f"{len(names)} of the series asked for have no sales yet; one query answers {MOST_UNSOLD} such at most."
        )
        entry = {"row": None, "field": "series", "code": "too_many_without_sales", "detail": detail}
        raise Problem("invalid_request", detail, errors=[entry])
    found: dict[Name, Found] = {}
    for number, name in enumerate(names, start=1):
        stored = await of_unsold(inference, *name, version=plan.serving.version, reach=plan.horizon)
        if stored is not None:
            found[name] = unsold_as_found(name, stored, plan.serving, series_id=-number)
    return found


async def _listed(inference: Inference, asked: Sequence[int | Found], plan: Plan) -> AsyncIterator[list[Found]]:
    """The series asked for, in that order; one that is deleted meanwhile is left out."""
    for first in range(0, len(asked), BATCH):
        part = asked[first : first + BATCH]
        ids = [one for one in part if isinstance(one, int)]
        async with inference.database.snapshot() as snapshot:
            sold = await store.look_up_many(await store.planned_anew(snapshot), ids, version=plan.serving.version)
        found = [sold.get(one) if isinstance(one, int) else one for one in part]
        yield [one for one in found if one is not None]


async def _active(inference: Inference, query: ForecastQuery, plan: Plan) -> AsyncIterator[list[Found]]:
    """Every active series, by SKU and location."""
    after = ("", "")
    while plan.serving.newest is not None:
        async with inference.database.snapshot() as snapshot:
            found = await store.look_up_active(
                await store.planned_anew(snapshot),
                after,
                version=plan.serving.version,
                newest=plan.serving.newest,
                changed_since=query.changed_since,
                limit=BATCH,
            )
        if found:
            yield found
            after = (found[-1].sku, found[-1].location)
        if len(found) < BATCH:
            return


async def _written(
    inference: Inference, plan: Plan, batches: AsyncIterator[list[Found]], to: Writer
) -> AsyncIterator[bytes]:
    async for batch in batches:
        fresh = await _up_to_date(inference, plan, batch)
        dependence = None if plan.forecaster is None else plan.forecaster.dependence
        ready = [
            Ready(found, stored, plan.horizon, None if stored.fallback is not None else dependence)
            for found in batch
            if (stored := fresh.get(found.series_id)) is not None
        ]
        yield await asyncio.to_thread(_rendered, ready, plan, to)
    yield to.end()


def _rendered(ready: Sequence[Ready], plan: Plan, to: Writer) -> bytes:
    return to.batch(answers_of(ready, plan.wanted, plan.stand_in))


async def _up_to_date(inference: Inference, plan: Plan, batch: Sequence[Found]) -> dict[int, Stored]:
    """The forecasts of a batch, those computed that were not fresh."""
    fresh: dict[int, Stored] = {}
    stale: dict[int, Found] = {}
    for found in batch:
        if found.stored is not None and found.is_fresh and not is_short(found.stored, plan.horizon):
            fresh[found.series_id] = found.stored
        else:
            stale[found.series_id] = found
    for part in _of_one_time(stale.values()):
        fresh |= await inference.compute(part, plan.serving.version, plan.horizon)
    return fresh


def _of_one_time(stale: Iterable[Found]) -> Iterator[list[int]]:
    """Series that end within a year of each other: a panel's days span all of its series' last days."""
    group: list[int] = []
    since = date.min
    for found in sorted(stale, key=lambda one: one.last_day or date.min):
        assert found.last_day is not None
        if group and found.last_day - since > timedelta(days=365):
            yield group
            group = []
        if not group:
            since = found.last_day
        group.append(found.series_id)
    if group:
        yield group
