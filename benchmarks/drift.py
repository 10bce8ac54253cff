"""Drift found, and found without cause, in a year of daily forecasts: python -m benchmarks.drift --data FILE

A champion is trained once before the last `--days` days (364), or read from the work folder of `benchmarks.updates`. Every day
all series are forecast with levels on, and every day that comes in is scored beside the seasonal naive (1 to 7 days ahead). What
`models/online/drift.py` makes of these losses is counted:

    permuted   weeks drawn anew in random order, several times: every alarm is false
    untouched  the year as it was
    worse      from four days on, what is said of a third of the series that sell at least one a day is multiplied by 1.8, of
               another third by 0.5, and what came stays: forecasts have become worse
    shifted    the same is done to what came (the level shifts of `benchmarks.shifts`), and forecasts may follow

Of the last two: the share of these series that alarm within 28 days, after how many (median), and how many of the others alarm;
the same of segments. Losses are kept in `--work`. Constants are chosen with `--end`; then nothing is written to the results.

Shapes: S series, N segments, D of either, T days, J days ahead, W mean and scored levels, X sums (models/online/scoring.py).
"""

import argparse
import json
import sys
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from app.drift.finding import scored_day
from benchmarks.accuracy import read_panel
from benchmarks.daily import day_of
from benchmarks.runs import circumstances
from benchmarks.shifts import SHIFTS_AFTER, drawn_factors, with_levels, with_shift
from benchmarks.updates.__main__ import HORIZON, Trainer, add_replay_options
from models.days import take_days
from models.evaluation import SCORED_LEVELS
from models.forecaster import Forecaster
from models.inference import answerable, predict
from models.online.drift import SEGMENTS, SERIES, Detector, Drift, untouched, watched
from models.online.scoring import naive_of_day, sums_of_day
from models.online.stream import scales
from models.panel import Floats, Panel
from models.quantiles import interpolate_levels
from models.segments import segments
from models.training_config import TrainingConfig
from models.windows import MEMORY

NEAR = 7
WITHIN = 28
PERMUTATIONS = 10
RATE_DAYS, RATE_STREAMS = 90, 100
CODE = ("models", "benchmarks/drift.py", "benchmarks/shifts.py", "benchmarks/updates", "benchmarks/accuracy.py")
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Losses:
    """Losses of days in seasonal errors, of what callers read and of the seasonal naive: of series (T, S), of segments (T, N)."""

    series: tuple[Doubles, Doubles]
    segments: tuple[Doubles, Doubles]


@dataclass(frozen=True)
class Change:
    """What was done from a day of the replay on, by how much to each series, and the losses of the days since."""

    after: int
    factor_S: Doubles
    since: Losses


@dataclass(frozen=True)
class Year:
    """The losses of the replay, untouched, and of what was put in."""

    untouched: Losses
    changes: dict[str, list[Change]]


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    unseen = args.days + 1
    panel, known, past = read_panel(args.data, args.covariates, country=args.country, end=args.end, unseen=unseen)
    config = partial(TrainingConfig, model=args.model, horizon=HORIZON, known=known, past=past)
    found = []
    for seed in range(args.seeds):
        folder = args.work / f"{args.data.stem}-{args.end or 'end'}-{seed}"
        year = kept(folder, panel, panel.days - 1 - args.days, config(seed=seed), seed)
        found.append({name: counts(year, name, seed) for name in ("series", "segments")})
        print(seed, json.dumps(found[-1]), file=sys.stderr)
    mean = {name: {key: _mean([one[name][key] for one in found]) for key in found[0][name]} for name in found[0]}
    asked = {name: getattr(args, name) for name in ("model", "end", "days", "seeds", "covariates", "country")}
    print(json.dumps({"data": args.data.name, **asked, "mean": mean} | circumstances(args.threads, CODE)))
    return 0


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 3) if known else None


