"""What may happen to an upload: the sender goes away, the disk is full. Nothing of it stays, and the next one goes in."""

import socket
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from app.database.engine import Database
from tests.sales.bodies import CSV, NDJSON, compress
from tests.sales.server import Server, api_server
from tests.support import until

FILE_LIMIT = 2 * 2**20
LINE = b'{"sku": "A", "date": "2026-01-05", "quantity": 1}\n'


@pytest.fixture
def server(database_url: str, tmp_path: Path) -> Iterator[Server]:
    with api_server(database_url, tmp_path / "home", file_limit=FILE_LIMIT) as server:
        yield server


async def nothing_stays(server: Server, database: Database) -> None:
    async def closed() -> bool:
        return not server.spooling()

    await until(closed)
    assert list((server.home / "spool").iterdir()) == []
    async with database.reading() as connection:
        assert await counted(connection) == [0, 0, 0]


async def counted(connection: asyncpg.Connection) -> list[int]:
    query = "SELECT ARRAY[(SELECT count(*) FROM sales), (SELECT count(*) FROM series), (SELECT count(*) FROM posts)]"
    return list(await connection.fetchval(query))


async def test_a_sender_that_goes_away_and_a_disk_that_is_full_leave_nothing(
    server: Server, database: Database
) -> None:
    await sender_goes_away(server, database)
    full_disk(server)
    await nothing_stays(server, database)
    answer = server.post(LINE, NDJSON)
    assert (answer.status_code, answer.json()["inserted"]) == (200, 1)


async def sender_goes_away(server: Server, database: Database) -> None:
    body = LINE * 40_000
    head = (
        f"POST /v1/sales HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.key}\r\n"
        f"Content-Type: {NDJSON}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port)) as sender:
        sender.sendall(head.encode() + body[: 3 * 2**19])

        async def spooled() -> bool:
            return bool(server.spooling())

        await until(spooled)
    await nothing_stays(server, database)


def full_disk(server: Server) -> None:
    """Met while the body arrives, while it is unpacked, and while its rows are sorted."""
    unique = b"".join(b"SKU%06d,2026-01-05,1\n" % number for number in range(60_000))
    rows = b"sku,date,quantity\n" + unique
    assert len(rows) < FILE_LIMIT < 48 * 60_000
    plain = LINE * 60_000
    for body, content_type, headers in (
        (plain, NDJSON, {}),
        (compress(plain, "gzip"), NDJSON, {"Content_Encoding": "gzip"}),
        (rows, CSV, {}),
    ):
        answer = server.post(body, content_type, **headers)
        assert (answer.status_code, answer.json()["code"]) == (503, "disk_full"), answer.text
        assert answer.headers["retry-after"]
