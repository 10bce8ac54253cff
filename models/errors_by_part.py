"""What can be added up of a window's errors, by series and stretch of the horizon, and the metrics of any part of it.

Metrics are ratios of sums, so the sums are what must be kept: from them come the scores of a segment, a stretch of days
or any other set of series, and for all of them together exactly those of `evaluation.score_window`.
Means over windows are left to `evaluation.average_scores`.

Shapes: S series, H horizon, K buckets of days ahead, Q quantile levels, T days.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models import metrics
from models.days import Index, take_days
from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.metrics import SMALLEST_SCALE, Doubles, Values
from models.panel import Panel
from models.quantiles import interpolate_levels
from models.segments import SEGMENTS, buckets

Selection = NDArray[np.bool_]


@dataclass(frozen=True)
class Truth:
    """What came after a cutoff (NaN: not observed), and the scales of each series up to it (NaN: none)."""

    y_SH: Doubles
    scale_S: Doubles
    step_S: Doubles


@dataclass(frozen=True)
class Sums:
    """One source's errors in one window, summed over the observed days of each bucket."""

    days_SK: Doubles
    sales_SK: Doubles
    mean_SK: Doubles
    absolute_SK: Doubles
    squared_SK: Doubles
    pinball_SKQ: Doubles
    below_SKQ: Doubles
    to_SKQ: Doubles


@dataclass(frozen=True)
class Part:
    """Scores of one part of a window by source; `forecasts` are series, `observed` their days that were scored."""

    forecasts: int
    observed: int
    scores: dict[str, dict[str, float]]


@dataclass(frozen=True)
class Errors:
    """All that was summed up in one window; `sums` by source."""

    keys: list[tuple[str, str]]
    buckets: list[str]
    segment_S: Index
    scale_S: Doubles
    step_S: Doubles
    sums: dict[str, Sums]

    def parts(self) -> dict[tuple[str, str], Part]:
        """Overall, each segment that has a series, each bucket."""
        whole_SK = np.ones((len(self.keys), len(self.buckets)), dtype=bool)
        chosen = {("overall", ""): whole_SK}
        for number, name in enumerate(SEGMENTS):
            if (self.segment_S == number).any():
                chosen["segment", name] = whole_SK & (self.segment_S == number)[:, None]
        for number, name in enumerate(self.buckets):
            chosen["days", name] = whole_SK & (np.arange(len(self.buckets)) == number)
        days_SK = self.sums["model"].days_SK
        return {
            key: Part(
                forecasts=int((days_SK * part_SK).any(axis=1).sum()),
                observed=int((days_SK * part_SK).sum()),
                scores={name: scores_of(s, self.scale_S, self.step_S, part_SK) for name, s in self.sums.items()},
            )
            for key, part_SK in chosen.items()
        }

    def table(self, cutoff: np.datetime64) -> pa.Table:
        """A row for every source, series and bucket with an observed day."""
        at_S, at_K = np.nonzero(self.sums["model"].days_SK > 0)
        count = len(at_S)
        shared = {
            "sku": pa.array([sku for sku, _ in self.keys], pa.string()).take(pa.array(at_S)),
            "location": pa.array([location for _, location in self.keys], pa.string()).take(pa.array(at_S)),
            "segment": pa.array(SEGMENTS).take(pa.array(self.segment_S[at_S])),
            "cutoff": pa.array(np.full(count, cutoff), pa.date32()),
            "days": pa.array(self.buckets, pa.string()).take(pa.array(at_K)),
            "scale": pa.array(self.scale_S[at_S], from_pandas=True),
            "squared_step": pa.array(self.step_S[at_S], from_pandas=True),
        }
        tables = []
        for name, sums in self.sums.items():
            columns = shared | {"source": pa.array(np.full(count, name, dtype=object), pa.string())}
            columns |= {column: pa.array(values_SK[at_S, at_K]) for column, values_SK in _single(sums).items()}
            columns |= {
                f"{kind}_{level}": pa.array(values_SKQ[at_S, at_K, q])
                for kind, values_SKQ in (("pinball", sums.pinball_SKQ), ("below", sums.below_SKQ), ("to", sums.to_SKQ))
                for q, level in enumerate(SCORED_LEVELS)
            }
            tables.append(pa.table([columns[field].cast(TABLE.field(field).type) for field in TABLE.names], TABLE))
        return pa.concat_tables(tables)


