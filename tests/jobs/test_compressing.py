"""A training that compresses: asked for, followed, and what its version says and answers."""

import httpx
import pytest

from tests.jobs.workers import TINY, done, post_job, read_job, until_status

COMPRESSED = TINY | {"model": "ensemble", "heads": 2, "compress": True}


@pytest.mark.usefixtures("sales", "worker_here")
async def test_a_training_tells_whether_student_or_ensemble_was_kept_and_the_version_answers(
    client: httpx.AsyncClient,
) -> None:
    ended = await done(client, COMPRESSED | {"promote": "always"})
    assert ended["request"]["compress"] is True
    assert (ended["model_version"], ended["progress"]) == (1, 1), ended
    found = ended["compressed"]
    assert set(found) == {"kept", "wql", "sql", "speed_ratio", "sentence"}
    assert found["sentence"].startswith(f"The {found['kept']} was kept: ")
    assert found["wql"]["student"] > 0 and found["speed_ratio"] > 0
    model = (await client.get("/v1/models/1")).json()
    assert model["metrics"]["compressed"] == found
    assert model["metrics"]["model"]["wql"] == found["wql"][found["kept"]]
    assert model["architecture"] == {"ensemble": "ensemble", "student": "mlp"}[found["kept"]]
    assert model["aliases"] == ["champion"]
    assert [epoch["epoch"] for epoch in ended["history"]] == [1]  # the ensemble's; a student's losses are others
    forecast = (await client.get("/v1/forecasts", params={"sku": "A-1", "horizon": 7})).json()
    assert (forecast["model_version"], forecast["fallback"], len(forecast["forecast"])) == (1, None, 7)


@pytest.mark.usefixtures("sales", "worker_here")
async def test_the_limit_of_time_holds_for_training_and_distilling_together(client: httpx.AsyncClient) -> None:
    """Whose time it ends depends on the machine; models/test_distilling.py sees each, by a clock of its own."""
    job = await post_job(client, COMPRESSED | {"epochs": 500, "patience": 500, "max_seconds": 1})
    ended = await until_status(client, job, "succeeded", "failed")
    if ended["status"] == "failed":
        assert ended["error"]["code"] == "time_limit", ended
    else:
        assert "The ensemble was kept: the limit of 1 s was over" in ended["compressed"]["sentence"], ended


@pytest.mark.parametrize(
    ("body", "named"),
    [
        (TINY, "compress needs the model ensemble; a single lstm"),
        (COMPRESSED | {"loss": "mse"}, "compress needs the loss pinball, not mse"),
        (COMPRESSED | {"compress": "yes"}, "compress"),
        ({"kind": "update"}, "compress"),
        ({"kind": "backtest", "model": "ensemble"}, "compress"),
    ],
)
async def test_a_compress_that_cannot_be_done_is_refused(
    client: httpx.AsyncClient, body: dict[str, object], named: str
) -> None:
    answer = await client.post("/v1/training-jobs", json={"compress": True} | body)
    assert answer.status_code == 422
    assert named in answer.text


async def test_a_request_does_not_compress_unless_it_says_so(client: httpx.AsyncClient) -> None:
    for body in (TINY, TINY | {"compress": False}):
        job = await read_job(client, await post_job(client, body))
        assert "compress" not in job["request"]
        assert job["compressed"] is None
