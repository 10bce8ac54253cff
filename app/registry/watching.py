"""The champion watched while it is live: one that does worse than the networks it came of goes back to them by itself.

What is compared is kept as scores: what callers read (`live`) and what the networks as trained had said of the same days
(`frozen`). Only forecasts count that this line of versions has made since its first update was let in, or since the last
roll-back or promotion by hand.

Shapes: T target days.
"""

import asyncio
from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Problem
from app.registry.promotions import BY_ITSELF, lock_registry, roll_back_to
from models.online.gate import PINBALL, Doubles, beyond_doubt

log = structlog.get_logger()


class Watch(NamedTuple):
    """When a champion goes back, and where the artifacts of versions lie. `broken`: what is wrong with what it says now."""

    percent: float
    days: int
    artifacts: str
    broken: str | None


class _Version(NamedTuple):
    version: int
    kind: str
    artifact_sha256: str
    artifact_removed: bool


async def roll_back_if_worse(connection: AsyncConnection, watch: Watch) -> str | None:
    """Make the root of the champion's line champion again where the champion is worse beyond doubt, or says what no forecast may
    say; the reason as it is written to the log. None where it stays."""
    await lock_registry(connection)
    line = await _line(connection)
    if len(line) < 2:
        return None
    why = watch.broken or await _worse(connection, line, watch)
    if why is None:
        return None
    champion, root = line[0], line[-1]
    reason = f"{BY_ITSELF} from version {champion.version}. {why}"
    if not await _usable(root, watch) or not await roll_back_to(connection, root.version, reason=reason):
        log.error("champion_cannot_go_back", version=champion.version, root=root.version, detail=why)
        return None
    log.warning("champion_rolled_back", version=champion.version, root=root.version, detail=why)
    return reason


async def _line(connection: AsyncConnection) -> Sequence[_Version]:
    """The champion, the versions it came of, and last the one whose networks were trained."""
    rows = await connection.execute(
        text("""
        WITH RECURSIVE line AS (
            SELECT v.* FROM versions v JOIN aliases a USING (version) WHERE a.alias = 'champion'
            UNION ALL
            SELECT v.* FROM versions v JOIN line ON v.version = line.parent WHERE line.kind = 'update')
        SELECT version, kind, artifact_sha256, artifact_removed_at IS NOT NULL FROM line ORDER BY version DESC""")
    )
    return [_Version(*row) for row in rows]


async def _worse(connection: AsyncConnection, line: Sequence[_Version], watch: Watch) -> str | None:
    since = await _since(connection, [one.version for one in line[:-1]])
    if since is None:
        return None
    live_T, frozen_T = await _daily_losses(connection, since)
    return beyond_doubt(live_T, frozen_T, percent=watch.percent, days=watch.days)


async def _since(connection: AsyncConnection, updates: list[int]) -> date | None:
    """The first cutoff at which callers read one of these versions, counted from the last break of the line on."""
    found = await connection.execute(
        text("""
        SELECT min(i.cutoff) FROM issuances i JOIN versions v ON v.version = i.version
        WHERE i.champion = ANY(:updates) AND v.created_at > coalesce(
            (SELECT max(p.promoted_at) FROM promotions p JOIN versions x USING (version)
             WHERE p.kind = 'rollback' OR p.promoted_at > x.created_at), '-infinity')"""),
        {"updates": updates},
    )
    since: date | None = found.scalar_one()
    return since


async def _daily_losses(connection: AsyncConnection, since: date) -> tuple[Doubles, Doubles]:
    """The pinball loss of each scored day, live and as trained, over the days ahead that were all forecast since then."""
    rows = await connection.execute(
        text("""
        SELECT day, sum(sums[:pinball]) FILTER (WHERE source = 'live') AS live,
               sum(sums[:pinball]) FILTER (WHERE source = 'frozen') AS frozen
        FROM scores WHERE source IN ('live', 'frozen') AND day - CAST(:since AS date) >= CAST(split_part(stretch, '-', 2) AS int)
        AND day <= coalesce((SELECT max(last_day) FROM series), day)
        GROUP BY day HAVING count(DISTINCT source) = 2 ORDER BY day"""),
        {"since": since, "pinball": PINBALL + 1},
    )
    losses = np.array([(row.live, row.frozen) for row in rows], np.float64).reshape(-1, 2)
    return losses[:, 0], losses[:, 1]


async def _usable(version: _Version, watch: Watch) -> bool:
    """Whether a version can answer: its artifact is there and whole."""
    if version.artifact_removed:
        return False
    from app.registry.serving import load_forecaster  # brings torch along

    try:
        await asyncio.to_thread(load_forecaster, watch.artifacts, version.artifact_sha256)
    except Problem as problem:
        log.warning("root_cannot_answer", version=version.version, detail=problem.detail)
        return False
    return True
