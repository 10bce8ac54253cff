"""Training windows in which the shop has another week since a while: what moves, what stays, what goes along."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.sampling import CHANGED_WEEKS, change_some_weeks
from models.windows import MEMORY, Windows

WINDOWS = 40
CONTEXT = 56


def marked(horizon: int) -> tuple[Windows, torch.Tensor]:
    """Windows in which every value is the number of its day, the target's days going on from the memory's."""
    day_E = torch.arange(MEMORY + horizon, dtype=torch.float32)
    near_P = day_E[MEMORY - CONTEXT :]
    windows = Windows(
        quantity_BM=day_E[:MEMORY].expand(WINDOWS, -1).clone(),
        known_BKE=day_E.expand(WINDOWS, 2, -1).clone(),
        flags_BFP=near_P.expand(WINDOWS, 1, -1).clone(),
        past_BKL=near_P[:CONTEXT].expand(WINDOWS, 3, -1).clone(),
        calendar_BPC=torch.zeros(WINDOWS, CONTEXT + horizon, 14),
        identity_BA=torch.zeros(WINDOWS, 1, dtype=torch.int64),
    )
    return windows, day_E[MEMORY:].expand(WINDOWS, -1).clone()


@pytest.mark.parametrize("horizon", [28, 10, 3])
def test_days_change_places_within_their_weeks_and_keep_their_covariates(horizon: int) -> None:
    windows, target_BH = marked(horizon)
    changed, moved_BH = change_some_weeks(windows, target_BH, np.random.default_rng(0), share=1.0)
    day_BE = torch.cat([changed.quantity_BM, moved_BH], dim=1)
    plain_BE = torch.cat([windows.quantity_BM, target_BH], dim=1)
    whole = (MEMORY + horizon) // 7 * 7
    assert day_BE[:, :whole].reshape(WINDOWS, -1, 7).sort(-1).values.equal(plain_BE[:, :whole].reshape(WINDOWS, -1, 7))
    assert day_BE[:, whole:].equal(plain_BE[:, whole:])
    assert changed.known_BKE.equal(day_BE[:, None].expand(-1, 2, -1))
    assert changed.flags_BFP.equal(day_BE[:, None, MEMORY - CONTEXT :])
    assert changed.past_BKL.equal(day_BE[:, None, MEMORY - CONTEXT : MEMORY].expand(-1, 3, -1))
    moved_from_B = (day_BE != plain_BE).float().argmax(dim=1)
    fewest, most = CHANGED_WEEKS
    assert moved_from_B.min() >= MEMORY - 7 * most and moved_from_B.max() < MEMORY - 7 * fewest + 14
    assert windows.quantity_BM.equal(plain_BE[:, :MEMORY]), "the windows given are not changed"


def test_in_half_of_them_all_weeks_are_alike() -> None:
    windows, target_BH = marked(28)
    changed, moved_BH = change_some_weeks(windows, target_BH, np.random.default_rng(0), share=1.0)
    newest_BW7 = torch.cat([changed.quantity_BM, moved_BH], dim=1).reshape(WINDOWS, -1, 7)[:, -6:]
    place_BW7 = newest_BW7 - newest_BW7.amin(dim=2, keepdim=True)
    alike = (place_BW7 == place_BW7[:, :1]).all(dim=(1, 2)).sum()
    assert WINDOWS * 0.25 < alike < WINDOWS * 0.75


def test_a_share_of_windows_is_changed_and_without_one_none() -> None:
    windows, target_BH = marked(28)
    some, moved_BH = change_some_weeks(windows, target_BH, np.random.default_rng(1), share=0.5)
    touched_B = (some.quantity_BM != windows.quantity_BM).any(dim=1)
    assert WINDOWS * 0.25 < touched_B.sum() < WINDOWS * 0.75
    assert (moved_BH != target_BH).any(dim=1).equal(touched_B)
    none, same_BH = change_some_weeks(windows, target_BH, np.random.default_rng(1), share=0.0)
    assert none.quantity_BM.equal(windows.quantity_BM) and same_BH.equal(target_BH)


def test_missing_days_and_no_covariates_are_no_obstacle() -> None:
    windows, target_BH = marked(28)
    bare = replace(windows, known_BKE=windows.known_BKE[:, :0], flags_BFP=windows.flags_BFP[:, :0])
    bare.quantity_BM[:, :300] = torch.nan
    changed, _ = change_some_weeks(bare, target_BH, np.random.default_rng(0), share=1.0)
    assert changed.known_BKE.shape == bare.known_BKE.shape and changed.flags_BFP.shape == bare.flags_BFP.shape
    assert torch.isnan(changed.quantity_BM).sum() == WINDOWS * 300
