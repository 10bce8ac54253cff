"""Every check of the gate passes and fails at its limit, on arrays made by hand; what they come to; the bootstrap's bounds."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.online.gate import (
    Check,
    Limits,
    Record,
    Sanity,
    failed_names,
    hard_checks,
    interval,
    moved_check,
    record_checks,
    replay_checks,
    verdict,
)
from models.online.scoring import SUMS
from models.online.updating import Forecasts, Looks
from models.segments import SEGMENTS

LIMITS = Limits()
LEVELS_Q = np.array([0.1, 0.5, 0.9])


def said(series: int = 4, days: int = 3, *, mean: float = 10.0) -> Forecast:
    mean_SH = np.full((series, days), mean, np.float32)
    quantiles_SHQ = np.repeat(mean_SH[..., None], 3, axis=2) * np.array([0.5, 1, 1.5], np.float32)
    return Forecast(mean_SH, quantiles_SHQ, LEVELS_Q)


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def hard(forecast: Forecast, maximum: float = 10.0, limits: Limits = LIMITS) -> dict[str, Check]:
    return by_name(hard_checks(Sanity.of(forecast), np.full(len(forecast.mean_SH), maximum, np.float32), limits))


def test_a_whole_forecast_passes_all_hard_checks() -> None:
    assert [check.passed for check in hard(said()).values()] == [True] * 4


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("finite", ("mean", (2, 1)), np.nan),
        ("finite", ("quantiles", (2, 1, 0)), np.inf),
        ("not_negative", ("mean", (2, 1)), -1e-3),
        ("not_negative", ("quantiles", (2, 1, 0)), -1e-3),
        ("ordered", ("quantiles", (2, 1, 0)), 10.001),
    ],
)
def test_one_broken_number_of_one_series_fails_its_hard_check(
    name: str, place: tuple[str, tuple[int, ...]], value: float
) -> None:
    forecast = said()
    {"mean": forecast.mean_SH, "quantiles": forecast.quantiles_SHQ}[place[0]][place[1]] = value
    check = hard(forecast)[name]
    assert (check.passed, check.value) == (False, 1.0)
    assert check.detail.startswith("1 series")


def test_zeros_and_equal_quantiles_are_whole() -> None:
    assert [check.passed for check in hard(said(mean=0.0)).values()] == [True] * 4


def test_plausible_is_up_to_three_times_the_most_of_a_year() -> None:
    assert hard(said(mean=30.0))["plausible"].passed
    assert hard(said(mean=30.1))["plausible"].passed is False


def test_plausible_allows_the_share_of_series_that_is_its_limit() -> None:
    forecast = said(series=10)
    forecast.mean_SH[0, 0] = 31
    allowed = replace(LIMITS, above_maximum_share=0.1)
    assert hard(forecast, limits=allowed)["plausible"].passed
    forecast.mean_SH[1, 2] = 31
    assert hard(forecast, limits=allowed)["plausible"].passed is False


def test_plausible_measures_a_series_that_never_sold_by_a_tenth_of_the_others() -> None:
    forecast = said(series=3)
    maximum_S = np.array([100, 100, np.nan], np.float32)
    forecast.mean_SH[2] = 30
    assert by_name(hard_checks(Sanity.of(forecast), maximum_S, LIMITS))["plausible"].passed
    forecast.mean_SH[2] = 31
    assert by_name(hard_checks(Sanity.of(forecast), maximum_S, LIMITS))["plausible"].passed is False


def moved(forecast: Forecast, limits: Limits) -> Check:
    """Beside a champion that forecasts 10 a day."""
    looks = Looks.at(Forecasts(forecast, said(), said()))
    return moved_check(looks.moved_S, looks.level_S, limits)


def test_near_copy_moves_by_its_limit_at_most() -> None:
    limits = replace(LIMITS, moved_percent=25.0)
    most = moved(said(mean=12.5), limits)
    assert (most.passed, most.value) == (True, 25.0)
    assert moved(said(mean=12.75), limits).passed is False
    assert moved(said(mean=7.25), limits).passed is False
    broken = moved(said(mean=np.nan), limits)
    assert (broken.passed, broken.value) == (False, None)


def replay(
    wql: float | None, bias: float | None = 0.0, *, windows: int = 4, parent: float | None = 0.5
) -> dict[str, Check]:
    metrics: dict[str, Any] = {
        "model": {"wql": wql, "bias": bias},
        "parent": {"wql": parent, "bias": 0.0},
        "windows": ["2026-01-01"] * windows,
    }
    return by_name(replay_checks(metrics, LIMITS))


def test_the_replay_refuses_a_loss_above_its_limit() -> None:
    assert replay(0.50499)["replay_loss"].passed
    assert replay(0.50501)["replay_loss"].passed is False
    assert replay(0.3)["replay_loss"].passed


def test_the_replay_refuses_a_bias_beyond_its_limit_either_way() -> None:
    for sign in (-1, 1):
        assert replay(0.5, sign * 0.02999)["replay_bias"].passed
        assert replay(0.5, sign * 0.03001)["replay_bias"].passed is False


def test_a_replay_without_cutoffs_is_undecided_and_one_without_a_number_fails() -> None:
    lacking, broken, silent = replay(0.5, windows=0), replay(None), replay(0.5, parent=None)
    for name in ("replay_loss", "replay_bias"):
        assert (lacking[name].passed, broken[name].passed, silent[name].passed) == (None, False, None)
        assert lacking[name].detail == "0 of 1 recent cutoff with sales after it that it needs."
        assert silent[name].detail == "The champion has no loss there."


def test_a_replay_that_is_undecided_itself_decides_nothing() -> None:
    for passed, told in ((True, True), (None, False)):
        checks = [Check("replay_loss", None, 1.0, passed, "…"), Check("bias", None, 3.0, None, "…")]
        assert ("the replay of recent cutoffs decides" in verdict(checks, days=0).sentence) is told


def record(
    days: int, *, loss: float = 0.0, far: float = 0.0, noise: float = 0.0, **sums: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sums (T, N, K, X) of a lineage and of what it is compared with. `loss` and `far`: by which share the lineage's pinball is
    above, in days 1-7 and later; `noise`: how far its daily loss swings. `sums`: of the lineage, where they differ."""
    frozen = np.zeros((days, len(SEGMENTS), 3, len(SUMS)))
    for name, value in {"days": 100, "sales": 1000, "mean": 1000, "pinball": 200}.items():
        frozen[..., SUMS.index(name)] = value
    for level in SCORED_LEVELS:
        frozen[..., [SUMS.index(f"below {level}"), SUMS.index(f"to {level}")]] = 100 * level
    lineage = frozen.copy()
    swing_T11 = 1 + noise * np.where(np.arange(days) // 14 % 2, 1, -1)[:, None, None]
    lineage[..., SUMS.index("pinball")] *= swing_T11 * (1 + np.array([loss, far, far]))
    for name, value in sums.items():
        lineage[..., SUMS.index(name.replace("_to_", "to 0."))] = value
    return lineage, frozen


def live(days: int = 112, **differing: float) -> dict[str, Check]:
    lineage, frozen = record(days, **differing)
    return by_name(record_checks(Record(lineage, frozen, lineage), LIMITS))


def test_a_lineage_that_says_the_same_passes_every_live_check() -> None:
    assert {name: check.passed for name, check in live().items()} == dict.fromkeys(
        ("loss_days_1-7", "loss_days_8-28", "loss_beside_live", "segments", "bias", "coverage"), True
    )


def test_the_live_loss_fails_above_its_limit_near_and_far_apart() -> None:
    assert live(loss=0.0029)["loss_days_1-7"].passed
    near, far = live(loss=0.0031), live(far=0.0031)
    assert (near["loss_days_1-7"].passed, near["loss_days_8-28"].passed) == (False, True)
    assert (far["loss_days_1-7"].passed, far["loss_days_8-28"].passed) == (True, False)
    assert near["loss_days_1-7"].value == pytest.approx(0.31)
    assert "+0.31 %" in near["loss_days_1-7"].detail and "112 days" in near["loss_days_1-7"].detail


def test_one_that_is_better_than_the_networks_as_trained_must_not_be_worse_than_what_callers_read() -> None:
    for worse, passed in ((0.0029, True), (0.0031, False)):
        lineage, frozen = record(112, loss=-0.05, far=-0.05)
        live_ = lineage.copy()
        live_[..., SUMS.index("pinball")] /= 1 + worse
        checks = by_name(record_checks(Record(lineage, frozen, live_), LIMITS))
        assert checks["loss_days_1-7"].passed and checks["loss_days_8-28"].passed
        assert checks["loss_beside_live"].passed is passed
        assert "against what callers read" in checks["loss_beside_live"].detail


def test_a_live_loss_above_its_limit_by_no_more_than_chance_passes() -> None:
    check = live(loss=0.01, noise=0.2)["loss_days_1-7"]
    assert check.value is not None and check.value > LIMITS.loss_percent
    assert check.passed


def test_live_checks_wait_for_their_days() -> None:
    for days, decided in ((0, 0), (55, 0), (56, 4), (111, 4), (112, 6)):
        checks = live(days, loss=1.0, far=1.0)
        assert sum(check.passed is not None for check in checks.values()) == decided, days
        waiting = [check for check in checks.values() if check.passed is None]
        assert all(check.detail.startswith(f"{days} of ") and check.value is None for check in waiting)
    assert live(56, loss=1.0)["loss_days_1-7"].passed is False


def test_the_worst_segment_decides() -> None:
    for loss, passed in ((1.0199, True), (1.0201, False)):
        lineage, frozen = record(56)
        lineage[:, 1, :, SUMS.index("pinball")] *= loss
        check = by_name(record_checks(Record(lineage, frozen, frozen), LIMITS))["segments"]
        assert (check.passed, "slow" in check.detail) == (passed, True)


def test_segments_without_a_loss_are_left_out() -> None:
    lineage, frozen = record(56)
    lineage[:, 0], frozen[:, 0] = 0, 0
    check = by_name(record_checks(Record(lineage, frozen, frozen), LIMITS))["segments"]
    assert (check.passed, check.value) == (True, 0.0)
    lineage[:], frozen[:] = 0, 0
    assert by_name(record_checks(Record(lineage, frozen, frozen), LIMITS))["segments"].passed is None


def test_every_live_check_can_be_written_as_json_and_counts_in_the_verdict() -> None:
    for mean, accepted in ((1000.0, True), (1500.0, False)):
        checks = list(live(112, mean=mean).values())
        assert {type(check.passed) for check in checks} == {bool}
        assert json.loads(json.dumps([check.as_dict() for check in checks]))[4]["name"] == "bias"
        assert verdict(checks, days=112).accepted is accepted


def test_live_bias_is_bounded_either_way() -> None:
    for mean, passed in ((1029.9, True), (1030.1, False), (970.1, True), (969.9, False)):
        assert live(56, mean=mean)["bias"].passed is passed, mean


def test_live_coverage_is_missed_by_its_limit_at_most() -> None:
    assert live(56, _to_1=8.1)["coverage"].passed
    worse = live(56, _to_1=7.9)["coverage"]
    assert worse.passed is False and worse.value == pytest.approx(2.1)
    assert live(56, _to_9=87.9)["coverage"].passed is False


def test_bounds_of_the_interval_are_those_of_a_bootstrap_in_plain_loops() -> None:
    rng = np.random.default_rng(11)
    other_T = rng.gamma(20, 5, 84)
    own_T = other_T * rng.normal(1.01, 0.05, 84)
    low, high = interval(own_T, other_T, block=14)
    drawn = []
    for _ in range(4000):
        days = [(start + k) % 84 for start in rng.integers(0, 84, 6) for k in range(14)]
        drawn.append(100 * (sum(own_T[day] for day in days) / sum(other_T[day] for day in days) - 1))
    spread = np.quantile(drawn, 0.9) - np.quantile(drawn, 0.1)
    assert low == pytest.approx(np.quantile(drawn, 0.1), abs=0.1 * spread)
    assert high == pytest.approx(np.quantile(drawn, 0.9), abs=0.1 * spread)
    assert interval(own_T, other_T, block=14) == (low, high)


def test_a_constant_ratio_has_no_spread() -> None:
    other_T = np.random.default_rng(0).gamma(20, 5, 60)
    assert interval(1.02 * other_T, other_T, block=14) == pytest.approx((2.0, 2.0))


def checks_of(*passed: bool | None) -> list[Check]:
    return [Check(f"check_{number}", None, None, each, f"detail {number}") for number, each in enumerate(passed)]


def test_a_verdict_accepts_when_nothing_failed() -> None:
    found = verdict(checks_of(True, True, True), days=120)
    assert found.accepted and found.days == 120
    assert found.sentence == "Accepted: it passed the 3 checks that can be decided now, with a live record of 120 days."


def test_a_verdict_names_what_failed_and_what_waits() -> None:
    checks = checks_of(True, False, None, False)
    found = verdict(checks, days=9)
    assert not found.accepted
    assert found.sentence == (
        "Refused. check_1: detail 1; check_3: detail 3 Undecided: check_2; until they are decided the replay of recent cutoffs"
        " decides."
    )
    assert failed_names(checks) == ["check_1", "check_3"]


def test_an_undecided_check_neither_accepts_nor_refuses() -> None:
    assert verdict(checks_of(True, None), days=3).accepted
    assert not verdict(checks_of(False, None), days=3).accepted
    assert "check_1" in verdict(checks_of(True, None), days=3).sentence
