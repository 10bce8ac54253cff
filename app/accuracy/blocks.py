"""Forecasts as issued, as the bytes that Postgres keeps: arrays of up to 512 series, one day ahead after the other.

What was said of one day is one piece of the bytes, so that scoring a day reads a small part of each array. A series lies in the
block of its id. No SQL here. Shapes: S series of a block, H days ahead, Q levels of a forecaster, W mean and scored levels.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.accuracy.sums import BLOCK, rows_by_block
from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.inference import Issued
from models.panel import Floats
from models.parallel import AT_ONCE
from models.training_config import LEVELS

ANSWERED = 1 + len(SCORED_LEVELS)
"""Numbers kept of an answer: the mean and the levels that are scored."""
EXPERT = len(LEVELS)
"""Numbers kept of an expert: all its levels."""
LONGEST_HORIZON = 365
_SCORED_Q = [LEVELS.index(level) for level in SCORED_LEVELS]
Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Block:
    """One row of `issued`, but for its job."""

    block: int
    series_ids: list[int]
    scales: bytes
    trained: bytes
    lineage: bytes | None
    candidate: bytes | None
    champion: bytes | None
    frozen: bytes


@dataclass(frozen=True)
class Answers:
    """What was said at one cutoff of some series: by the update's version with its experts, by the champion before it where
    callers go on reading that, and by the networks as trained without any update."""

    experts: Issued
    candidate: Forecast | None
    champion: Forecast | None
    frozen: Forecast


def blocks_of(answers: Answers, series_ids: Ids) -> Iterator[Block]:
    """The rows to keep. `series_ids` ascend."""
    for block, rows in rows_by_block(series_ids):
        trained_SHQ = answers.experts.trained_SHQ[rows]
        lineage_SHQ = None if answers.experts.lineage_SHQ is None else answers.experts.lineage_SHQ[rows]
        scale_S = _scales(trained_SHQ)
        yield Block(
            block,
            series_ids[rows].tolist(),
            scale_S.tobytes(),
            _expert(trained_SHQ, scale_S),
            None if lineage_SHQ is None else _expert(lineage_SHQ, scale_S),
            _answer(answers.candidate, rows),
            _answer(answers.champion, rows),
            answered(answers.frozen, rows),
        )


def answers_of(forecast: Forecast, series_ids: Ids) -> Iterator[tuple[int, bytes]]:
    """An answer, block by block."""
    for block, rows in rows_by_block(series_ids):
        yield block, answered(forecast, rows)


def parts_of(series_ids: Ids) -> list[Ids]:
    """The rows of series, ascending by id, in parts of whole blocks that are worked on together."""
    starts = np.flatnonzero(np.diff(series_ids // BLOCK)) + 1
    cuts, first = [], 0
    for start, end in itertools.pairwise([*starts.tolist(), len(series_ids)]):
        if end - first > AT_ONCE:
            cuts.append(start)
            first = start
    return np.split(np.arange(len(series_ids)), cuts)


def _answer(forecast: Forecast | None, rows: Ids) -> bytes | None:
    return None if forecast is None else answered(forecast, rows)


def answered(forecast: Forecast, rows: Ids) -> bytes:
    """Mean and scored levels of some series, float32, H x S x W."""
    mean_SH1 = forecast.mean_SH[rows][..., None]
    said_SHW: Floats = np.concatenate([mean_SH1, forecast.quantiles_SHQ[rows][..., _SCORED_Q]], axis=2)
    stored: bytes = said_SHW.transpose(1, 0, 2).astype("<f4").tobytes()
    return stored


def answer_piece(piece: bytes) -> Floats:
    """What an answer said of one day, (S, W)."""
    said_SW: Floats = np.frombuffer(piece, "<f4").reshape(-1, ANSWERED)
    return said_SW


def expert_piece(piece: bytes, scales: bytes) -> Floats:
    """What an expert said of one day, (S, Q), in units."""
    scaled_SQ = np.frombuffer(piece, "<f2").reshape(-1, EXPERT).astype(np.float32)
    said_SQ: Floats = scaled_SQ * np.frombuffer(scales, "<f4")[:, None]
    return said_SQ


def expert_bytes(series: int) -> int:
    """Bytes of what an expert said of one day."""
    return 2 * EXPERT * series


def answer_bytes(series: int) -> int:
    """Bytes of what an answer said of one day."""
    return 4 * ANSWERED * series


def _scales(trained_SHQ: Floats) -> Floats:
    """The largest number of each series, so that half precision neither overflows nor loses small ones."""
    largest_S = np.nan_to_num(np.abs(trained_SHQ)).max(axis=(1, 2))
    scale_S: Floats = np.maximum(largest_S, np.float32(1e-6))
    return scale_S


def _expert(said_SHQ: Floats, scale_S: Floats) -> bytes:
    scaled_SHQ = said_SHQ / scale_S[:, None, None]
    stored: bytes = scaled_SHQ.transpose(1, 0, 2).astype("<f2").tobytes()
    return stored
