"""The commands of `shelfcast` put together, and those that read and write sales and forecasts."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from app.cli import learn, run, show
from app.cli.backtest import backtest
from app.cli.client import Client, fail, print_json, told
from app.cli.learn import Json
from app.cli.quarantine import quarantine
from app.cli.schedules import schedules

if TYPE_CHECKING:
    from app.cli.load import Load

app = typer.Typer(
    help="Shelfcast: daily sales in, forecasts out. Settings are SHELFCAST_… variables; see docs/operations.md.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
app.command()(run.serve)
app.command("api")(run.api)
app.command()(run.worker)
app.command()(run.migrate)
app.add_typer(run.keys, name="keys")
app.command()(learn.train)
app.command()(learn.update)
app.command()(learn.accuracy)
app.command()(learn.drifts)
app.command()(backtest)
app.add_typer(learn.jobs, name="jobs")
app.add_typer(learn.models, name="models")
app.add_typer(schedules, name="schedules")
app.add_typer(quarantine, name="quarantine")


@app.command()
def load(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV or Parquet.")],
    name: Annotated[list[str], typer.Option("--map", help="OURS=THEIRS, e.g. sku=ITEM_NO.")] = [],
    complete: Annotated[bool, typer.Option(help="Days without a row are zeros for active series.")] = False,
    only_known: Annotated[bool, typer.Option(help="Leave out columns that Shelfcast does not know.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Check only.")] = False,
    chunk_rows: Annotated[int, typer.Option(min=1, help="Rows sent at a time.")] = 100_000,
    as_json: Json = False,
) -> None:
    """Send a file of sales; continue where an interrupted load stopped."""
    from app.cli.load import Load

    wanted = Load(file, dict(_pair(text) for text in name), complete, chunk_rows, only_known, dry_run)
    with told() as client:
        try:
            total = _load(client, wanted, quiet=as_json)
        except (ValueError, OSError) as error:
            fail(f"{file}: {error}")
    if as_json:
        print_json(total)
    else:
        typer.echo(", ".join(f"{count} {what}" for what, count in total.items()))


def _load(client: Client, wanted: "Load", *, quiet: bool) -> dict[str, int]:
    from app.cli.load import count_rows, load

    total = dict.fromkeys(("received", "inserted", "updated", "unchanged", "completed", "held", "sent_before"), 0)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=show.console, disable=quiet) as progress:
        bar = progress.add_task(wanted.file.name, total=count_rows(wanted))
        for answer in load(client, wanted):
            progress.advance(bar, answer["rows"])
            if answer["skipped"]:
                total["sent_before"] += answer["rows"]
            for what in ("received", "inserted", "updated", "unchanged", "completed", "held"):
                total[what] += answer.get(what, 0)
    return total


@app.command()
def forecast(
    sku: str,
    location: str = "",
    horizon: int | None = None,
    quantiles: str = "0.1,0.5,0.9",
    period: str = "day",
    model_version: int | None = None,
    plot: Annotated[bool, typer.Option(help="Draw sales and forecast.")] = False,
    as_json: Json = False,
) -> None:
    """The forecast of one series."""
    query = {"sku": sku, "location": location, "horizon": horizon, "quantiles": quantiles, "period": period}
    with told() as client:
        found = client.get("/v1/forecasts", model_version=model_version, **query)
        sales = list(client.pages("/v1/sales", "sales", sku=sku, location=location)) if plot else []
    if as_json:
        print_json(found)
    elif plot:
        show.plot(sales, found, title=f"{sku} {location}".strip())
    else:
        show.forecast_table(found)


def main() -> None:
    try:
        app(prog_name="shelfcast")
    except ValidationError as wrong:  # of a setting: whatever else people give is checked where it comes in
        for error in wrong.errors():
            sys.stderr.write(f"SHELFCAST_{str(error['loc'][0]).upper()}: {error['msg']}\n")
        sys.exit(2)


def _pair(text: str) -> tuple[str, str]:
    from app.cli.load import COLUMNS

    ours, separator, theirs = text.partition("=")
    if not separator or ours not in COLUMNS:
        raise typer.BadParameter(f"{text!r} is not OURS=THEIRS with OURS one of {', '.join(COLUMNS)}")
    return ours, theirs
