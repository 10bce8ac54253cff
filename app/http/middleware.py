"""What happens around every request, whatever its route: an id, a log line, metrics, a time limit, a body limit.

Plain ASGI, from the outside in:
  Observed   gives the request its id, and tells of it once it is answered
  Bounded    refuses bodies beyond every limit, and reads what is left of a refused one so that the client reads the answer
  Answered   stops what takes too long, and answers what nobody else did
"""

import asyncio
import re
import secrets
import time
from collections.abc import MutableMapping
from typing import Any

import structlog
from starlette.requests import ClientDisconnect, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import telemetry
from app.errors import Problem
from app.http.framework_errors import as_problem
from app.http.problems import render

DRAINED_BYTES = 16 * 2**20
DRAIN_SECONDS = 30
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})  # asked every few seconds by machines
# What is left of a body this small is thrown away by the server itself; the connection lives on.
_SMALL_REST = 64 * 1024
_SANE_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

log = structlog.get_logger("app.request")


class Observed:
    """Names each request, in its answer and in every log line; logs and counts it when it is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        status = 0

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message.setdefault("headers", [])
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        started = time.perf_counter()
        telemetry.IN_PROGRESS.inc()
        structlog.contextvars.bind_contextvars(
            request_id=request_id
        )  # each request is a task with a context of its own
        try:
            await self.app(scope, receive, named)
        finally:
            telemetry.IN_PROGRESS.dec()
            _tell(scope, status, time.perf_counter() - started)


def _request_id(scope: Scope) -> str:
    """The caller's X-Request-ID when it can stand in a header and a log line, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _SANE_ID.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(16)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    route = getattr(scope.get("route"), "path_format", "unmatched")
    caller = scope["state"].get("caller")
    telemetry.count_request(scope["method"], route, status, seconds)
    tell = log.debug if route in QUIET and status < 400 else log.info
    tell(
        "request",
        method=scope["method"],
        path=scope["path"],
        route=route,
        status=status,
        ms=round(seconds * 1000, 2),
        key=caller.name if caller is not None else None,
    )


class Bounded:
    """Refuses a body beyond `limit` bytes with 413, and drains up to 16 MiB of a body that nobody read to its end."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        length = None if scope["type"] != "http" else _body_length(scope)
        if length == 0 or scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        body = _Body(receive, send, limit=self.limit, length=length, expects=_expects_continue(scope))
        if length is not None and length > self.limit:
            await render(Request(scope), body.too_large())(scope, receive, body.send)
            return
        await self.app(scope, body.receive, body.send)


class _Body:
    """One request's body on its way in, and the answer on its way out."""

    def __init__(self, receive: Receive, send: Send, *, limit: int, length: int | None, expects: bool) -> None:
        self._receive, self._send = receive, send
        self._limit, self._length = limit, length
        self._unasked = expects  # the client waits for "100 Continue", which the first receive sends
        self._read = 0
        self._ended = False
        self._closing = False

    def too_large(self) -> Problem:
        return Problem("body_too_large", f"A body may have {self._limit} bytes.")

    async def receive(self) -> Message:
        self._unasked = False
        message = await self._receive()
        self._note(message)
        if self._read > self._limit:
            raise self.too_large()
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._closing = self._rest_is_large()
            if self._closing:
                message["headers"] = [*message.get("headers", []), (b"connection", b"close")]
        if not self._closing or message["type"] != "http.response.body" or message.get("more_body", False):
            await self._send(message)
            return
        # The whole answer first, its end after what the client still sends: closing earlier could lose the answer.
        await self._send({**message, "more_body": True})
        await self._drain()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _note(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.request":
            self._read += len(message.get("body", b""))
            self._ended = not message.get("more_body", False)
        else:
            self._ended = True

    def _rest_is_large(self) -> bool:
        return not self._ended and (self._length is None or self._length - self._read > _SMALL_REST)

    async def _drain(self) -> None:
        if self._unasked:
            return
        enough = self._read + DRAINED_BYTES
        try:
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self._ended and self._read < enough:
                    self._note(await self._receive())
        except TimeoutError:
            log.info("drain_gave_up", read=self._read)


def _body_length(scope: Scope) -> int | None:
    """Bytes of the body as its header says; None when it comes in chunks."""
    length = 0
    for name, value in scope["headers"]:
        if name == b"transfer-encoding":
            return None
        if name == b"content-length":
            length = int(value)
    return length


def _expects_continue(scope: Scope) -> bool:
    return any(name == b"expect" and value.lower() == b"100-continue" for name, value in scope["headers"])


class Answered:
    """Gives a request its time, and answers every error that no route answered, each as a problem."""

    def __init__(self, app: ASGIApp, seconds: float) -> None:
        self.app = app
        self.seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = False
        clock = asyncio.timeout(self.seconds)

        async def watched(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                if _is_event_stream(message):
                    clock.reschedule(None)  # lasts as long as what it tells of
            await send(message)

        try:
            async with clock:
                await self.app(scope, receive, watched)
        except Exception as error:  # noqa: BLE001 - the one place where what nobody expected ends
            problem = _problem_of(error, expired=clock.expired(), seconds=self.seconds)
            if started:
                # Too late for another answer: the server cuts the connection, so that the client sees a broken body.
                log.warning("answer_broken_off", code=problem.code, error=type(error).__name__)
                return
            await render(Request(scope), problem)(scope, receive, send)


def _is_event_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in message.get("headers", [])
    )


def _problem_of(error: Exception, *, expired: bool, seconds: float) -> Problem:
    if isinstance(error, TimeoutError) and expired:
        return Problem("timed_out", f"The request took longer than {seconds:g} s; nothing was written.")
    problem = as_problem(error)
    if problem is None:
        log.error("internal_error", exc_info=error)
        return Problem("internal_error", "The service failed. The request id finds the cause in its logs.")
    if not isinstance(error, ClientDisconnect):
        log.warning("unanswered_error", code=problem.code, error=type(error).__name__)
    return problem
