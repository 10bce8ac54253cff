"""The gate: whether an update may be let in, check by check, each with its figure, its limit and a sentence.

Three kinds of evidence. What the update would say now, beside what the champion says: hard checks, which catch what is broken at
once. A replay of recent cutoffs by the very state that would be published: it can only refuse, since it may have learned from
those days. And the live record: what the lineage had said of each day before it came in, beside what the networks as trained, and
callers' forecasts, had said of it at the same cutoffs; only of such a day an update cannot have known. A check that has too few
days is undecided.

Losses are compared in percent, all series together, with the interval of a circular block bootstrap over target days.

Shapes: S series, H horizon, Q quantile levels, T target days, K stretches of the horizon, N segments, X sums (scoring.py).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.days import Index
from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.online.scoring import SUMS, missed
from models.panel import Floats
from models.segments import SEGMENTS

Doubles = NDArray[np.float64]
Mask = NDArray[np.bool_]
PINBALL, SALES, MEAN = SUMS.index("pinball"), SUMS.index("sales"), SUMS.index("mean")
DRAWS = 2000
ONE_SIDED = 0.1
ROLL_BACK_BLOCK = 14
LOOKED_AT = (1, 2, 4)
"""A champion's loss is looked at over so many times the days that a roll-back needs: what has turned bad lately must not hide
behind a long good past. Over fewer days it must be the worse, as chance is larger by the root."""


@dataclass(frozen=True)
class Limits:
    """What an update must keep within. Percent are of the loss of what it is compared with, points of all sales or of levels."""

    loss_percent: float = 0.3
    segment_percent: float = 2.0
    replay_percent: float = 1.0
    bias_points: float = 3.0
    coverage_points: float = 2.0
    moved_percent: float = 15.0
    older_percent: float = 3.0
    weights_percent: float = 12.0
    shocked_percent: float = 6.0
    near_days: int = 56
    far_days: int = 112
    times_maximum: float = 3.0
    above_maximum_share: float = 0.001


@dataclass(frozen=True)
class Check:
    """One check. `passed` None: undecided, for lack of days."""

    name: str
    value: float | None
    limit: float | None
    passed: bool | None
    detail: str

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Verdict:
    """All checks, what they come to, and why in one sentence; `days` of the live record."""

    accepted: bool
    sentence: str
    checks: list[Check]
    days: int


@dataclass(frozen=True)
class Record:
    """The live record, paired: sums (T, N, K, X) of the lineage, of the networks as trained and of what callers read, of the same
    target days, series and cutoffs."""

    lineage_TNKX: Doubles
    frozen_TNKX: Doubles
    live_TNKX: Doubles

    @property
    def days(self) -> int:
        return len(self.lineage_TNKX)


@dataclass(frozen=True)
class Sanity:
    """What hard checks look at in a forecast, series by series, so that it need not be held whole. `peak_S`: the highest mean."""

    spoken_S: Mask
    """Whether each day has a mean that is a number."""
    finite_S: Mask
    negative_S: Mask
    crossed_S: Mask
    peak_S: Floats

    @classmethod
    def of(cls, forecast: Forecast) -> "Sanity":
        mean_SH, quantiles_SHQ = forecast.mean_SH, forecast.quantiles_SHQ
        spoken_S: Mask = np.all(np.isfinite(mean_SH), axis=1)
        finite_S: Mask = np.logical_and(spoken_S, np.isfinite(quantiles_SHQ).all(axis=(1, 2)))
        negative_S: Mask = np.logical_or((mean_SH < 0).any(axis=1), (quantiles_SHQ < 0).any(axis=(1, 2)))
        crossed_S: Mask = np.any(quantiles_SHQ[..., 1:] < quantiles_SHQ[..., :-1], axis=(1, 2))
        return cls(spoken_S, finite_S, negative_S, crossed_S, np.nan_to_num(mean_SH.max(axis=1)))

    def rows(self, row_S: Index) -> "Sanity":
        return Sanity(*(one[row_S] for one in vars(self).values()))

    @classmethod
    def joined(cls, parts: "Sequence[Sanity]") -> "Sanity":
        """Of the series of several forecasts, one after the other."""
        return cls(*(np.concatenate(column) for column in zip(*(vars(part).values() for part in parts), strict=True)))


def hard_checks(said: Sanity, maximum_S: Floats, limits: Limits) -> list[Check]:
    """What no forecast may break, of what the update would say now. `maximum_S`: the most a series sold on a day (NaN: never)."""
    broken = int((~said.finite_S).sum())
    checks = [Check("finite", float(broken), 0.0, broken == 0, f"{broken} series with a forecast that is no number.")]
    below = int(said.negative_S.sum())
    checks.append(Check("not_negative", float(below), 0.0, below == 0, f"{below} series with a forecast below zero."))
    crossed = int(said.crossed_S.sum())
    checks.append(Check("ordered", float(crossed), 0.0, crossed == 0, f"{crossed} series whose quantiles cross."))
    known_S = np.isfinite(maximum_S) & (maximum_S > 0)
    floor = float(np.median(maximum_S[known_S])) if known_S.any() else 1.0
    most_S = limits.times_maximum * np.fmax(maximum_S, floor * 0.1)
    above = float((said.peak_S > most_S).mean())
    told = f"{100 * above:.2f} % of series are forecast above {limits.times_maximum:g} times the most they ever sold."
    checks.append(Check("plausible", above, limits.above_maximum_share, above <= limits.above_maximum_share, told))
    return checks


def moved_check(moved_S: Floats, level_S: Floats, limits: Limits) -> Check:
    """How far forecasts move from the champion's: an update by some days is a near copy, and one that is not is no update. Sums
    over the days ahead of each series' difference, and of what the champion forecasts."""
    moved = float(moved_S.sum() / max(float(level_S.sum()), 1e-9))
    percent = 100 * moved if math.isfinite(moved) else None
    passed = percent is not None and percent <= limits.moved_percent
    told = "no number" if percent is None else f"{percent:.1f} %"
    detail = f"Forecasts move by {told} of their level from the champion's."
    return Check("near_copy", percent, limits.moved_percent, passed, detail)


