"""Schedules as callers see them: the defaults, what may be changed, and what is refused."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from app.database.engine import Database
from tests.schedules.world import put, run, shown
from tests.support import client_of

SCHEDULES = "/v1/schedules"


async def test_the_defaults(client: httpx.AsyncClient) -> None:
    answer = await client.get(SCHEDULES)
    assert answer.status_code == 200
    plans = {schedule.pop("name"): schedule for schedule in answer.json()["schedules"]}
    housekeeping = plans["housekeeping"].pop("next_run")
    assert housekeeping[10:] == "T02:00:00Z"
    never: dict[str, Any] = {"timezone": "UTC", "enabled": True, "last_run": None}
    assert plans == {
        "daily-update": never | {"kind": "update", "every": 1, "at": "03:00", "closed_share": 0.95, "next_run": None},
        "fine-tuning": never | {"kind": "fine_tune", "every": 7, "at": "04:00", "closed_share": None, "next_run": None},
        "retraining": never | {"kind": "train", "every": 28, "at": "05:00", "closed_share": None, "next_run": None},
        "housekeeping": never | {"kind": "housekeeping", "every": 1, "at": "02:00", "closed_share": None},
    }


async def test_what_is_given_is_changed_and_nothing_else(client: httpx.AsyncClient) -> None:
    changes = [
        {"name": "daily-update", "at": "23:59", "timezone": "Asia/Kathmandu", "closed_share": 0.5},
        {"name": "retraining", "enabled": False, "every": 365},
    ]
    before = (await client.get(SCHEDULES)).json()["schedules"]
    answer = await client.put(SCHEDULES, json={"schedules": changes})
    assert answer.status_code == 200
    assert answer.json() == (await client.get(SCHEDULES)).json()
    given = {change["name"]: change for change in changes}
    assert answer.json()["schedules"] == [schedule | given.get(schedule["name"], {}) for schedule in before]
    assert (await client.put(SCHEDULES, json={"schedules": []})).json() == answer.json()


@pytest.mark.parametrize(
    ("change", "field", "told"),
    [
        ({"name": "nightly"}, "name", "'daily-update', 'fine-tuning', 'retraining' or 'housekeeping'"),
        ({"every": 2}, "name", "required"),
        ({"name": "retraining", "every": 0}, "every", "greater than or equal to 1"),
        ({"name": "retraining", "every": 366}, "every", "less than or equal to 365"),
        ({"name": "retraining", "every": "7"}, "every", "integer"),
        ({"name": "retraining", "every": None}, "every", "integer"),
        ({"name": "retraining", "at": "24:00"}, "at", "from 00:00 to 23:59, such as '03:30', not '24:00'"),
        ({"name": "retraining", "at": "3:00"}, "at", "from 00:00 to 23:59"),
        ({"name": "retraining", "at": "03:00:00"}, "at", "from 00:00 to 23:59"),
        ({"name": "retraining", "at": "03:00\n"}, "at", "from 00:00 to 23:59"),
        ({"name": "retraining", "at": "٠٣:٠٠"}, "at", "from 00:00 to 23:59"),
        ({"name": "retraining", "timezone": "Berlin"}, "timezone", "such as 'Europe/Berlin', not 'Berlin'"),
        ({"name": "retraining", "timezone": "../../etc/passwd"}, "timezone", "IANA"),
        ({"name": "retraining", "timezone": ""}, "timezone", "IANA"),
        ({"name": "retraining", "timezone": None}, "timezone", "string"),
        ({"name": "retraining", "enabled": "yes"}, "enabled", "boolean"),
        ({"name": "retraining", "days": 7}, "days", "not permitted"),
        ({"name": "daily-update", "closed_share": 1.01}, "closed_share", "less than or equal to 1"),
        ({"name": "daily-update", "closed_share": -0.01}, "closed_share", "greater than or equal to 0"),
        ({"name": "retraining", "closed_share": 0.5}, "closed_share", "only of daily-update"),
    ],
    ids=str,
)
async def test_what_cannot_be_is_refused_and_says_what_can(
    client: httpx.AsyncClient, change: dict[str, Any], field: str, told: str
) -> None:
    before = (await client.get(SCHEDULES)).json()
    good = {"name": "fine-tuning", "every": 3}
    answer = await client.put(SCHEDULES, json={"schedules": [good, change]})
    assert answer.status_code == 422, answer.text
    (error,) = answer.json()["errors"]
    assert (error["row"], error["field"]) == (1, field), error
    assert told in error["detail"]
    assert (await client.get(SCHEDULES)).json() == before


@pytest.mark.parametrize("body", [{}, [], {"schedules": {}}, {"schedules": None}, {"daily-update": {}}, None], ids=str)
async def test_a_body_of_another_shape_is_refused(client: httpx.AsyncClient, body: Any) -> None:
    assert (await client.put(SCHEDULES, json=body)).status_code == 422


async def test_what_was_read_may_be_sent_back_with_a_change_in_it(client: httpx.AsyncClient) -> None:
    before = (await client.get(SCHEDULES)).json()
    same = await client.put(SCHEDULES, json=before)
    assert (same.status_code, same.json()) == (200, before)
    changed = [plan | {"every": 9, "kind": "train", "last_run": None} for plan in before["schedules"]]
    after = (await client.put(SCHEDULES, json={"schedules": changed})).json()["schedules"]
    kept = ("name", "kind", "at", "enabled", "closed_share", "last_run")
    assert [[plan[name] for name in kept] for plan in after] == [
        [plan[name] for name in kept] for plan in before["schedules"]
    ]
    assert {plan["every"] for plan in after} == {9}


async def test_a_schedule_named_twice_is_refused(client: httpx.AsyncClient) -> None:
    changes = [{"name": "retraining", "every": every} for every in (14, 21)]
    answer = await client.put(SCHEDULES, json={"schedules": changes})
    assert answer.status_code == 422
    assert "retraining" in answer.json()["errors"][0]["detail"]


async def test_one_idempotency_key_changes_once(client: httpx.AsyncClient) -> None:
    key = {"Idempotency-Key": "berlin"}
    body = {"schedules": [{"name": "retraining", "every": 14}]}
    first = await client.put(SCHEDULES, json=body, headers=key)
    await put(client, "retraining", every=21)
    again = await client.put(SCHEDULES, json=body, headers=key)
    assert (again.status_code, again.json(), again.headers["Idempotent-Replayed"]) == (200, first.json(), "true")
    assert (await shown(client, "retraining"))["every"] == 21
    other = await client.put(SCHEDULES, json={"schedules": []}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")


async def test_reading_and_changing_need_their_scopes(
    app: FastAPI, key_with: Callable[..., Awaitable[str]], client: httpx.AsyncClient
) -> None:
    assert client.headers["Authorization"]
    async with client_of(app, await key_with("models:read")) as reader:
        assert (await reader.get(SCHEDULES)).status_code == 200
        assert (await reader.put(SCHEDULES, json={"schedules": []})).status_code == 403
    async with client_of(app, await key_with("sales:write", "models:write")) as writer:
        assert (await writer.get(SCHEDULES)).status_code == 403
        assert (await writer.put(SCHEDULES, json={"schedules": []})).status_code == 200


async def test_changes_at_once_all_count(client: httpx.AsyncClient) -> None:
    names = ["daily-update", "fine-tuning", "retraining", "housekeeping"]
    bodies = [
        {"schedules": [{"name": name, field: value} for name in order]}
        for order in (names, names[::-1])
        for field, value in (("every", 5), ("at", "10:10"), ("timezone", "Europe/Berlin"))
    ]
    answers = await asyncio.gather(*(client.put(SCHEDULES, json=body) for body in bodies))
    assert [answer.status_code for answer in answers] == [200] * len(bodies)
    for schedule in (await client.get(SCHEDULES)).json()["schedules"]:
        assert (schedule["every"], schedule["at"], schedule["timezone"]) == (5, "10:10", "Europe/Berlin")


async def test_a_change_that_changes_nothing_leaves_the_plan_as_it_is(
    client: httpx.AsyncClient, database: Database
) -> None:
    begun = await run(database, "SELECT since FROM schedules ORDER BY name")
    await put(client, "retraining", every=28, at="05:00", timezone="UTC", enabled=True)
    assert await run(database, "SELECT since FROM schedules ORDER BY name") == begun
    await put(client, "retraining", every=27)
    assert await run(database, "SELECT since FROM schedules ORDER BY name") != begun


async def test_a_job_that_a_caller_asked_for_has_no_schedule(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/training-jobs", json={"kind": "update", "fine_tune": True})
    assert answer.status_code == 202
    assert (answer.json()["schedule"], answer.json()["request"]["fine_tune"]) == (None, True)
    left_open = await client.post("/v1/training-jobs", json={"kind": "update"})
    assert left_open.json()["request"]["fine_tune"] is None
    assert (await client.post("/v1/training-jobs", json={"kind": "update", "fine_tune": "no"})).status_code == 422
