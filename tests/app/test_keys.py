"""Who is let in, for how long, and how often."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from app.auth import create_key, revoke_keys
from app.config import Settings
from app.database.engine import Database
from app.main import create_app
from tests.support import client_of, until

MakeKey = Callable[..., Awaitable[str]]


async def test_the_first_start_makes_one_admin_key_that_only_this_user_can_read(
    client: httpx.AsyncClient, settings: Settings
) -> None:
    assert settings.admin_key_file.stat().st_mode & 0o777 == 0o600
    assert settings.admin_key_file.read_text().startswith("shelfcast_")


async def test_an_admin_key_is_made_only_while_there_is_no_key_at_all(
    client: httpx.AsyncClient, settings: Settings, database_url: str, database: Database
) -> None:
    first = settings.admin_key_file.read_text()
    for expected_change in (False, True):
        app = create_app(settings, database_url)
        async with app.router.lifespan_context(app):
            assert (settings.admin_key_file.read_text() != first) == expected_change
        async with database.transaction() as connection:
            await connection.execute(text("DELETE FROM api_keys"))


async def test_no_key_is_stored_in_a_form_that_opens_anything(
    client: httpx.AsyncClient, settings: Settings, database: Database
) -> None:
    key = settings.admin_key_file.read_text().strip()
    async with database.snapshot() as connection:
        row = (await connection.execute(text("SELECT api_keys::text AS everything FROM api_keys"))).scalar_one()
    assert key not in row
    assert key.removeprefix("shelfcast_") not in row


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic {key}",
        "{key}",
        "Bearer {key}x",
        "Bearer shelfcast_unknown",
        "Bearer " + "x" * 5000,
        "Bearer é",
        "Bearer {key} {key}",
    ],
)
async def test_without_a_valid_key_every_route_is_closed(app: FastAPI, settings: Settings, header: str | None) -> None:
    key = settings.admin_key_file.read_text().strip()
    headers = {} if header is None else {"Authorization": header.format(key=key).encode()}
    async with client_of(app, None) as client:
        answer = await client.get("/v1/training-jobs", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_the_name_of_the_scheme_may_be_written_in_any_case_but_given_once(
    app: FastAPI, settings: Settings
) -> None:
    key = settings.admin_key_file.read_text().strip()
    async with client_of(app, None) as client:
        answer = await client.get("/v1/training-jobs", headers={"Authorization": f"bEARER {key}"})
        assert answer.status_code == 200
        twice = [("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {key}")]
        assert (await client.get("/v1/training-jobs", headers=twice)).status_code == 401


async def test_a_key_is_looked_at_before_anything_else_is(app: FastAPI) -> None:
    async with client_of(app, None) as client:
        answer = await client.post("/v1/training-jobs?misspelt=1", content=b"{", headers={"content-type": "text/plain"})
    assert answer.status_code == 401


async def test_a_key_opens_what_its_scopes_say_and_admin_everything(
    app: FastAPI, client: httpx.AsyncClient, key_with: MakeKey
) -> None:
    assert (await client.get("/v1/training-jobs")).status_code == 200
    async with client_of(app, await key_with("models:read")) as reader:
        assert (await reader.get("/v1/training-jobs")).status_code == 200
        answer = await reader.post("/v1/training-jobs", json={"model": "lstm"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "models:write" in answer.json()["detail"]


async def test_a_key_revoked_while_in_use_dies_within_the_time_of_the_cache(
    settings: Settings, database_url: str, database: Database
) -> None:
    app = create_app(settings.model_copy(update={"key_cache_seconds": 0.3}), database_url)
    async with app.router.lifespan_context(app):
        async with database.transaction() as connection:
            key = await create_key(connection, "till", ["models:read"])
        async with client_of(app, key) as client:
            assert (await client.get("/v1/training-jobs")).status_code == 200
            async with database.transaction() as connection:
                assert await revoke_keys(connection, "till") == 1

            async def refused() -> bool:
                return (await client.get("/v1/training-jobs")).status_code == 401

            await until(refused, seconds=5)
            assert await refused()


async def test_the_cache_spares_the_database_a_look_up_but_never_remembers_a_key_that_is_unknown(
    app: FastAPI, client: httpx.AsyncClient, database: Database
) -> None:
    guess = "shelfcast_" + "g" * 43
    assert await app.state.keys.find(guess) is None
    async with database.transaction() as connection:
        key = await create_key(connection, "till", ["models:read"])
    assert (await app.state.keys.find(key)).name == "till"
    async with database.transaction() as connection:
        await connection.execute(text("DELETE FROM api_keys WHERE name = 'till'"))
    assert (await app.state.keys.find(key)).name == "till"


async def test_metrics_need_a_key_that_reads_models_unless_they_are_opened(
    app: FastAPI, settings: Settings, database_url: str, key_with: MakeKey
) -> None:
    async with client_of(app, None) as nobody, client_of(app, await key_with("sales:read")) as seller:
        assert (await nobody.get("/metrics")).status_code == 401
        assert (await seller.get("/metrics")).status_code == 403
    async with client_of(app, await key_with("models:read")) as reader:
        assert (await reader.get("/metrics")).status_code == 200
    opened = create_app(settings.model_copy(update={"metrics_open": True}), database_url)
    async with opened.router.lifespan_context(opened), client_of(opened, None) as nobody:
        assert (await nobody.get("/metrics")).status_code == 200


async def test_a_spent_rate_limit_is_a_429_that_says_when_for_that_key_alone(
    settings: Settings, database_url: str, database: Database
) -> None:
    app = create_app(settings.model_copy(update={"rate_limit": "3/minute"}), database_url)
    async with app.router.lifespan_context(app):
        async with database.transaction() as connection:
            one, other = [await create_key(connection, name, ["models:read"]) for name in ("one", "other")]
        async with client_of(app, one) as client:
            answers = await asyncio.gather(*(client.get("/v1/training-jobs") for _ in range(5)))
            assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 429, 429]
            refused = next(answer for answer in answers if answer.status_code == 429)
            assert refused.json()["code"] == "rate_limited"
            assert 1 <= int(refused.headers["retry-after"]) <= 61
        async with client_of(app, other) as client:
            assert (await client.get("/v1/training-jobs")).status_code == 200
