"""Who calls: keys, scopes and the dependency that routes ask for.

A key is 256 random bits, stored as its SHA-256 (no slow hash: there is nothing to guess), looked up through a short cache so
that a revoked key dies within seconds. Making and revoking keys happens on the command line, which opens the database itself.
"""

import hashlib
import secrets
import time
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from fastapi import Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.database.engine import Database
from app.errors import Problem
from app.files import write_private

SCOPES = ("sales:write", "sales:read", "forecasts:read", "models:read", "models:write", "admin")
PREFIX = "shelfcast_"
CACHED_KEYS = 10_000
CHALLENGE = {"WWW-Authenticate": "Bearer"}


class Caller(NamedTuple):
    """A key that was found valid."""

    key_id: int
    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes


class KeyCache:
    """Keys seen valid in the last seconds, by digest. Unknown keys are not remembered."""

    def __init__(self, database: Database, seconds: float) -> None:
        self._database = database
        self._seconds = seconds
        self._seen: dict[bytes, tuple[float, Caller]] = {}

    async def find(self, key: str) -> Caller | None:
        digest = digest_of(key)
        now = time.monotonic()
        seen = self._seen.get(digest)
        if seen is not None and now < seen[0]:
            return seen[1]
        self._seen.pop(digest, None)
        async with self._database.reading() as connection:
            row = await connection.fetchrow(
                "SELECT id, name, scopes FROM api_keys WHERE digest = $1 AND revoked_at IS NULL", digest
            )
        if row is None:
            return None
        caller = Caller(row["id"], row["name"], frozenset(row["scopes"]))
        if len(self._seen) >= CACHED_KEYS:
            self._seen.clear()
        self._seen[digest] = (now + self._seconds, caller)
        return caller


def digest_of(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def require(scope: str) -> Callable[..., Coroutine[Any, Any, Caller]]:
    """The dependency that lets a route's caller in: 401 without a valid key, 403 without the scope.

    `Route` (app/http/requests.py) reads `required_scope` and lets the caller in before anything else is read.
    """
    assert scope in SCOPES

    async def caller(request: Request) -> Caller:
        return await admit(request, scope)

    caller.required_scope = scope  # type: ignore[attr-defined]
    return caller


async def admit(request: Request, scope: str) -> Caller:
    """The caller of a request, looked up and counted once; a problem unless the key is valid and has the scope."""
    caller: Caller | None = getattr(request.state, "caller", None)
    if caller is None:
        caller = await _authenticate(request)
        request.state.caller = caller
        request.app.state.rates.spend(caller.key_id)
    if not caller.may(scope):
        raise Problem("forbidden", f"The key {caller.name!r} lacks the scope {scope}.")
    return caller


async def _authenticate(request: Request) -> Caller:
    given = request.headers.getlist("authorization")
    scheme, _, key = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not key.strip():
        raise Problem("unauthorized", "Send the header `Authorization: Bearer <key>`, once.", headers=CHALLENGE)
    keys: KeyCache = request.app.state.keys
    found = await keys.find(key.strip())
    if found is None:
        raise Problem("unauthorized", "The key is unknown or was revoked.", headers=CHALLENGE)
    return found


async def create_key(connection: AsyncConnection, name: str, scopes: Sequence[str]) -> str:
    """Make a key and return it: the only time it is readable."""
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not scopes:
        raise ValueError(f"unknown scopes {unknown}; there are {', '.join(SCOPES)}")
    key = PREFIX + secrets.token_urlsafe(32)
    await connection.execute(
        text("INSERT INTO api_keys (name, digest, scopes) VALUES (:name, :digest, :scopes)"),
        {"name": name, "digest": digest_of(key), "scopes": sorted(set(scopes))},
    )
    return key


async def revoke_keys(connection: AsyncConnection, name: str) -> int:
    """Revoke every key of this name; returns how many there were."""
    result = await connection.execute(
        text("UPDATE api_keys SET revoked_at = now() WHERE name = :name AND revoked_at IS NULL"),
        {"name": name},
    )
    return result.rowcount


async def list_keys(connection: AsyncConnection) -> list[dict[str, Any]]:
    rows = await connection.execute(text("SELECT id, name, scopes, created_at, revoked_at FROM api_keys ORDER BY id"))
    return [dict(row) for row in rows.mappings()]


async def ensure_admin_key(database: Database, file: Path) -> Path | None:
    """Make the first admin key where there is no key at all; returns the file it was written to."""
    async with database.transaction() as connection:
        await connection.execute(text("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE"))
        if (await connection.execute(text("SELECT EXISTS (SELECT FROM api_keys)"))).scalar_one():
            return None
        key = await create_key(connection, "admin", ["admin"])
        write_private(file, key + "\n")  # before the commit: a key nobody can read would lock everyone out
    return file
