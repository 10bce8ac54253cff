"""Every error that is not a `Problem` already, turned into one: the framework's, the driver's, the operating system's.

`as_problem` knows them all; `install` makes FastAPI ask it. What stays unknown becomes `internal_error`, logged with its stack.
"""

import errno
from collections.abc import Iterator
from typing import Any

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute, Match

from app.errors import MAX_NAMED_ERRORS, Problem
from app.http.problems import render

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
RETRY = {"Retry-After": "1"}
_BY_STATUS = {
    400: "unreadable_body",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    409: "conflict",
    413: "body_too_large",
    415: "unsupported_media_type",
    429: "rate_limited",
    503: "unavailable",
}
_KINDS = (
    RequestValidationError,
    HTTPException,
    ClientDisconnect,
    DBAPIError,
    asyncpg.PostgresError,
    OSError,
    MemoryError,
)


def install(app: FastAPI) -> None:
    """Let FastAPI answer known errors where they leave a route; the rest reaches the middleware."""

    async def answer(request: Request, error: Exception) -> Response:
        problem = as_problem(error, request)
        if problem is None:
            raise error
        return render(request, problem)

    for kind in (Problem, *_KINDS):
        app.add_exception_handler(kind, answer)


def as_problem(error: BaseException, request: Request | None = None) -> Problem | None:
    """What a caller is told of this error; None when it is a defect of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RequestValidationError):
        return _invalid(error)
    if isinstance(error, HTTPException):
        return _http(error, request)
    if isinstance(error, ClientDisconnect):
        return Problem("client_disconnected", "The connection closed before the whole body had come.")
    return _resources(error)


def _invalid(error: RequestValidationError) -> Problem:
    errors = [_named(e["loc"], e["type"], _plain(e["msg"])) for e in error.errors()[:MAX_NAMED_ERRORS]]
    detail = "; ".join(f"{e['field']}: {e['detail']}" for e in errors[:3])
    return Problem("invalid_request", detail, errors=errors)


def _named(location: tuple[Any, ...], code: str, detail: str) -> dict[str, Any]:
    """A mistake by its field, without where the field stood: `("body", "series", 3, "sku")` is `sku` of row 3.

    Parts in angle brackets name the branch of a choice (app/jobs/schemas.py), not a field.
    """
    parts = [part for part in location[1:] if not str(part).startswith("<")]
    numbers = [at for at, part in enumerate(parts) if isinstance(part, int)] if location[0] == "body" else []
    row = parts[numbers[0]] if numbers else None
    field = ".".join(map(str, parts[numbers[0] + 1 :] if numbers else parts)) or str(location[0])
    return {"row": row, "field": field, "code": code, "detail": detail.removeprefix("Value error, ")}


def _plain(text: str) -> str:
    """Text that UTF-8 can carry: a message may quote a lone surrogate."""
    return text.encode("utf-8", "backslashreplace").decode()


def _http(error: HTTPException, request: Request | None) -> Problem:
    if isinstance(error.__cause__, Exception):  # FastAPI wraps what goes wrong while it reads a body
        inner = as_problem(error.__cause__, request)
        if inner is not None:
            return inner
    code = _BY_STATUS.get(error.status_code, "internal_error" if error.status_code >= 500 else "invalid_request")
    headers = dict(error.headers or {})
    detail = str(error.detail)
    if request is not None and code == "not_found":
        detail = f"There is no path {request.url.path}; /openapi.json lists them all."
    if request is not None and code == "method_not_allowed":
        allowed = ", ".join(allowed_methods(request))
        headers["Allow"] = allowed
        detail = f"{request.url.path} has the methods {allowed}."
    return Problem(code, detail, headers=headers)


def allowed_methods(request: Request) -> list[str]:
    """The methods of every route on this path: the framework names only those of the first."""
    return [
        method
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
        if _matches(request.app.routes, {**request.scope, "method": method})
    ]


def _matches(routes: list[BaseRoute], scope: dict[str, Any]) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in routes)


def _resources(error: BaseException) -> Problem | None:
    """Errors of the disk, the memory and the database that no caller can mend and that may pass."""
    for cause in _causes(error):
        if (isinstance(cause, OSError) and cause.errno in DISK_FULL) or isinstance(cause, asyncpg.DiskFullError):
            return Problem(
                "disk_full", "The server's disk is full; nothing was written.", headers={"Retry-After": "60"}
            )
        if isinstance(cause, MemoryError | asyncpg.OutOfMemoryError):
            return Problem("unavailable", "The server is out of memory; nothing was written.", headers=RETRY)
        if isinstance(cause, asyncpg.QueryCanceledError):
            return Problem("timed_out", "A statement took too long; nothing was written.", headers=RETRY)
        if isinstance(cause, asyncpg.LockNotAvailableError | asyncpg.TransactionRollbackError):
            return Problem("unavailable", "Another request held what this one needs; send it again.", headers=RETRY)
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what it was raised from; a driver's error stands under SQLAlchemy's as `orig`."""
    seen: set[int] = set()
    pending: list[BaseException | None] = [error]
    while pending:
        current = pending.pop()
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        pending += [current.__cause__, getattr(current, "orig", None)]
        if isinstance(current, BaseExceptionGroup):
            pending += current.exceptions
