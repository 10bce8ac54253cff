"""`shelfcast schedules`: what runs by itself, and when."""

from typing import Annotated, Any

import typer

from app.cli import show
from app.cli.client import print_json, told
from app.cli.learn import Json

COLUMNS = ("name", "every", "at", "timezone", "enabled", "closed_share", "last_run", "next_run")

schedules = typer.Typer(help="List and change what runs by itself.", no_args_is_help=True)


@schedules.command("list")
def list_schedules(as_json: Json = False) -> None:
    """The schedules with their last and next run (UTC)."""
    with told() as client:
        found = client.get("/v1/schedules")["schedules"]
    _show(found, as_json=as_json)


@schedules.command("set")
def set_schedule(
    name: Annotated[str, typer.Argument(help="daily-update, fine-tuning, retraining or housekeeping.")],
    every: Annotated[int | None, typer.Option(help="Days from one run to the next.")] = None,
    at: Annotated[str | None, typer.Option(help="Time of day, HH:MM.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Of that time, e.g. Europe/Berlin.")] = None,
    enabled: Annotated[bool | None, typer.Option("--enable/--disable", help="Turn it on or off.")] = None,
    closed_share: Annotated[
        float | None, typer.Option(help="daily-update: share of the usual series that closes a day.")
    ] = None,
    hour_only: Annotated[
        bool, typer.Option("--hour-only", help="daily-update: a day closes by the hour only.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Change what is given of one schedule; the rest stays."""
    if hour_only and closed_share is not None:
        raise typer.BadParameter("give either --closed-share or --hour-only")
    given = {"every": every, "at": at, "timezone": timezone, "enabled": enabled, "closed_share": closed_share}
    change: dict[str, Any] = {"name": name} | {field: value for field, value in given.items() if value is not None}
    if hour_only:
        change["closed_share"] = None
    with told() as client:
        found = client.request("PUT", "/v1/schedules", json={"schedules": [change]}).json()["schedules"]
    _show([schedule for schedule in found if schedule["name"] == name], as_json=as_json)


def _show(found: list[dict[str, Any]], *, as_json: bool) -> None:
    print_json(found) if as_json else show.table(found, COLUMNS)
