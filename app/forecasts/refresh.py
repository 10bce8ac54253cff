"""Recomputing what is no longer fresh, so that reads find it ready: called by the worker while it has nothing better to do."""

import asyncio
from collections.abc import Callable

import structlog

from app.forecasts import store
from app.forecasts.inference import BATCH, Inference
from app.forecasts.store import SIMPLE, Stored
from app.registry.artifacts import ArtifactDamaged

log = structlog.get_logger()


async def refresh_stale(inference: Inference, *, proceed: Callable[[], bool] = lambda: True) -> int:
    """Bring the serving version's forecasts of all active series up to date, each batch committed; returns how many.

    `proceed` is asked between batches: False ends it early. Does nothing without a version that serves (simple methods
    are computed when read), and next to nothing when no post, calendar change or promotion came since it last ended.
    """
    async with inference.database.reading() as connection:
        state = await store.state_of_data(connection)
    if state == inference.refreshed_state:
        return 0
    version = await _serving(inference)
    if version is None:
        return 0
    refreshed, all_of_them = await _refreshed(inference, version, proceed)
    if all_of_them:
        inference.refreshed_state = state
    if refreshed:
        log.info("forecasts_refreshed", version=version, series=refreshed)
    return refreshed


async def _refreshed(inference: Inference, version: int, proceed: Callable[[], bool]) -> tuple[int, bool]:
    """How many forecasts were brought up to date, and whether these were all. While one batch is computed, the next is read."""
    refreshed, after = 0, 0
    before: asyncio.Task[dict[int, Stored]] | None = None
    try:
        while proceed():
            async with inference.database.snapshot() as snapshot:
                stale = await store.stale_ids(await store.planned_anew(snapshot), version, after=after, limit=BATCH)
            present = asyncio.create_task(inference.compute(stale, version, 1)) if stale else None
            before, done = present, before
            refreshed += len(await done) if done is not None else 0
            if present is None:
                return refreshed, True
            after = stale[-1]
        return refreshed + (len(await before) if before is not None else 0), False
    finally:
        if before is not None and not before.done():
            before.cancel()
            await asyncio.gather(before, return_exceptions=True)


async def _serving(inference: Inference) -> int | None:
    """The champion or what stands in for it, loaded; None when that is a simple method."""
    stand_in = await inference.weights.present_stand_in()
    async with inference.database.reading() as connection:
        serving = await store.serving(connection, version=None, stand_in=stand_in)
    if serving.version == SIMPLE:
        return None
    try:
        await inference.weights.of(serving.version)
    except ArtifactDamaged:
        await inference.weights.find_serving()
        stand_in = inference.weights.stand_in
        return stand_in.version or None if stand_in is not None and stand_in.champion == serving.champion else None
    return serving.version