def replay_checks(metrics: Mapping[str, Any], limits: Limits) -> list[Check]:
    """The update beside its champion on recent cutoffs, entries "model" and "parent" of the metrics; it may know these days, so
    that this can only refuse."""
    own, other = metrics["model"], metrics["parent"]
    cutoffs = len(metrics["windows"])
    if not cutoffs or None in (own["wql"], other["wql"], own["bias"], other["bias"]) or not other["wql"]:
        passed, why = None, "The champion has no loss there."
        if not cutoffs:
            why = "0 of 1 recent cutoff with sales after it that it needs."
        elif own["wql"] is None and other["wql"] is not None:
            passed, why = False, "Its loss is no number."
        limit_of = {"replay_loss": limits.replay_percent, "replay_bias": limits.bias_points}
        return [Check(name, None, limit, passed, why) for name, limit in limit_of.items()]
    percent = 100 * (own["wql"] / other["wql"] - 1)
    return [
        _check(
            "replay_loss", percent, limits.replay_percent, f"WQL on {cutoffs} recent cutoffs, % above the champion's"
        ),
        _bias_check(own["bias"], other["bias"], limits, f"Bias on {cutoffs} recent cutoffs less the champion's"),
    ]


def record_checks(record: Record, limits: Limits) -> list[Check]:
    """The live record: loss near and far, and beside what callers read; by segment, bias and coverage. Each once there are days
    enough."""
    lineage, frozen = record.lineage_TNKX, record.frozen_TNKX
    losses = [
        _loss_check("loss_days_1-7", lineage[:, :, :1], frozen[:, :, :1], limits, days=limits.near_days, block=14),
        _loss_check("loss_days_8-28", lineage[:, :, 1:], frozen[:, :, 1:], limits, days=limits.far_days, block=28),
        _loss_check(
            "loss_beside_live",
            lineage,
            record.live_TNKX,
            limits,
            days=limits.far_days,
            block=28,
            beside="what callers read",
        ),
    ]
    if record.days < limits.near_days:
        lacking = _lacking(record.days, limits.near_days)
        waiting = {"segments": limits.segment_percent, "bias": limits.bias_points, "coverage": limits.coverage_points}
        return losses + [Check(name, None, limit, None, lacking) for name, limit in waiting.items()]
    own_X, other_X = lineage.sum(axis=(0, 1, 2)), frozen.sum(axis=(0, 1, 2))
    bias = 100 * (own_X[MEAN] - other_X[MEAN]) / max(other_X[SALES], 1e-9)
    levels = (SCORED_LEVELS[0], SCORED_LEVELS[-1])
    worse = max(100 * (missed(own_X, level) - missed(other_X, level)) for level in levels)
    return [
        *losses,
        _segments_check(lineage.sum(axis=(0, 2)), frozen.sum(axis=(0, 2)), limits),
        _check("bias", bias, limits.bias_points, f"Bias over {record.days} days less the frozen champion's", both=True),
        _check(
            "coverage", worse, limits.coverage_points, f"Levels {levels[0]} and {levels[1]} missed by more than frozen"
        ),
    ]


def verdict(checks: Iterable[Check], *, days: int) -> Verdict:
    """All checks together: none may have failed. Undecided ones are told."""
    found = list(checks)
    failed = [check for check in found if check.passed is False]
    open_ = [check.name for check in found if check.passed is None]
    decides = "" if "replay_loss" in open_ else "; until they are decided the replay of recent cutoffs decides"
    waiting = f" Undecided: {', '.join(open_)}{decides}." if open_ else ""
    if failed:
        why = "; ".join(f"{check.name}: {check.detail}" for check in failed)
        return Verdict(False, f"Refused. {why}{waiting}", found, days)
    decided = sum(check.passed is True for check in found)
    return Verdict(
        True, f"Accepted: it passed the {decided} checks that can be decided now, {_by(days)}.{waiting}", found, days
    )


