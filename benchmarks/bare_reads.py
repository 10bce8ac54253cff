"""The yardstick of benchmarks/reads.py: a bare FastAPI route with key check and one asyncpg look-up, no more.

BARE_DATABASE_URL=postgresql://… python -m benchmarks.bare_reads PORT
"""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import asyncpg
import uvicorn
from fastapi import Depends, FastAPI, Request
from starlette.responses import Response

from app.auth import KeyCache, require
from app.database.engine import Database
from app.http.ratelimit import Rates


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    url = os.environ["BARE_DATABASE_URL"]
    database = Database(url)
    app.state.keys = KeyCache(database, 2)
    app.state.rates = Rates(None)
    async with asyncpg.create_pool(url, min_size=10, max_size=10) as pool:
        app.state.pool = pool
        yield
    await database.close()


app = FastAPI(lifespan=lifespan)


@app.get("/v1/forecasts")
async def read(
    request: Request,
    _caller: Annotated[object, Depends(require("forecasts:read"))],
    sku: str,
    location: str = "",
) -> Response:
    body = await request.app.state.pool.fetchval(
        "SELECT body FROM bare WHERE sku = $1 AND location = $2", sku, location
    )
    return Response(body, media_type="application/json")


if __name__ == "__main__":
    uvicorn.run(
        app, port=int(sys.argv[1]), loop="uvloop", http="httptools", ws="none", access_log=False, log_level="warning"
    )
