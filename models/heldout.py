"""The days held out of a training, and the comparison of everyone on the same windows of them.

Shapes: S series, H horizon.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from models.baselines import BASELINES, Baseline
from models.evaluation import Scores, Source, evaluate
from models.forecast import Forecast
from models.forecaster import Forecaster
from models.inference import predict
from models.panel import Panel
from models.sampling import FEWEST_SEEN_DAYS

HELD_OUT_SHARE = 0.2
MOST_WINDOWS = 10
MOST_FORECASTS = 60_000
TWIN_NOTE = "Of the twin before the refit, which has seen no day after the split."


class NotEnoughHistory(ValueError):
    """The panel is too short to train and validate; the message says how many days are missing."""


@dataclass(frozen=True)
class HeldOut:
    """`split` is the first day index held out; `cutoffs` are the windows that judge, oldest first."""

    split: int
    cutoffs: list[int]


def hold_out(panel: Panel, *, horizon: int) -> HeldOut:
    """The newest 20 % of the observed days, at least one horizon. Raises NotEnoughHistory."""
    seen_T = np.asarray(np.isfinite(panel.quantity_ST).any(axis=0))
    if not seen_T.any():
        raise NotEnoughHistory("The panel has no observed day at all; there is nothing to learn from.")
    first, last = int(seen_T.argmax()), int(panel.days - 1 - seen_T[::-1].argmax())
    days = last - first + 1
    needed = days_needed(horizon)
    if days < needed:
        raise NotEnoughHistory(
            f"A horizon of {horizon} days needs {needed} days of history, and there are {days}: "
            f"{needed - days} more are missing, or a shorter horizon is needed."
        )
    split = last + 1 - _held_days(days, horizon)
    newest, oldest = last - horizon, split - 1
    if newest <= oldest:
        return HeldOut(split, [oldest])
    most = max(2, min(MOST_WINDOWS, MOST_FORECASTS // panel.series))
    step = max(7, (newest - oldest) // max(most - 1, 1) // 7 * 7)
    count = min(most, (newest - oldest) // step + 1)
    return HeldOut(split, [newest - k * step for k in range(count)][::-1])


def days_needed(horizon: int) -> int:
    """The fewest days of history that leave one training window before the days held out."""
    days = FEWEST_SEEN_DAYS + 2 * horizon
    while days - _held_days(days, horizon) < FEWEST_SEEN_DAYS + horizon:
        days += 1
    return days


def _held_days(days: int, horizon: int) -> int:
    return max(round(HELD_OUT_SHARE * days), horizon)


def judge(
    forecaster: Forecaster, panel: Panel, cutoffs: list[int], *, others: dict[str, Forecaster] | None = None
) -> Scores:
    """Scores of a forecaster, of others and of the baselines on the same windows, and which windows these are.

    The horizon is the shortest of all the forecasters', so that everyone answers for the same days.
    """
    everyone = {"model": forecaster, **(others or {})}
    horizon = min(f.horizon for f in everyone.values())
    scores = judged({name: partial(_network, one, horizon) for name, one in everyone.items()}, panel, cutoffs, horizon)
    scores["note"] = TWIN_NOTE
    return scores


def judged(sources: Mapping[str, Source], panel: Panel, cutoffs: list[int], horizon: int) -> Scores:
    """Scores of some sources and of the baselines on the same windows, and which windows these are."""
    simple: dict[str, Source] = {name: partial(_simple, baseline, horizon) for name, baseline in BASELINES.items()}
    everyone = {**sources, **simple}
    scores: Scores = {name: evaluate(source, panel, cutoffs, horizon=horizon) for name, source in everyone.items()}
    scores["windows"] = [str(panel.start + np.timedelta64(c, "D")) for c in cutoffs]
    scores["horizon"] = horizon
    return scores


def _network(forecaster: Forecaster, horizon: int, panel: Panel, cutoff: int) -> Forecast:
    return predict(forecaster, panel, cutoff, horizon=horizon)


def _simple(baseline: Baseline, horizon: int, panel: Panel, cutoff: int) -> Forecast:
    return baseline(panel, cutoff, horizon)


def compare(forecaster: Forecaster, metrics: Scores, panel: Panel, champion: Forecaster) -> Scores:
    """The `metrics` of a new version measured again beside the champion's, on windows neither of them has seen.

    Both are judged by their twins. Windows that begin before the champion's twin had stopped learning are left out;
    where none remains all are taken, and the note says that the champion knows some of these days.
    """
    model, rival = forecaster.twin or forecaster, champion.twin or champion
    cutoffs = [panel.day_index(np.datetime64(day)) for day in metrics["windows"]]
    learned = panel.day_index(rival.learned_until)
    unseen = [c for c in cutoffs if c >= learned]
    scores = judge(model, panel, unseen or cutoffs, others={"champion": rival})
    scores["note"] = TWIN_NOTE + (
        " The champion's twin likewise." if unseen else " The champion has learned from some of these days."
    )
    return scores
