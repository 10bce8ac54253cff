"""`shelfcast backtest`: a backtest started, followed and shown; its table of all series saved where asked."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli import show
from app.cli.client import print_json, told
from app.cli.learn import Detach, Json, ended_well, follow, parsed_settings


def backtest(
    model: Annotated[str | None, typer.Option(help="lstm, transformer, cnn, mlp or ensemble: trained afresh.")] = None,
    model_version: Annotated[int | None, typer.Option(help="A version to judge as it is.")] = None,
    windows: Annotated[int, typer.Option(help="Cutoffs, counted back from the newest day.")] = 5,
    step: Annotated[int, typer.Option(help="Days between two cutoffs.")] = 28,
    horizon: Annotated[int | None, typer.Option(help="Days ahead; by default 28, or the version's.")] = None,
    setting: Annotated[list[str], typer.Option("--set", help="NAME=VALUE of the request, e.g. epochs=10.")] = [],
    out: Annotated[Path | None, typer.Option(help="Parquet file to save the results of every series to.")] = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Forecast from past cutoffs and score against what then came, beside the baselines. Nothing is published."""
    if (model is None) == (model_version is None):
        raise typer.BadParameter("give either --model or --model-version")
    given = {"model": model, "model_version": model_version, "horizon": horizon}
    body: dict[str, Any] = {"kind": "backtest", "windows": windows, "step": step}
    body |= {name: value for name, value in given.items() if value is not None} | parsed_settings(setting)
    with told() as client:
        job = client.post("/v1/training-jobs", body)
        if detach:
            print_json(job) if as_json else typer.echo(f"job {job['id']} is {job['status']}")
            return
        job = ended_well(follow(client, job["id"], quiet=as_json))
        path = f"/v1/training-jobs/{job['id']}/backtest"
        found = client.get(path)
        if out is not None:
            headers = {"Accept": "application/vnd.apache.parquet"}
            out.write_bytes(client.request("GET", path, headers=headers).content)
    if as_json:
        print_json(found)
    else:
        show.backtest(found)