def _by(days: int) -> str:
    return f"with a live record of {days} day{'s' if days > 1 else ''}" if days else "without any live record yet"


def interval(
    own_T: Doubles, other_T: Doubles, *, block: int, level: float = ONE_SIDED, seed: int = 0
) -> tuple[float, float]:
    """One-sided bounds, lower and upper, of by how many percent the sum of one daily loss is above another's: circular block
    bootstrap over days, which are drawn for both together."""
    days = len(own_T)
    rng = np.random.default_rng(seed)
    start = rng.integers(0, days, (DRAWS, -(-days // block)))
    drawn = ((start[:, :, None] + np.arange(block)) % days).reshape(DRAWS, -1)[:, :days]
    ratio = own_T[drawn].sum(axis=1) / np.maximum(other_T[drawn].sum(axis=1), 1e-12)
    low, high = np.quantile(ratio, (level, 1 - level))
    return 100 * (float(low) - 1), 100 * (float(high) - 1)


def beyond_doubt(live_T: Doubles, frozen_T: Doubles, *, percent: float, days: int) -> str | None:
    """Why a champion has to go back, in one sentence with figures: its daily loss was above that of the networks as trained,
    beyond chance, by more than `percent` over the newest four times `days`, the double over `days`. None where it may stay."""
    for times in LOOKED_AT:
        count, limit = times * days, percent * math.sqrt(LOOKED_AT[-1] / times)
        live, frozen = live_T[-count:], frozen_T[-count:]
        if len(live) < count or frozen.sum() <= 0:
            continue
        low, high = interval(live, frozen, block=ROLL_BACK_BLOCK, level=ONE_SIDED / len(LOOKED_AT))
        if low > limit:
            worse = 100 * (float(live.sum()) / float(frozen.sum()) - 1)
            return (
                f"Its live loss was {worse:.2f} % above that of the networks as trained over {count} days "
                f"({low:+.2f} to {high:+.2f} %, limit {limit:.3g} %)."
            )
    return None


def came_back_check(record: Record, limits: Limits) -> Check:
    """After a roll-back no update is let in before it has a live record: what was judged well before was worse."""
    enough = record.days >= limits.near_days
    told = f"{record.days} of {limits.near_days} days of live forecasts that an update needs after a roll-back."
    detail = told if enough else f"{told} Promote it, or another version, to end the wait."
    return Check("after_rollback", float(record.days), float(limits.near_days), enough, detail)


def _loss_check(
    name: str,
    lineage: Doubles,
    other: Doubles,
    limits: Limits,
    *,
    days: int,
    block: int,
    beside: str = "the networks as trained",
) -> Check:
    """Fails where the loss is above the limit, and above the other's by more than chance."""
    own_T, other_T = lineage[..., PINBALL].sum(axis=(1, 2)), other[..., PINBALL].sum(axis=(1, 2))
    if len(own_T) < days or other_T.sum() <= 0:
        return Check(name, None, limits.loss_percent, None, _lacking(len(own_T), days))
    percent = 100 * (own_T.sum() / other_T.sum() - 1)
    low, high = interval(own_T, other_T, block=block)
    detail = f"Loss {percent:+.2f} % against {beside} over {len(own_T)} days ({low:+.2f} to {high:+.2f} %)."
    return Check(name, float(percent), limits.loss_percent, not (percent > limits.loss_percent and low > 0), detail)


def _segments_check(own_NX: Doubles, other_NX: Doubles, limits: Limits) -> Check:
    with np.errstate(invalid="ignore", divide="ignore"):
        percent_N = 100 * (own_NX[:, PINBALL] / other_NX[:, PINBALL] - 1)
    if not np.isfinite(percent_N).any():
        return Check("segments", None, limits.segment_percent, None, "No segment had a loss.")
    worst = int(np.nanargmax(np.where(np.isfinite(percent_N), percent_N, -np.inf)))
    return _check(
        "segments", float(percent_N[worst]), limits.segment_percent, f"Loss of {SEGMENTS[worst]} series, the worst"
    )


def _check(name: str, value: float, limit: float, what: str, *, both: bool = False) -> Check:
    if not math.isfinite(value):
        return Check(name, None, limit, False, f"{what}: no number.")
    passed = bool((abs(value) if both else value) <= limit)
    return Check(name, float(value), limit, passed, f"{what}: {value:+.2f} (limit {limit:g}).")


def _bias_check(own: float, other: float, limits: Limits, what: str) -> Check:
    """Twice the limit is too far either way; within that a bias may move further only to come nearer to none."""
    bias = 100 * (own - other)
    limit = limits.bias_points * (2 if abs(own) < abs(other) else 1)
    return _check("replay_bias", bias, limit, what, both=True)


def _lacking(days: int, needed: int) -> str:
    return f"{days} of {needed} days of live forecasts that it needs."


def failed_names(checks: Sequence[Check]) -> list[str]:
    """The names of the checks that were not passed."""
    return [check.name for check in checks if check.passed is False]
