"""Reading one series' forecast: look it up, bring it up to date where it is not fresh, answer.

A rendered answer is kept in memory under the identity of the forecast it was rendered from, so that a read costs one
look-up; the look-up itself, which proves freshness, is made on every read.
"""

from typing import NamedTuple

from app.errors import Problem
from app.forecasts import store
from app.forecasts.answers import Ready, answers_of
from app.forecasts.compute import DEFAULT_HORIZON
from app.forecasts.formats import written
from app.forecasts.inference import Inference
from app.forecasts.newcomers import of_unsold
from app.forecasts.rendered import Rendered, RenderedAnswers
from app.forecasts.schemas import Wanted
from app.forecasts.store import SIMPLE, Found, StandIn, Stored
from app.registry.artifacts import ArtifactDamaged

ATTEMPTS = 8
"""Looks at a series before giving up on one that changes under every computation."""


class Current(NamedTuple):
    """A series with a forecast that was fresh when it was looked up, and what stood in for its champion then."""

    found: Found
    stored: Stored
    horizon: int
    stand_in: StandIn | None


async def current(inference: Inference, sku: str, location: str, wanted: Wanted) -> Current:
    """The series' forecast as of now. Raises Problem 404, 422, or 409 for a version asked for that cannot be loaded."""
    for _ in range(ATTEMPTS):
        stand_in = await inference.weights.present_stand_in()
        async with inference.database.reading() as connection:
            found = await store.look_up(connection, sku, location, version=wanted.version, stand_in=stand_in)
        if found is None or found.last_day is None:
            return await _unsold(inference, sku, location, wanted, stand_in)
        check_version(wanted, found.version_horizon)
        horizon = horizon_of(wanted, found.version_horizon)
        stored = found.stored if found.is_fresh else None
        if stored is None or is_short(stored, horizon):
            stored = await _refreshed(inference, found, horizon, wanted)
        if stored is not None:
            check_horizon(stored, horizon, found.version_horizon)
            await inference.weights.note_use(stored.version)
            applies = stand_in is not None and stand_in.champion == found.champion
            return Current(found, stored, horizon, stand_in if applies else None)
    raise Problem("unavailable", "The series changes faster than it can be forecast; ask again.")


async def _unsold(inference: Inference, sku: str, location: str, wanted: Wanted, stand_in: StandIn | None) -> Current:
    """An item without sales, forecast from those like it. Raises Problem 404 where nothing is known of it."""
    async with inference.database.reading() as connection:
        serving = await store.serving(connection, version=wanted.version, stand_in=stand_in)
    check_version(wanted, serving.version_horizon)
    horizon = horizon_of(wanted, serving.version_horizon)
    try:
        stored = await of_unsold(inference, sku, location, version=serving.version, reach=horizon)
    except ArtifactDamaged:
        await stand_in_for_damaged(inference, wanted)
        raise Problem("unavailable", "The champion is damaged; ask again.") from None
    if stored is None:
        raise await unknown(inference, sku, location)
    found = unsold_as_found((sku, location), stored, serving, series_id=0)
    return Current(found, stored, horizon, None)


def unsold_as_found(name: tuple[str, str], stored: Stored, serving: store.Serving, *, series_id: int) -> Found:
    """An item without sales as if it had been looked up, with its fresh forecast."""
    return Found(
        series_id, *name, 0, 0, stored.cutoff, serving.champion, serving.version, serving.version_horizon, stored
    )


def is_short(stored: Stored, horizon: int) -> bool:
    """Whether a simple method answered, and not as far as is asked for now."""
    return stored.fallback is not None and stored.horizon < horizon


def check_version(wanted: Wanted, version_horizon: int | None) -> None:
    if wanted.version is not None and version_horizon is None:
        raise Problem("not_found", f"There is no version {wanted.version}; GET /v1/models lists them.")


def horizon_of(wanted: Wanted, version_horizon: int | None) -> int:
    """How many days ahead are asked for. Raises Problem 422 where `lead_days` leaves none of them."""
    horizon = wanted.horizon or version_horizon or DEFAULT_HORIZON
    if wanted.lead_days < horizon:
        return horizon
    detail = f"lead_days={wanted.lead_days} leaves no day of a horizon of {horizon}; it must be less."
    entry = {"row": None, "field": "lead_days", "code": "no_days_left", "detail": detail}
    raise Problem("invalid_request", detail, errors=[entry])


