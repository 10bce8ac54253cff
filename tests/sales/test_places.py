"""Holidays of the service: the country of a location, else the default it was started with, in training and forecasts alike."""

from typing import Any

import httpx
import numpy as np
import pytest
from pydantic import ValidationError

from app.catalog.countries import COUNTRIES
from app.config import Settings
from app.database.engine import Database
from app.main import create_app
from app.sales.panel import read_context, read_panel
from models.holidays import HOLIDAYS, place_of
from models.panel import Panel

EPIPHANY, EASTER_MONDAY, LAST = "2026-01-06", "2026-04-06", "2026-03-31"


async def sell(client: httpx.AsyncClient, *locations: str) -> None:
    rows = [
        {"sku": "A", "location": location, "date": day, "quantity": 1.0}
        for location in locations
        for day in ("2026-01-01", LAST)
    ]
    assert (await client.post("/v1/sales", json={"sales": rows})).status_code == 200


async def put(client: httpx.AsyncClient, **location: Any) -> None:
    answer = await client.put("/v1/locations", json={"locations": [location]})
    assert answer.status_code == 200, answer.text


async def panels(database: Database, known: tuple[str, ...] = HOLIDAYS) -> tuple[Panel, Panel]:
    """What a training and what forecasts read, the latter from the same first day on."""
    async with database.snapshot() as connection:
        data = await read_panel(connection)
        assert data is not None
        context = await read_context(connection, data.series_ids.tolist(), days=data.panel.days, ahead=28, known=known)
    assert context is not None
    for name in known:
        served = context.panel.known[name]
        learned = data.panel.known.get(name, np.full((data.panel.series, 999), np.nan, np.float32))
        np.testing.assert_array_equal(served, learned[:, : served.shape[1]])
    return data.panel, context.panel


def on(panel: Panel, day: str, name: str = "holiday") -> list[float]:
    values: list[float] = panel.known[name][:, panel.day_index(np.datetime64(day))].tolist()
    return values


async def revision(database: Database) -> int:
    async with database.reading() as connection:
        value: int = await connection.fetchval("SELECT value FROM revisions")
        return value


async def test_each_location_has_the_holidays_of_its_country_and_subdivision(
    client: httpx.AsyncClient, database: Database
) -> None:
    await sell(client, "augsburg", "berlin", "somewhere")
    assert not (await panels(database))[0].known
    await put(client, location="augsburg", country="DE", subdivision="DE-BY")
    await put(client, location="berlin", country="DE", subdivision="BE")
    learned, served = await panels(database)
    assert learned.known["holiday"].shape[1] >= learned.days + 365
    for panel in (learned, served):
        np.testing.assert_array_equal(on(panel, EPIPHANY), [1, 0, np.nan])
        np.testing.assert_array_equal(on(panel, EASTER_MONDAY), [1, 1, np.nan])  # of the days ahead
        np.testing.assert_array_equal(on(panel, LAST, "before_holiday"), np.float32([5 / 7, 5 / 7, np.nan]))


async def test_a_country_that_changes_is_read_anew(client: httpx.AsyncClient, database: Database) -> None:
    await sell(client, "x")
    await put(client, location="x", country="IT")
    assert on((await panels(database))[0], EPIPHANY) == [1]
    before = await revision(database)
    await put(client, location="x", country="FR")
    assert await revision(database) == before + 1  # so no stored forecast is fresh
    assert on((await panels(database))[1], EPIPHANY) == [0]
    await put(client, location="x")
    learned, served = await panels(database)
    assert "holiday" not in learned.known
    assert np.isnan(served.known["holiday"]).all()  # what a version trained with holidays is told


async def test_the_default_holds_where_a_location_has_no_country(
    client: httpx.AsyncClient, database: Database, database_url: str, settings: Settings
) -> None:
    await sell(client, "", "berlin")
    await put(client, location="berlin", country="DE")
    started = (("DE-BY", [1, 0], 1), ("DE-BY", [1, 0], 0), ("FR", [0, 0], 1), (None, [np.nan, 0], 1))
    for code, expected, changes in started:
        app = create_app(Settings(home=settings.home, country=code), database_url)
        before = await revision(database)
        async with app.router.lifespan_context(app):
            np.testing.assert_array_equal(on((await panels(database))[1], EPIPHANY), expected)
        assert await revision(database) == before + changes


async def test_a_day_that_the_calendar_tells_itself_stands(client: httpx.AsyncClient, database: Database) -> None:
    await sell(client, "x")
    own = {"location": "x", "date": "2026-01-20", "covariates": {"holiday": 1}}
    assert (await client.put("/v1/calendar", json={"calendar": [own]})).status_code == 200
    await put(client, location="x", country="IT")
    for panel in await panels(database):
        assert [on(panel, day) for day in (EPIPHANY, "2026-01-20", "2026-01-21")] == [[1], [1], [0]]


def test_every_country_that_a_location_may_have_has_holidays() -> None:
    for code in COUNTRIES:
        place_of(code)


def test_a_default_that_is_no_country_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHELFCAST_COUNTRY", "XX")
    with pytest.raises(ValidationError, match="country 'XX'"):
        Settings()
    monkeypatch.setenv("SHELFCAST_COUNTRY", "")
    assert Settings().country is None
