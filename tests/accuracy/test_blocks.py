"""Series are worked on in parts of whole blocks, however their ids lie."""

import numpy as np
import pytest

from app.accuracy.blocks import BLOCK, parts_of
from models.parallel import AT_ONCE


@pytest.mark.parametrize(
    ("ids", "most_parts"),
    [
        (np.arange(1, 20_001), 11),
        (np.arange(1, 20_001 * 100, 100), 11),
        (np.array([5]), 1),
        (np.arange(0), 1),
    ],
    ids=["side by side", "a few in each block", "one", "none"],
)
def test_parts_are_of_whole_blocks_and_hold_each_series_once(ids: np.ndarray, most_parts: int) -> None:
    parts = parts_of(ids)
    assert np.concatenate(parts).tolist() == list(range(len(ids)))
    assert len(parts) <= most_parts
    assert max(len(part) for part in parts) <= AT_ONCE
    blocks = [set((ids[part] // BLOCK).tolist()) for part in parts]
    assert sum(map(len, blocks)) == len(set().union(*blocks))
