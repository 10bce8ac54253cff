"""What explains days that look impossible: the calendar, holidays, what others sold at the same place, and what was confirmed.

Shapes: S series of a group, D days that may be judged.
"""

from collections.abc import Sequence

import asyncpg
import numpy as np
from numpy.typing import NDArray

from app.quarantine.checks import CONFIRMED_FOR_DAYS, PAST_DAYS, Confirmed, Flags, Group, Held, Index
from app.quarantine.store import confirmed_days
from app.sales.covariates import Places, calendar_values
from app.sales.places import COLUMNS as PLACE_COLUMNS
from app.sales.places import JOINS as PLACE_JOINS
from app.sales.places import place_of_row
from models.holidays import HOLIDAYS, holidays_of

COVERED = 0.9
"""Share of a place's active series that a post must speak of: fewer may be just those that did not sell."""
_HOLIDAY = HOLIDAYS[0]


async def by_calendar(driver: asyncpg.Connection, places: Places, group: Group, suspects: Held) -> tuple[Flags, Flags]:
    """Days on which the calendar has a promotion or an event, and those on which a place is closed or has a holiday; S x D."""
    days = np.unique(suspects.day_N)
    first, width = int(days[0]), int(days[-1] - days[0]) + 1
    special_SD, closed_SD = np.zeros(group.judged_SD.shape, np.bool_), np.zeros(group.judged_SD.shape, np.bool_)
    part = slice(first, first + width)
    said = await calendar_values(driver, places, group.first_day + first, width, names=[_HOLIDAY])
    special_SD[:, part] = (np.nan_to_num(said["promo"]) > 0) | (np.nan_to_num(said["event"]) > 0)
    holiday_SP = said[_HOLIDAY]
    public_SP = await _public_holidays(driver, places.locations, group.first_day + first, width)
    holiday_SP = np.where(np.isnan(holiday_SP), public_SP, holiday_SP)
    closed_SD[:, part] = (said["open"] == 0) | (holiday_SP > 0)
    return special_SD, closed_SD


async def _public_holidays(
    driver: asyncpg.Connection, locations: Sequence[str], first: int, width: int
) -> NDArray[np.bool_]:
    """Public holidays of each series' country; S x days from `first`."""
    names = list(dict.fromkeys(locations))
    rows = await driver.fetch(
        f"SELECT s.location, {PLACE_COLUMNS} FROM unnest($1::text[]) AS s (location) {PLACE_JOINS}", names
    )
    day_P = np.datetime64(first, "D") + np.arange(width)
    years = range(int(str(day_P[0])[:4]), int(str(day_P[-1])[:4]) + 1)
    festive: dict[str, NDArray[np.bool_]] = {}
    for row in rows:
        place = place_of_row(row)
        found = [] if place is None else [holidays_of(place, year) for year in years]
        festive[row["location"]] = np.isin(day_P, np.concatenate(found)) if found else np.zeros(width, np.bool_)
    return np.stack([festive[name] for name in locations])


async def by_others(driver: asyncpg.Connection, places: Places, group: Group, suspects: Held) -> Flags:
    """Days without a sale that say little: others sold at the same places, or the post speaks of too few of them; D."""
    quiet_D = np.zeros(group.judged_SD.shape[1], np.bool_)
    zeros = {day for day, reason in zip(suspects.day_N, suspects.reason_N, strict=True) if reason == "zeros"}
    for day in sorted(zeros):
        posted_S = group.judged_SD[:, day]
        row = await driver.fetchrow(
            "SELECT count(*) FILTER (WHERE s.last_day >= $2::date - $4::int) AS active,"
            " coalesce(bool_or(x.quantity > 0 AND s.id <> ALL($3::int[])), false) AS sold"
            " FROM series s LEFT JOIN sales x ON x.series_id = s.id AND x.day = $2"
            " WHERE s.location = ANY($1::text[])",  # an item's first sale too, whose series counts no row yet
            list(dict.fromkeys(places.locations)),
            np.datetime64(group.first_day + day, "D").item(),
            places.ids[posted_S].tolist(),
            PAST_DAYS,
        )
        quiet_D[day] = row["sold"] or posted_S.sum() < COVERED * row["active"]
    return quiet_D


async def by_confirmed(driver: asyncpg.Connection, ids: Index, group: Group, suspects: Held) -> Confirmed | None:
    """The newest day of the place before each suspected one that was held as a whole and confirmed, of half of its series at
    least. None where no day of a place is suspected, or none was confirmed in the CONFIRMED_FOR_DAYS before."""
    days = sorted(
        {day for day, why in zip(suspects.day_N, suspects.reason_N, strict=True) if why in ("units", "zeros")}
    )
    if not days:
        return None
    first = group.first_day - CONFIRMED_FOR_DAYS
    series_N, day_N, expected_N = await confirmed_days(driver, ids, first, group.first_day + days[-1])
    told, count = np.unique(day_N, return_counts=True)
    told = told[count >= len(ids) / 2]
    if not len(told):
        return None
    order = np.argsort(ids)
    row_N = order[np.searchsorted(ids, series_N, sorter=order)]
    column_D, usual_SD = np.full(group.judged_SD.shape[1], -1), np.full(group.judged_SD.shape, np.nan)
    for day in days:
        before = told[told < group.first_day + day]
        if len(before) and before[-1] >= group.first_day + day - CONFIRMED_FOR_DAYS:
            column_D[day] = max(before[-1] - group.first_day + group.past, 0)
            on_N = day_N == before[-1]
            usual_SD[row_N[on_N], day] = expected_N[on_N]
    return Confirmed(column_D, usual_SD)
