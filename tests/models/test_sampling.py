"""Windows are drawn by recency, and of series that are new no more than a part."""

import numpy as np
import pytest

from models.sampling import NEW_SHARE, WindowSampler

DAYS = 100


def drawn_share(new: int, known: int) -> float:
    """Share of 20,000 draws that are of new series."""
    new_S = np.arange(known + new) >= known
    sampler = WindowSampler(np.ones((known + new, DAYS), np.float32), horizon=7, end=DAYS, new_S=new_S)
    series, _ = sampler.draw(20_000, np.random.default_rng(0))
    assert len(np.unique(series)) == known + new
    return float(new_S[series].mean())


@pytest.mark.parametrize(("new", "known"), [(1, 9), (2, 8), (1, 3)])
def test_few_new_series_are_drawn_like_all_others(new: int, known: int) -> None:
    assert drawn_share(new, known) == pytest.approx(new / (new + known), abs=0.015)


@pytest.mark.parametrize("new", [4, 40, 400])
def test_many_new_series_are_a_quarter_of_what_is_drawn(new: int) -> None:
    assert drawn_share(new, 4) == pytest.approx(NEW_SHARE, abs=0.015)


def test_where_all_are_new_or_none_is_nothing_is_bounded() -> None:
    quantity = np.ones((5, DAYS), np.float32)
    plain = WindowSampler(quantity, horizon=7, end=DAYS)
    for new in (True, False):
        sampler = WindowSampler(quantity, horizon=7, end=DAYS, new_S=np.full(5, new))
        np.testing.assert_array_equal(sampler.share_S, plain.share_S)
