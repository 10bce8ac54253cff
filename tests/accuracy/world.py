"""A small shop that posts its sales, updates and asks for forecasts over the API, and what /v1/accuracy must then say of it.

Every figure is computed here anew, from the answers of the API and the sales that were posted, in plain loops.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import httpx
import numpy as np

from tests.jobs.workers import TINY, post_job, until_status

Name = tuple[str, str]
FIRST = date(2025, 1, 6)
LEVELS = [round(0.1 * k, 1) for k in range(1, 10)]
HORIZON = 28
STRETCHES = {"1-7": range(1, 8), "8-14": range(8, 15), "15-28": range(15, 29)}
SERIES: dict[Name, Callable[[int], float]] = {
    ("FAST", "S1"): lambda day: 12 + 5 * (day % 7 == 5) + (day * 37 % 5),
    ("FAST", "S2"): lambda day: 25 + 9 * (day % 7 == 6) + (day * 53 % 11),
    ("SLOW", "S1"): lambda day: 1 + (day * 29 % 3),
    ("RARE", "S2"): lambda day: float(day * 17 % 5 == 0),
}
SEGMENT = {"FAST": "fast", "SLOW": "slow", "RARE": "intermittent"}


@dataclass
class Shop:
    """What was posted, and what was said at each cutoff of each series: by the champion of the day, and by version 1."""

    client: httpx.AsyncClient
    days: int = 0
    sold: dict[tuple[Name, int], float] = field(default_factory=dict)
    said: dict[str, dict[tuple[int, Name], list[dict[str, Any]]]] = field(
        default_factory=lambda: {"live": {}, "frozen": {}}
    )
    names: list[Name] = field(default_factory=lambda: list(SERIES))
    unknown: set[tuple[Name, int]] = field(default_factory=set)
    closed: range = range(0)

    def day(self, number: int) -> date:
        return FIRST + timedelta(days=number)

    async def post(self, days: int, names: Iterable[Name] | None = None) -> None:
        """The next days of sales: null for those named in `unknown`, no rows at all for `closed` days."""
        rows = [
            {
                "sku": name[0],
                "location": name[1],
                "date": str(self.day(day)),
                "quantity": None if (name, day) in self.unknown else float(SERIES[name](day)),
            }
            for day in range(self.days, self.days + days)
            for name in (self.names if names is None else names)
            if day not in self.closed
        ]
        answer = await self.client.post("/v1/sales", json={"sales": rows})
        assert answer.status_code == 200 and answer.json()["held"] == 0, answer.text
        for row in [row for row in rows if row["quantity"] is not None]:
            day = (date.fromisoformat(row["date"]) - FIRST).days
            self.sold[(row["sku"], row["location"]), day] = row["quantity"]

    async def next_days(self, days: int) -> None:
        """Post days, update, and keep what is forecast then."""
        await self.post(days)
        self.days += days
        await self.job({"kind": "update"})
        for name in self.names:
            for source, version in (("live", {}), ("frozen", {"model_version": 1})):
                query = {"sku": name[0], "location": name[1], "quantiles": ",".join(map(str, LEVELS))} | version
                answer = await self.client.get("/v1/forecasts", params=query)
                assert answer.status_code == 200, answer.text
                assert answer.json()["fallback"] is None
                ahead = (date.fromisoformat(answer.json()["cutoff"]) - FIRST).days
                self.said[source][ahead, name] = answer.json()["forecast"]

    async def train(self) -> None:
        await self.job(TINY | {"horizon": HORIZON, "epochs": 2, "promote": "always"})

    async def job(self, request: dict[str, Any]) -> dict[str, Any]:
        ended = await until_status(self.client, await post_job(self.client, request), "succeeded", "failed")
        assert ended["status"] == "succeeded", ended
        return ended

    def expected(
        self, source: str, *, names: Iterable[Name] | None = None, first: int = 0, last: int = 10**6
    ) -> list[dict[str, Any]]:
        """The list that /v1/accuracy must answer, of some series and target days."""
        pairs = self.pairs(source, set(SERIES if names is None else names), first, last)
        found = []
        for stretch, ahead in STRETCHES.items():
            here = [pair for pair in pairs if pair["ahead"] in ahead]
            if here:
                found.append({"days": stretch} | scores(here))
        return [*found, {"days": "all"} | scores(pairs)]

    def pairs(self, source: str, names: set[Name], first: int, last: int) -> list[dict[str, Any]]:
        """Every forecast of a day that came in: what came, mean and quantiles that had been said of it, and its scale."""
        found = []
        for (cutoff, name), days in self.said["frozen" if source == "frozen" else "live"].items():
            for ahead, said in enumerate(days, start=1):
                target = cutoff + ahead
                if name not in names or (name, target) not in self.sold or not first <= target <= last:
                    continue
                mean, quantiles = said["mean"], [said["quantiles"][str(level)] for level in LEVELS]
                if source == "seasonal_naive":
                    if (name, target - week_before(ahead)) not in self.sold:
                        continue
                    mean, quantiles = self.naive(name, target, week_before(ahead))
                found.append(
                    {
                        "ahead": ahead,
                        "y": self.sold[name, target],
                        "mean": mean,
                        "q": quantiles,
                        "scale": self.scale(name, target),
                    }
                )
        return found

    def naive(self, name: Name, target: int, back: int) -> tuple[float, list[float]]:
        """The same weekday of the last week before the cutoff; around it how far such values lay off in the 91 days that every
        cutoff of this day had seen."""
        value = self.sold[name, target - back]
        seen = range(target - HORIZON - 91, target - HORIZON)
        off = [
            self.sold[name, day] - self.sold[name, day - back]
            for day in seen
            if (name, day) in self.sold and (name, day - back) in self.sold
        ]
        return value, [max(value + float(np.quantile(off, level)), 0.0) for level in LEVELS]

    def scale(self, name: Name, target: int) -> float:
        """Mean error of the seasonal naive on the 392 days before."""
        days = range(target - 392 + 7, target)
        both = [(self.sold.get((name, day)), self.sold.get((name, day - 7))) for day in days]
        return float(np.mean([abs(a - b) for a, b in both if a is not None and b is not None]))


def week_before(ahead: int) -> int:
    """Days from a day so far ahead back to the same weekday of the last week that its cutoff had seen."""
    return 7 * -(-ahead // 7)


def scores(pairs: list[dict[str, Any]]) -> dict[str, Any]:
    """Definitions of docs/glossary.md, one forecast after the other."""
    sales = sum(pair["y"] for pair in pairs)
    median = LEVELS.index(0.5)
    absolute = [abs(pair["y"] - pair["q"][median]) for pair in pairs]
    pinball = [
        np.mean(
            [2 * max(t * (pair["y"] - q), (t - 1) * (pair["y"] - q)) for t, q in zip(LEVELS, pair["q"], strict=True)]
        )
        for pair in pairs
    ]
    scaled = [number for number, pair in enumerate(pairs) if pair["scale"] > 0]
    return {
        "n": len(pairs),
        "wape": sum(absolute) / sales if sales else None,
        "wql": sum(pinball) / sales if sales else None,
        "mase": np.mean([absolute[k] / pairs[k]["scale"] for k in scaled]),
        "sql": np.mean([pinball[k] / pairs[k]["scale"] for k in scaled]),
        "bias": sum(pair["mean"] for pair in pairs) / sales - 1 if sales else None,
        "coverage": {
            str(level): np.mean([pair["y"] <= pair["q"][number] + 1e-6 for pair in pairs])
            for number, level in enumerate(LEVELS)
        },
    }


def differences(found: list[dict[str, Any]], expected: list[dict[str, Any]]) -> list[str]:
    """What two lists of horizons differ in; sums are kept as float32."""
    if [part["days"] for part in found] != [part["days"] for part in expected]:
        return [f"{[part['days'] for part in found]} for {[part['days'] for part in expected]}"]
    wrong = []
    for part, other in zip(found, expected, strict=True):
        flat, wanted = ({**one, **one["coverage"]} for one in (part, other))
        for name in [name for name in wanted if name not in ("days", "coverage")]:
            known = flat[name] is not None and wanted[name] is not None
            if known and abs(flat[name] - wanted[name]) <= 1e-5 * max(1.0, abs(wanted[name])):
                continue
            if flat[name] is not None or wanted[name] is not None:
                wrong.append(f"{part['days']} {name}: {flat[name]} for {wanted[name]}")
        if flat.keys() != wanted.keys():
            wrong.append(f"{sorted(flat)} for {sorted(wanted)}")
    return wrong
