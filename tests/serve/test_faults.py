"""What must not break the service: each fault is caused on real processes."""

import asyncio
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import orjson
import psutil
import pytest

from tests.serve.service import STOP_SECONDS, Service, command, processes_of, sale
from tests.support import until

pytestmark = pytest.mark.xdist_group("serve")  # one machine's cores are not shared among several services

CLIENTS = 8


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A running service that no test ends."""
    service = Service(tmp_path_factory.mktemp("serve") / "home")
    try:
        yield service.until_ready()
        service.end()
    finally:
        service.clear()


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[], Service]]:
    """Starts a service on this test's own home; may be called again."""
    started: list[Service] = []

    def begin() -> Service:
        started.append(Service(tmp_path / "home"))
        return started[-1].until_ready()

    try:
        yield begin
    finally:
        for service in started:
            service.clear()


async def test_a_service_runs_an_api_and_a_worker_and_shows_no_secret_to_other_users(service: Service) -> None:
    async with service.client() as client:

        async def worker_seen() -> bool:
            return bool((await client.get("/readyz")).json()["workers"] == 1)

        await until(worker_seen)
    seen = [word for process in processes_of(service.home) for word in command(process)]
    assert "api" in seen
    assert "worker" in seen
    assert not [word for word in seen if "postgresql" in word or service.key in word]
    assert service.key not in service.log.read_text()


async def test_a_second_service_on_the_home_or_on_the_port_is_refused_in_one_sentence(
    service: Service, tmp_path: Path
) -> None:
    same_home = Service(service.home, output=tmp_path / "refused")
    assert same_home.process.wait(60) == 3
    same_port = Service(tmp_path / "other", SHELFCAST_PORT=str(service.port))
    assert same_port.process.wait(60) == 4
    (sentence,) = same_port.log.read_text().splitlines()
    assert f"127.0.0.1:{service.port} cannot be listened on" in sentence
    (sentence,) = same_home.log.read_text().splitlines()
    assert f"(process {service.process.pid}) already runs on {service.home}" in sentence
    async with service.client() as client:
        assert (await client.get("/readyz")).status_code == 200


async def test_an_api_process_that_is_killed_is_started_again_and_clients_only_wait(service: Service) -> None:
    killed = service.child("api")
    killed.kill()
    async with service.client() as client:
        assert (await client.get("/readyz")).status_code == 200  # waited in the queue of the service's own socket
    assert service.child("api").pid != killed.pid


async def test_a_worker_that_is_killed_is_started_again(service: Service) -> None:
    killed = service.child("worker")
    killed.kill()

    async def another() -> bool:
        return service.child("worker").pid != killed.pid

    await until(another)


async def test_no_acknowledged_sale_is_lost_or_doubled_when_postgres_is_killed_under_posting_clients(
    service: Service,
) -> None:
    acknowledged: set[str] = set()
    refusals: list[httpx.Response] = []
    done = asyncio.Event()

    async def post(client: httpx.AsyncClient, number: int) -> None:
        for count in range(10_000):
            sku = f"client-{number}-{count}"
            while True:
                answer = await client.post("/v1/sales", json=sale(sku), headers={"Idempotency-Key": sku})
                if answer.status_code == 200:
                    acknowledged.add(sku)
                    break
                refusals.append(answer)
                await asyncio.sleep(0.05)
            if done.is_set():
                return

    async with service.client() as client:
        clients = [asyncio.create_task(post(client, number)) for number in range(CLIENTS)]

        async def posted(more_than: int) -> bool:
            for task in clients:
                if task.done():
                    task.result()
            return len(acknowledged) > more_than

        await until(lambda: posted(40))
        killed = service.postmaster()
        os.kill(killed, signal.SIGKILL)
        await until(lambda: _has_refused(refusals))
        before = len(acknowledged)
        await until(lambda: posted(before + 40))
        done.set()
        await asyncio.gather(*clients)
        assert service.postmaster() != killed
        assert {(answer.status_code, answer.json()["code"]) for answer in refusals} <= {
            (503, "unavailable"),
            (409, "idempotency_running"),
        }
        assert all(int(answer.headers["retry-after"]) >= 1 for answer in refusals)
        stored = await _stored(client, prefix="client-")
    assert len(stored) == len(set(stored))
    assert set(stored) == acknowledged


