"""What routes that answer from the database share: reaching it, and writing rows as JSON."""

from typing import Any

import orjson
from fastapi import Request
from fastapi.responses import Response

from app.database.engine import Database


def database_of(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def json_of(content: dict[str, Any]) -> Response:
    """An answer of values as the driver gave them; dates, times (UTC, with a Z) and `orjson.Fragment` included."""
    return Response(orjson.dumps(content, option=orjson.OPT_UTC_Z), media_type="application/json")
