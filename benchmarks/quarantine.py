"""What the quarantine holds of a file's true days, and which accidents put into them it finds; without a database.

    python -m benchmarks.quarantine --data m5_280.parquet --country US [--end 2015-05-24] [--days 364] [--places 50] [--seed 0]

The last `--days` days are replayed one by one, as if each were a post of its own: what is held then tells nothing of the days
after it. Then accidents are put in one at a time, each at so many random places (seed), and the share is told whose rows are
all held. A place is a location with eight series or more; smaller ones are one place together, as in the service.
Limits were chosen with `--end` on earlier days. Prints a line of JSON. Results: results/quarantine.md.
"""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.quarantine.checks import (
    FEWEST_DAYS,
    FEWEST_SERIES,
    PAST_DAYS,
    YEAR_DAYS,
    Doubles,
    Facts,
    Flags,
    Group,
    held,
    newest_mean,
)
from benchmarks.accuracy import read_panel
from benchmarks.runs import circumstances
from models.cleaning import covariates_of
from models.cleaning.days import days_of
from models.panel import Panel

CODE = ("app/quarantine/checks.py", "benchmarks/quarantine.py")


@dataclass(frozen=True)
class Place:
    """The series of one place over all days, and what the calendar says of these; shapes S x T."""

    quantity_ST: Doubles
    special_ST: Flags
    holiday_ST: Flags

    def on(self, day: int, posted_S: Doubles) -> tuple[Group, Facts]:
        """A day as if `posted_S` were its file."""
        quantity_SX = np.c_[self.quantity_ST[:, day - PAST_DAYS : day], posted_S]
        past_SW, year_SW = quantity_SX[:, :-1], self.quantity_ST[:, max(day - YEAR_DAYS, 0) : day]
        settled_S = np.isfinite(past_SW).sum(axis=1) >= FEWEST_DAYS
        one = slice(day, day + 1)
        facts = Facts(
            np.isfinite(year_SW).sum(axis=1),
            np.array([newest_mean(row) for row in year_SW]),
            np.nan_to_num(year_SW).max(axis=1),
            self.special_ST[:, one],
            self.holiday_ST[:, one],
        )
        return Group(quantity_SX, np.isfinite(posted_S)[:, np.newaxis], settled_S, day), facts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--covariates", default="", help="known:promo,known:event_name_1,…: what widens the limits")
    parser.add_argument("--country", help="whose public holidays explain days without sales, such as IT")
    parser.add_argument("--end", help="last day used, inclusive; for choices on earlier days")
    parser.add_argument("--days", type=int, default=364)
    parser.add_argument("--places", type=int, default=50, help="random places of each kind of accident")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    panel, _, _ = read_panel(args.data, args.covariates, country=args.country, end=args.end)
    places = places_of(panel)
    first = panel.days - args.days
    started = time.process_time()
    replay = replayed(places, panel, first)
    replay["seconds_a_day"] = round((time.process_time() - started) / args.days, 4)
    print(
        json.dumps(
            {
                "data": args.data.name,
                "end": str(panel.end),
                "days": args.days,
                "seed": args.seed,
                "circumstances": circumstances(1, CODE),
                "true_days": replay,
                "accidents": accidents(places, first, args),
            }
        )
    )
    return 0


def places_of(panel: Panel) -> list[Place]:
    locations = Counter(panel.locations)
    own = [name for name, count in locations.items() if count >= FEWEST_SERIES]
    rows = [[i for i, name in enumerate(panel.locations) if name == place] for place in own]
    rest = [i for i, name in enumerate(panel.locations) if name not in set(own)]
    special = days_of(covariates_of(panel, (*panel.known, *panel.past))).special_ST
    special_ST = np.zeros(panel.quantity_ST.shape, np.bool_) if special is None else special
    holiday_ST = np.zeros(panel.quantity_ST.shape, np.bool_)
    for name in {"holiday", "is_holiday"} & {*panel.known}:
        holiday_ST |= panel.known[name][:, : panel.days] > 0
    quantity_ST = panel.quantity_ST.astype(np.float64)
    return [Place(quantity_ST[part], special_ST[part], holiday_ST[part]) for part in [*rows, rest] if part]


def replayed(places: list[Place], panel: Panel, first: int) -> dict[str, Any]:
    """How many rows and whole days of places are held, by reason; the latter by name."""
    rows: Counter[str] = Counter()
    named, judged = [], 0
    for place in places:
        kept = Place(place.quantity_ST.copy(), place.special_ST, place.holiday_ST)
        for day in range(first, panel.days):
            posted_S = place.quantity_ST[:, day]
            judged += int(np.isfinite(posted_S).sum())
            found = held(*kept.on(day, posted_S))
            kept.quantity_ST[found.series_N, day] = np.nan
            rows.update(found.reason_N)
            if found.reason_N:
                named.append(f"{panel.start + np.timedelta64(day, 'D')} {found.reason_N[0]}: {found.detail_N[0]}")
    return {"rows": judged, "held": sum(rows.values()), "by_reason": dict(rows), "named": named}


def accidents(places: list[Place], first: int, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Of each kind of accident how many were put in, and the share that is held, whole."""
    rng = np.random.default_rng(args.seed)
    found: dict[str, dict[str, float]] = {}
    for name, posted in ACCIDENTS.items():
        shares = []
        while len(shares) < args.places:
            place = places[rng.integers(len(places))]
            day = int(rng.integers(first, place.quantity_ST.shape[1]))
            true_S = place.quantity_ST[:, day]
            if place.holiday_ST[:, day].any() or np.nansum(true_S) == 0:
                continue  # a day without sales cannot be harmed
            posted_S = posted(place, day, rng)
            changed_S = np.isfinite(posted_S) & (posted_S != true_S)
            if changed_S.any():
                held_S = np.isin(np.arange(len(true_S)), held(*place.on(day, posted_S)).series_N)
                shares.append(float(held_S[changed_S].mean()))
        found[name] = {"places": len(shares), "found": round(float(np.mean(np.array(shares) == 1.0)), 3)}
    return found


def _one_times_50(place: Place, day: int, rng: np.random.Generator) -> Doubles:
    posted_S = place.quantity_ST[:, day].copy()
    posted_S[rng.choice(np.flatnonzero(posted_S > 0))] *= 50
    return posted_S


ACCIDENTS: dict[str, Callable[[Place, int, np.random.Generator], Doubles]] = {
    "one series x 50": _one_times_50,
    "all x 12": lambda place, day, _: place.quantity_ST[:, day] * 12,
    "all / 12": lambda place, day, _: place.quantity_ST[:, day] / 12,
    "all / 12, rounded": lambda place, day, _: np.round(place.quantity_ST[:, day] / 12),
    "the file of the day before": lambda place, day, _: place.quantity_ST[:, day - 1],
    "a wall of zeros": lambda place, day, _: place.quantity_ST[:, day] * 0,
}


if __name__ == "__main__":
    sys.exit(main())