async def _has_refused(refusals: list[httpx.Response]) -> bool:
    return bool(refusals)


async def _stored(client: httpx.AsyncClient, prefix: str) -> list[str]:
    found: list[str] = []
    token: str | None = None
    while True:
        parameters = {"page_size": "10000"} | ({"page_token": token} if token else {})
        page = (await client.get("/v1/sales", params=parameters)).json()
        found += [row["sku"] for row in page["sales"] if row["sku"].startswith(prefix)]
        token = page["next_page_token"]
        if token is None:
            return found


async def test_an_accepted_upload_is_finished_before_the_service_stops(start: Callable[[], Service]) -> None:
    service = start()
    body = orjson.dumps(sale("slow"))
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(_head(service, length=len(body)) + body[:10])
    await writer.drain()
    async with service.client() as client:

        async def is_in_progress() -> bool:
            return "shelfcast_http_requests_in_progress 2.0" in (await client.get("/metrics")).text

        await until(is_in_progress)
    service.process.terminate()

    async def listens_no_more() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", service.port)) != 0

    await until(listens_no_more)
    writer.write(body[10:])
    answer = await reader.read()
    writer.close()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"inserted":1' in answer
    assert await asyncio.to_thread(service.process.wait, STOP_SECONDS) == 0
    assert processes_of(service.home) == []


def _head(service: Service, *, length: int) -> bytes:
    head = f"POST /v1/sales HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {service.key}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()


async def test_a_killed_service_leaves_no_api_or_worker_and_the_next_one_goes_on_where_it_was(
    start: Callable[[], Service],
) -> None:
    service = start()
    async with service.client() as client:
        assert (await client.post("/v1/sales", json=sale("kept"))).status_code == 200
    children = [service.child("api"), service.child("worker")]
    postmaster = service.postmaster()
    service.process.kill()
    service.process.wait()
    _, alive = await asyncio.to_thread(psutil.wait_procs, children, STOP_SECONDS)
    assert alive == []
    assert psutil.pid_exists(postmaster)

    again = start()
    assert again.postmaster() == postmaster  # adopted, not started anew
    async with again.client() as client:
        assert await _stored(client, prefix="kept") == ["kept"]
    _, writer = await asyncio.open_connection("127.0.0.1", again.port)
    writer.write(_head(again, length=100) + b"never more")  # an upload without an end holds nothing up
    await writer.drain()
    os.killpg(again.process.pid, signal.SIGINT)  # what Ctrl-C sends
    assert await asyncio.to_thread(again.process.wait, STOP_SECONDS) == 0
    assert processes_of(again.home) == []
    writer.close()


def test_a_service_asked_to_stop_while_it_starts_leaves_nothing(tmp_path: Path) -> None:
    service = Service(tmp_path / "home")
    try:
        deadline = time.monotonic() + 60
        while not processes_of(service.home / "postgres"):  # initdb runs
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert service.end(signal.SIGINT) == 0
        assert processes_of(service.home) == []
    except subprocess.TimeoutExpired:
        pytest.fail(service.log.read_text())
    finally:
        service.clear()


@pytest.mark.parametrize(
    "url", ["postgresql://shelfcast:hidden@127.0.0.1:1/none", "mysql://shelfcast:hidden@127.0.0.1/none"]
)
def test_a_database_that_is_not_there_is_told_in_one_sentence_without_its_password(tmp_path: Path, url: str) -> None:
    service = Service(tmp_path / "home", SHELFCAST_DATABASE_URL=url, SHELFCAST_LOG_LEVEL="critical")
    try:
        assert service.process.wait(60) == 5
        (sentence,) = service.log.read_text().splitlines()
        assert "SHELFCAST_DATABASE_URL" in sentence
        assert "hidden" not in sentence
    finally:
        service.clear()
