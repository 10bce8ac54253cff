"""The champion watched while it is live: one that does worse than the networks it came of goes back to them by itself.

What is compared is kept as scores: what callers read (`live`) and what the networks as trained had said of the same days
(`frozen`). Only forecasts count that this line of versions has made since its first update was let in, or since the last
roll-back or promotion by hand. A training that took over what was learned does not break the line.

Shapes: T target days.
"""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import numpy as np
import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Problem
from app.registry.lines import TOOK_OVER, line_of
from app.registry.promotions import BY_ITSELF, lock_registry, roll_back_to
from app.sales.reading import UP_TO_SALES
from models.online.gate import PINBALL, Doubles, beyond_doubt

log = structlog.get_logger()

LOADING_SECONDS = 30
"""A root is loaded, and torch with it, in the transaction that publishes; a session that idles so long is not frozen."""


class Watch(NamedTuple):
    """When a champion goes back, and where the artifacts of versions lie. `broken`: what is wrong with what it says now."""

    percent: float
    days: int
    artifacts: str
    broken: str | None


class _Version(NamedTuple):
    version: int
    artifact_sha256: str
    artifact_removed: bool
    took_over: bool
    """Whether there is something in it that updates have learned, by itself or taken over."""
    before: bool
    """Whether a training lies between it and the champion."""


async def roll_back_if_worse(connection: AsyncConnection, watch: Watch) -> str | None:
    """Make the networks as trained, from which the champion came, champion again where it is worse than them beyond doubt, or
    says what no forecast may say; the reason as it is written to the log. None where it stays."""
    await lock_registry(connection)
    line = await _line(connection)
    if not line or not line[0].took_over:
        return None
    why = watch.broken or await _worse(connection, [one.version for one in line if one.took_over], watch)
    if why is None:
        return None
    present = [one for one in line if not one.before]
    champion, root = line[0].version, present[-1]
    reason = f"{BY_ITSELF} from version {champion}. {why}"
    target = await _networks_as_trained(connection, root, watch)
    if target is None:
        log.error("champion_cannot_go_back", version=champion, root=root.version, detail=why)
        return None
    await roll_back_to(connection, target, leaving=[one.version for one in present], reason=reason)
    log.warning("champion_rolled_back", version=champion, target=target, detail=why)
    return reason


async def _line(connection: AsyncConnection) -> Sequence[_Version]:
    """The champion and the versions it came of, across trainings that took over what was learned."""
    rows = await connection.execute(
        text(f"""
        WITH RECURSIVE {line_of("(SELECT version FROM aliases WHERE alias = 'champion')")}
        SELECT version, artifact_sha256, artifact_removed_at IS NOT NULL, kind = 'update' OR {TOOK_OVER}, trainings > 0
        FROM line ORDER BY version DESC""")
    )
    return [_Version(*row) for row in rows]


async def _worse(connection: AsyncConnection, versions: Sequence[int], watch: Watch) -> str | None:
    """Why the champion is worse than the networks as trained; `versions` are those of its line in which updates have learned."""
    since = await _since(connection, versions)
    if since is None:
        return None
    live_T, frozen_T = await _daily_losses(connection, since)
    return beyond_doubt(live_T, frozen_T, percent=watch.percent, days=watch.days)


async def _since(connection: AsyncConnection, versions: Sequence[int]) -> date | None:
    """The first cutoff at which callers read one of these versions, counted from the last break of the line on."""
    found = await connection.execute(
        text("""
        SELECT min(i.cutoff) FROM issuances i JOIN versions v ON v.version = i.version
        WHERE i.champion = ANY(:versions) AND v.created_at > coalesce(
            (SELECT max(p.promoted_at) FROM promotions p JOIN versions x USING (version)
             WHERE p.kind = 'rollback' OR p.promoted_at > x.created_at), '-infinity')"""),
        {"versions": list(versions)},
    )
    since: date | None = found.scalar_one()
    return since


async def _daily_losses(connection: AsyncConnection, since: date) -> tuple[Doubles, Doubles]:
    """The pinball loss of each scored day, live and as trained, over the days ahead that were all forecast since then."""
    rows = await connection.execute(
        text(f"""
        SELECT day, sum(sums[:pinball]) FILTER (WHERE source = 'live') AS live,
               sum(sums[:pinball]) FILTER (WHERE source = 'frozen') AS frozen
        FROM scores WHERE source IN ('live', 'frozen') AND day - CAST(:since AS date) >= CAST(split_part(stretch, '-', 2) AS int)
        AND {UP_TO_SALES}
        GROUP BY day HAVING count(DISTINCT source) = 2 ORDER BY day"""),
        {"since": since, "pinball": PINBALL + 1},
    )
    losses = np.array([(row.live, row.frozen) for row in rows], np.float64).reshape(-1, 2)
    return losses[:, 0], losses[:, 1]


async def _networks_as_trained(connection: AsyncConnection, root: _Version, watch: Watch) -> int | None:
    """The version that says what the networks of a root say as they were trained: the root itself, or, where that took something
    over, one that is made of it without. None where the root cannot answer: its artifact is gone or damaged."""
    if root.artifact_removed:
        return None
    from app.registry.as_trained import as_trained  # brings torch along

    await connection.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{LOADING_SECONDS}s'"))
    try:
        return await as_trained(connection, watch.artifacts, root.version, root.artifact_sha256)
    except Problem as problem:
        log.warning("root_cannot_answer", version=root.version, detail=problem.detail)
        return None
