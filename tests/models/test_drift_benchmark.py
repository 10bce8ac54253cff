"""What `python -m benchmarks.drift` counts, on losses made by hand."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.drift import WITHIN, Change, Losses, Year, counts, delays, load, permuted_weeks, rate, save
from models.online.drift import SERIES

SERIES_COUNT, DAYS, AFTER = 10, 140, 100


def steady(days: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    naive_TS = rng.gamma(4, 0.25, (days, SERIES_COUNT))
    return 0.8 * naive_TS * rng.uniform(0.8, 1.2, naive_TS.shape), naive_TS


@pytest.fixture
def year() -> Year:
    """Nothing happens, but for what is put in on one day: the first three series become three times as bad."""
    both, since = steady(DAYS, 0), steady(WITHIN, 1)
    factor_S = np.where(np.arange(SERIES_COUNT) < 3, 1.8, 1.0)
    worse_TS = np.where(factor_S != 1, 3 * since[0], since[0])
    parts = tuple(values[:, :3] for values in both)
    change = Change(AFTER, factor_S, Losses((worse_TS, since[1]), tuple(values[:, :3] for values in since)))
    return Year(Losses(both, parts), {"worse": [change], "shifted": []})


def test_what_is_made_worse_is_counted_apart_from_the_others(year: Year) -> None:
    delay_D = delays(year.untouched.series, year.changes["worse"][0], "series", SERIES)
    assert np.isfinite(delay_D).tolist() == [True] * 3 + [False] * 7
    year.changes.pop("shifted")
    found = counts(year, "series", 0)
    assert (found["permuted"], found["untouched"]) == (0.0, 0.0)
    assert (found["worse_found"], found["worse_others"]) == (100.0, 0.0)
    assert found["worse_days"] == np.median(delay_D[:3])
    assert counts(year, "segments", 0)["worse_found"] == 0.0


def test_a_rate_is_of_90_days_of_100_series(year: Year) -> None:
    loss_TS, naive_TS = (values.copy() for values in year.untouched.series)
    loss_TS[AFTER:, 0] *= 3
    assert rate((loss_TS, naive_TS), SERIES) == pytest.approx(9000 / (DAYS * SERIES_COUNT))


def test_weeks_change_places_whole_and_for_all_series_alike(year: Year) -> None:
    before, (after_TS, other_TS) = (
        year.untouched.series,
        permuted_weeks(year.untouched.series, np.random.default_rng(0)),
    )
    weeks = {week.tobytes(): number for number, week in enumerate(before[0].reshape(-1, 7, SERIES_COUNT))}
    order = [weeks[week.tobytes()] for week in after_TS.reshape(-1, 7, SERIES_COUNT)]
    assert sorted(order) == list(range(DAYS // 7)) != order
    assert np.array_equal(other_TS.reshape(-1, 7, SERIES_COUNT), before[1].reshape(-1, 7, SERIES_COUNT)[order])


def test_losses_are_read_back_as_they_were_kept(year: Year, tmp_path: Path) -> None:
    save(tmp_path / "drift.npz", year)
    again = load(tmp_path / "drift.npz")
    assert (
        counts(again, "series", 0)["worse_days"]
        == counts(Year(year.untouched, {"worse": year.changes["worse"]}), "series", 0)["worse_days"]
    )
    assert np.array_equal(again.changes["worse"][0].factor_S, year.changes["worse"][0].factor_S)
    assert np.array_equal(again.untouched.segments[1], year.untouched.segments[1])