def check_horizon(stored: Stored, horizon: int, version_horizon: int | None) -> None:
    if stored.fallback is None and version_horizon is not None and horizon > version_horizon:
        raise too_far(horizon, stored.version, version_horizon)


def too_far(horizon: int, version: int, version_horizon: int) -> Problem:
    detail = f"Version {version} goes {version_horizon} days ahead, not {horizon}."
    return Problem(
        "invalid_request",
        detail,
        errors=[{"row": None, "field": "horizon", "code": "horizon_too_long", "detail": detail}],
    )


async def _refreshed(inference: Inference, found: Found, horizon: int, wanted: Wanted) -> Stored | None:
    """A fresh forecast, or None when the look-up must be made again: the series or its version has changed."""
    try:
        return await inference.refreshed(found, horizon)
    except ArtifactDamaged:
        await stand_in_for_damaged(inference, wanted)
        return None


async def stand_in_for_damaged(inference: Inference, wanted: Wanted) -> None:
    """Within `except`: settle what serves instead. A version that was asked for by its number has no stand-in."""
    if wanted.version is not None:
        raise  # noqa: PLE0704 - the damage that is being handled
    await inference.weights.find_serving()


async def unknown(inference: Inference, sku: str, location: str) -> Problem:
    """The 404 of a series without sales, which says what is known of its SKU."""
    async with inference.database.reading() as connection:
        known = await store.known_of(connection, sku)
    return Problem("not_found", unknown_detail(sku, location, known))


def unknown_detail(sku: str, location: str, known: store.Known) -> str:
    where = f"at the location {location!r}" if location else "without a location"
    if known.locations:
        named = ", ".join(repr(name) for name in known.locations)
        return f"The SKU {sku!r} has no sales {where}; it has sales at: {named}."
    if known.is_item:
        return f"The item {sku!r} has no sales yet, so there is nothing to forecast from; post its first sales."
    return f"The SKU {sku!r} is not known; post its sales first."


async def ready(inference: Inference, at: Current, wanted: Wanted) -> Ready:
    """With what sums of days need to know of how they go together, which belongs to the version that answered."""
    dependence = None
    if at.stored.fallback is None and wanted.period != "day" and at.stored.version != SIMPLE:
        dependence = (await inference.weights.of(at.stored.version)).dependence
    return Ready(at.found, at.stored, at.horizon, dependence)


async def read_one(
    inference: Inference, rendered: RenderedAnswers, name: tuple[str, str], wanted: Wanted, media_type: str
) -> Rendered:
    """The answer for one series (SKU, location) in the bytes of a format, with its ETag."""
    kept = await _as_before(inference, rendered, name, wanted, media_type)
    if kept is not None:
        return kept
    for _ in range(ATTEMPTS):
        at = await current(inference, *name, wanted)
        try:
            one = await ready(inference, at, wanted)
        except ArtifactDamaged:
            await stand_in_for_damaged(inference, wanted)
        else:
            answer = answers_of([one], wanted, at.stand_in)[0]
            stored = at.stored
            key = (stored.series_id, stored.version, stored.generated_at, at.horizon, wanted, at.stand_in, media_type)
            return rendered.put(key, written(answer, media_type, wanted.levels))
    raise Problem("unavailable", "What serves changes faster than it can answer; ask again.")


async def _as_before(
    inference: Inference, rendered: RenderedAnswers, name: tuple[str, str], wanted: Wanted, media_type: str
) -> Rendered | None:
    """The answer that was rendered before, once a look-up has proved that nothing changed since."""
    stand_in = await inference.weights.present_stand_in()
    async with inference.database.reading() as connection:
        seen = await store.glance(connection, *name, version=wanted.version, stand_in=stand_in)
    if seen is None:
        return None
    horizon = horizon_of(wanted, seen.version_horizon)
    applies = stand_in if stand_in is not None and stand_in.champion == seen.champion else None
    kept = rendered.get((seen.series_id, seen.version, seen.generated_at, horizon, wanted, applies, media_type))
    if kept is not None:
        await inference.weights.note_use(seen.version)
    return kept
