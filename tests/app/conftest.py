"""An app with rooms that fail on purpose: errors are caused where they would arise, below a real route.

`faulty` calls it in this process, `served` through a real server and socket.
"""

import asyncio
import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
import httpx
import pytest
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request
from pydantic import BaseModel, ConfigDict
from sqlalchemy import text
from starlette.responses import Response, StreamingResponse

from app.auth import Caller, require
from app.config import Settings
from app.database.engine import driver
from app.http.requests import Route
from app.main import create_app
from app.running.api import Protocol
from tests.support import client_of, until

router = APIRouter(prefix="/v1", route_class=Route)
Reader = Annotated[Caller, Depends(require("sales:read"))]


class Box(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")
    count: int
    weight: float | None = None
    label: str = ""
    inside: list["Box"] = []


@router.get("/fails")
async def fails(how: str) -> None:
    errors: dict[str, BaseException] = {
        "disk": OSError(errno.ENOSPC, "No space left on device"),
        "file-size": OSError(errno.EFBIG, "File too large"),
        "database-disk": asyncpg.DiskFullError("could not extend file"),
        "memory": MemoryError(),
        "defect": ZeroDivisionError("shelfcast_" + "k" * 43),
        "other-os-error": OSError(errno.EIO, "Input/output error"),
        "nested": RuntimeError("outer"),
        "group": ExceptionGroup("several", [OSError(errno.ENOSPC, "full")]),
        "http": HTTPException(418, "teapot"),
    }
    if how == "nested":
        raise errors[how] from errors["disk"]
    raise errors[how]


@router.post("/boxes")
async def boxes(box: Box, _caller: Reader) -> Box:
    return box


@router.post("/streams")
async def streams(request: Request, _caller: Reader) -> dict[str, int]:
    return {"bytes": sum([len(chunk) async for chunk in request.stream()])}


@router.get("/lists")
async def lists(one: str = "", many: Annotated[list[str] | None, Query()] = None) -> dict[str, list[str]]:
    return {"one": [one], "many": many or []}


@router.post("/slow")
async def slow(request: Request) -> Response:
    async with request.app.state.database.transaction() as connection:
        await connection.execute(text("INSERT INTO series (sku) VALUES ('slow')"))
        await connection.execute(text("SELECT pg_sleep(60)"))
    return Response()


@router.get("/statements")
async def statements(request: Request, sql: str, bare: bool = False) -> None:
    async with request.app.state.database.transaction() as connection:
        await connection.execute(text("SET LOCAL statement_timeout = 50"))
        if bare:
            await (await driver(connection)).fetchval("SELECT $1::int", sql)
        await connection.execute(text(sql))


@router.get("/endless")
async def endless(media_type: str) -> Response:
    async def lines() -> AsyncIterator[bytes]:
        for _ in range(150):
            yield b"data: 1\n\n"
            await asyncio.sleep(0.01)

    return StreamingResponse(lines(), media_type=media_type)


@router.get("/breaks")
async def breaks() -> Response:
    async def lines() -> AsyncIterator[bytes]:
        yield b"half"
        raise ZeroDivisionError

    return StreamingResponse(lines())


def faulty_app(settings: Settings, database_url: str) -> FastAPI:
    app = create_app(settings, database_url)
    app.include_router(router)
    return app


@pytest.fixture
async def faulty(settings: Settings, database_url: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client of that app, with the key of the admin."""
    app = faulty_app(settings, database_url)
    async with app.router.lifespan_context(app), client_of(app, settings.admin_key_file.read_text().strip()) as client:
        yield client


class Served:
    """Where the server listens, and bare connections to it: what a client library would hide is looked at here."""

    def __init__(self, port: int, key: str) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.key = key

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    def head(self, method: str, path: str, **headers: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: shelfcast", f"Authorization: Bearer {self.key}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()


@asynccontextmanager
async def serving(settings: Settings, database_url: str, **changed: object) -> AsyncIterator[Served]:
    """That app behind a real server on a free port."""
    settings = settings.model_copy(update={"metrics_open": True, **changed})
    config = uvicorn.Config(
        faulty_app(settings, database_url), port=0, access_log=False, log_config=None, http=Protocol, ws="none"
    )
    server = uvicorn.Server(config)
    running = asyncio.create_task(server._serve())
    try:
        await until(lambda: _started(server))
        port: int = server.servers[0].sockets[0].getsockname()[1]
        yield Served(port, settings.admin_key_file.read_text().strip())
    finally:
        server.should_exit = True
        await running


@pytest.fixture
async def served(settings: Settings, database_url: str) -> AsyncIterator[Served]:
    """With small limits of bytes."""
    async with serving(settings, database_url, max_json_bytes=100_000, max_upload_bytes=1_000_000) as served:
        yield served


@pytest.fixture
async def hurried(settings: Settings, database_url: str) -> AsyncIterator[Served]:
    """With a small limit of time."""
    async with serving(settings, database_url, request_timeout_seconds=1) as served:
        yield served


async def _started(server: uvicorn.Server) -> bool:
    return server.started
