"""What drift sets off, by rule: an update learns on at once (L3), and where that did not help, retraining comes early (L4).

The first is decided by the child, which finds drift while it scores; the second by its parent, in the transaction that publishes.
"""

from typing import Any
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection

from app.drift import store
from app.jobs.schedules.running import bring_forward

log = structlog.get_logger()

AGAIN_DAYS = 28
"""A segment that drifts again within so many days of being learned from has retraining brought forward, once in as many days."""
RETRAINING = "retraining"


async def record_drift(connection: AsyncConnection, job_id: UUID, found: list[dict[str, Any]], *, acts: bool) -> None:
    """Let what an update found count, and bring retraining forward where its segment was found before and learned from since."""
    if not found:
        return
    await store.record_drifts(connection, job_id, found)
    again = await store.again_after_learning(connection, job_id, AGAIN_DAYS) if acts else []
    if not again or await store.retrained_lately(connection, job_id, AGAIN_DAYS):
        return
    if await bring_forward(connection, RETRAINING):
        await store.note_retraining(connection, again)
        log.info("retraining_brought_forward", job=str(job_id), drifts=again)
