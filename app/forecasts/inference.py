"""Bringing forecasts up to date: read the context, one forward pass on one thread, store, hand over.

Requests for single series meet here: one flight a series, and those that wait share a batch. Nothing is computed on
the event loop, and no transaction is open while something is computed.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TypeVar

import torch

from app.database.engine import Database
from app.forecasts import compute, store
from app.forecasts.compute import Task, simple_horizon
from app.forecasts.newcomers import in_place_of_few_days
from app.forecasts.store import SIMPLE, Found, Stored
from app.forecasts.weights import Weights
from app.sales.panel import read_context
from models.placement import CPU
from models.windows import MEMORY

T = TypeVar("T")
FLIGHTS_AT_ONCE = 64
BATCH = 512


class Inference:
    """The one place of a process that computes forecasts."""

    def __init__(self, database: Database, artifacts: str, device: torch.device = CPU.device) -> None:
        self.database = database
        self.weights = Weights(database, artifacts, device)
        self.refreshed_state: tuple[int | datetime | None, ...] | None = None
        """The state of the data at which the last refresh of everything ended (see refresh.py)."""
        self._thread = ThreadPoolExecutor(1, "inference", initializer=torch.set_num_threads, initargs=(1,))
        self._waiting: dict[tuple[int, int], _Flight] = {}
        self._flying: dict[tuple[int, int], _Flight] = {}
        self._pilot: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Load the champion, so that no read waits for it and readiness can tell when it is damaged."""
        await self.weights.present_stand_in()

    async def close(self) -> None:
        if self._pilot is not None:
            self._pilot.cancel()
            await asyncio.gather(self._pilot, return_exceptions=True)
        self._thread.shutdown(wait=True, cancel_futures=True)

    async def beside(self, work: Callable[..., T], *arguments: object) -> T:
        """What `work` answers, computed on the one thread that computes."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def compute(
        self, series_ids: Sequence[int], version: int, horizon: int, *, newcomers: bool = True
    ) -> dict[int, Stored]:
        """Forecasts of up to BATCH series from one snapshot, stored; series that are gone or empty are left out.

        `horizon` is how far simple methods must reach. Series with few days are answered as newcomers where something is
        known of their item, unless `newcomers` is False. Raises ArtifactDamaged when the version cannot be loaded.
        """
        forecaster = None if version == SIMPLE else await self.weights.of(version)
        reach = max(simple_horizon(horizon), 0 if forecaster is None else forecaster.horizon)
        async with self.database.snapshot() as connection:
            context = await read_context(
                connection,
                series_ids,
                days=MEMORY,
                ahead=reach,
                known=() if forecaster is None else forecaster.known,
                past=() if forecaster is None else forecaster.past,
            )
        if context is None:
            return {}
        task, now = Task(version, forecaster, reach), datetime.now(UTC)
        made = await self.beside(compute.forecasts, context, task, now)
        if newcomers and forecaster is not None:
            made = await in_place_of_few_days(self, made, compute.young(context), reach)
        async with self.database.transaction() as writing:
            await store.keep(writing, made)
        return {one.series_id: one for one in made}

    async def refreshed(self, found: Found, horizon: int) -> Stored | None:
        """A forecast no older than what the look-up saw; None when the series has gone or lost its last row."""
        key = (found.series_id, found.version)
        while True:
            flight = self._flying.get(key)
            if flight is not None:
                landed = await asyncio.shield(flight.landing)
                if landed is None or _serves(landed, found, horizon):
                    return landed
                continue
            flight = self._waiting.get(key)
            if flight is None:
                flight = self._waiting[key] = _Flight(horizon)
            flight.horizon = max(flight.horizon, horizon)
            if self._pilot is None or self._pilot.done():
                self._pilot = asyncio.create_task(self._fly())
            return await asyncio.shield(flight.landing)

    async def _fly(self) -> None:
        while self._waiting:
            version = next(iter(self._waiting))[1]
            batch = [key for key in self._waiting if key[1] == version][:FLIGHTS_AT_ONCE]
            self._flying = {key: self._waiting.pop(key) for key in batch}
            horizon = max(flight.horizon for flight in self._flying.values())
            try:
                made = await self.compute([series_id for series_id, _ in batch], version, horizon)
            except BaseException as error:
                for flight in self._flying.values():
                    flight.fail(error)
                if not isinstance(error, Exception):
                    raise
            else:
                for (series_id, _), flight in self._flying.items():
                    flight.land(made.get(series_id))
            finally:
                self._flying = {}


class _Flight:
    """One series being brought up to date, and everyone who waits for it."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.landing: asyncio.Future[Stored | None] = asyncio.get_running_loop().create_future()

    def land(self, made: Stored | None) -> None:
        if not self.landing.done():
            self.landing.set_result(made)

    def fail(self, error: BaseException) -> None:
        if self.landing.done():
            return
        if isinstance(error, asyncio.CancelledError):
            self.landing.cancel()
        else:
            self.landing.set_exception(error)
            self.landing.exception()  # seen: whoever waited may have left meanwhile


def _serves(landed: Stored, found: Found, horizon: int) -> bool:
    """Whether a flight that was in the air already has seen all that the look-up saw."""
    return (
        landed.series_revision >= found.revision
        and landed.calendar_revision >= found.calendar_revision
        and (landed.fallback is None or landed.horizon >= horizon)
    )
