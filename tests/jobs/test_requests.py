"""What callers may ask of training and what they are told: over HTTP, without any worker."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.database.engine import Database
from app.jobs.schemas import TrainRequest
from models.training_config import ARCHITECTURES, RANGES, TrainingConfig
from tests.jobs.workers import TINY, post_job, read_job
from tests.support import client_of

JOBS = "/v1/training-jobs"


async def test_a_training_keeps_every_default_of_its_network(client: httpx.AsyncClient) -> None:
    for model in ARCHITECTURES:
        answer = await client.post(JOBS, json={"model": model})
        assert answer.status_code == 202
        asked = answer.json()["request"]
        (resolved,) = TrainingConfig(model=model).members()
        assert {name: asked[name] for name in RANGES} == {name: resolved.as_dict()[name] for name in RANGES}
        assert (asked["kind"], asked["model"], asked["promote"], asked["loss"]) == ("train", model, "auto", "pinball")


async def test_an_ensemble_leaves_open_what_its_members_differ_in(client: httpx.AsyncClient) -> None:
    asked = (await client.post(JOBS, json={"model": "ensemble", "seed": 3})).json()["request"]
    assert (asked["model"], asked["seed"], asked["horizon"], asked["layers"]) == ("ensemble", 3, 28, None)


def test_every_number_of_the_engines_table_can_be_asked_for() -> None:
    schema = TrainRequest.model_json_schema()["properties"]
    for name, bounds in RANGES.items():
        field = schema[name]
        numeric = next(part for part in field.get("anyOf", [field]) if part["type"] != "null")
        assert (numeric["minimum"], numeric["maximum"]) == (bounds.low, bounds.high), name
        assert numeric["type"] == ("integer" if bounds.whole else "number"), name


@pytest.mark.parametrize("name", RANGES)
async def test_a_number_out_of_its_range_is_refused_by_name(client: httpx.AsyncClient, name: str) -> None:
    bounds = RANGES[name]
    for value in (bounds.low - 1, bounds.high + 1, "7", True):
        answer = await client.post(JOBS, json={"model": "lstm", name: value})
        assert answer.status_code == 422, value
        assert name in answer.json()["errors"][0]["field"]


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "model"),
        ({"model": None}, "model"),
        ({"model": "arima"}, "model"),
        ({"kind": "ensemble"}, "kind"),
        ({"kind": None, "model": "lstm"}, "kind"),
        ({"kind": ["train"], "model": "lstm"}, "kind"),
        ({"kind": "update", "model": "lstm"}, "model"),
        ({"kind": "update", "epochs": 5}, "epochs"),
        ({"kind": "update", "until": "2026-11-31"}, "until"),
        ({"kind": "update", "until": "2026-11-23T00:00:00"}, "until"),
        ({"kind": "update", "until": 20780}, "until"),
        ({"model": "lstm", "tune": 3}, "tune"),
        ({"model": "lstm", "epoch": 3}, "epoch"),
        ({"model": "lstm", "horizon": 7.5}, "horizon"),
        ({"model": "lstm", "promote": "maybe"}, "promote"),
        ({"model": "lstm", "loss": "huber"}, "loss"),
        ({"model": "transformer", "width": 64, "heads": 5}, "heads"),
        ([], "body"),
        ("train", "body"),
        (None, "body"),
    ],
)
async def test_what_cannot_be_trained_is_refused_with_its_name(
    client: httpx.AsyncClient, body: Any, named: str
) -> None:
    answer = await client.post(JOBS, json=body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert any(named in f"{error['field']} {error['detail']}" for error in problem["errors"]), problem
    assert (await client.get(JOBS)).json()["jobs"] == []


async def test_one_idempotency_key_makes_one_job(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "monday"}
    first = await client.post(JOBS, json={"model": "cnn"}, headers=key)
    again = await client.post(JOBS, json={"model": "cnn"}, headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert again.headers["Location"] == first.headers["Location"]
    assert again.headers["Idempotent-Replayed"] == "true"
    other = await client.post(JOBS, json={"model": "lstm"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len((await client.get(JOBS)).json()["jobs"]) == 1


async def test_jobs_are_listed_newest_first_in_pages_and_by_state(client: httpx.AsyncClient) -> None:
    jobs = [await post_job(client, {"model": "lstm"}) for _ in range(5)]
    jobs.append(await post_job(client, {"kind": "update"}))
    await client.post(f"{JOBS}/{jobs[0]}/cancel")
    listed, token = [], None
    for _ in range(3):
        query = {"page_size": 2} | ({"page_token": token} if token else {})
        page = (await client.get(JOBS, params=query)).json()
        listed += [job["id"] for job in page["jobs"]]
        token = page["next_page_token"]
    assert listed == jobs[::-1]
    assert token is None
    cancelled = (await client.get(JOBS, params={"status": "cancelled"})).json()["jobs"]
    assert [job["id"] for job in cancelled] == [jobs[0]]
    updates = (await client.get(JOBS, params={"kind": "update", "status": "queued"})).json()["jobs"]
    assert [job["id"] for job in updates] == [jobs[5]]
    assert (await client.get(JOBS, params={"status": "done"})).status_code == 422
    assert (await client.get(JOBS, params={"page_token": "x"})).status_code == 422


async def test_a_queued_job_is_cancelled_at_once_and_stays_so(client: httpx.AsyncClient) -> None:
    job = await post_job(client, {"model": "lstm"})
    answer = await client.post(f"{JOBS}/{job}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    again = await client.post(f"{JOBS}/{job}/cancel")
    assert (again.status_code, again.json()) == (200, answer.json())
    found = await read_job(client, job)
    assert (found["started_at"], found["attempt"], found["history"]) == (None, 0, [])


@pytest.mark.parametrize("job", ["00000000-0000-0000-0000-000000000000", "7", "%00", "a b", "é" * 300])
async def test_an_unknown_job_is_not_found(client: httpx.AsyncClient, job: str) -> None:
    for answer in (
        await client.get(f"{JOBS}/{job}"),
        await client.get(f"{JOBS}/{job}/events"),
        await client.post(f"{JOBS}/{job}/cancel"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_reading_and_writing_need_their_scopes(
    app: FastAPI, key_with: Callable[..., Awaitable[str]], client: httpx.AsyncClient
) -> None:
    job = await post_job(client, {"model": "lstm"})
    async with client_of(app, await key_with("models:read")) as reader:
        assert (await reader.get(f"{JOBS}/{job}")).status_code == 200
        assert (await reader.post(JOBS, json={"model": "lstm"})).status_code == 403
        assert (await reader.post(f"{JOBS}/{job}/cancel")).status_code == 403
    async with client_of(app, await key_with("sales:read")) as stranger:
        assert (await stranger.get(JOBS)).status_code == 403
        assert (await stranger.get(f"{JOBS}/{job}/events")).status_code == 403


async def test_a_body_that_would_be_overlooked_is_refused(client: httpx.AsyncClient) -> None:
    job = await post_job(client)
    answer = await client.post(f"{JOBS}/{job}/cancel", json={"reason": "late"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unexpected_body")
    assert (await read_job(client, job))["status"] == "queued"
    assert (await client.post(f"{JOBS}/{job}/cancel", json={})).status_code == 200


async def test_mistakes_are_named_by_their_field(client: httpx.AsyncClient) -> None:
    for body, field in (
        ({"horizon": 7}, "model"),
        ({"kind": "update", "model": "lstm"}, "model"),
        ({"kind": "x"}, "body"),
    ):
        answer = await client.post(JOBS, json=body)
        assert [error["field"] for error in answer.json()["errors"]] == [field], answer.text
    answer = await client.post(JOBS, json=TINY | {"width": 10, "heads": 3, "model": "transformer"})
    assert "Value error" not in answer.text


async def test_many_cancels_at_once_end_a_queued_job_once(client: httpx.AsyncClient, database: Database) -> None:
    job = await post_job(client, {"model": "lstm"})
    answers = await asyncio.gather(*(client.post(f"{JOBS}/{job}/cancel") for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.json()["finished_at"] for answer in answers}) == 1
