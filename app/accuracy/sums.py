"""Sums of single series, as the bytes that Postgres keeps: of one day, or of a week that was put together. No SQL here.

Shapes: S series of a block, C sources, K stretches of days ahead (as many as were reached), X sums (models/online/scoring.py).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from models.online.scoring import SUMS
from models.panel import Floats
from models.segments import BUCKETS

BLOCK = 512
"""A series lies in the block of its id: so many ids are kept together in one row."""
SOURCES = ("live", "frozen", "seasonal_naive")
"""Whose sums are kept of each series, in this order."""
Doubles = NDArray[np.float64]
Ids = NDArray[np.int64]


def rows_by_block(series_ids: Ids) -> Iterator[tuple[int, Ids]]:
    """Each block that these series lie in, and their rows."""
    number_S = series_ids // BLOCK
    for block in np.unique(number_S).tolist():
        yield block, np.flatnonzero(number_S == block)


@dataclass(frozen=True)
class Kept:
    """The series of one row of `series_scores`, and their sums as stored."""

    series_ids: Sequence[int]
    sums: bytes


def packed(sums_SCKX: Floats | Doubles) -> bytes:
    """The bytes to store: the number of stretches, and the sums, compressed."""
    raw = np.ascontiguousarray(sums_SCKX, "<f4").tobytes()
    compressed: bytes = pa.compress(raw, codec="zstd", asbytes=True)
    return bytes([sums_SCKX.shape[2]]) + compressed


def unpacked(kept: Kept) -> Floats:
    """What was stored, (S, C, K, X)."""
    shape = (len(kept.series_ids), len(SOURCES), kept.sums[0], len(SUMS))
    raw = pa.decompress(memoryview(kept.sums)[1:], 4 * math.prod(shape), codec="zstd")
    sums: Floats = np.frombuffer(raw, "<f4")
    return sums.reshape(shape)


def nothing() -> Doubles:
    """Sums of no day, (C, K, X) with every stretch that there may be."""
    return np.zeros((len(SOURCES), len(BUCKETS), len(SUMS)))


def total_of(rows: Sequence[Kept], wanted: Ids) -> Doubles:
    """The sums of some series over all rows, (C, K, X) with every stretch that there may be."""
    total_CKX = nothing()
    for kept in rows:
        here_S = np.isin(kept.series_ids, wanted)
        if here_S.any():
            sums_SCKX = unpacked(kept)
            total_CKX[:, : sums_SCKX.shape[2]] += sums_SCKX[here_S].sum(axis=0, dtype=np.float64)
    return total_CKX


def together(rows: Sequence[Kept]) -> Kept:
    """The rows of several days as one: of every series that any of them has, each with its own sums."""
    ids = np.unique(np.concatenate([np.asarray(kept.series_ids, np.int64) for kept in rows]))
    found = [unpacked(kept) for kept in rows]
    stretches = max(sums_SCKX.shape[2] for sums_SCKX in found)
    total_SCKX = np.zeros((len(ids), len(SOURCES), stretches, len(SUMS)))
    for kept, sums_SCKX in zip(rows, found, strict=True):
        total_SCKX[np.searchsorted(ids, kept.series_ids), :, : sums_SCKX.shape[2]] += sums_SCKX
    return Kept(ids.tolist(), packed(total_SCKX))
