"""What this room takes and answers, as the OpenAPI document shows it."""

from datetime import date
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from models.evaluation import SCORED_LEVELS


def _example(days: str, wql: float) -> dict[str, Any]:
    coverage = {str(level): round(level + 0.01, 2) for level in SCORED_LEVELS}
    scores = {"wape": round(1.25 * wql, 4), "wql": wql, "mase": 0.81, "sql": 0.66, "bias": -0.012, "coverage": coverage}
    return {"days": days, "n": 5320} | scores


EXAMPLE: dict[str, Any] = {
    "from": "2026-10-27",
    "to": "2026-11-23",
    "horizons": [_example("1-7", 0.2315), _example("all", 0.2315)],
    "baseline": [_example("1-7", 0.2991), _example("all", 0.2991)],
    "frozen": [_example("1-7", 0.2342), _example("all", 0.2342)],
}


class HorizonAccuracy(BaseModel):
    """Forecasts so many days ahead beside what came. A score that nothing could be measured for is null."""

    days: str = Field(description='Days ahead, first and last; "all" of them together.', examples=["1-7"])
    n: int = Field(description="Forecasts that were compared: one for each series, day and cutoff before that day.")
    wape: float | None
    wql: float | None
    mase: float | None = Field(description="Without series whose seasonal-naive error is zero.")
    sql: float | None = Field(description="The same.")
    bias: float | None = Field(description="Above zero: more was forecast than came.")
    coverage: dict[str, float | None] = Field(description="Share of sales at or below the quantile of each level.")


class Accuracy(BaseModel):
    """What was forecast at each horizon against what came, beside what others had said of the same days."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE]})

    first: date | None = Field(
        alias="from", description="First day that was counted; null: no day has been scored yet."
    )
    last: date | None = Field(alias="to", description="Last day that was counted, inclusive.")
    horizons: list[HorizonAccuracy] = Field(description="What callers read, nearest days first, all of them last.")
    baseline: list[HorizonAccuracy] = Field(description="The seasonal naive, for the same days ahead.")
    frozen: list[HorizonAccuracy] = Field(description="The champion's networks as trained, without any update.")