def kept(folder: Path, panel: Panel, first: int, config: TrainingConfig, seed: int) -> Year:
    """The losses of a seed's replay, from the work folder where they are there already."""
    file = folder / "drift.npz"
    if not file.exists():
        champion, _ = Trainer(folder, panel, config)(first)
        save(file, replayed(panel, replace(champion, twin=None), first, seed))
    return load(file)


def replayed(panel: Panel, forecaster: Forecaster, first: int, seed: int) -> Year:
    said = {cutoff: said_at(panel, forecaster, cutoff) for cutoff in range(first, panel.days - 1)}
    found: dict[str, list[Change]] = {"worse": [], "shifted": []}
    rng = np.random.default_rng(seed)
    for after in (after for after in SHIFTS_AFTER if first + after + WITHIN <= panel.days):
        day = first + after
        factor_S, days = drawn_factors(panel, day, rng), range(day, day + WITHIN)
        off = {c: one * (factor_S[:, None, None] if c >= day else 1.0) for c, one in said.items() if c >= day - NEAR}
        found["worse"].append(Change(after, factor_S, scored(panel, off, days)))
        there = with_shift(panel, day, factor_S)
        anew = {cutoff: said_at(there, forecaster, cutoff) for cutoff in range(day, day + WITHIN - 1)}
        found["shifted"].append(Change(after, factor_S, scored(there, said | anew, days)))
    return Year(scored(panel, said, range(first + 1, panel.days)), found)


def said_at(panel: Panel, forecaster: Forecaster, cutoff: int) -> Floats:
    """Mean and scored levels of the nearest days, (S, J, W); NaN of series that a network may not answer for."""
    said = np.full((panel.series, NEAR, 1 + len(SCORED_LEVELS)), np.nan, np.float32)
    rows = np.flatnonzero(answerable(panel, cutoff))
    forecast = predict(with_levels(forecaster, panel, cutoff), panel.rows(rows), cutoff)
    said[rows, :, 0] = forecast.mean_SH[:, :NEAR]
    levels = np.array(SCORED_LEVELS)
    said[rows, :, 1:] = interpolate_levels(forecast.quantiles_SHQ[:, :NEAR], forecast.levels_Q, levels)
    return said


def scored(panel: Panel, said: dict[int, Floats], days: range) -> Losses:
    """The losses of days, by what was said of them at the cutoffs before, as far as `said` holds them."""
    found = [scored_day(day_of(panel, day), *sums_beside(panel, said, day), segments(panel, day - 1)) for day in days]
    series, of_segments = (
        np.stack(part, axis=1) for part in ([d.of_series for d in found], [d.of_segments for d in found])
    )
    return Losses((series[0], series[1]), (of_segments[0], of_segments[1]))


def sums_beside(panel: Panel, said: dict[int, Floats], day: int) -> tuple[Floats, Floats]:
    """The sums of a day, (S, X), of what was said and of the seasonal naive for the same series and days ahead."""
    unsaid = np.full((panel.series, NEAR, 1 + len(SCORED_LEVELS)), np.nan, np.float32)
    said_SJW = np.stack([said.get(day - ahead, unsaid)[:, ahead - 1] for ahead in range(1, NEAR + 1)], axis=1)
    y_S, scale_S = panel.quantity_ST[:, day], scales(panel, day - 1)
    first_S = np.full(panel.series, day - MEMORY)
    memory_SM = take_days(panel.quantity_ST, np.arange(panel.series), first_S, MEMORY)
    mean_SJ, quantiles_SJQ = (values[:, :NEAR] for values in naive_of_day(memory_SM, HORIZON))
    mean_SJ = np.where(np.isfinite(said_SJW[..., 0]), mean_SJ, np.float32(np.nan))
    live = sums_of_day(y_S, said_SJW[..., 0], said_SJW[..., 1:], scale_S)
    return live[:, 0], sums_of_day(y_S, mean_SJ, quantiles_SJQ, scale_S)[:, 0]


