"""Decisions about days in quarantine: one, many by their numbers, or all that one post brought, each all or none.

Of one entry a decision may be taken back by the other one; of many at once none is, since a list made earlier would undo what
somebody has decided since.

A decision locks the series first, in id order as every writer of their sales does, so that a correction posted at the same time
comes either before it or after. Every series whose day was decided gets a new revision: its stored forecast is not fresh then.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import asyncpg
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import begun
from app.errors import MAX_NAMED_ERRORS, Problem
from app.quarantine import store

Decision = Literal["confirmed", "dismissed"]

_WORD = {"confirmed": "confirmed", "dismissed": "dismissed", "replaced": "replaced by another quantity"}


async def decide(
    connection: AsyncConnection, entry_id: int, decision: Decision, *, key_id: int | None
) -> dict[str, Any]:
    """Decide one entry, also one that was decided otherwise, and return it. 404 when there is none, 409 when it has ended."""
    driver = await begun(connection)
    await driver.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
    rows = await _locked(driver, "q.id = ANY($1::bigint[])", [entry_id])
    _refuse("not_found", [] if rows else [_unknown(entry_id)])
    _refuse("conflict", [_decided(entry_id, row["status"]) for row in rows if row["status"] == "replaced"])
    await _write(driver, [row for row in rows if row["status"] != decision], decision, key_id)
    found = await store.entry(driver, entry_id)
    assert found is not None  # its series is locked
    return found


async def decide_all(connection: AsyncConnection, ids: Sequence[int], decision: Decision, *, key_id: int | None) -> int:
    """Decide entries, all or none; returns how many were open. An entry that was decided so before stays as it is.

    Raises not_found (404) or conflict (409), which names up to 100 of those that there are not, or that were decided otherwise.
    """
    driver = await begun(connection)
    await driver.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
    rows = await _locked(driver, "q.id = ANY($1::bigint[])", list(ids))
    status = {row["id"]: row["status"] for row in rows}
    _refuse("not_found", [_unknown(number) for number in ids if number not in status])
    _refuse("conflict", [_decided(number, said) for number, said in status.items() if said not in ("held", decision)])
    return await _write(driver, [row for row in rows if row["status"] == "held"], decision, key_id)


async def decide_post(connection: AsyncConnection, post_id: int, decision: Decision, *, key_id: int | None) -> int:
    """Decide all entries of a post that are still held; returns how many. 404 when it never brought one."""
    driver = await begun(connection)
    await driver.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
    rows = await _locked(driver, "q.post_id = $1", post_id)
    if not rows:
        raise Problem(
            "not_found", f"Post {post_id} has no day in quarantine; GET /v1/quarantine lists those that there are."
        )
    return await _write(driver, [row for row in rows if row["status"] == "held"], decision, key_id)


async def _locked(driver: asyncpg.Connection, which: str, value: object) -> list[asyncpg.Record]:
    """Entries, by id, with their series locked: what they say now stays so until the end of the transaction."""
    await driver.execute(
        f"SELECT FROM series WHERE id IN (SELECT q.series_id FROM quarantine q WHERE {which}) ORDER BY id"
        " FOR NO KEY UPDATE",
        value,
    )
    rows: list[asyncpg.Record] = await driver.fetch(
        f"SELECT q.id, q.series_id, q.status FROM quarantine q WHERE {which} ORDER BY q.id", value
    )
    return rows


def _unknown(entry_id: int) -> dict[str, Any]:
    return {"row": None, "field": "id", "code": "unknown_entry", "detail": f"{entry_id}: there is no such entry"}


def _decided(entry_id: int, status: str) -> dict[str, Any]:
    return {"row": None, "field": "id", "code": "decided_before", "detail": f"{entry_id}: it was {_WORD[status]}"}


def _refuse(code: str, errors: Sequence[Mapping[str, Any]]) -> None:
    if not errors:
        return
    more = f" {len(errors) - 1} more of the entries cannot be decided either." if len(errors) > 1 else ""
    detail = f"An entry cannot be decided, {errors[0]['detail']}.{more} Nothing was changed."
    raise Problem(code, detail, errors=errors[:MAX_NAMED_ERRORS])


async def _write(
    driver: asyncpg.Connection,
    rows: Sequence[Mapping[str, Any] | asyncpg.Record],
    decision: Decision,
    key_id: int | None,
) -> int:
    await driver.execute(
        "UPDATE quarantine SET status = $2, decided_at = clock_timestamp(), key_id = $3 WHERE id = ANY($1::bigint[])",
        [row["id"] for row in rows],
        decision,
        key_id,
    )
    await store.renew(driver, list({row["series_id"] for row in rows}))
    return len(rows)
