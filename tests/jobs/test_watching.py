"""A champion that does worse than the networks it came of goes back by itself; what it then says is theirs, to the bit."""

import copy
from dataclasses import asdict
from uuid import UUID

import httpx
import numpy as np
import pytest
import torch

from app.config import Settings
from app.database.engine import Database
from app.registry.artifacts import save
from app.registry.serving import load_forecaster
from app.registry.store import publish
from app.sales.panel import read_panel
from models.checkpoint import serialise
from models.forecaster import Forecaster
from models.online.finetuning import UpdateConfig
from models.online.gate import Limits, verdict
from models.online.soundness import state_checks
from models.online.stream import Speeds, fine_tuned, tracked
from models.online.updating import Looks, checks_now, replayed
from tests.jobs.watched import Answers, promotions, said, scored_days
from tests.jobs.workers import TINY, add_days, done, update
from tests.models.answering import answered
from tests.registry.support import a_candidate, champion_of, sha256_of


@pytest.fixture
async def updated(client: httpx.AsyncClient, database: Database, sales: None, worker_here: None) -> Answers:
    """A champion that is an update, version 2; what version 1 said at the same cutoff."""
    await done(client, TINY | {"promote": "always"})
    await add_days(database, 1)
    before = await said(client)
    await update(client, fine_tune=True, promote="always")
    assert await champion_of(database) == 2
    assert await said(client) != before
    return before


async def test_a_champion_that_is_worse_beyond_doubt_goes_back_to_the_networks_it_came_of(
    client: httpx.AsyncClient, database: Database, updated: Answers
) -> None:
    await scored_days(database, 28, live=1.05)
    ended = await update(client)
    assert ended["model_version"] is None
    assert await champion_of(database) == 1
    assert await said(client) == updated
    newest, *others = await promotions(client)
    assert (newest["kind"], newest["version"], newest["previous"], newest["key"]) == ("rollback", 1, 2, None)
    assert newest["reason"] in ended["outcome"]
    assert newest["reason"].startswith("Rolled back by itself from version 2. Its live loss was ")
    assert "above that of the networks as trained over 28 days" in newest["reason"]
    assert [(p["version"], p["rolled_back"]) for p in others] == [(2, True), (1, False)]
    metrics = (await client.get("/metrics")).text
    assert 'shelfcast_rollbacks_total{kind="itself"} 1.0' in metrics
    await add_days(database, 1)
    fresh = (await update(client))["model_version"]
    assert (await client.get(f"/v1/models/{fresh}")).json()["parent"] == 1
    # The scores of the line before do not count against the new one.
    assert [p["kind"] for p in await promotions(client)].count("rollback") == 1


@pytest.mark.parametrize(("days", "live"), [(27, 1.05), (40, 1.005), (40, 0.9)])
async def test_one_that_is_not_stays(
    client: httpx.AsyncClient, database: Database, updated: Answers, days: int, live: float
) -> None:
    await scored_days(database, days, live=live)
    await update(client)
    assert await champion_of(database) == 2


async def test_an_update_of_a_champion_that_goes_back_is_kept_as_challenger(
    client: httpx.AsyncClient, database: Database, updated: Answers
) -> None:
    await scored_days(database, 28, live=1.05)
    await add_days(database, 1)
    ended = await update(client, promote="always")
    assert (await champion_of(database), ended["model_version"]) == (1, 3)
    assert ended["outcome"].startswith("Kept as challenger. Refused. champion_unchanged")
    async with database.reading() as connection:
        assert await connection.fetchval("SELECT count(*) FROM issuances") == 1  # nobody reads what was said there
    await add_days(database, 1)
    assert (await client.get(f"/v1/models/{(await update(client))['model_version']}")).json()["parent"] == 1


async def test_a_roll_back_by_request_of_one_promoted_by_force_gives_what_was_there_before(
    client: httpx.AsyncClient, updated: Answers
) -> None:
    assert (await client.post("/v1/models/rollback")).status_code == 200
    assert await said(client) == updated
    assert 'shelfcast_rollbacks_total{kind="request"} 1.0' in (await client.get("/metrics")).text


async def test_broken_updates_are_kept_as_challengers_and_change_nothing_that_is_read(
    client: httpx.AsyncClient, database: Database, settings: Settings, updated: Answers
) -> None:
    champion = load_forecaster(settings.artifacts_location, await sha256_of(database, 2))
    await add_days(database, 1)
    before = await said(client)
    async with database.snapshot() as connection:
        data = await read_panel(connection)
    assert data is not None
    panel, newest = data.panel, data.panel.days - 1
    ready = tracked(champion, panel, speeds=Speeds())
    broken = copy.deepcopy(fine_tuned(ready, panel, config=UpdateConfig(steps=2)))
    assert broken.lineage is not None
    next(broken.lineage.members[0].network.parameters()).data.fill_(torch.nan)

    async def offered(candidate: Forecaster, job_id: UUID) -> list[str]:
        checks = [
            *checks_now(
                Looks.at(answered(candidate, champion, panel, newest)),
                replayed(candidate, champion, panel, newest),
                np.nanmax(panel.quantity_ST, axis=1),
                Limits(),
            ),
            *state_checks(candidate, champion, panel, newest, Limits()),
        ]
        weights, description = serialise(candidate)
        artifact = save(settings.artifacts_location, weights, description, job_id=job_id)
        told = asdict(verdict(checks, days=0))
        offer = a_candidate(artifact, job_id=job_id, kind="update", parent=2, judged_against=2, verdict=told)
        async with database.transaction() as connection:
            published = await publish(connection, offer)
        assert not published.promoted
        assert (await client.get(f"/v1/models/{published.version}")).json()["aliases"] == ["challenger"]
        found = (await client.get(f"/v1/models/{published.version}/verdict")).json()
        return [check["name"] for check in found["checks"] if check["passed"] is False]

    assert {"finite", "weights_near"} <= set(await offered(broken, UUID(int=1)))
    assert await offered(champion, UUID(int=2)) == ["fresh"]
    assert await champion_of(database) == 2
    assert await said(client) == before
