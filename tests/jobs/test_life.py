"""A job's ordinary life, from the request to the published version."""

import httpx
import pytest

from tests.jobs.workers import TINY, Workers, until_status

pytestmark = pytest.mark.usefixtures("sales")


async def test_a_posted_training_becomes_a_version(client: httpx.AsyncClient, workers: Workers) -> None:
    answer = await client.post("/v1/training-jobs", json=TINY | {"epochs": 2})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/training-jobs/{job['id']}"
    assert (job["status"], job["progress"], job["attempt"]) == ("queued", 0, 0)
    workers.start()
    ended = await until_status(client, job["id"], "succeeded", "failed")
    assert ended["status"] == "succeeded", ended
    assert ended["model_version"] == 1
    assert (ended["progress"], ended["attempt"], ended["error"]) == (1, 1, None)
    assert ended["created_at"] <= ended["started_at"] <= ended["finished_at"]
    assert [epoch["epoch"] for epoch in ended["history"]] == [1, 2]
    assert all(epoch["loss"] > 0 and epoch["validation"] > 0 for epoch in ended["history"])
    model = (await client.get("/v1/models/1")).json()
    assert model["decision"] == ended["outcome"]
    assert model["trained_on"]["rows"] == 450
    assert model["trained_on"]["cutoff"] == "2026-09-27"
