"""The charts of forecasts: which series are shown, and that what is drawn is what came and what was said."""

import pandas as pd
import pytest

from benchmarks.charts import LEVELS, SHOWN, by_wql, charts

CUTOFF = pd.Timestamp("2026-03-01")


def said_and_sold(sku: str, said: float, sold: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A fortnight's forecast that says one number on every level, and sales of another."""
    ahead = pd.date_range(CUTOFF + pd.Timedelta(days=1), periods=14)
    forecast = pd.DataFrame({"sku": sku, "location": "", "cutoff": CUTOFF, "date": ahead})
    days = pd.date_range(CUTOFF - pd.Timedelta(days=30), ahead[-1])
    sales = pd.DataFrame({"sku": sku, "location": "", "date": days, "quantity": sold})
    return forecast.assign(**{str(level): said for level in LEVELS}), sales


def test_series_are_shown_from_good_to_bad_with_what_came() -> None:
    pairs = [said_and_sold(f"S{i}", said=10.0 + i, sold=10.0) for i in range(7)]
    forecasts, sales = (pd.concat(frames) for frames in zip(*pairs, strict=True))
    drawn = charts(sales, forecasts)
    assert len(drawn) == len(SHOWN)
    assert "S0 , from 2026-03-01: WQL 0.00" in drawn[0] and "S6" in drawn[-1]
    assert drawn[-1].count("line [") == 4
    assert drawn[-1].splitlines()[5] == f"    line {[10.0] * 42}"
    assert drawn[-1].splitlines()[7] == f"    line {[10.0] * 28 + [16.0] * 14}"


def test_the_order_is_by_wql_of_those_that_sold() -> None:
    forecast, sales = said_and_sold("A", said=3.0, sold=2.0)
    none, nothing = said_and_sold("B", said=3.0, sold=0.0)
    one = pd.concat([forecast, none]).merge(pd.concat([sales, nothing]), on=["sku", "location", "date"])
    ranked = by_wql(one)
    assert list(ranked.index) == [("A", "")]
    assert ranked.iloc[0] == pytest.approx(2 * 0.5 * 1 / 2)
