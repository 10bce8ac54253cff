"""Public holidays and the days around them as known covariates, by the country (and subdivision) of each series' location.

Which days they are comes from the package `holidays`, substitute days included. What somebody has told under the same names
stands; only what is open is filled. A series without a country, and a year that the package does not reach, are unknown (NaN).

Shapes: S series, T days, P = T + days ahead.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import holidays
import numpy as np
from numpy.typing import NDArray

from models.panel import Floats, Panel, known_ahead, widened

HOLIDAYS = ("holiday", "before_holiday", "after_holiday")
"""1 on a holiday; and falling from 1 on the day before (after) the nearest one to 1/7 a week before (after) it, then 0."""
AHEAD_DAYS = 365
RAMP_DAYS = 7


@dataclass(frozen=True)
class Place:
    """A country by its ISO 3166-1 code of two letters, and a part of it as in ISO 3166-2, with or without the country.

    Where a country's holidays do not tell a subdivision apart, they are the country's.
    """

    country: str
    subdivision: str | None = None


def place_of(code: str) -> Place:
    """The place of a code such as IT or DE-BY. Raises ValueError, which names it, where its holidays are not known."""
    country, _, subdivision = code.partition("-")
    known = holidays.list_supported_countries(include_aliases=False)
    if country not in known:
        raise ValueError(
            f"The holidays of the country {country!r} are not known; an ISO 3166-1 code is needed, such as IT."
        )
    if subdivision and _told_apart(country, subdivision) is None:
        names = ", ".join(known[country]) or "none"
        raise ValueError(f"The country {country!r} has no subdivision {subdivision!r} with holidays; it has: {names}.")
    return Place(country, subdivision or None)


def with_holidays(
    panel: Panel, places: Sequence[Place | None], *, names: Sequence[str] = HOLIDAYS, ahead: int = AHEAD_DAYS
) -> Panel:
    """The panel with the holidays `names` known on all its days and at least `ahead` ones after, one place a series.

    All known covariates reach equally far afterwards. One place for all series costs the memory of one series.
    """
    width, known = known_ahead(panel, ahead)
    told = {name: known.pop(name, None) for name in names}
    past = {name: values for name, values in panel.past.items() if name not in names}
    for name in names:
        days_SP = _days(places, name, panel.start, width)
        given_SP = told[name]
        if given_SP is None and name in panel.past:
            given_SP = widened(panel.past[name], width)
        known[name] = days_SP if given_SP is None else np.where(np.isnan(given_SP), days_SP, given_SP)
    return replace(panel, known=known, past=past)


def _days(places: Sequence[Place | None], name: str, start: np.datetime64, width: int) -> Floats:
    """One covariate of all series, S x P; a view of one row where all series are in one place."""
    distinct = list(dict.fromkeys(places))
    row = HOLIDAYS.index(name)
    of_place = [_ramps(place, start, width)[row] for place in distinct]
    if len(distinct) == 1:
        shared_SP: Floats = np.broadcast_to(of_place[0], (len(places), width))
        return shared_SP
    number = {place: i for i, place in enumerate(distinct)}
    out_SP: Floats = np.stack(of_place)[[number[place] for place in places]]
    return out_SP


@lru_cache(maxsize=256)
def _ramps(place: Place | None, start: np.datetime64, width: int) -> Floats:
    """The three covariates of one place from a day on, 3 x P."""
    out_3P = np.full((3, width), np.nan, np.float32)
    if place is None:
        return out_3P
    day_P = start.astype("datetime64[D]") + np.arange(width)
    reach = np.timedelta64(RAMP_DAYS, "D")
    first, last = (int(str(day)[:4]) for day in (day_P[0] - reach, day_P[-1] + reach))
    years = {year: holidays_of(place, year) for year in range(first, last + 1)}
    festive_N = np.concatenate(list(years.values()))
    if not festive_N.size:
        return out_3P
    until_P = _nearest(festive_N, day_P, after=True)
    since_P = _nearest(festive_N, day_P, after=False)
    out_3P[0] = np.isin(day_P, festive_N)
    out_3P[1] = np.clip((RAMP_DAYS + 1 - until_P) / RAMP_DAYS, 0, 1)
    out_3P[2] = np.clip((RAMP_DAYS + 1 - since_P) / RAMP_DAYS, 0, 1)
    empty = [year for year, days in years.items() if not days.size]
    out_3P[:, np.isin(day_P.astype("datetime64[Y]").astype(np.int64) + 1970, empty)] = np.nan
    out_3P.flags.writeable = False  # it is handed out again
    return out_3P


def _nearest(festive_N: NDArray[np.datetime64], day_P: NDArray[np.datetime64], *, after: bool) -> NDArray[np.int64]:
    """Days to the next holiday after each day, or since the last one before it; a holiday itself does not count."""
    at_P = np.searchsorted(festive_N, day_P, side="right") if after else np.searchsorted(festive_N, day_P) - 1
    there_P = (at_P >= 0) & (at_P < len(festive_N))
    found_P = festive_N[np.clip(at_P, 0, len(festive_N) - 1)]
    days_P: NDArray[np.int64] = np.abs((found_P - day_P).astype(np.int64))
    return np.where(there_P, days_P, RAMP_DAYS + 1)


@lru_cache(maxsize=4096)
def holidays_of(place: Place, year: int) -> NDArray[np.datetime64]:
    """The public holidays of one year, in order; none for a year that the package does not reach."""
    subdivision = _told_apart(place.country, place.subdivision) if place.subdivision else None
    found = holidays.country_holidays(place.country, subdiv=subdivision, years=year)
    return np.array(sorted(day for day in found if day.year == year), dtype="datetime64[D]")


def _told_apart(country: str, subdivision: str) -> str | None:
    """The subdivision as the package calls it, None where it has no holidays of its own."""
    name = subdivision.removeprefix(f"{country}-")
    return name if name in holidays.list_supported_countries()[country] else None
