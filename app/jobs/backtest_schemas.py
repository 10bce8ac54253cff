"""The shape of a backtest's result."""

from datetime import date
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

_SCORES = {
    "mse": 14.1,
    "mae": 2.6,
    "mase": 0.81,
    "wape": 0.31,
    "sql": 0.64,
    "wql": 0.232,
    "rmsse": 0.83,
    "bias": -0.012,
    "coverage": {"0.1": 0.12, "0.5": 0.51, "0.9": 0.89},
    "below": {"0.1": 0.09, "0.5": 0.48, "0.9": 0.88},
}
_PART = {"forecasts": 2500, "observed": 69_800, "scores": {"model": _SCORES, "seasonal_naive": _SCORES}}
EXAMPLE: dict[str, Any] = {
    "id": "0b0a4f9e-6f0d-4c58-9d5d-3f0f3f8a9d55",
    "outcome": "A fresh lstm has a WQL of 0.2320 over 5 windows of 28 days, beside the 0.2490 of the best baseline's, "
    "exponential smoothing.",
    "model": "lstm",
    "model_version": None,
    "horizon": 28,
    "step": 28,
    "newest_day": "2026-11-23",
    "left_out": {"cutoffs": [], "reason": None},
    "note": "Of a network trained once on what precedes the first window.",
    "overall": _PART,
    "segments": [{"segment": "fast", **_PART}],
    "horizons": [{"days": "1-7", **_PART}],
    "windows": [{"cutoff": "2026-10-26", "weights": "trained", **_PART}],
    "table": {"sha256": "9c0a" * 16, "bytes": 1_482_113, "rows": 40_000},
}


class Scores(BaseModel):
    """Each metric per window, averaged over windows. Null: could not be measured."""

    mse: float | None
    mae: float | None
    mase: float | None
    wape: float | None
    sql: float | None
    wql: float | None
    rmsse: float | None
    bias: float | None
    coverage: dict[str, float | None] = Field(description="Share of sales at or below each level's quantile.")
    below: dict[str, float | None] = Field(description="Share of sales strictly below it.")


class Part(BaseModel):
    """Scores of one part of a backtest."""

    forecasts: int = Field(description="Forecasts of one series from one cutoff that could be scored.")
    observed: int = Field(description="Days of sales that they were scored on.")
    scores: dict[str, Scores] = Field(description="The network's as `model`, and each baseline's on the same days.")


class SegmentPart(Part):
    segment: Literal["fast", "slow", "intermittent"] = Field(
        description="Kind of series, by its last year up to the cutoff."
    )


class HorizonPart(Part):
    days: str = Field(description="Days ahead, first and last.", examples=["1-7"])


class WindowPart(Part):
    cutoff: date = Field(description="Last day that was seen, inclusive.")
    weights: Literal["trained", "version", "twin"] = Field(
        description="What forecast: the network trained for this backtest, the version, or its twin before the refit."
    )


class LeftOut(BaseModel):
    """Windows that were asked for and could not be judged."""

    cutoffs: list[date]
    reason: str | None


class BacktestTable(BaseModel):
    """The Parquet file of all series."""

    sha256: str
    bytes: int
    rows: int


class Backtest(BaseModel):
    """What a backtest found, beside the baselines on the same windows."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    id: UUID = Field(description="The job's.")
    outcome: str = Field(description="The result in a sentence.")
    model: str = Field(description="Architecture of the network.", examples=["lstm"])
    model_version: int | None = Field(
        description="The version that was judged; null: a network trained for this backtest."
    )
    horizon: int
    step: int
    newest_day: date = Field(description="The newest day of sales when it ran.")
    left_out: LeftOut
    note: str = Field(description="What the weights that forecast had seen.")
    overall: Part
    segments: list[SegmentPart]
    horizons: list[HorizonPart]
    windows: list[WindowPart] = Field(description="Oldest first.")
    table: BacktestTable
