"""The days that came in, as an update goes through them: what was said of each is read, scored, and handed on to learn from.

One day is held at a time: what was said of a single day of many series takes a hundred megabytes.

Shapes: S series, J days ahead, Q quantile levels, W mean and scored levels, C sources, K stretches, X sums, N segments.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.accuracy.issued import SaidOfDay, said_of_day, stage_series_scores
from app.accuracy.sums import SOURCES
from app.database.engine import Database, begun
from app.drift.finding import ScoredDay, scored_day
from app.jobs.task import Errand
from app.jobs.update_reading import UpdateReading, row_index
from models.days import Index, side_by_side, take_days
from models.forecaster import Forecaster
from models.online.scoring import SUMS, naive_of_day, sums_of_day
from models.online.stream import scales
from models.online.tracking import Matured
from models.panel import Floats, Panel
from models.parallel import Hands
from models.segments import SEGMENTS, bucket_names, segments_of
from models.training_config import LEVELS
from models.validation import in_stock
from models.windows import MEMORY

PAIRED = ("lineage", "lineage_frozen", "lineage_live")
"""Of all series together: what the lineage said, and what networks as trained and callers' forecasts had said beside it."""
Said = tuple[Floats, Floats]
"""Mean (S, J) and scored quantiles (S, J, Q) of a day."""
Mask = NDArray[np.bool_]


class DaysThatCame:
    """What an update does with each day. `rows`: of each day that was scored, its rows of the table `scores`; `losses`: what the
    detectors of drift look at, which is each day once."""

    def __init__(self, errand: Errand, reading: UpdateReading, head: Forecaster, panel: Panel, hands: Hands) -> None:
        self._errand, self._reading, self._panel, self._hands = errand, reading, panel, hands
        self._learnable_ST = in_stock(head, panel)
        self._horizon = head.horizon
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.losses: list[ScoredDay] = []

    def learnable(self, days: Iterable[date]) -> Iterator[Matured]:
        """The days as the tracking learns from them, each scored on the way where it was not before, or was corrected since."""
        for day in self._in_panel(days):
            scale_S = self._scales(day)
            yield self._matured(day, self._said(day, scale_S), scale_S)

    def score_the_rest(self) -> None:
        """Score the days that were not learned from."""
        for day in self._in_panel(self._reading.to_score):
            if str(day) not in self.rows:
                self._said(day, self._scales(day))

    def _in_panel(self, days: Iterable[date]) -> Iterator[date]:
        """Without those before the first day of sales: all that was sold then has been deleted since."""
        return (day for day in days if row_index(self._reading.data, day) >= 0)

    def _scales(self, day: date) -> Floats:
        return scales(self._panel, row_index(self._reading.data, day) - 1)

    def _said(self, day: date, scale_S: Floats) -> SaidOfDay | None:
        """What was said of a day; scored, if that is still to be done."""
        ids, line = self._reading.data.series_ids, self._reading.line

        async def read(database: Database) -> SaidOfDay | None:
            async with database.snapshot() as connection:
                return await said_of_day(await begun(connection), day, ids, ours=line.recorded, experts=line.jobs)

        said = self._errand.run(read)
        scored = day in self._reading.to_score or day in self._reading.anew
        if said is not None and scored and str(day) not in self.rows:
            self._score(said, scale_S)
        return said

    def _score(self, said: SaidOfDay, scale_S: Floats) -> None:
        """Sums of all that was said of a day: of single series into the database, of all together kept for the parent."""
        index, panel = row_index(self._reading.data, said.day), self._panel
        parts = self._hands.by_parts(panel.series, lambda rows: _sums(said, panel, index, scale_S[rows], rows))
        sums_SCKX, segment_S = (np.concatenate(each) for each in zip(*(part.result() for part in parts), strict=True))
        self.rows[str(said.day)] = _rows(sums_SCKX, segment_S, bucket_names(said.horizon))
        if said.day in self._reading.to_score:
            live_SX, naive_SX = (sums_SCKX[:, SOURCES.index(source), 0] for source in ("live", "seasonal_naive"))
            self.losses.append(scored_day(said.day, live_SX, naive_SX, segment_S))
        ids, kept = self._reading.data.series_ids, sums_SCKX[:, : len(SOURCES)]
        self._errand.stage(
            partial(stage_series_scores, job_id=self._errand.job_id, day=said.day, series_ids=ids, sums=kept)
        )

    def _matured(self, day: date, said: SaidOfDay | None, scale_S: Floats) -> Matured:
        """A day as the tracking learns from it: what the lineage's own experts had said of it."""
        index, series = row_index(self._reading.data, day), self._panel.series
        unsaid_SJQ = np.full((series, 1, len(LEVELS)), np.nan, np.float32)
        return Matured(
            np.datetime64(day),
            self._learnable_ST[:, index],
            scale_S,
            unsaid_SJQ if said is None else said.trained_expert_SJQ[:, : self._horizon],
            unsaid_SJQ if said is None else said.lineage_expert_SJQ[:, : self._horizon],
        )


