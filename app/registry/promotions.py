"""The champion and the log of promotions: who became champion when and why, and the way back.

The log is never rewritten. Read as a stack (entries that are neither roll-backs nor rolled back), its top is what the champion
came by, and the entry below is where a roll-back goes. Artifacts are not looked at here: the caller verifies them before.
"""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.errors import Problem

PromotionKind = Literal["merit", "request", "rollback"]

BY_ITSELF = "Rolled back by itself"
"""How the reason of a roll-back begins that no caller asked for (watching.py)."""
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


class Checked(NamedTuple):
    """A version whose artifact was looked at, before the transaction and outside it, and what is wrong with it."""

    version: int | None
    problem: Problem | None


async def promote(connection: AsyncConnection, checked: Checked, *, guard: "Guard | None", key_id: int | None) -> None:
    """Make a version champion because a caller asked. A version that already is stays so, whatever the guard says.

    Raises the problem of a version that is unknown or damaged, `conflict` when the champion is not the one the guard
    expects, and `artifact_damaged` when the artifact was removed since it was looked at.
    """
    await lock_registry(connection)
    if checked.problem is not None:
        raise checked.problem
    assert checked.version is not None
    present = await champion(connection)
    if present == checked.version:
        return
    check_guard(guard, present)
    await refuse_removed(connection, checked.version)
    await set_champion(connection, checked.version, kind="request", reason="Promoted on request.", key_id=key_id)


class Guard(NamedTuple):
    """The champion that a caller believes to be there; None: no champion."""

    expected: int | None


def check_guard(guard: Guard | None, present: int | None) -> None:
    if guard is not None and guard.expected != present:
        raise Problem(
            "conflict",
            f"The champion is {_named(present)}, not {_named(guard.expected)} as expected; nothing was changed.",
        )


async def roll_back(connection: AsyncConnection, checked: Checked, *, guard: Guard | None, key_id: int | None) -> int:
    """Leave the newest promotion for the one below it in the log, and return the version that is champion now.

    `checked` is what `rollback_target` named before. Raises `conflict` when the log holds no earlier promotion, when the
    champion is not the one the guard expects, or when the log has changed meanwhile; and the target's own problem.
    """
    await lock_registry(connection)
    check_guard(guard, await champion(connection))
    leaving, target = await _top_of_log(connection)
    if target != checked.version:
        raise Problem("conflict", "The champion changed while the roll-back was being prepared; try again.")
    if checked.problem is not None:
        raise checked.problem
    await refuse_removed(connection, target)
    await connection.execute(
        text("""
            UPDATE promotions SET rolled_back = true WHERE id = (
                SELECT max(id) FROM promotions WHERE kind <> 'rollback' AND NOT rolled_back)""")
    )
    reason = f"Rolled back from version {leaving}."
    await set_champion(connection, target, kind="rollback", reason=reason, key_id=key_id)
    return target


async def roll_back_to(connection: AsyncConnection, version: int, *, leaving: Sequence[int], reason: str) -> None:
    """Leave every promotion above the newest standing one of a version. Where the log has none, all of the versions `leaving` are
    left, and the version is entered above what remains. The registry must be locked."""
    found = await connection.execute(
        text("SELECT max(id) FROM promotions WHERE version = :version AND kind <> 'rollback' AND NOT rolled_back"),
        {"version": version},
    )
    entry = found.scalar_one()
    left, values = ("version = ANY(:left)", list(leaving)) if entry is None else ("id > :left", entry)
    await connection.execute(
        text(f"UPDATE promotions SET rolled_back = true WHERE {left} AND kind <> 'rollback' AND NOT rolled_back"),
        {"left": values},
    )
    if entry is None:
        await connection.execute(
            text("""
                INSERT INTO promotions (version, previous, kind, reason)
                SELECT :version, (SELECT version FROM aliases WHERE alias = 'champion'), 'merit', :reason"""),
            {"version": version, "reason": "The networks as trained, to which the champion goes back."},
        )
    await set_champion(connection, version, kind="rollback", reason=reason, key_id=None)


async def count_rollbacks(driver: asyncpg.Connection) -> dict[str, int]:
    """How often a champion went back, by whether it did so by itself or because a caller asked."""
    rows = await driver.fetch(
        """
        SELECT CASE WHEN starts_with(reason, $1) THEN 'itself' ELSE 'request' END AS kind, count(*)
        FROM promotions WHERE kind = 'rollback' GROUP BY 1""",
        BY_ITSELF,
    )
    return {"itself": 0, "request": 0} | dict(rows)


async def rollback_target(connection: AsyncConnection) -> int | None:
    """The version that a roll-back would go to now; None where it would be refused."""
    stack = await _stack(connection)
    return stack[1] if len(stack) == 2 else None


async def _top_of_log(connection: AsyncConnection) -> tuple[int, int]:
    stack = await _stack(connection)
    if not stack:
        raise Problem("conflict", "There is nothing to roll back: no version was ever promoted.")
    if len(stack) == 1:
        raise Problem("conflict", f"There is no promotion before that of version {stack[0]} to roll back to.")
    return stack[0], stack[1]


async def _stack(connection: AsyncConnection) -> list[int]:
    """The two newest promotions that stand: the champion's, and the one below it."""
    found = await connection.execute(
        text("""
            SELECT version FROM promotions WHERE kind <> 'rollback' AND NOT rolled_back ORDER BY id DESC LIMIT 2""")
    )
    return list(found.scalars())


async def refuse_removed(connection: AsyncConnection, version: int) -> None:
    """Raises `artifact_damaged` for a version that exists without an artifact: retention has removed it."""
    found = await connection.execute(
        text("SELECT artifact_removed_at FROM versions WHERE version = :version"), {"version": version}
    )
    removed = found.scalar_one()
    if removed is not None:
        raise Problem(
            "artifact_damaged",
            f"The artifact of version {version} was removed on {removed:%Y-%m-%d}, being unused for long; "
            "promote another version or train a new one.",
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
