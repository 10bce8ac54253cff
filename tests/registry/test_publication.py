"""Publishing: numbers without gaps or twins, one version a job, aliases and log that agree with the decision."""

import asyncio
import uuid

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from app.config import Settings
from app.database.engine import Database
from app.database.pages import encode_token
from app.registry.artifacts import save
from app.registry.store import publish
from tests.registry.support import a_candidate, champion_of, published, scored, weights_of


async def test_a_version_is_answered_with_all_that_is_known_of_it(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    made = await published(database, settings, promote="auto", metrics=scored(0.5))
    answer = await client.get("/v1/models/1")
    model = answer.json()
    assert made == (1, True, model["decision"])
    assert model["decision"].startswith("Promoted: its WQL of 0.5000 is lower than the 0.7000 of the best baseline's")
    assert model["aliases"] == ["champion"]
    assert model["trained_on"] == {"cutoff": "2026-10-31", "rows": 600, "series": 2, "fingerprint": "ab" * 32}
    assert model["metrics"] == scored(0.5)
    assert model["config"] == {"architecture": "lstm", "epochs": 3}
    assert (model["architecture"], model["kind"], model["parent"]) == ("lstm", "train", None)
    assert (model["horizon"], model["context_length"]) == (7, 14)
    assert set(model["artifact"]) == {"bytes", "sha256"}
    assert model["artifact_removed_at"] is None
    assert model["created_at"].endswith("Z")
    assert (await client.get("/v1/models")).json() == {"models": [model], "next_page_token": None}


async def test_numbers_follow_one_another(database: Database, settings: Settings) -> None:
    assert [(await published(database, settings)).version for _ in range(3)] == [1, 2, 3]


async def test_publications_at_once_get_numbers_of_their_own(database: Database, settings: Settings) -> None:
    made = await asyncio.gather(*(published(database, settings, promote="auto") for _ in range(5)))
    assert sorted(p.version for p in made) == [1, 2, 3, 4, 5]
    # All five were judged against no champion; the first became it, and the others say why they did not.
    assert [p.version for p in made if p.promoted] == [1]
    for late in (p for p in made if p.version > 1):
        assert "judged against no champion, but version 1 was the champion" in late.decision
    assert await champion_of(database) == 1


async def test_the_second_waits_for_the_first_to_commit(database: Database, settings: Settings) -> None:
    """With the first still open, the second neither takes its number nor goes on with a champion that is about to change."""
    artifact = save(settings.artifacts_location, *weights_of(), job_id=uuid.uuid4())
    async with database.transaction() as connection:
        first = await publish(connection, a_candidate(artifact))
        second = asyncio.create_task(published(database, settings, promote="auto"))
        async with database.transaction() as watching:
            waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
            deadline = asyncio.get_running_loop().time() + 30
            while (await watching.execute(text(waiting))).scalar_one() == 0:
                assert asyncio.get_running_loop().time() < deadline
                await asyncio.sleep(0.01)
        assert not second.done()
    assert (first.version, first.promoted) == (1, True)
    assert (await second)[:2] == (2, False)


async def test_what_is_rolled_back_was_never_there(database: Database, settings: Settings) -> None:
    artifact = save(settings.artifacts_location, *weights_of(), job_id=uuid.uuid4())
    with pytest.raises(ZeroDivisionError):
        async with database.transaction() as connection:
            await publish(connection, a_candidate(artifact))
            raise ZeroDivisionError
    assert await champion_of(database) is None
    assert (await published(database, settings)).version == 1


@pytest.mark.parametrize("promote", ["auto", "never"])
async def test_a_job_has_one_version(
    client: httpx.AsyncClient, database: Database, settings: Settings, promote: str
) -> None:
    job_id = uuid.uuid4()
    first = await published(database, settings, job_id=job_id, promote=promote)
    await published(database, settings, promote="always")
    assert await published(database, settings, job_id=job_id, promote=promote) == first
    assert [m["version"] for m in (await client.get("/v1/models")).json()["models"]] == [2, 1]
    assert await champion_of(database) == 2


async def test_challenger_is_the_newest_that_was_not_promoted(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    await published(database, settings, promote="never")
    await published(database, settings, promote="always")
    await published(database, settings, promote="never")
    await published(database, settings, promote="auto", judged_against=2, metrics=scored(0.9, champion=0.5))
    await published(database, settings, promote="auto", judged_against=2, metrics=scored(0.4, champion=0.5))
    models = (await client.get("/v1/models")).json()["models"]
    assert {m["version"]: m["aliases"] for m in models} == {
        5: ["champion"],
        4: ["challenger"],
        3: [],
        2: [],
        1: [],
    }
    log = (await client.get("/v1/models/promotions")).json()["promotions"]
    assert [(p["version"], p["previous"], p["kind"]) for p in log] == [(5, 2, "merit"), (2, None, "request")]
    assert log[0]["reason"] == models[0]["decision"]


async def test_an_update_names_its_parent(client: httpx.AsyncClient, database: Database, settings: Settings) -> None:
    await published(database, settings, promote="always")
    made = await published(
        database,
        settings,
        promote="auto",
        kind="update",
        parent=1,
        judged_against=1,
        metrics=scored(0.5, parent=0.5),
    )
    assert made.promoted
    model = (await client.get("/v1/models/2")).json()
    assert (model["kind"], model["parent"]) == ("update", 1)


async def test_a_score_that_is_not_a_number_is_answered_as_null(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    made = await published(database, settings, promote="always", metrics=scored(float("nan"), champion=float("inf")))
    assert made.promoted is False
    metrics = (await client.get("/v1/models/1")).json()["metrics"]
    assert metrics["model"]["wql"] is None
    assert metrics["champion"]["wql"] is None


async def test_the_database_refuses_to_change_a_version(
    database: Database, settings: Settings, client: httpx.AsyncClient
) -> None:
    await published(database, settings)
    before = (await client.get("/v1/models/1")).json()
    for change in (
        "UPDATE versions SET decision = 'Promoted.'",
        "UPDATE versions SET metrics = '{}'",
        "UPDATE versions SET artifact_sha256 = repeat('0', 64)",
        "UPDATE versions SET version = 9",
        "UPDATE versions SET created_at = now() - interval '1 day'",
        "DELETE FROM versions",
    ):
        with pytest.raises(DBAPIError, match="version 1 is published and can no longer be changed"):
            async with database.transaction() as connection:
                await connection.execute(text(change))
    assert (await client.get("/v1/models/1")).json() == before


async def test_a_removed_artifact_cannot_come_back_to_its_record(database: Database, settings: Settings) -> None:
    await published(database, settings)
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE versions SET last_used_at = now(), artifact_removed_at = now()"))
    with pytest.raises(DBAPIError, match="can no longer be changed"):
        async with database.transaction() as connection:
            await connection.execute(text("UPDATE versions SET artifact_removed_at = NULL"))


async def test_there_is_one_champion_at_most(database: Database, settings: Settings) -> None:
    await published(database, settings, promote="always")
    with pytest.raises(DBAPIError, match="pk_aliases"):
        async with database.transaction() as connection:
            await connection.execute(text("INSERT INTO aliases VALUES ('champion', 1)"))


async def test_lists_come_in_pages(client: httpx.AsyncClient, database: Database, settings: Settings) -> None:
    for _ in range(5):
        await published(database, settings, promote="always")
    for path, name, key in (("/v1/models", "models", "version"), ("/v1/models/promotions", "promotions", "version")):
        found, token, pages = [], None, 0
        while pages == 0 or token:
            query = {"page_size": 2, **({"page_token": token} if token else {})}
            answer = (await client.get(path, params=query)).json()
            found += [row[key] for row in answer[name]]
            token, pages = answer["next_page_token"], pages + 1
        assert (found, pages) == ([5, 4, 3, 2, 1], 3)
        assert (await client.get(path, params={"page_size": 10_001})).status_code == 422
        assert (await client.get(path, params={"page_token": "no"})).status_code == 422
        assert (await client.get(path, params={"alias": "champion"})).status_code == 422
        far = encode_token(name, (2**62,))
        assert len((await client.get(path, params={"page_token": far})).json()[name]) == 5


async def test_an_unknown_version_is_not_found_and_told_what_there_is(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    answer = await client.get("/v1/models/1")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "There is no version 1; no version was published yet.",
    )
    await published(database, settings)
    answer = await client.get("/v1/models/2")
    assert (answer.status_code, answer.json()["detail"]) == (404, "There is no version 2; the newest is version 1.")
    for nonsense, status in (("0", 422), ("9" * 18, 422), ("9" * 5000, 404), ("-1", 404), ("one", 404), ("1.0", 404)):
        assert (await client.get(f"/v1/models/{nonsense}")).status_code == status
        assert (await client.post(f"/v1/models/{nonsense}/promote")).status_code == status
    assert (await client.get("/v1/models/rollback")).status_code == 405
