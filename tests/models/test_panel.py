"""The panel keeps what it is given: missing stays NaN, order does not matter, a cutoff is inclusive."""

import hashlib

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from models.panel import Panel, panel_from_columns, panel_from_frame
from tests.models.panels import START, make_panel


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sku": ["b", "a", "a", "a"],
            "location": ["", "", "", ""],
            "date": ["2025-01-02", "2025-01-01", "2025-01-04", "2025-01-05"],
            "quantity": [2.0, 0.0, 3.0, None],
            "promo": [0, 1, 0, 1],
            "rain": [0.5, None, 1.5, 2.5],
        }
    )


def test_a_frame_becomes_rows_by_key_with_nan_for_absent_days() -> None:
    panel = panel_from_frame(frame(), known=["promo"], past=["rain"])
    assert panel.keys == [("a", ""), ("b", "")]
    assert panel.start == np.datetime64("2025-01-01") and panel.end == np.datetime64("2025-01-04")
    np.testing.assert_array_equal(panel.quantity_ST, [[0, np.nan, np.nan, 3], [np.nan, 2, np.nan, np.nan]])
    np.testing.assert_array_equal(panel.known["promo"][0], [1, np.nan, np.nan, 0, 1])
    np.testing.assert_array_equal(panel.past["rain"][0], [np.nan, np.nan, np.nan, 1.5])


def test_arrow_rows_in_any_order_give_the_same_fingerprint() -> None:
    expected = panel_from_frame(frame(), known=["promo"]).fingerprint()
    shuffled = pa.Table.from_pandas(frame().iloc[[3, 1, 0, 2]])
    assert panel_from_frame(shuffled, known=["promo"]).fingerprint() == expected


def test_the_fingerprint_is_that_of_all_values_one_after_the_other() -> None:
    """Of more series than are looked at together; written down anew."""
    quantity = np.random.default_rng(0).poisson(3, (2500, 9)).astype(np.float32)
    quantity[::7, 3] = np.nan
    panel = Panel([f"A-{n}" for n in range(2500)], ["S"] * 2500, np.datetime64("2026-01-01"), quantity)
    digest = hashlib.sha256()
    for text in [text for sku in panel.skus for text in (sku, "S")]:
        digest.update(len(text).to_bytes(4, "little") + text.encode())
    digest.update(b"2026-01-01|(2500, 9)|quantity||(2500, 9)|" + quantity.tobytes())
    assert panel.fingerprint() == digest.hexdigest()


@pytest.mark.parametrize("change", ["value", "missing", "key", "start", "covariate"])
def test_the_fingerprint_sees_every_change(change: str) -> None:
    panel = panel_from_frame(frame(), known=["promo"])
    quantity, promo, skus, start = panel.quantity_ST.copy(), panel.known["promo"].copy(), ["a", "b"], panel.start
    if change == "value":
        quantity[0, 0] = 1
    elif change == "missing":
        quantity[0, 0] = np.nan
    elif change == "key":
        skus = ["a", "c"]
    elif change == "start":
        start = start + 1
    else:
        promo[0, 4] = 0
    other = Panel(skus, ["", ""], start, quantity, {"promo": promo})
    assert other.fingerprint() != panel.fingerprint()


def test_until_is_inclusive_and_keeps_known_days_ahead() -> None:
    panel = panel_from_frame(frame(), known=["promo"], past=["rain"])
    cut = panel.until(np.datetime64("2025-01-02"))
    assert cut.end == np.datetime64("2025-01-02")
    assert cut.past["rain"].shape == (2, 2) and cut.known["promo"].shape == (2, 5)
    with pytest.raises(ValueError, match="before the panel's first day"):
        panel.until(np.datetime64("2024-12-31"))


def test_rows_reorders_series() -> None:
    panel = make_panel()
    picked = panel.rows([3, 1])
    assert picked.skus == ["sku-3", "sku-1"]
    np.testing.assert_array_equal(picked.quantity_ST[0], panel.quantity_ST[3])


def test_columns_are_scattered_with_covariates_ahead() -> None:
    panel = panel_from_columns(
        np.array([0, 1, 0], np.int32),
        np.array([0, 1, 2], np.int32),
        np.array([1.0, 2.0, np.nan]),
        keys=[("a", ""), ("b", "")],
        start=START,
        days=2,
        known={"promo": np.array([0.0, 1.0, 1.0])},
        ahead=1,
    )
    np.testing.assert_array_equal(panel.quantity_ST, [[1, np.nan], [np.nan, 2]])
    np.testing.assert_array_equal(panel.known["promo"], [[0, np.nan, 1], [np.nan, 1, np.nan]])


@pytest.mark.parametrize(
    ("series", "day", "quantity", "sentence"),
    [(2, 0, 1.0, "series index"), (0, 9, 1.0, "day index"), (0, 0, -1.0, "negative"), (0, 0, np.inf, "infinite")],
)
def test_impossible_columns_are_refused(series: int, day: int, quantity: float, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        panel_from_columns([series], [day], [quantity], keys=[("a", ""), ("b", "")], start=START, days=3)


def test_tables_that_cannot_be_a_panel_are_refused() -> None:
    with pytest.raises(ValueError, match="lacks the columns"):
        panel_from_frame(frame().drop(columns="date"))
    with pytest.raises(ValueError, match="two rows for one series and day"):
        panel_from_frame(pd.concat([frame(), frame()]))
    with pytest.raises(ValueError, match="no day with a quantity"):
        panel_from_frame(frame().assign(quantity=np.nan))
    with pytest.raises(ValueError, match="no rows"):
        panel_from_frame(frame().iloc[:0])
