"""One effect for one Idempotency-Key: how every POST runs its effect, and how a repeated request gets the first answer.

A route hands its effect to `once` and returns what comes back. Effect and record commit in one transaction, so there is
never one without the other:

    async def promote(request: Request, caller: Annotated[Caller, Depends(require("models:write"))]) -> Response:
        async def effect(connection: AsyncConnection) -> Response:
            return Response(await store.promote(connection, ...), media_type="application/json")

        return await once(request, caller, effect)

Without the header the effect simply runs in a transaction. A `Problem` raised by the effect rolls everything back and is
not stored. The record belongs to the caller's key, the method and the path; its fingerprint covers the decoded body, the
content type and the query. A dry run has no effect to keep: do not bring it here.
"""

import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from fastapi import Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.responses import Response

from app.auth import Caller
from app.database.engine import Database
from app.errors import Problem

MAX_KEY_LENGTH = 255
KEPT_HEADERS = ("content-type", "location")

Effect = Callable[[AsyncConnection], Awaitable[Response]]


@dataclass(frozen=True)
class _Claim:
    """What one request claims: the place of its record, and what the record must have been made from."""

    key_id: int
    route: str
    idempotency_key: str
    fingerprint: bytes

    @property
    def place(self) -> dict[str, object]:
        return {"key_id": self.key_id, "route": self.route, "idempotency_key": self.idempotency_key}

    @property
    def lock(self) -> int:
        """A signed 64-bit number for the advisory lock."""
        digest = hashlib.sha256(json.dumps([self.key_id, self.route, self.idempotency_key]).encode()).digest()
        return int.from_bytes(digest[:8], "big", signed=True)


async def once(request: Request, caller: Caller, effect: Effect, *, body_digest: bytes | None = None) -> Response:
    """Run `effect` in one transaction with the record of its answer, or give the answer of the first such request.

    `body_digest` is the SHA-256 of the decoded body where the route has read it itself; otherwise the request's body is
    taken. Raises idempotency_running (409) while the first request runs, idempotency_mismatch (422) for other content.
    """
    database: Database = request.app.state.database
    key = idempotency_key(request)
    if key is None:
        async with database.transaction() as connection:
            return await effect(connection)
    digest = hashlib.sha256(await request.body()).digest() if body_digest is None else body_digest
    route = f"{request.method} {request.url.path}"
    claim = _Claim(caller.key_id, route, key, _fingerprint(request, digest))
    async with database.transaction() as connection:
        stored = await _first_answer(connection, claim, request.app.state.settings.idempotency_hours)
        if stored is not None:
            return stored
        answer = await effect(connection)
        if 200 <= answer.status_code < 300:
            await _keep(connection, claim, answer)
        return answer


def idempotency_key(request: Request) -> str | None:
    """The request's Idempotency-Key, or None; raises a 422 for one that is blank, too long, repeated or unprintable."""
    given = request.headers.getlist("idempotency-key")
    if not given:
        return None
    if len(given) > 1 or not 1 <= len(given[0]) <= MAX_KEY_LENGTH or not given[0].isprintable():
        detail = f"Idempotency-Key must be given once, with 1 to {MAX_KEY_LENGTH} printable characters."
        error = {"row": None, "field": "Idempotency-Key", "code": "invalid_key", "detail": detail}
        raise Problem("invalid_request", detail, errors=[error])
    return given[0]


async def remove_old_answers(connection: AsyncConnection, hours: float) -> int:
    """Housekeeping: forget answers kept for longer than `hours`; returns how many."""
    expired = text("DELETE FROM idempotent_answers WHERE created_at < now() - make_interval(secs => :seconds)")
    return (await connection.execute(expired, {"seconds": hours * 3600})).rowcount


def _fingerprint(request: Request, body_digest: bytes) -> bytes:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    query = sorted(request.query_params.multi_items())
    return hashlib.sha256(json.dumps([media_type, query]).encode() + b"\n" + body_digest).digest()


async def _first_answer(connection: AsyncConnection, claim: _Claim, hours: float) -> Response | None:
    # The lock goes with the transaction, so a request that dies leaves nothing that says "running". It is taken in a
    # statement of its own: only a snapshot made after it is sure to see what its former holder committed.
    locked = await connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock)"), {"lock": claim.lock})
    if not locked.scalar_one():
        detail = "The first request with this Idempotency-Key is still running; repeat this one in a moment."
        raise Problem("idempotency_running", detail, headers={"Retry-After": "1"})
    found = await connection.execute(
        text(
            "SELECT fingerprint, status, headers, body FROM idempotent_answers WHERE key_id = :key_id AND route = :route"
            " AND idempotency_key = :idempotency_key AND created_at > now() - make_interval(secs => :seconds)"
        ),
        {**claim.place, "seconds": hours * 3600},
    )
    row = found.one_or_none()
    if row is None:
        return None
    if bytes(row.fingerprint) != claim.fingerprint:
        detail = (
            "This Idempotency-Key was used with another body, content type or query; use a new key for new content."
        )
        raise Problem("idempotency_mismatch", detail)
    return Response(bytes(row.body), row.status, headers={**row.headers, "Idempotent-Replayed": "true"})


async def _keep(connection: AsyncConnection, claim: _Claim, answer: Response) -> None:
    headers = {name: answer.headers[name] for name in KEPT_HEADERS if name in answer.headers}
    await connection.execute(
        text(
            "INSERT INTO idempotent_answers (key_id, route, idempotency_key, fingerprint, status, headers, body)"
            " VALUES (:key_id, :route, :idempotency_key, :fingerprint, :status, CAST(:headers AS jsonb), :body)"
            " ON CONFLICT (key_id, route, idempotency_key) DO UPDATE SET fingerprint = excluded.fingerprint,"
            " status = excluded.status, headers = excluded.headers, body = excluded.body, created_at = now()"
        ),
        {
            **claim.place,
            "fingerprint": claim.fingerprint,
            "status": answer.status_code,
            "headers": json.dumps(headers),
            "body": bytes(answer.body),
        },
    )
