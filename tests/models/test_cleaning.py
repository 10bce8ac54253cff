"""Cleaning by its rules, on series whose right answer can be worked out by hand; and that no rule looks ahead."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from models.checkpoint import deserialise, serialise
from models.cleaning import REACH, Cleaned, Treatment, clean
from models.cleaning.findings import DONE, KINDS, SCHEMA
from models.cleaning.treatments import filled
from models.features import compute_features
from models.inference import predict
from models.panel import Floats, Panel
from models.training import Course, train
from models.windows import MEMORY, WindowSource
from tests.models.panels import START, make_panel, resolved, small

NAN = float("nan")
TREATMENTS: tuple[Treatment, ...] = ("mask", "linear", "mean", "seasonal", "model")


def panel_of(*series: ArrayLike, location: str = "", **covariates: ArrayLike) -> Panel:
    """A panel of series at one location; `in_stock` is a past covariate, all others are known."""
    quantity = np.array(series, dtype=np.float32)
    given = {name: np.broadcast_to(np.asarray(v, np.float32), quantity.shape) for name, v in covariates.items()}
    past = {name: values for name, values in given.items() if name == "in_stock"}
    known = {name: values for name, values in given.items() if name != "in_stock"}
    names = [f"s{i}" for i in range(len(quantity))]
    return Panel(names, [location] * len(names), START, quantity, known=known, past=past)


def found(cleaned: Cleaned) -> list[tuple[object, ...]]:
    """Findings as (series, first, last, kind, observed, expected, done), None for NaN."""
    f = cleaned.findings
    return [
        (int(s), int(a), int(b), KINDS[k], *(None if np.isnan(v) else round(float(v), 3) for v in (o, e)), DONE[d])
        for s, a, b, k, o, e, d in zip(
            f.series_F, f.first_F, f.last_F, f.kind_F, f.observed_F, f.expected_F, f.done_F, strict=True
        )
    ]


def test_a_gap_is_a_run_of_missing_days_inside_and_a_zero_is_none() -> None:
    cleaned = clean(panel_of([NAN, 4, 0, NAN, NAN, 6, 0, NAN, 2, NAN, NAN]))
    assert found(cleaned) == [(0, 3, 4, "gap", None, 2.0, "masked"), (0, 7, 7, "gap", None, 2.0, "masked")]
    np.testing.assert_array_equal(cleaned.inputs.quantity_ST, cleaned.targets_ST)
    np.testing.assert_array_equal(cleaned.targets_ST[0], [NAN, 4, 0, NAN, NAN, 6, 0, NAN, 2, NAN, NAN])


def test_days_known_to_be_closed_are_no_gaps_and_stay_as_they_are() -> None:
    cleaned = clean(panel_of([5, 0, NAN, 5, NAN, 5, 5], open=[1, 0, 0, 1, 1, 1, 0]), "mean")
    assert found(cleaned) == [
        (0, 1, 1, "closed", 0.0, None, "kept"),
        (0, 2, 2, "closed", None, None, "masked"),
        (0, 4, 4, "gap", None, 5.0, "filled"),
    ]
    # The closed zero is no sale that a mean is made of, and the closed missing day is not filled.
    np.testing.assert_array_equal(cleaned.inputs.quantity_ST[0], [5, 0, NAN, 5, 5, 5, 5])
    np.testing.assert_array_equal(cleaned.targets_ST[0], [5, 0, NAN, 5, NAN, 5, 5])


def test_a_day_on_which_a_whole_location_sells_nothing_is_closed() -> None:
    quantity = np.full((4, 40), 5.0)
    quantity[:2, 30], quantity[2:, 30] = 0, NAN  # nobody sells: closed
    quantity[:3, 34] = 0  # one sells: open
    quantity[3, 36] = NAN  # one is missing: a gap
    kinds = [row[:4] for row in found(clean(panel_of(*quantity, location="shop")))]
    assert kinds == [(0, 30, 30, "closed"), (1, 30, 30, "closed"), (2, 30, 30, "closed"), (3, 30, 30, "closed"),
                     (3, 36, 36, "gap")]  # fmt: skip


def test_few_series_or_series_that_seldom_sell_tell_nothing_of_opening() -> None:
    quantity = np.full((2, 40), 5.0)
    quantity[:, 30] = 0
    assert found(clean(panel_of(*quantity))) == []
    rare = np.zeros((6, 40))
    rare[:, ::3] = 1
    rare[:, 30] = 0
    assert found(clean(panel_of(*rare))) == []


@pytest.mark.parametrize(("value", "outlier"), [(36.0, False), (37.0, True)])
def test_an_outlier_lies_eight_deviations_above_the_level(value: float, outlier: bool) -> None:
    """Steady sales of 10: the deviation is that of counts, sqrt(10 + 1) = 3.317, and the limit 10 + 8 * 3.317 = 36.53."""
    quantity = np.full(60, 10.0)
    quantity[50] = value
    cleaned = clean(panel_of(quantity))
    assert found(cleaned) == ([(0, 50, 50, "outlier", value, 10.0, "masked")] if outlier else [])
    assert np.isnan(cleaned.targets_ST[0, 50]) == np.isnan(cleaned.inputs.quantity_ST[0, 50]) == outlier


def test_an_outlier_sells_more_than_twice_the_second_best_day() -> None:
    quantity = np.full(60, 10.0)
    quantity[[20, 30]] = 30  # 30 is within eight deviations, and twice it is 60
    for value, outlier in ((60.0, False), (61.0, True)):
        quantity[50] = value
        assert bool(found(clean(panel_of(quantity)))) is outlier


@pytest.mark.parametrize(("value", "outlier"), [(3.0, False), (10.0, False), (11.0, True)])
def test_a_slow_mover_may_sell_a_few_at_once(value: float, outlier: bool) -> None:
    """None and one in turn: level 0.5, deviation sqrt(0.5 + 1) = 1.225, limit 0.5 + 8 * 1.225 = 10.3."""
    quantity = np.arange(70) % 2.0
    quantity[60] = value
    assert bool(found(clean(panel_of(quantity)))) is outlier


def test_a_strong_weekday_is_judged_by_its_own_level() -> None:
    """Saturdays sell 50, other days 5; a Saturday of 120 is below 50 + 8 * 0.25 * 50 = 150, a Saturday of 160 above it."""
    quantity = np.where(np.arange(140) % 7 == 3, 50.0, 5.0)
    for value, outlier in ((120.0, False), (160.0, True)):
        quantity[7 * 17 + 3] = value
        expected = [(0, 122, 122, "outlier", value, 50.0, "masked")] if outlier else []
        assert found(clean(panel_of(quantity))) == expected


def test_below_four_weeks_of_history_no_day_is_an_outlier() -> None:
    quantity = np.full(40, 10.0)
    quantity[27] = 1000
    assert found(clean(panel_of(quantity))) == []
    quantity[27], quantity[28] = 10, 1000
    assert [row[1] for row in found(clean(panel_of(quantity)))] == [28]


@pytest.mark.parametrize("name", ["promo", "event", "event_name_1=Easter", "is_holiday"])
def test_promotions_events_and_holidays_are_no_outliers(name: str) -> None:
    quantity, flag = np.full((1, 60), 10.0), np.zeros((1, 60))
    quantity[0, 50], flag[0, 50] = 500, 0.3
    assert found(clean(panel_of(*quantity, **{name: flag}))) == []
    assert len(found(clean(panel_of(*quantity, price=flag)))) == 1


def test_a_level_that_shifts_is_accepted_on_its_third_day() -> None:
    quantity = np.full(90, 10.0)
    quantity[60:] = 100
    cleaned = clean(panel_of(quantity))
    assert [row[1:3] for row in found(cleaned)] == [(60, 61)]
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(cleaned.targets_ST[0])), [60, 61])


def test_last_year_acquits_a_day_in_the_loss() -> None:
    quantity = np.full(800, 10.0)
    quantity[[300, 300 + 371]] = 200  # the same weekday, a week later in the year
    cleaned = clean(panel_of(quantity))
    assert found(cleaned) == [
        (0, 300, 300, "outlier", 200.0, 10.0, "masked"),
        (0, 671, 671, "outlier", 200.0, 10.0, "input_only"),
    ]
    assert cleaned.targets_ST[0, 671] == 200 and np.isnan(cleaned.inputs.quantity_ST[0, 671])


def test_days_out_of_stock_are_masked_unless_they_sold_the_usual() -> None:
    quantity, in_stock = np.full(60, 10.0), np.ones(60)
    in_stock[40:45] = [0, 0.5, 0.9, 0, 0]
    quantity[40:45] = [0, 4, 12, NAN, 3]
    cleaned = clean(panel_of(quantity, in_stock=in_stock))
    assert found(cleaned) == [
        (0, 40, 41, "out_of_stock", 2.0, 10.0, "masked"),
        (0, 42, 42, "out_of_stock", 12.0, 10.0, "kept"),
        (0, 43, 43, "gap", None, 10.0, "masked"),
        (0, 44, 44, "out_of_stock", 3.0, 10.0, "masked"),
    ]
    np.testing.assert_array_equal(cleaned.targets_ST[0, 39:46], [10, NAN, NAN, 12, NAN, NAN, 10])
    np.testing.assert_array_equal(cleaned.alone_ST[0, 39:46], [10, NAN, NAN, NAN, NAN, NAN, 10])


def test_days_out_of_stock_do_not_lower_what_is_usual() -> None:
    quantity, in_stock = np.full(60, 10.0), np.ones(60)
    in_stock[10:50], quantity[10:50] = 0, 1
    assert [row[4:6] for row in found(clean(panel_of(quantity, in_stock=in_stock)))] == [(1.0, 10.0)]


def test_missing_days_are_filled_as_the_treatment_says() -> None:
    week = [1.0, 2, 3, 4, 5, 6, 7]
    values = np.array([[*week, *week, NAN, NAN, *week[2:]]], dtype=np.float32)
    by_hand = {"mean": [4.0, 4.0], "seasonal": [1.0, 2.0]}
    for treatment, expected in by_hand.items():
        got = filled(values, values, None, treatment)
        np.testing.assert_allclose(got[0, 14:16], expected)
        np.testing.assert_array_equal(got[0, :14], values[0, :14])


def test_a_line_is_continued_between_nothing_and_the_most_sold() -> None:
    rising, falling = [2.0, 4, NAN, 8, NAN, NAN], [6.0, 4, 2, NAN, NAN, NAN]
    values = np.array([rising, falling], dtype=np.float32)
    got = filled(values, values, None, "linear")
    # Through (0, 2), (1, 4): 6 at day 2, held to the most sold, 4. Through 2, 4, 8 at days 0, 1, 3: 10, held to 8.
    np.testing.assert_allclose(got[0], [2, 4, 4, 8, 8, 8], atol=1e-6)
    np.testing.assert_allclose(got[1], [6, 4, 2, 0, 0, 0], atol=1e-6)


def test_a_long_gap_is_filled_for_four_weeks_and_then_left_open() -> None:
    quantity = np.full(100, 3.0)
    quantity[20:80] = NAN
    for treatment in ("linear", "mean", "seasonal"):
        filled_T = clean(panel_of(quantity), treatment).inputs.quantity_ST[0]
        np.testing.assert_array_equal(filled_T[20:48], 3.0)
        assert np.isnan(filled_T[48:80]).all()


def test_with_model_the_panel_is_cleaned_as_with_mask() -> None:
    panel = dirty_panel(300, seed=4)
    ours, theirs = clean(panel, "model"), clean(panel, "mask")
    np.testing.assert_array_equal(ours.inputs.quantity_ST, theirs.inputs.quantity_ST)
    np.testing.assert_array_equal(ours.targets_ST, theirs.targets_ST)


def test_a_treatment_that_cannot_be_is_refused() -> None:
    panel = panel_of([1, NAN, 2])
    with pytest.raises(ValueError, match="must be one of mask, linear"):
        clean(panel, "guess")  # type: ignore[arg-type]


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_the_panel_itself_is_never_changed(treatment: Treatment) -> None:
    panel = dirty_panel(500, seed=3)
    before = panel.fingerprint()
    clean(panel, treatment)
    assert panel.fingerprint() == before


def test_nothing_and_one_enormous_value_are_survived() -> None:
    empty = clean(panel_of(np.full(200, NAN), np.zeros(200)), "linear")
    assert np.isnan(empty.targets_ST[0]).all() and found(empty) == []
    quantity = np.full(200, 10.0)
    quantity[100] = np.finfo(np.float32).max
    assert [row[1] for row in found(clean(panel_of(quantity)))] == [100]
    assert found(clean(panel_of([NAN], [3.0]))) == []


def dirty_panel(days: int, *, seed: int, series: int = 3) -> Panel:
    """Sales with all that cleaning looks for: gaps, impossible days, days out of stock, closed days, promotions."""
    rng = np.random.default_rng(seed)
    quantity = rng.poisson(np.geomspace(0.3, 40, series)[:, None], (series, days)).astype(np.float32)
    quantity *= np.where(rng.random(quantity.shape) < 0.02, 50, 1).astype(np.float32)
    quantity += rng.choice([0.0, 0.37], quantity.shape).astype(np.float32)
    quantity[rng.random(quantity.shape) < 0.1] = NAN
    if days > 40:
        quantity[:, days // 2 : days // 2 + 40] = NAN
    flags = {name: (rng.random(quantity.shape) < 0.03).astype(np.float32) for name in ("closed", "out", "promo")}
    return Panel(
        [f"s{i}" for i in range(series)], ["shop"] * series, START, quantity,
        known={"open": 1 - flags["closed"], "promo": flags["promo"]}, past={"in_stock": 1 - flags["out"]},
    )  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(st.data(), st.sampled_from(TREATMENTS), st.integers(2, 480), st.integers(0, 2**32 - 1))
def test_nothing_after_a_day_changes_anything_at_or_before_it(
    data: st.DataObject, treatment: Treatment, days: int, seed: int
) -> None:
    panel, other = dirty_panel(days, seed=seed), dirty_panel(days, seed=seed + 1)
    cutoff = data.draw(st.integers(0, days - 2))

    def spliced(ours: Floats, theirs: Floats) -> Floats:
        return np.concatenate([ours[:, : cutoff + 1], theirs[:, cutoff + 1 :]], axis=1)

    changed = replace(
        panel,
        quantity_ST=spliced(panel.quantity_ST, other.quantity_ST),
        known={name: spliced(values, other.known[name]) for name, values in panel.known.items()},
        past={name: spliced(values, other.past[name]) for name, values in panel.past.items()},
    )
    until = panel.until(panel.start + np.timedelta64(cutoff, "D"))
    ours, theirs, cut = (clean(p, treatment) for p in (panel, changed, until))
    seen = slice(0, cutoff + 1)
    for one in (theirs, cut):
        np.testing.assert_array_equal(ours.inputs.quantity_ST[:, seen], one.inputs.quantity_ST[:, seen])
        np.testing.assert_array_equal(ours.targets_ST[:, seen], one.targets_ST[:, seen])
        np.testing.assert_array_equal(ours.alone_ST[:, seen], one.alone_ST[:, seen])

    def settled(cleaned: Cleaned) -> list[tuple[object, ...]]:
        """Findings of days that were sold on, up to the cutoff: a gap is one only once it has ended."""
        return [row for row in found(cleaned) if row[3] in ("outlier", "out_of_stock") and int(str(row[2])) < cutoff]

    assert settled(ours) == settled(theirs) == settled(cut)


@pytest.mark.parametrize("treatment", TREATMENTS)
def test_windows_of_training_and_of_forecasting_are_the_same_to_the_bit(treatment: Treatment) -> None:
    panel = dirty_panel(900, seed=7, series=6)
    names = {"known": ("open", "promo"), "past": ("in_stock",)}
    common = {"context_length": 28, "horizon": 7, "cleaning": treatment, **names}
    identity = np.zeros(6, dtype=np.int64)
    cleaned = clean(panel, treatment)
    learning = WindowSource(panel, identity, cleaned=cleaned, **common)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    series_B, cutoff_B = rng.integers(0, 6, 400), rng.integers(-1, 900, 400)
    ours = learning.windows(series_B, cutoff_B).quantity_BM.numpy()
    np.testing.assert_array_equal(
        WindowSource(panel, identity, **common).windows(series_B, cutoff_B).quantity_BM.numpy(),  # type: ignore[arg-type]
        ours,
    )
    raw = WindowSource(panel, identity, **{**common, "cleaning": "none"}).windows(series_B, cutoff_B)  # type: ignore[arg-type]
    assert (ours[:, REACH:] != raw.quantity_BM.numpy()[:, REACH:]).sum() > 1000
    # What a service reads for one forecast: the series' own MEMORY days and nothing before them.
    for series, cutoff in ((4, 899), (5, 700), (2, MEMORY - 1)):
        first = cutoff - MEMORY + 1
        alone = Panel(
            [panel.skus[series]], ["shop"], START + np.timedelta64(first, "D"),
            panel.quantity_ST[[series], first : cutoff + 1].copy(),
            known={name: values[[series], first : cutoff + 1].copy() for name, values in panel.known.items()},
            past={name: values[[series], first : cutoff + 1].copy() for name, values in panel.past.items()},
        )  # fmt: skip
        served = WindowSource(alone, identity[:1], **common)  # type: ignore[arg-type]
        one = served.windows(np.array([0]), np.array([MEMORY - 1])).quantity_BM.numpy()
        np.testing.assert_array_equal(one, learning.windows(np.array([series]), np.array([cutoff])).quantity_BM.numpy())


def test_the_loss_does_not_see_what_was_masked() -> None:
    panel = panel_of(np.where(np.arange(80) == 60, 900.0, 10.0))
    source = WindowSource(
        panel, np.zeros(1, np.int64), context_length=14, horizon=3, known=(), past=(), cleaning="mask",
        cleaned=clean(panel),
    )  # fmt: skip
    target = source.targets(np.array([0]), np.array([58])).numpy()
    np.testing.assert_array_equal(target, [[10, NAN, 10]])


def test_scores_are_those_of_the_sales_as_they_were_posted() -> None:
    """Of what cleaning would change in the days held out, nothing is changed in what forecasts are scored by."""
    panel = make_panel()
    panel.quantity_ST[4, 150] = 5000
    metrics = {how: train(panel, small(epochs=1, cleaning=how)).metrics for how in ("mask", "none")}
    assert metrics["mask"]["seasonal_naive"] == metrics["none"]["seasonal_naive"]
    assert metrics["mask"]["model"]["mse"] > 1e5  # the posted 5,000 is among the days it is scored by


def test_days_out_of_stock_are_not_learned_as_low_demand() -> None:
    rng = np.random.default_rng(5)
    quantity = rng.poisson(20, (6, 200)).astype(np.float32)
    in_stock = np.ones_like(quantity)
    out = rng.random(quantity.shape) < 0.4
    quantity[out], in_stock[out] = 0, 0
    panel = Panel([f"s{i}" for i in range(6)], [""] * 6, START, quantity, past={"in_stock": in_stock})
    config = small(epochs=6, patience=6, past=("in_stock",))
    means = {
        how: float(predict(train(panel, replace(config, cleaning=how)).forecaster, panel, 199).mean_SH.mean())
        for how in ("mask", "none")
    }
    assert means["mask"] == pytest.approx(20, rel=0.15)
    assert means["none"] < 15


def test_a_network_fills_gaps_with_what_the_weekday_usually_sells_before_it_has_learned_better() -> None:
    quantity = np.tile(np.array([2, 3, 4, 5, 6, 7, 8], np.float32), 30)[None].repeat(2, axis=0)
    quantity[0, [170, 185, 200]], quantity[1, :175] = NAN, NAN
    panel = Panel(["a", "b"], ["", ""], START, quantity)
    contexts = {}
    for how in ("mask", "model"):
        course = Course(panel, [resolved("mlp", context_length=56, cleaning=how)], end=panel.days)
        network = course.fits[0].network
        windows = course.source.windows(np.arange(2), np.full(2, 209))
        features = compute_features(windows, network.statistics, context_length=56)
        contexts[how] = network.filled(features)
        assert contexts[how] is features.context_BLC or how == "model"
    gaps = [170 - 154, 185 - 154, 200 - 154]
    before, after = contexts["mask"][..., 0], contexts["model"][..., 0]
    assert features.gap_BL.nonzero().tolist() == [[0, day] for day in gaps]  # days before the first sale are none
    assert (before[0, gaps] == 0).all()
    expected = [quantity[1, day + 7] for day in (170, 185, 200)]
    np.testing.assert_allclose((after[0, gaps] * features.scale_B[0]).detach(), expected, rtol=1e-5)
    kept = ~features.gap_BL
    assert torch.equal(after[kept], before[kept])
    assert torch.equal(contexts["model"][..., 1:], contexts["mask"][..., 1:])  # the mask still tells what is missing


def test_a_network_that_fills_gaps_learns_how_looks_at_no_later_day_and_survives_its_file() -> None:
    panel = make_panel(missing=0.3)
    forecaster = train(panel.until(START + np.timedelta64(140, "D")), small("mlp", cleaning="model")).forecaster
    network = forecaster.members[0].network
    assert network.fill is not None and float(network.fill.weight.abs().max()) > 1e-3
    shuffled = replace(panel, quantity_ST=panel.quantity_ST.copy())
    shuffled.quantity_ST[:, 141:] = 99
    ours, theirs = predict(forecaster, panel, 140), predict(forecaster, shuffled, 140)
    np.testing.assert_array_equal(ours.mean_SH, theirs.mean_SH)
    np.testing.assert_array_equal(ours.quantiles_SHQ, theirs.quantiles_SHQ)
    again = predict(deserialise(*serialise(forecaster)), panel, 140)
    np.testing.assert_array_equal(ours.quantiles_SHQ, again.quantiles_SHQ)


def test_a_forecast_does_not_follow_one_impossible_day() -> None:
    panel = make_panel(series=1, missing=0)
    forecaster = train(panel, small()).forecaster
    broken = replace(panel, quantity_ST=panel.quantity_ST.copy())
    broken.quantity_ST[0, 157] *= 50
    usual, after = (predict(forecaster, p, 159).mean_SH.mean() for p in (panel, broken))
    assert abs(after / usual - 1) < 0.1


def test_the_report_is_a_sorted_table() -> None:
    panel = replace(panel_of([1, NAN, 2], [3, NAN, 4]), skus=["b", "a"], locations=["x", "y"])
    table = clean(panel).findings.table(panel)
    assert table.schema == SCHEMA
    assert table.to_pylist()[0] == {
        "sku": "a", "location": "y", "first_day": START.item().replace(day=2), "last_day": START.item().replace(day=2),
        "kind": "gap", "observed": None, "expected": 3.0, "done": "masked",
    }  # fmt: skip
    assert table.column("sku").to_pylist() == ["a", "b"]


@pytest.mark.parametrize("treatment", ["linear", "mean", "seasonal"])
def test_filled_days_between_counts_are_counts_and_between_weights_are_not(treatment: Treatment) -> None:
    """Both where a panel is cleaned to learn from and where a window is cleaned as it is cut."""
    panel = make_panel(series=4, days=300, missing=0.2)
    weighed = replace(panel, quantity_ST=(panel.quantity_ST * 0.9).astype(np.float32))
    for one, whole in ((panel, True), (weighed, False)):
        common = {"context_length": 28, "horizon": 7, "known": (), "past": (), "cleaning": treatment}
        identity = np.zeros((4, 0), np.int64)
        cut = [
            WindowSource(one, identity, cleaned=cleaned, **common)  # type: ignore[arg-type]
            .windows(np.arange(4), np.full(4, 299))
            .quantity_BM.numpy()
            for cleaned in (None, clean(one, treatment))
        ]
        np.testing.assert_array_equal(cut[0], cut[1])
        gaps = np.isnan(one.quantity_ST[:, -150:]) & np.isfinite(cut[0][:, -150:])
        filled_days = cut[0][:, -150:][gaps]
        assert gaps.sum() > 50
        assert (filled_days == np.rint(filled_days)).all() == whole
