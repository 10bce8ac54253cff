"""The champion and the log of promotions: who became champion when and why, and the way back.

The log is never rewritten. Read as a stack (entries that are neither roll-backs nor rolled back), its top is what the champion
came by, and the entry below is where a roll-back goes. Artifacts are not looked at here: the caller verifies them before.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Problem

PromotionKind = Literal["merit", "request", "rollback"]

_LOCK = 7_306_202
"""Advisory lock of the registry, held to the end of the transaction: numbers, aliases and the log change one at a time."""


async def lock_registry(connection: AsyncConnection) -> None:
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})


async def champion(connection: AsyncConnection) -> int | None:
    """The version that is champion."""
    found = await connection.execute(text("SELECT version FROM aliases WHERE alias = 'champion'"))
    version: int | None = found.scalar_one_or_none()
    return version


async def set_champion(
    connection: AsyncConnection, version: int, *, kind: PromotionKind, reason: str, key_id: int | None
) -> None:
    """Make a version champion and write it into the log. The registry must be locked."""
    previous = await champion(connection)
    await connection.execute(
        text("""
            INSERT INTO promotions (version, previous, kind, reason, key_id)
            VALUES (:version, :previous, :kind, :reason, :key_id)"""),
        {"version": version, "previous": previous, "kind": kind, "reason": reason, "key_id": key_id},
    )
    await point_alias(connection, "champion", version)
    await connection.execute(
        text("DELETE FROM aliases WHERE alias = 'challenger' AND version = :version"), {"version": version}
    )
    # The one that leaves was in use until now, whenever it was last read: its 90 days begin here.
    await connection.execute(
        text("UPDATE versions SET last_used_at = now() WHERE version = ANY(:versions)"),
        {"versions": [v for v in (version, previous) if v is not None]},
    )


async def point_alias(connection: AsyncConnection, alias: Literal["champion", "challenger"], version: int) -> None:
    await connection.execute(
        text("""
            INSERT INTO aliases (alias, version) VALUES (:alias, :version)
            ON CONFLICT (alias) DO UPDATE SET version = excluded.version"""),
        {"alias": alias, "version": version},
    )


async def promote(connection: AsyncConnection, version: int, *, guard: "Guard | None", key_id: int | None) -> None:
    """Make a version champion because a caller asked. A version that already is stays so, whatever the guard.

    Raises Problem `conflict` when the champion is not the one the guard expects, or the artifact was removed meanwhile.
    """
    await lock_registry(connection)
    present = await champion(connection)
    if present == version:
        return
    check_guard(guard, present)
    await refuse_removed(connection, version)
    await set_champion(connection, version, kind="request", reason="Promoted on request.", key_id=key_id)


class Guard(NamedTuple):
    """The champion that a caller believes to be there; None: no champion."""

    expected: int | None


def check_guard(guard: Guard | None, present: int | None) -> None:
    if guard is not None and guard.expected != present:
        raise Problem(
            "conflict",
            f"The champion is {_named(present)}, not {_named(guard.expected)} as expected; nothing was changed.",
        )


class Return(NamedTuple):
    """A roll-back that can be done: from the present champion to the version below it in the log."""

    leaving: int
    target: int


async def next_rollback(connection: AsyncConnection) -> Return:
    """Where a roll-back would go now. Raises Problem `conflict` when the log holds no earlier promotion."""
    entries = (
        await connection.execute(
            text("""
                SELECT version FROM promotions WHERE kind <> 'rollback' AND NOT rolled_back
                ORDER BY id DESC LIMIT 2""")
        )
    ).scalars()
    stack = list(entries)
    if not stack:
        raise Problem("conflict", "There is nothing to roll back: no version was ever promoted.")
    if len(stack) == 1:
        raise Problem("conflict", f"There is no promotion before that of version {stack[0]} to roll back to.")
    return Return(leaving=stack[0], target=stack[1])


async def roll_back(connection: AsyncConnection, planned: Return, *, guard: Guard | None, key_id: int | None) -> None:
    """Leave the newest promotion for the one below it. Raises Problem `conflict` when that is no longer `planned`."""
    await lock_registry(connection)
    check_guard(guard, await champion(connection))
    if await next_rollback(connection) != planned:
        raise Problem("conflict", "The champion changed while this was being prepared; nothing was changed. Try again.")
    await refuse_removed(connection, planned.target)
    await connection.execute(
        text("""
            UPDATE promotions SET rolled_back = true WHERE id = (
                SELECT max(id) FROM promotions WHERE kind <> 'rollback' AND NOT rolled_back)""")
    )
    reason = f"Rolled back from version {planned.leaving}."
    await set_champion(connection, planned.target, kind="rollback", reason=reason, key_id=key_id)


async def refuse_removed(connection: AsyncConnection, version: int) -> None:
    found = await connection.execute(
        text("SELECT artifact_removed_at FROM versions WHERE version = :version"), {"version": version}
    )
    removed = found.scalar_one()
    if removed is not None:
        raise Problem(
            "artifact_damaged",
            f"The artifact of version {version} was removed on {removed:%Y-%m-%d} after long disuse; train a new version.",
        )


async def list_promotions(connection: AsyncConnection, *, before: int | None, limit: int) -> Sequence[dict[str, Any]]:
    """Entries of the log, newest first, beginning below the id `before`."""
    rows = await connection.execute(
        text("""
            SELECT p.id, p.version, p.previous, p.kind, p.reason, p.rolled_back, p.promoted_at, k.name AS key
            FROM promotions p LEFT JOIN api_keys k ON k.id = p.key_id
            WHERE CAST(:before AS bigint) IS NULL OR p.id < :before
            ORDER BY p.id DESC LIMIT :limit"""),
        {"before": before, "limit": limit},
    )
    return [dict(row) for row in rows.mappings()]


def _named(version: int | None) -> str:
    return "none" if version is None else f"version {version}"
