"""What a training child reads from the database before it works: the panel of all sales, and which version is champion."""

from dataclasses import dataclass, replace

import numpy as np
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import Database
from app.sales.covariates import hold
from app.sales.panel import TrainingData, read_panel
from models.forecaster import Forecaster
from models.panel import Floats, Panel


@dataclass(frozen=True)
class Champion:
    version: int
    sha256: str


@dataclass(frozen=True)
class Reading:
    """All that was sold, None when there are no sales at all, and the champion of the same moment."""

    data: TrainingData | None
    champion: Champion | None


async def read_task(database: Database) -> Reading:
    """Read everything in one snapshot."""
    async with database.snapshot() as connection:
        return Reading(await read_panel(connection), await _champion(connection))


async def _champion(connection: AsyncConnection) -> Champion | None:
    found = await connection.execute(
        text("SELECT version, artifact_sha256 FROM aliases JOIN versions USING (version) WHERE alias = 'champion'")
    )
    row = found.one_or_none()
    return None if row is None else Champion(row.version, row.artifact_sha256)


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
