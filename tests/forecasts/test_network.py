"""What is answered once a network is champion: by it where it may, and no older than the newest accepted sale."""

import httpx
import numpy as np

from app.database.engine import Database
from models.inference import predict
from models.panel import Panel
from models.training import Trained
from tests.forecasts.conftest import Publish, trained_quantities
from tests.forecasts.data import END, forecast, sell


async def test_the_champion_answers_with_what_it_predicts(
    client: httpx.AsyncClient, database: Database, publish_version: Publish, lstm: Trained
) -> None:
    version = await publish_version(lstm)
    history = trained_quantities(1)
    await sell(database, "T-1", history)
    body = await forecast(client, "T-1", quantiles="0.1,0.5,0.9,0.25")
    assert body["model_version"] == version
    assert body["fallback"] is None
    assert len(body["forecast"]) == lstm.forecaster.horizon
    start = np.datetime64(END, "D") - np.timedelta64(len(history) - 1, "D")
    panel = Panel(["T-1"], [""], start, np.array([history], dtype=np.float32))
    expected = predict(lstm.forecaster, panel, len(history) - 1)
    np.testing.assert_allclose([day["mean"] for day in body["forecast"]], expected.mean_SH[0], rtol=1e-4)
    middle = list(expected.levels_Q).index(0.5)
    medians = [day["quantiles"]["0.5"] for day in body["forecast"]]
    np.testing.assert_allclose(medians, expected.quantiles_SHQ[0, :, middle], rtol=1e-4)
    assert list(body["forecast"][0]["quantiles"]) == ["0.1", "0.25", "0.5", "0.9"]
