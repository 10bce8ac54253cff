"""The document that callers generate clients from, and the pages that show it."""

import asyncio
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute, iter_route_contexts
from jsonschema import Draft202012Validator
from sqlalchemy import text

from app.database.engine import Database
from app.http.requests import Route
from tests.support import client_of, run_sql


@pytest.fixture
async def document(client: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await client.get("/openapi.json")).json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield method, path, operation


async def test_every_route_reads_strictly(app: FastAPI) -> None:
    routes = [context.original_route for context in iter_route_contexts(app.routes)]
    assert len(routes) > 10
    assert [route.path for route in routes if isinstance(route, APIRoute) and not isinstance(route, Route)] == []


async def test_every_operation_lists_what_any_request_can_be_answered(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        needed = {"400", "405", "422", "500", "503"}
        if path.startswith("/v1/"):
            needed |= {"401", "403", "413", "429"}
        if "requestBody" in operation:
            needed |= {"415"}
        assert needed <= set(operation["responses"]), (method, path)
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                assert list(answer["content"]) == ["application/problem+json"], (method, path, status)


async def test_every_operation_has_a_summary_a_tag_and_a_name_of_its_own(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(names) == len(set(names))
    known = {tag["name"] for tag in document["tags"]}
    for method, path, operation in operations(document):
        assert operation.get("summary"), (method, path)
        assert operation.get("tags"), (method, path)
        assert set(operation["tags"]) <= known, (method, path)


async def test_every_operation_under_v1_asks_for_a_key(document: dict[str, Any]) -> None:
    (scheme,) = document["components"]["securitySchemes"]
    assert document["components"]["securitySchemes"][scheme]["scheme"] == "bearer"
    for method, path, operation in operations(document):
        assert (operation.get("security") == [{scheme: []}]) == (path.startswith("/v1/") or path == "/metrics"), (
            method,
            path,
        )


async def test_every_schema_and_reference_of_the_document_is_valid(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    for schema in schemas.values():
        Draft202012Validator.check_schema(schema)
    references = set(re.findall(r'"\$ref": ?"([^"]+)"', httpx.Response(200, json=document).text))
    assert {reference.removeprefix("#/components/schemas/") for reference in references} <= set(schemas)
    assert "HTTPValidationError" not in schemas


async def test_the_document_and_its_page_need_no_key_and_no_other_host(app: FastAPI) -> None:
    async with client_of(app, None) as nobody:
        assert (await nobody.get("/openapi.json")).status_code == 200
        page = await nobody.get("/docs")
        assert page.status_code == 200
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(assets) == 3
        for asset in assets:
            assert not re.match(r"https?:|//", asset)
            answer = await nobody.get(f"/{asset}")
            assert answer.status_code == 200
            assert answer.content
        assert "//cdn" not in page.text
        assert (await nobody.get("/docs/assets/core.py")).status_code == 404


async def test_readiness_tells_what_is_degraded_and_requires_only_the_database(client: httpx.AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert (answer.json()["workers"], answer.json()["champion"]) == (0, None)
    assert len(answer.json()["degraded"]) == 2


async def test_readiness_and_every_other_route_are_a_503_while_the_schema_or_the_database_is_away(
    client: httpx.AsyncClient, database: Database, postgres_url: str
) -> None:
    async with database.transaction() as connection:
        name = (await connection.execute(text("SELECT current_database()"))).scalar_one()
        await connection.execute(text("DELETE FROM alembic_version"))
    answer = await client.get("/readyz")
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert "shelfcast migrate" in answer.json()["detail"]
    await asyncio.to_thread(run_sql, postgres_url, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false", _ends(name))
    for path in ("/readyz", "/v1/training-jobs"):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "unavailable", "1")
    assert (await client.get("/healthz")).status_code == 200
    await asyncio.to_thread(run_sql, postgres_url, f"ALTER DATABASE {name} WITH ALLOW_CONNECTIONS true")
    assert (await client.get("/v1/training-jobs")).status_code == 200


def _ends(name: str) -> str:
    return f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
