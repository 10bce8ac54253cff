"""What tests share beside fixtures: waiting for a condition, a client for an app, statements outside any transaction."""

import asyncio
from collections.abc import Awaitable, Callable

import asyncpg
import httpx
from fastapi import FastAPI
from sqlalchemy.engine import make_url

DEADLINE_SECONDS = 30.0


async def until(condition: Callable[[], Awaitable[object]], *, seconds: float = DEADLINE_SECONDS) -> object:
    """Wait for a condition, looking again and again; fail when it does not come true."""
    begun = asyncio.get_running_loop().time()
    while True:
        found = await condition()
        if found:
            return found
        waited = asyncio.get_running_loop().time() - begun
        if waited > seconds:
            raise AssertionError(f"not true within {seconds} s: {condition}")
        await asyncio.sleep(min(0.02 + waited / 20, 0.1))  # looks take time from what is waited for


def client_of(app: FastAPI, key: str | None) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    # Errors are answered, as the server would; a test that sees a 500 fails on its status.
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://shelfcast", headers=headers)


def run_sql(url: str, *statements: str) -> None:
    """Statements outside any transaction, from synchronous code."""

    async def run() -> None:
        connection = await asyncpg.connect(driver_url(url))
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    with asyncio.Runner() as runner:
        runner.run(run())


def driver_url(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def on_database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)
