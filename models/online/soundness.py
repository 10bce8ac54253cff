"""Whether an update is what it says it is: a newer state of the same networks, learned from days that can be true.

Losses of a few weeks do not show all that is wrong: networks that were fitted to the newest weeks alone look best on them, and so
do those that learned from false days. These checks look at the state itself, beside the head of the lineage that it came of.

Shapes: S series, D days, M memory days.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from models.days import take_days
from models.forecaster import Forecaster
from models.online.finetuning import UpdateConfig
from models.online.gate import Check, Limits
from models.online.stream import FINE_TUNING_DAYS
from models.online.tracking import Tracking
from models.panel import Panel
from models.windows import MEMORY

DAYS_LOOKED_AT = 28
"""The newest days, whether they were learned now or by an update that was refused."""
FEWEST_DAYS = 56
"""Observed days before them, without which nobody knows what a series can sell."""


def state_checks(candidate: Forecaster, head: Forecaster, panel: Panel, newest: int, limits: Limits) -> list[Check]:
    """All of these checks. `head` is the version that the update began from, `newest` the index of the newest day."""
    return [
        fresh_check(candidate, head, panel.start + np.timedelta64(newest, "D")),
        roots_check(candidate, head),
        weights_check(candidate, head, limits),
        days_check(panel, newest, limits),
    ]


def fresh_check(candidate: Forecaster, head: Forecaster, newest: np.datetime64) -> Check:
    """Whether it has learned up to the newest day, and is another state than the one before: no old version under a new name."""
    behind = int((newest - candidate.learned_until).astype(np.int64))
    if behind > 0:
        detail = f"It has learned until {candidate.learned_until}; days up to {newest} came in."
    elif _same_state(candidate, head):
        detail = "It is the version that it began from: nothing in it differs."
    else:
        return Check("fresh", float(behind), 0.0, True, f"It has learned until {candidate.learned_until}.")
    return Check("fresh", float(behind), 0.0, False, detail)


def roots_check(candidate: Forecaster, head: Forecaster) -> Check:
    """Whether the networks as trained are untouched: updates only ever change the lineage beside them."""
    changed = _differing(candidate, head)
    detail = f"{changed} of the weights of the networks as trained differ from those before."
    return Check("networks_as_trained", float(changed), 0.0, changed == 0, detail)


def weights_check(candidate: Forecaster, head: Forecaster, limits: Limits) -> Check:
    """How far the lineage's weights moved, in percent of their length: a fine-tuning is a few steps, whatever it was shown. The
    limit is of a week's; it grows with the root of the steps that the days it learned ask for."""
    ours, theirs = candidate.lineage or candidate, head.lineage or head
    before, after = _parameters(theirs), _parameters(ours)
    asked = UpdateConfig()
    days = max(int((ours.trained_until - theirs.trained_until).astype(np.int64)), 0)
    limit = limits.weights_percent * (asked.steps_for(days) / asked.steps_for(FINE_TUNING_DAYS)) ** 0.5
    if before.shape != after.shape:
        return Check("weights_near", None, limit, False, "Its networks have another shape than before.")
    percent = 100 * float((after - before).norm() / before.norm().clamp(min=1e-9))
    if not np.isfinite(percent):
        return Check("weights_near", None, limit, False, "Its weights are no numbers.")
    detail = f"Weights moved by {percent:.1f} % of their length from those before, by {days} days (limit {limit:.1f})."
    return Check("weights_near", percent, limit, percent <= limit, detail)


def days_check(panel: Panel, newest: int, limits: Limits) -> Check:
    """Whether the days that were learned can be true: the share of series that sold far more on one of the newest days than on
    any day of the year before."""
    first_S = np.full(panel.series, newest - DAYS_LOOKED_AT - MEMORY + 1, np.int64)
    before_SM = take_days(panel.quantity_ST, np.arange(panel.series), first_S, MEMORY)
    new_SD = take_days(panel.quantity_ST, np.arange(panel.series), first_S + MEMORY, DAYS_LOOKED_AT)
    most_S, top_S = np.fmax.reduce(before_SM, axis=1), np.fmax.reduce(new_SD, axis=1)
    days_S = np.isfinite(before_SM).sum(axis=1)
    known_S = (most_S > 0) & (days_S >= FEWEST_DAYS)
    if not known_S.any():
        most = int(days_S.max(initial=0))
        lacking = "No series with days enough sold anything before them."
        if most < FEWEST_DAYS:
            lacking = f"{most} of {FEWEST_DAYS} days before them that a series needs."
        return Check("days_plausible", None, limits.shocked_percent, None, lacking)
    floor = 0.1 * float(np.median(most_S[known_S]))
    beyond_S: NDArray[np.bool_] = top_S[known_S] > limits.times_maximum * np.maximum(most_S[known_S], floor)
    percent = 100 * float(beyond_S.mean())
    told = f"more than {limits.times_maximum:g} times their most on one of {DAYS_LOOKED_AT} days"
    detail = f"{percent:.1f} % of series sold {told}."
    return Check("days_plausible", percent, limits.shocked_percent, percent <= limits.shocked_percent, detail)


def _parameters(forecaster: Forecaster) -> torch.Tensor:
    values = [value.detach() for member in forecaster.members for value in member.network.parameters()]
    return torch.cat([value.double().flatten().cpu() for value in values])


def _differing(one: Forecaster, other: Forecaster) -> int:
    """How many numbers of the networks, statistics of features included, are not the same."""
    count = 0
    for ours, theirs in zip(one.members, other.members, strict=True):
        first, second = ours.network.state_dict(), theirs.network.state_dict()
        for name in first.keys() | second.keys():
            a, b = first.get(name), second.get(name)
            if a is None or b is None or a.shape != b.shape:
                count += max(x.numel() for x in (a, b) if x is not None)
            else:
                count += int((a != b.to(a.device)).sum())
    return count


def _same_state(candidate: Forecaster, head: Forecaster) -> bool:
    if (candidate.lineage is None) != (head.lineage is None) or (candidate.tracking is None) != (head.tracking is None):
        return False
    if candidate.lineage is not None and head.lineage is not None and _differing(candidate.lineage, head.lineage):
        return False
    return candidate.tracking is None or head.tracking is None or _same_tracking(candidate.tracking, head.tracking)


def _same_tracking(one: Tracking, other: Tracking) -> bool:
    pairs = zip(one.arrays(), other.of(one.keys).arrays(), strict=True)
    return all(np.array_equal(a, b, equal_nan=a.dtype.kind == "f") for a, b in pairs)