def _sums(said: SaidOfDay, panel: Panel, index: int, scale_S: Floats, rows: Index) -> tuple[Floats, NDArray[np.int64]]:
    """A day of some series beside what was said of it, (S, C, K, X): by SOURCES, then PAIRED; and their segments, (S,).

    The seasonal naive is scored on the days and series of which callers read something.
    """
    y_S = panel.quantity_ST[rows, index]
    first_S = np.full(len(rows), index - MEMORY, np.int64)
    memory_SM = take_days(panel.quantity_ST, rows, first_S, MEMORY)
    mean_SJ, quantiles_SJQ = naive_of_day(memory_SM, said.horizon)
    of_rows = [one[side_by_side(rows)] for one in (said.live_SJW, said.frozen_SJW, said.lineage_SJW)]
    live, frozen, lineage = ((one[..., 0], one[..., 1:]) for one in of_rows)
    naive = (np.where(np.isfinite(live[0]), mean_SJ, np.float32(np.nan)), quantiles_SJQ)
    sums = [sums_of_day(y_S, mean, quantiles, scale_S) for mean, quantiles in (live, frozen, naive)]
    spoken_SJ = np.isfinite(lineage[0])
    paired = ((lineage, None), (frozen, sums[1]), (live, sums[0]))
    sums += [_where(spoken_SJ, answer, y_S, scale_S, of_all) for answer, of_all in paired]
    return np.stack(sums, axis=1), segments_of(memory_SM)


def _where(spoken_SJ: Mask, answer: Said, y_S: Floats, scale_S: Floats, sums_SKX: Floats | None) -> Floats:
    """The sums (S, K, X) of an answer where the lineage spoke as well. It speaks of the cutoffs since its line began; what came
    before was said by others. `sums_SKX`: of the answer wherever it was given, where they are known."""
    mean_SJ, quantiles_SJQ = answer
    if sums_SKX is not None and not (np.isfinite(mean_SJ) & ~spoken_SJ).any():
        return sums_SKX
    until = int(np.flatnonzero(spoken_SJ.any(axis=0)).max(initial=-1)) + 1
    sums_SKX = np.zeros((len(y_S), len(bucket_names(mean_SJ.shape[1])), len(SUMS)), np.float32)
    if until:
        paired_SJ = np.where(spoken_SJ, mean_SJ, np.float32(np.nan))[:, :until]
        found_SKX = sums_of_day(y_S, paired_SJ, quantiles_SJQ[:, :until], scale_S)
        sums_SKX[:, : found_SKX.shape[1]] = found_SKX
    return sums_SKX


def _rows(sums_SCKX: Floats, segment_S: NDArray[np.int64], stretches: list[str]) -> list[dict[str, Any]]:
    """Rows of `scores`: of all series of each segment, with something in them."""
    rows = []
    for at, source in enumerate((*SOURCES, *PAIRED)):
        for number, segment in enumerate(SEGMENTS):
            total_KX = sums_SCKX[segment_S == number, at].sum(axis=0, dtype=np.float64)
            for stretch, total_X in zip(stretches, total_KX, strict=True):
                if total_X[0] > 0:
                    rows.append({"source": source, "segment": segment, "stretch": stretch, "sums": total_X.tolist()})
    return rows
