"""What an update works on: the sales, the head of the lineage that it begins from, and the champion that it is judged beside."""

from dataclasses import dataclass
from datetime import date
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from app.database.engine import Database
from app.errors import Problem
from app.jobs.task import Errand, panel_for
from app.jobs.update_reading import UpdateReading, read_update, row_index
from app.registry.artifacts import ArtifactDamaged
from app.registry.serving import load_forecaster
from app.sales.kept_table import save as save_kept
from models.forecaster import Forecaster
from models.heldout import NotEnoughHistory
from models.online.common_shifts import CommonShifts, common_shifts
from models.online.shifts import SPANS
from models.panel import Panel
from models.placement import Placement

log = structlog.get_logger()


@dataclass(frozen=True)
class Sides:
    """The panel that an update works on, the head of the lineage, from which it begins, and the champion, beside which it is
    judged."""

    reading: UpdateReading
    panel: Panel
    head: Forecaster
    champion: Forecaster
    passed_by: str
    """A sentence about versions that were passed by, if there were any."""

    def keep_sales(self, file: Path) -> None:
        """Keep the sales that were read for the next update."""
        if self.reading.data.to_keep is not None:
            save_kept(file, self.reading.data.to_keep)

    @property
    def newest(self) -> int:
        return row_index(self.reading.data, self.reading.newest)

    @cached_property
    def common(self) -> CommonShifts | None:
        """The shifts that many series have had at once."""
        found = common_shifts(self.panel, self.newest)
        if found is not None:
            log.info("common_shifts", day=str(found.day), odds=dict(zip(SPANS, found.odds, strict=True)))
        return found

    @property
    def seen(self) -> Panel:
        """The panel up to the newest complete day."""
        return self.panel.until(np.datetime64(self.reading.newest))


def sides_of(errand: Errand, placement: Placement, *, fine_tune: bool | None) -> Sides:
    """A head of the lineage that is damaged gives way to the version before it. Raises ArtifactDamaged for a champion.

    `fine_tune`: whether networks are to learn on; None: where it is time.
    """
    task = errand.task
    damaged: dict[int, str] = {}
    while True:
        kept, without = Path(task["kept_sales"]), list(damaged)
        read = partial(read_update, fine_tune=fine_tune, until=until_of(task), kept=kept, without=without)
        reading = errand.run(read)
        if reading is None:
            raise errand.run(_nothing_to_update)
        line = reading.line
        try:
            head = load_forecaster(task["artifacts"], line.head.sha256, placement.device)
        except ArtifactDamaged as damage:
            if line.head.version == line.champion.version:
                raise
            log.warning("head_passed_by", version=line.head.version, detail=damage.detail)
            damaged[line.head.version] = damage.detail
            continue
        same = line.champion.version == line.head.version
        champion = head if same else load_forecaster(task["artifacts"], line.champion.sha256, placement.device)
        told = [
            f" It began at version {line.head.version}, since version {n} is lost: {why}" for n, why in damaged.items()
        ]
        return Sides(reading, panel_for(head, reading.data.panel), head, champion, "".join(told))


def until_of(task: dict[str, Any]) -> date | None:
    """The newest day that was asked for, if one was; a job may have waited since before anybody could ask."""
    asked: str | None = task["request"].get("until")
    return None if asked is None else date.fromisoformat(asked)


async def _nothing_to_update(database: Database) -> Exception:
    async with database.reading() as driver:
        champion = await driver.fetchval("SELECT version FROM aliases WHERE alias = 'champion'")
    if champion is None:
        return Problem("conflict", "There is no champion to update; train one first.")
    return NotEnoughHistory("There are no sales to learn from, of a day that is over; post some first.")
