"""A forecast whose known-future values are missing says so, for the days asked for, in every format and from the store too."""

import csv
import io
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import numpy as np
import pytest

from models.holidays import HOLIDAYS, Place, with_holidays
from models.panel import Panel
from models.training import Trained, train
from models.training_config import TrainingConfig
from tests.forecasts.conftest import TRAINED_DAYS, Publish, trained_quantities
from tests.forecasts.data import END, forecast, sell

HORIZON = 14
KNOWN = ("event", "open", "price", "promo", "rain", *HOLIDAYS)


@pytest.fixture(scope="module")
def informed() -> Trained:
    """A network that knows every kind of covariate ahead."""
    quantity_ST = np.array([trained_quantities(sku) for sku in range(4)], dtype=np.float32)
    start = np.datetime64(END, "D") - np.timedelta64(TRAINED_DAYS - 1, "D")
    panel = Panel([f"T-{sku}" for sku in range(4)], [""] * 4, start, quantity_ST)
    rng = np.random.default_rng(0)
    told = {
        name: rng.random(quantity_ST.shape).astype(np.float32) for name in ("price", "promo", "event", "open", "rain")
    }
    panel = with_holidays(replace(panel, known=told), [Place("IT")] * 4)
    config = TrainingConfig(
        model="mlp", horizon=HORIZON, context_length=14, width=8, layers=1, epochs=1, batch_size=64, known=KNOWN
    )  # fmt: skip
    return train(panel, config)


async def put_days(client: httpx.AsyncClient, count: int, **values: Any) -> None:
    rows = [{"sku": "T-1", "date": str(END + timedelta(days=n + 1)), **values} for n in range(count)]
    answer = await client.put("/v1/calendar", json={"calendar": rows})
    assert answer.status_code == 200, answer.text


async def test_what_is_not_known_ahead_is_named_and_what_no_word_means_is_not(
    client: httpx.AsyncClient, publish_version: Publish, informed: Trained
) -> None:
    version = await publish_version(informed)
    await sell(client, "T-1", trained_quantities(1))
    body = await forecast(client, "T-1")
    assert body["model_version"] == version
    assert body["missing_covariates"] == ["holiday", "price", "rain"]
    assert await forecast(client, "T-1") == body  # rendered before

    await put_days(client, 1, price=2.5)  # and holds
    await put_days(client, 10, price=2.5, covariates={"rain": 0.3})
    assert (await client.put("/v1/locations", json={"locations": [{"country": "IT"}]})).status_code == 200
    assert (await forecast(client, "T-1"))["missing_covariates"] == ["rain"]
    assert (await forecast(client, "T-1", horizon=10))["missing_covariates"] == []
    assert (await forecast(client, "T-1", horizon=11))["missing_covariates"] == ["rain"]

    await put_days(client, HORIZON, price=2.5, covariates={"rain": 0.3})
    assert (await forecast(client, "T-1"))["missing_covariates"] == []


async def test_each_series_of_a_query_says_its_own_in_every_format(
    client: httpx.AsyncClient, publish_version: Publish, informed: Trained
) -> None:
    await publish_version(informed)
    await sell(client, "T-1", trained_quantities(1))
    await sell(client, "T-2", trained_quantities(2))
    await sell(client, "N-1", [1.0])  # answered by a simple method, which knows of none
    await put_days(client, HORIZON, price=2.5, covariates={"rain": 0.3})
    expected = {"T-1": ["holiday"], "T-2": ["holiday", "price", "rain"], "N-1": []}
    for _ in range(2):  # computed, then stored
        answer = await client.post("/v1/forecasts/query", json={"all": True})
        assert {one["sku"]: one["missing_covariates"] for one in answer.json()["forecasts"]} == expected
    answer = await client.post("/v1/forecasts/query", json={"all": True}, headers={"accept": "text/csv"})
    told = {row["sku"]: row["missing_covariates"] for row in csv.DictReader(io.StringIO(answer.text))}
    assert told == {"T-1": "holiday", "T-2": "holiday;price;rain", "N-1": ""}
