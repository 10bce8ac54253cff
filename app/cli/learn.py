"""`shelfcast train | update | jobs | models | accuracy | drifts`: jobs started and followed, versions listed, judged, promoted,
rolled back, what their forecasts came to, and which became worse."""

import time
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from app.cli import show
from app.cli.client import Client, fail, print_json, told

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
Detach = Annotated[bool, typer.Option("--detach", help="Do not wait for the job.")]
ENDED = ("succeeded", "failed", "cancelled")
POLL_SECONDS = 0.5

jobs = typer.Typer(help="List, show, follow and cancel training jobs.", no_args_is_help=True)
models = typer.Typer(
    help="List, show, promote and roll back versions; what the gate said of them.", no_args_is_help=True
)


def train(
    model: Annotated[str, typer.Option(help="lstm, transformer, cnn, mlp or ensemble.")] = "lstm",
    promote: Annotated[str, typer.Option(help="auto, never or always.")] = "auto",
    setting: Annotated[list[str], typer.Option("--set", help="NAME=VALUE of the request, e.g. horizon=14.")] = [],
    tune_trials: Annotated[int | None, typer.Option(min=1, help="Try so many settings first.")] = None,
    tune_timeout: Annotated[float | None, typer.Option(help="Seconds for all trials.")] = None,
    compress: Annotated[bool, typer.Option("--compress", help="Distil an ensemble into one small network.")] = False,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Train a network on all sales and, unless told otherwise, promote it by merit."""
    body: dict[str, Any] = {"kind": "train", "model": model, "promote": promote}
    if tune_trials is not None:
        body["tune"] = {"trials": tune_trials} | ({} if tune_timeout is None else {"timeout_s": tune_timeout})
    elif tune_timeout is not None:
        raise typer.BadParameter("--tune-timeout needs --tune-trials")
    if compress:
        body["compress"] = True
    with told() as client:
        _run(client, body | parsed_settings(setting), detach=detach, as_json=as_json)


def update(
    until: Annotated[str | None, typer.Option(help="The newest day to learn from, taken as complete.")] = None,
    detach: Detach = False,
    as_json: Json = False,
) -> None:
    """Train the champion on from where it stands, on the newest sales of days that are over."""
    with told() as client:
        _run(client, {"kind": "update"} | ({"until": until} if until else {}), detach=detach, as_json=as_json)


@jobs.command("list")
def list_jobs(as_json: Json = False) -> None:
    """The jobs, newest first."""
    with told() as client:
        found = list(client.pages("/v1/training-jobs", "jobs"))
    if as_json:
        print_json(found)
    else:
        show.table(found, ["id", "kind", "status", "progress", "attempt", "model_version", "created_at"])


@jobs.command("show")
def show_job(job: str, as_json: Json = False) -> None:
    """One job."""
    with told() as client:
        found = client.get(f"/v1/training-jobs/{job}")
    if as_json:
        print_json(found)
    else:
        show.table([{"field": name, "value": value} for name, value in found.items()], ["field", "value"])


@jobs.command("watch")
def watch_job(job: str, as_json: Json = False) -> None:
    """Follow a job to its end."""
    with told() as client:
        _finish(client, follow(client, job, quiet=as_json), as_json=as_json)


@jobs.command("cancel")
def cancel_job(job: str, as_json: Json = False) -> None:
    """Ask a job to stop."""
    with told() as client:
        found = client.post(f"/v1/training-jobs/{job}/cancel")
    if as_json:
        print_json(found)
    else:
        typer.echo(f"job {job} is {found['status']}")


@models.command("list")
def list_models(as_json: Json = False) -> None:
    """The versions, newest first."""
    with told() as client:
        found = list(client.pages("/v1/models", "models"))
    if as_json:
        print_json(found)
        return
    rows = [model | {"wql": (model["metrics"].get("model") or {}).get("wql")} for model in found]
    show.table(rows, ["version", "aliases", "architecture", "kind", "parent", "horizon", "wql", "decision"])


@models.command("show")
def show_model(version: int, as_json: Json = False) -> None:
    """One version with its metrics beside the baselines'."""
    with told() as client:
        found = client.get(f"/v1/models/{version}")
    if as_json:
        print_json(found)
    else:
        show.metrics(found)


@models.command("verdict")
def show_verdict(version: int, as_json: Json = False) -> None:
    """What the gate said of an update, check by check."""
    with told() as client:
        found = client.get(f"/v1/models/{version}/verdict")
    if as_json:
        print_json(found)
    else:
        show.verdict(found)


@models.command("promote")
def promote(version: int, expected_champion: int | None = None, as_json: Json = False) -> None:
    """Make a version the champion."""
    body = {} if expected_champion is None else {"expected_champion": expected_champion}
    _changed(f"/v1/models/{version}/promote", body, as_json=as_json)


@models.command("rollback")
def rollback(as_json: Json = False) -> None:
    """Go back to the previous champion."""
    _changed("/v1/models/rollback", {}, as_json=as_json)


def accuracy(
    sku: Annotated[str | None, typer.Option(help="Series of one SKU.")] = None,
    location: Annotated[str | None, typer.Option(help="Series at one location.")] = None,
    segment: Annotated[str | None, typer.Option(help="fast, slow or intermittent series.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="First day; absent: 27 days before the last.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Last day; absent: the newest scored.")] = None,
    as_json: Json = False,
) -> None:
    """What was forecast against what came, beside the seasonal naive and the networks without any update."""
    query = {"sku": sku, "location": location, "segment": segment, "from": first, "to": last}
    with told() as client:
        found = client.get("/v1/accuracy", **query)
    if as_json:
        print_json(found)
    else:
        show.accuracy(found)


def drifts(
    scope: Annotated[str | None, typer.Option(help="series or segment; absent: both.")] = None,
    sku: Annotated[str | None, typer.Option(help="Series of one SKU.")] = None,
    location: Annotated[str | None, typer.Option(help="Series at one location.")] = None,
    segment: Annotated[str | None, typer.Option(help="fast, slow or intermittent series.")] = None,
    first: Annotated[str | None, typer.Option("--from", help="Found on this day or later.")] = None,
    last: Annotated[str | None, typer.Option("--to", help="Found on this day or before.")] = None,
    as_json: Json = False,
) -> None:
    """Series and segments whose forecasts became worse than they used to be, found last first."""
    query = {"scope": scope, "sku": sku, "location": location, "segment": segment, "from": first, "to": last}
    with told() as client:
        found = list(client.pages("/v1/drifts", "drifts", **query))
    if as_json:
        print_json(found)
    else:
        show.drifts(found)


def follow(client: Client, job: str, *, quiet: bool = False) -> dict[str, Any]:
    """Wait for a job's end, with a bar that tells epoch, loss and time left. Returns the job."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, console=show.console, disable=quiet, transient=True) as progress:
        bar = progress.add_task("training", total=1.0, state="queued")
        while True:
            found: dict[str, Any] = client.get(f"/v1/training-jobs/{job}")
            progress.update(bar, completed=found["progress"], state=_state(found))
            if found["status"] in ENDED:
                return found
            time.sleep(POLL_SECONDS)


def _run(client: Client, body: dict[str, Any], *, detach: bool, as_json: bool) -> None:
    job = client.post("/v1/training-jobs", body)
    if detach:
        print_json(job) if as_json else typer.echo(f"job {job['id']} is {job['status']}")
        return
    _finish(client, follow(client, job["id"], quiet=as_json), as_json=as_json)


def _finish(client: Client, job: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(job)
    ended_well(job)
    if as_json:
        return
    if job["kind"] == "backtest":
        show.backtest(client.get(f"/v1/training-jobs/{job['id']}/backtest"))
    elif job.get("model_version") is None:
        typer.echo(f"job {job['id']} succeeded without a new version. {job['outcome']}")
    else:
        if job["tuning"] is not None:
            show.tuning(job["tuning"])
        if job["compressed"] is not None:
            show.console.print(job["compressed"]["sentence"])
        show.metrics(client.get(f"/v1/models/{job['model_version']}"))


def ended_well(job: dict[str, Any]) -> dict[str, Any]:
    """The job, unless it failed or was cancelled: then the command ends with the reason."""
    if job["status"] == "failed":
        fail(f"job {job['id']} failed: {job['error']['detail']}")
    if job["status"] == "cancelled":
        fail(f"job {job['id']} was cancelled")
    return job


def parsed_settings(pairs: list[str]) -> dict[str, Any]:
    """What `--set NAME=VALUE` adds to a request."""
    return dict(_parse(pair) for pair in pairs)


def _changed(path: str, body: dict[str, Any], *, as_json: bool) -> None:
    with told() as client:
        found = client.post(path, body)
    if as_json:
        print_json(found)
    else:
        typer.echo(f"version {found['version']} is the champion")


def _state(job: dict[str, Any]) -> str:
    if job["status"] != "running":
        return str(job["status"])
    parts = [job["stage"]] if (job["stage"] or "").startswith(("tuning", "distilling")) else []
    parts += [f"epoch {job['epoch']}" if job["epoch"] is not None else "starting"]
    parts += [f"{name} {job[name]:.4f}" for name in ("loss", "validation") if job[name] is not None]
    parts += [f"{job['eta_seconds']:.0f} s left"] if job["eta_seconds"] is not None else []
    return ", ".join(parts)


def _parse(pair: str) -> tuple[str, Any]:
    name, separator, value = pair.partition("=")
    if not separator:
        raise typer.BadParameter(f"{pair!r} is not NAME=VALUE")
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value
