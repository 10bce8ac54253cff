"""Updates day after day through the service: each a version with a parent and a verdict, learned from what had been said."""

from typing import Any

import httpx
import pytest

from app.database.engine import Database
from tests.jobs.workers import TINY, add_days, post_job, until_status, update


async def rows(database: Database, query: str, *values: object) -> list[dict[str, Any]]:
    async with database.reading() as connection:
        return [dict(row) for row in await connection.fetch(query, *values)]


@pytest.mark.usefixtures("sales", "worker_here")
async def test_every_day_becomes_a_version_with_its_parent_and_a_verdict(
    client: httpx.AsyncClient, database: Database
) -> None:
    await until_status(client, await post_job(client, TINY | {"epochs": 3, "promote": "always"}), "succeeded")
    for day in range(3):
        await add_days(database, 1)
        ended = await update(client, fine_tune=day == 1)
        model = (await client.get(f"/v1/models/{ended['model_version']}")).json()
        verdict = (await client.get(f"/v1/models/{ended['model_version']}/verdict")).json()
        assert (model["version"], model["parent"], model["kind"]) == (day + 2, day + 1, "update")
        assert verdict["version"] == model["version"]
        assert verdict["sentence"] in model["decision"]
        names = [check["name"] for check in verdict["checks"]]
        assert names[:6] == ["finite", "not_negative", "ordered", "plausible", "near_copy", "replay_loss"]
        assert names[-1] == "champion_unchanged"
        undecided = next(check for check in verdict["checks"] if check["name"] == "loss_days_1-7")
        assert (undecided["passed"], undecided["detail"]) == (
            None,
            f"{day} of 56 days of live forecasts that it needs.",
        )
        assert verdict["days"] == day
    assert "lineage" in model["config"]
    issued = await rows(database, "SELECT cutoff, version, champion FROM issuances ORDER BY cutoff")
    assert [row["version"] for row in issued] == [2, 3, 4]
    scored = await rows(database, "SELECT day, count(*) AS n FROM scores GROUP BY day ORDER BY day")
    assert [row["day"] for row in scored] == [row["cutoff"] for row in issued[1:]]
    missing = await client.get("/v1/models/1/verdict")
    assert (missing.status_code, "kind train" in missing.json()["detail"]) == (404, True)


@pytest.mark.usefixtures("sales", "worker_here")
async def test_an_update_asked_for_twice_learns_once(client: httpx.AsyncClient, database: Database) -> None:
    await until_status(client, await post_job(client, TINY | {"promote": "always"}), "succeeded")
    await add_days(database, 2)
    first, second = await update(client), await update(client)
    assert first["model_version"] == 2
    assert second["model_version"] is None
    assert "No sales after" in second["outcome"]


@pytest.mark.usefixtures("sales", "worker_here")
async def test_a_retraining_of_the_same_kind_takes_over_what_was_learned_of_the_series(
    client: httpx.AsyncClient, database: Database
) -> None:
    always = TINY | {"promote": "always"}
    await until_status(client, await post_job(client, always), "succeeded")
    await add_days(database, 1)
    lineage = (await _model_of(client, await update(client, fine_tune=True)))["config"]["lineage"]
    await until_status(client, await post_job(client, always | {"seed": 7}), "succeeded")
    retrained = (await client.get("/v1/models/3")).json()
    assert (retrained["kind"], retrained["parent"], retrained["config"]["lineage"]) == ("train", None, lineage)
    await add_days(database, 1)
    updated = await _model_of(client, await update(client, fine_tune=True))
    assert updated["parent"] == 3
    assert updated["config"]["lineage"]["trained_until"] > lineage["trained_until"]
    checks = (await client.get(f"/v1/models/{updated['version']}/verdict")).json()["checks"]
    passed = {check["name"]: check["passed"] for check in checks}
    assert all(passed[name] for name in ("fresh", "networks_as_trained", "weights_near", "champion_unchanged"))
    await until_status(client, await post_job(client, always | {"model": "cnn"}), "succeeded")
    assert "lineage" not in (await client.get("/v1/models/5")).json()["config"]


async def _model_of(client: httpx.AsyncClient, ended: dict[str, Any]) -> dict[str, Any]:
    model: dict[str, Any] = (await client.get(f"/v1/models/{ended['model_version']}")).json()
    return model
