"""What holds around every request: its id, its time, its size, and what the service tells of it."""

import asyncio
import re

import httpx
import orjson
import pytest
from sqlalchemy import text

from app.database.engine import Database
from tests.app.conftest import Served
from tests.support import until


async def test_a_sane_request_id_is_kept_and_another_replaced(faulty: httpx.AsyncClient) -> None:
    kept = await faulty.get("/healthz", headers={"X-Request-ID": "order-7/a"})
    assert kept.headers["x-request-id"] == "order-7/a"
    for bad in ("with space", "x" * 129, "line\tbreak", "é"):
        made = await faulty.get("/healthz", headers={"X-Request-ID": bad.encode()})
        assert re.fullmatch(r"[0-9a-f]{32}", made.headers["x-request-id"])


async def test_a_request_that_takes_too_long_is_stopped_and_its_transaction_rolled_back(
    hurried: Served, database: Database
) -> None:
    async with httpx.AsyncClient(base_url=hurried.url) as client:
        answer = await client.post("/v1/slow")
    assert (answer.status_code, answer.json()["code"]) == (503, "timed_out")
    assert answer.headers["retry-after"] == "1"

    async def given_up() -> bool:
        running = "SELECT FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pg_sleep(60)%'"
        async with database.snapshot() as connection:
            others = await connection.execute(
                text(f"SELECT EXISTS ({running} AND state = 'active' AND pid <> pg_backend_pid())")
            )
            return not others.scalar_one()

    await until(given_up)
    async with database.snapshot() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM series"))).scalar_one() == 0


async def test_a_stream_of_events_may_last_longer_than_a_request_and_no_other_answer_may(hurried: Served) -> None:
    async with httpx.AsyncClient(base_url=hurried.url) as client:
        events = await client.get("/v1/endless", params={"media_type": "text/event-stream"})
        assert events.text.count("data") == 150
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/v1/endless", params={"media_type": "text/plain"})


async def test_an_error_after_the_answer_began_leaves_a_body_without_an_end(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get("/v1/breaks")


async def test_a_body_declared_too_large_is_refused_before_it_is_read_and_drained(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(served.head("POST", "/v1/streams", Content_Length="3000000"))
    for _ in range(30):  # sends everything before it reads, as simple clients do
        writer.write(b"x" * 100_000)
        await writer.drain()
    answer = await reader.read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b" 413 " in head
    assert b"connection: close" in head.lower()
    assert orjson.loads(body)["code"] == "body_too_large"
    writer.close()


async def test_a_body_that_grows_too_large_is_refused_while_it_comes(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(served.head("POST", "/v1/streams", Transfer_Encoding="chunked"))
    for _ in range(30):
        writer.write(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        await writer.drain()
    writer.write(b"0\r\n\r\n")
    answer = await reader.read()
    assert b" 413 " in answer.partition(b"\r\n")[0]
    writer.close()


async def test_no_more_than_16_mib_of_a_refused_body_are_read(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(served.head("POST", "/v1/streams", Content_Length=str(10**9)))
    answer = await reader.readuntil(b"}")  # at once, while nothing of the body has been sent
    assert b" 413 " in answer
    sent = 0
    with pytest.raises(ConnectionError):
        while sent < 10**9:
            writer.write(b"x" * 1_000_000)
            await writer.drain()
            sent += 1_000_000
    assert 16 * 2**20 < sent < 64 * 2**20  # what the sockets on the way hold comes on top
    writer.close()


async def test_a_client_that_asks_first_is_not_told_to_send_what_would_be_refused(served: Served) -> None:
    reader, writer = await served.connect()
    writer.write(served.head("POST", "/v1/streams", Content_Length="2000000", Expect="100-continue"))
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 413")
    writer.close()


async def test_a_json_body_has_its_own_smaller_limit(served: Served) -> None:
    body = b'{"count": 1, "label": "' + b"x" * 200_000 + b'"}'
    headers = {"content-type": "application/json", "authorization": f"Bearer {served.key}"}
    async with httpx.AsyncClient(base_url=served.url, headers=headers) as client:
        assert (await client.post("/v1/boxes", content=body)).json()["code"] == "body_too_large"

        async def pieces():  # type: ignore[no-untyped-def]
            yield body[:100_000]
            yield body[100_000:]

        assert (await client.post("/v1/boxes", content=pieces())).json()["code"] == "body_too_large"
        assert (await client.post("/v1/boxes", content=b'{"count": 1}')).status_code == 200


async def test_a_body_that_nobody_may_send_is_not_read_before_the_key_is_looked_at(served: Served) -> None:
    reader, writer = await served.connect()
    head = served.head("POST", "/v1/boxes", Content_Length="90000", Content_Type="application/json")
    writer.write(head.replace(b"Bearer", b"Basic"))
    assert b" 401 " in await reader.readuntil(b"}")
    writer.close()


async def test_requests_are_counted_by_template_and_never_by_path(served: Served) -> None:
    async with httpx.AsyncClient(base_url=served.url) as client:
        await client.get("/v1/training-jobs/secret-1")
        await client.get("/v1/secret-2")
        metrics = (await client.get("/metrics")).text
    assert 'shelfcast_http_requests_total{method="GET",route="/v1/training-jobs/{job_id}",status="401"}' in metrics
    assert 'route="unmatched",status="404"}' in metrics
    assert "shelfcast_http_request_seconds_bucket" in metrics
    assert "secret" not in metrics
    assert "shelfcast_database_up 1.0" in metrics
    assert 'shelfcast_jobs{status="queued"} 0.0' in metrics


async def test_a_closed_connection_frees_the_route_that_reads_from_it(served: Served) -> None:
    _, writer = await served.connect()
    writer.write(served.head("POST", "/v1/streams", Content_Length="500") + b"x" * 10)
    await writer.drain()
    writer.close()
    async with httpx.AsyncClient(base_url=served.url) as client:

        async def counted() -> bool:
            sought = 'shelfcast_http_requests_total{method="POST",route="/v1/streams",status="400"}'
            return sought in (await client.get("/metrics")).text

        deadline = asyncio.get_running_loop().time() + 10
        while not await counted():
            assert asyncio.get_running_loop().time() < deadline


@pytest.mark.parametrize(
    "sent", [b"what is this\r\n\r\n", b"GET / HTTP/1.1\r\nno colon\r\n\r\n", b"\x16\x03\x01\x02\x00"]
)
async def test_what_is_no_http_is_a_problem_too(served: Served, sent: bytes) -> None:
    reader, writer = await served.connect()
    writer.write(sent)
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert orjson.loads(body)["code"] == "malformed_request"
    writer.close()