TABLE = pa.schema(
    [
        pa.field("sku", pa.string(), nullable=False),
        pa.field("location", pa.string(), nullable=False),
        pa.field("segment", pa.string(), nullable=False),
        pa.field("cutoff", pa.date32(), nullable=False),
        pa.field("days", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("observed", pa.int16(), nullable=False),
        pa.field("sales", pa.float64(), nullable=False),
        pa.field("mean", pa.float64(), nullable=False),
        pa.field("absolute_error", pa.float64(), nullable=False),
        pa.field("squared_error", pa.float64(), nullable=False),
        pa.field("scale", pa.float64()),
        pa.field("squared_step", pa.float64()),
        *(pa.field(f"pinball_{level}", pa.float32(), nullable=False) for level in SCORED_LEVELS),
        *(pa.field(f"below_{level}", pa.int16(), nullable=False) for level in SCORED_LEVELS),
        *(pa.field(f"to_{level}", pa.int16(), nullable=False) for level in SCORED_LEVELS),
    ]
)
"""Sums over the observed days of one series, window and bucket (`days`), from which any aggregate can be computed."""


def truth_at(panel: Panel, cutoff: int, horizon: int) -> Truth:
    """For every series of the panel; the scales are in-sample, as `evaluation.score_window` takes them."""
    past_ST = panel.quantity_ST[:, : cutoff + 1]
    first_S: Index = np.full(panel.series, cutoff + 1, dtype=np.int64)
    y_SH = take_days(panel.quantity_ST, np.arange(panel.series), first_S, horizon).astype(np.float64)
    return Truth(y_SH, metrics.seasonal_error(past_ST), metrics.squared_step(past_ST))


def sums_of(forecast: Forecast, truth: Truth) -> Sums:
    """The sums of a forecast of the same series, at least as many days ahead as there is truth."""
    y_SH, levels_Q = truth.y_SH, np.array(SCORED_LEVELS)
    horizon = y_SH.shape[1]
    seen_SH = np.isfinite(y_SH)
    quantiles_SHQ = interpolate_levels(forecast.quantiles_SHQ[:, :horizon], forecast.levels_Q, levels_Q)
    mean_SH = forecast.mean_SH[:, :horizon].astype(np.float64)
    median_SH = quantiles_SHQ[:, :, SCORED_LEVELS.index(0.5)]
    below_SHQ, to_SHQ = metrics.hits(y_SH, quantiles_SHQ)
    return Sums(
        days_SK=_by_bucket(seen_SH.astype(np.float64)),
        sales_SK=_by_bucket(y_SH),
        mean_SK=_by_bucket(np.where(seen_SH, mean_SH, np.nan)),
        absolute_SK=_by_bucket(np.abs(y_SH - median_SH)),
        squared_SK=_by_bucket((y_SH - mean_SH) ** 2),
        pinball_SKQ=_by_bucket(metrics.pinball(y_SH, quantiles_SHQ.astype(np.float64), levels_Q)),
        below_SKQ=_by_bucket(below_SHQ.astype(np.float64)),
        to_SKQ=_by_bucket(to_SHQ.astype(np.float64)),
    )


def joined(parts: list[Sums]) -> Sums:
    """The sums of several sets of series as one."""
    return Sums(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in Sums.__annotations__})


def scores_of(sums: Sums, scale_S: Doubles, step_S: Doubles, part_SK: Selection) -> dict[str, float]:
    """All metrics of the chosen series and buckets, named as `evaluation.score_window` names them."""
    days_SK = np.where(part_SK, sums.days_SK, 0.0)
    absolute_SK, squared_SK = sums.absolute_SK * part_SK, sums.squared_SK * part_SK
    days, sales, mean = days_SK.sum(), (sums.sales_SK * part_SK).sum(), (sums.mean_SK * part_SK).sum()
    usable_S = scale_S > SMALLEST_SCALE
    scaled_S = np.divide(1.0, scale_S, out=np.zeros(len(scale_S)), where=usable_S)
    scaled_days = days_SK[usable_S].sum()
    part_SK1 = part_SK[:, :, None]
    pinball_SQ = (sums.pinball_SKQ * part_SK1).sum(axis=1)
    scores = {
        "mse": _ratio(squared_SK.sum(), days),
        "mae": _ratio(absolute_SK.sum(), days),
        "mase": _ratio((absolute_SK.sum(axis=1) * scaled_S).sum(), scaled_days),
        "wape": _ratio(absolute_SK.sum(), sales),
        "sql": _ratio((pinball_SQ.mean(axis=1) * scaled_S).sum(), scaled_days),
        "wql": _ratio(pinball_SQ.sum(axis=0).mean(), sales),
        "rmsse": _rmsse(squared_SK.sum(axis=1), days_SK.sum(axis=1), step_S),
        "bias": _ratio(mean - sales, sales),
    }
    below_Q, to_Q = (sums.below_SKQ * part_SK1).sum(axis=(0, 1)), (sums.to_SKQ * part_SK1).sum(axis=(0, 1))
    scores |= {f"below {level}": _ratio(b, days) for level, b in zip(SCORED_LEVELS, below_Q, strict=True)}
    return scores | {f"to {level}": _ratio(t, days) for level, t in zip(SCORED_LEVELS, to_Q, strict=True)}


def _single(sums: Sums) -> dict[str, Doubles]:
    return {
        "observed": sums.days_SK,
        "sales": sums.sales_SK,
        "mean": sums.mean_SK,
        "absolute_error": sums.absolute_SK,
        "squared_error": sums.squared_SK,
    }


def _by_bucket(values_SH: Values) -> Doubles:
    """Sums over the days of each bucket, NaN counting nothing: (S, H, …) → (S, K, …)."""
    parts = [np.nansum(values_SH[:, days], axis=1, dtype=np.float64) for days in buckets(values_SH.shape[1])]
    return np.stack(parts, axis=1)


def _rmsse(squared_S: Doubles, days_S: Doubles, step_S: Doubles) -> float:
    seen_S = (days_S > 0) & np.isfinite(step_S)
    if not seen_S.any():
        return float("nan")
    mean_S = squared_S[seen_S] / days_S[seen_S]
    return float(np.sqrt(mean_S / np.maximum(step_S[seen_S], metrics.SMALLEST_STEP)).mean())


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole > 0 else float("nan")
