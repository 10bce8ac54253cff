"""An ensemble through the whole of its life: trained, read, updated, backtested, and what its versions say of themselves."""

import httpx
import pytest

from app.database.engine import Database
from tests.jobs.test_quality import rows
from tests.jobs.workers import TINY, add_days, done, update

ENSEMBLE = TINY | {"model": "ensemble", "heads": 2, "cleaning": "seasonal"}


@pytest.mark.usefixtures("worker_here")
async def test_an_ensemble_is_trained_answers_is_updated_and_backtested(
    client: httpx.AsyncClient, database: Database
) -> None:
    assert (await client.post("/v1/sales", json={"sales": [*rows("A-1", d40=None), *rows("A-2")]})).status_code == 200
    assert (await done(client, ENSEMBLE | {"promote": "always"}))["model_version"] == 1
    await add_days(database, 28)
    assert (await update(client, promote="always"))["model_version"] == 2
    for version in (1, 2):
        model = (await client.get(f"/v1/models/{version}")).json()
        assert model["architecture"] == model["config"]["architecture"] == "ensemble"
        assert len(model["config"]["members"]) == 6 and model["metrics"]["model"]["wql"] >= 0
        quality = (await client.get("/v1/series/quality", params={"model_version": version})).json()
        assert quality["cleaning"] == "seasonal"
        assert [(row["kind"], row["done"]) for row in quality["findings"]] == [("gap", "filled")]
    forecast = (await client.get("/v1/forecasts", params={"sku": "A-1", "location": "S1"})).json()
    assert (forecast["model_version"], forecast["fallback"], len(forecast["forecast"])) == (2, None, 7)

    for asked in ({"model_version": 2}, ENSEMBLE):
        ended = await done(client, {"kind": "backtest", "windows": 1, "step": 7} | asked)
        result = (await client.get(f"/v1/training-jobs/{ended['id']}/backtest")).json()
        assert result["model"] == "ensemble" and result["overall"]["scores"]["model"]["wql"] >= 0
