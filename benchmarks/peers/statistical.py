"""Statistical peers of statsforecast: one model a series, fitted again at every cutoff, quantiles by its own intervals.

They take no covariate and no missing day: a day without an observed quantity gets the value of the same weekday before
it. A series with less than a fortnight of history is answered by the service's fallback, as `benchmarks.accuracy` does.

Shapes: S series, H horizon, Q quantile levels.
"""

import time
from typing import Any

import numpy as np
import pandas as pd
import statsforecast
from statsforecast import models as available

from benchmarks.peers.filled import filled_past, simple_forecast
from benchmarks.peers.task import Answer, Task
from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.inference import answerable

INTERVALS = tuple(round(100 * (2 * level - 1)) for level in SCORED_LEVELS if level > 0.5)


def answer(model: str, task: Task) -> Answer:
    """Fitting and forecasting go together here, so all of the time is the time to predict."""
    started = time.perf_counter()
    forecasts = [forecast(model, task, cutoff) for cutoff in task.cutoffs]
    return Answer(forecasts, "at every cutoff", 0.0, time.perf_counter() - started)


def forecast(model: str, task: Task, cutoff: int) -> Forecast:
    panel = task.data.panel
    out = simple_forecast(panel, cutoff, task.horizon)
    series = np.flatnonzero(answerable(panel, cutoff))
    frame = long_frame(filled_past(panel, cutoff), series, panel.start)
    chosen = getattr(available, model)(season_length=task.season)
    engine = statsforecast.StatsForecast(models=[chosen], freq="D", n_jobs=1)
    found = engine.forecast(df=frame, h=task.horizon, level=list(INTERVALS)).sort_values(["unique_id", "ds"])
    point_SH = _wide(found, model, len(series))
    quantiles_SHQ = np.stack([_level(found, model, level, point_SH) for level in SCORED_LEVELS], axis=-1)
    out.mean_SH[series] = np.maximum(point_SH, 0)
    out.quantiles_SHQ[series] = np.maximum(np.sort(quantiles_SHQ, axis=-1), 0)
    return out


def long_frame(past_ST: np.ndarray[Any, np.dtype[np.float32]], series: Any, start: np.datetime64) -> pd.DataFrame:
    """One row a series and day, from each series' first day on; `unique_id` is the series' number."""
    chosen_ST = past_ST[series]
    row_N, day_N = np.nonzero(np.isfinite(chosen_ST))
    return pd.DataFrame(
        {
            "unique_id": np.asarray(series)[row_N],
            "ds": (start.astype("datetime64[D]") + day_N).astype("datetime64[ns]"),
            "y": chosen_ST[row_N, day_N],
        }
    )


def _level(found: pd.DataFrame, model: str, level: float, point_SH: Any) -> Any:
    """An interval's end: 0.1 is the lower one of the interval of 80 %."""
    if level == 0.5:
        return point_SH
    side, interval = ("hi", round(100 * (2 * level - 1))) if level > 0.5 else ("lo", round(100 * (1 - 2 * level)))
    return _wide(found, f"{model}-{side}-{interval}", len(point_SH))


def _wide(found: pd.DataFrame, column: str, series: int) -> Any:
    return found[column].to_numpy(np.float32).reshape(series, -1)
