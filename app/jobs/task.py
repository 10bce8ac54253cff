"""What a training child reads from the database before it works: all sales as a panel, and the versions it needs."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import Database
from app.jobs.queue import check_held
from app.registry.promotions import refuse_removed
from app.registry.store import read_model
from app.sales.covariates import hold
from app.sales.panel import TrainingData, read_panel
from models.forecaster import Forecaster
from models.panel import Floats, Panel
from models.training_config import RANGES, TrainingConfig
from models.tuning import Trial

T = TypeVar("T")


class Errand:
    """A child's task, and its database: one connection, held for one piece of work at a time and never in between."""

    def __init__(self, task: dict[str, Any]) -> None:
        self.task = task
        self.job_id = UUID(task["job_id"])
        self._fence = {"id": self.job_id, "attempt": task["attempt"], "worker": task["worker"]}
        self._runner = asyncio.Runner()
        self._database = Database(task["database_url"], pool_size=1)

    def __enter__(self) -> "Errand":
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.run(self._database.close())
        self._runner.close()

    def run(self, work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
        """Do a piece of work with the database, to its end."""
        # Not by `Runner.run`: it tells a handler of SIGINT of the task, for which Python puts all its data into words.
        return self._runner.get_loop().run_until_complete(work(self._database))

    def stage(self, work: Callable[[AsyncConnection], Awaitable[None]]) -> None:
        """Put something into the database under the job's id. Raises NotOurs, and changes nothing, where the job is another
        attempt's by now: what that one staged may count already."""

        async def staged(database: Database) -> None:
            async with database.transaction() as connection:
                await check_held(connection, self._fence)
                await work(connection)
                # It may have been frozen since. Only from here on the job is kept, so that a long wait before keeps nobody out.
                await check_held(connection, self._fence, until_commit=True)

        self.run(staged)


@dataclass(frozen=True)
class Champion:
    version: int
    sha256: str


@dataclass(frozen=True)
class Reading:
    """All that was sold on days that are over, None when there are no such sales, and the champion of the same moment.

    `judged` is the version that a backtest asks for: its number and the address of its artifact. `trials` are those that earlier
    attempts at a job that tunes have ended.
    """

    data: TrainingData | None
    champion: Champion | None
    judged: tuple[int, str] | None = None
    trials: tuple[Trial, ...] = ()


async def read_task(database: Database, job_id: UUID, *, version: int | None = None) -> Reading:
    """Read everything in one snapshot. Raises Problem `artifact_damaged` where the version's artifact was removed."""
    async with database.snapshot() as connection:
        judged = None if version is None else (version, await _address(connection, version))
        trials = await _trials(connection, job_id)
        data = await read_panel(connection, until=await last_day_over(connection))
        return Reading(data, await _champion(connection), judged, trials)


async def last_day_over(connection: AsyncConnection) -> date:
    """Yesterday, in the time zone of the daily update: of the day that goes on some sales are still to be made."""
    found = await connection.execute(
        text("SELECT timezone, clock_timestamp() AS now FROM schedules WHERE kind = 'update'")
    )
    row = found.one()
    today: date = row.now.astimezone(ZoneInfo(row.timezone)).date()
    return today - timedelta(days=1)


async def _address(connection: AsyncConnection, version: int) -> str:
    model = await read_model(connection, version)
    await refuse_removed(connection, version)
    return str(model["artifact_sha256"])


async def _champion(connection: AsyncConnection) -> Champion | None:
    found = await connection.execute(
        text("SELECT version, artifact_sha256 FROM aliases JOIN versions USING (version) WHERE alias = 'champion'")
    )
    row = found.one_or_none()
    return None if row is None else Champion(row.version, row.artifact_sha256)


async def _trials(connection: AsyncConnection, job_id: UUID) -> tuple[Trial, ...]:
    found = await connection.execute(
        text(
            "SELECT number, state, params, validation, value, seconds FROM trials WHERE job_id = :id ORDER BY number"
        ).columns(params=JSONB),
        {"id": job_id},
    )
    return tuple(Trial(**{**row._mapping, "validation": tuple(row.validation)}) for row in found)


def training_config(request: dict[str, Any], panel: Panel) -> TrainingConfig:
    """What a request for a training asks for, with all covariates that there are."""
    given: dict[str, Any] = {name: request[name] for name in RANGES if request.get(name) is not None}
    return TrainingConfig(
        model=request["model"],
        loss=request["loss"],
        cleaning=request["cleaning"],
        known=tuple(panel.known),
        past=tuple(panel.past),
        **given,
    )


def panel_for(forecaster: Forecaster, panel: Panel) -> Panel:
    """The panel with every covariate that a forecaster was trained with.

    What nobody gives any more is NaN (unknown) to it, and what used to be known ahead may by now be known of the past only.
    """
    width = max([panel.days, *(values.shape[1] for values in panel.known.values())])
    known = {name: _widened(panel, name, width) for name in forecaster.config.known}
    hold(known)
    past = {
        name: np.ascontiguousarray(_widened(panel, name, width)[:, : panel.days]) for name in forecaster.config.past
    }
    return replace(panel, known=panel.known | known, past=panel.past | past)


def _widened(panel: Panel, name: str, width: int) -> Floats:
    values = np.full((panel.series, width), np.nan, dtype=np.float32)
    given = panel.known.get(name, panel.past.get(name))
    if given is not None:
        values[:, : given.shape[1]] = given
    return values