def counts(year: Year, name: str, seed: int) -> dict[str, float | None]:
    """False alarms and drifts found, of series or of segments."""
    detector = SERIES if name == "series" else SEGMENTS
    both: tuple[Doubles, Doubles] = getattr(year.untouched, name)
    rng = np.random.default_rng(seed)
    permuted = [rate(permuted_weeks(both, rng), detector) for _ in range(PERMUTATIONS)]
    found: dict[str, float | None] = {"permuted": float(np.mean(permuted)), "untouched": rate(both, detector)}
    for what, changes in year.changes.items():
        changed, others = [], []
        for change in changes:
            delay_D = delays(both, change, name, detector)
            touched_D = change.factor_S != 1 if name == "series" else np.isfinite(change.since.segments[0]).any(axis=0)
            changed.append(delay_D[touched_D])
            others.append(delay_D[~touched_D])
        delay, other = np.concatenate(changed), np.concatenate(others)
        found[f"{what}_found"] = 100 * float(np.isfinite(delay).mean())
        found[f"{what}_days"] = float(np.nanmedian(delay)) if np.isfinite(delay).any() else None
        found[f"{what}_others"] = 100 * float(np.isfinite(other).mean()) if len(other) else None
    return found


def rate(both: tuple[Doubles, Doubles], detector: Detector) -> float:
    """Alarms in RATE_DAYS days of RATE_STREAMS streams, of as many scored days as there are."""
    live_TD, naive_TD = both
    state, alarms = untouched(live_TD.shape[1], detector), 0
    for day in range(len(live_TD)):
        state, found = watched(state, day, live_TD[day], naive_TD[day], detector)
        alarms += len(found.rows)
    return alarms / float(np.isfinite(live_TD - naive_TD).sum()) * RATE_DAYS * RATE_STREAMS


def permuted_weeks(both: tuple[Doubles, Doubles], rng: np.random.Generator) -> tuple[Doubles, Doubles]:
    """Whole weeks in random order, the same of all streams."""
    week_T = (rng.permutation(len(both[0]) // 7)[:, None] * 7 + np.arange(7)).ravel()
    return both[0][week_T], both[1][week_T]


def delays(both: tuple[Doubles, Doubles], change: Change, name: str, detector: Detector) -> Doubles:
    """After how many days of a change each stream alarms for the first time, (D,); NaN: not within WITHIN."""
    state: Drift = untouched(both[0].shape[1], detector)
    before = change.after - 1  # the replay's first scored day is the one after its first cutoff
    for day in range(before):
        state, _ = watched(state, day, both[0][day], both[1][day], detector)
    live_TD, naive_TD = getattr(change.since, name)
    delay_D = np.full(both[0].shape[1], np.nan)
    for day in range(len(live_TD)):
        state, found = watched(state, before + day, live_TD[day], naive_TD[day], detector)
        delay_D[found.rows] = np.fmin(delay_D[found.rows], day + 1)
    return delay_D


def save(file: Path, year: Year) -> None:
    """Write it whole or not at all."""
    arrays = {f"untouched/{name}": np.stack(getattr(year.untouched, name)) for name in ("series", "segments")}
    for what, changes in year.changes.items():
        for change in changes:
            arrays[f"{what}/{change.after}/factor"] = change.factor_S
            for name in ("series", "segments"):
                arrays[f"{what}/{change.after}/{name}"] = np.stack(getattr(change.since, name))
    unfinished = file.with_suffix(".part.npz")
    np.savez_compressed(unfinished, **arrays)
    unfinished.rename(file)


def load(file: Path) -> Year:
    arrays = np.load(file)

    def of(place: str) -> Losses:
        return Losses(tuple(arrays[f"{place}/series"]), tuple(arrays[f"{place}/segments"]))

    changes: dict[str, list[Change]] = {}
    for key in (key for key in arrays if key.endswith("/factor")):
        what, after, _ = key.split("/")
        changes.setdefault(what, []).append(Change(int(after), arrays[key], of(f"{what}/{after}")))
    return Year(of("untouched"), changes)


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_replay_options(parser)
    return parser.parse_args(argv)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
