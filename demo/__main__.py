"""`make demo`: start the service, post a year of a grocer's sales, train an LSTM, show forecasts; post a day more, update, show
the verdict; keep serving.

Run again, it finds its data and its champion and does neither twice. Ctrl-C stops the service and all it started.
"""

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx

from app.cli import show
from app.cli.client import Client, Refused
from app.cli.learn import follow
from app.cli.load import Load, count_rows, load
from app.config import ClientSettings
from demo.grocer import daily_sales, item_list

PRODUCTS_SHOWN = ("1082185", "1127831", "5569230")  # bananas, strawberries, a soft drink
START_SECONDS = 120
YEAR, NEXT_DAY = "grocer.parquet", "next-day.parquet"


def main() -> int:
    log_file = ClientSettings().home.absolute() / "demo" / "service.log"
    log_file.parent.mkdir(parents=True, exist_ok=True)
    # In a session of its own: Ctrl-C reaches only this process, which then stops the service in order.
    with log_file.open("ab") as log:
        command = [sys.executable, "-m", "app.cli", "serve"]
        service = subprocess.Popen(command, start_new_session=True, stdout=log, stderr=log)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        client = wait_until_ready(service, log_file)
        load_sales(client)
        version = train(client)
        show_forecasts(client, version)
        update(client)
        show.console.print(f"\nThe service runs on {client.settings.base_url} (its page: /docs, its log: {log_file}).")
        show.console.print("Ctrl-C stops it.")
        return service.wait()
    except KeyboardInterrupt:
        return 0
    except (Refused, DemoError) as error:
        show.console.print(f"[red]{error}[/]")
        return 1
    finally:
        stop(service)


class DemoError(Exception):
    """The demo cannot go on; the message says why."""


def wait_until_ready(service: subprocess.Popen[bytes], log_file: Path) -> Client:
    client = Client()
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if service.poll() is not None:
            last_words = "\n".join(log_file.read_text().splitlines()[-5:])
            raise DemoError(f"The service did not start. The end of {log_file}:\n{last_words}")
        try:
            if client.http.get("/readyz").status_code == 200 and client.settings.read_key() is not None:
                return Client()
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise DemoError(f"The service was not ready within {START_SECONDS} s.")


def load_sales(client: Client) -> None:
    """Post the year but for its last day, unless it is there."""
    folder = ClientSettings().home.absolute() / "demo"
    if not (folder / YEAR).exists() or not (folder / NEXT_DAY).exists():
        show.console.print("Summing a year of a grocer's baskets to daily sales of its 500 best-selling products …")
        write_sales(folder)
    wanted = Load(folder / YEAR, {}, complete=True, chunk_rows=20_000)
    began = time.monotonic()
    posted = completed = 0
    for answer in load(client, wanted):
        posted += answer.get("received", 0)
        completed += answer.get("completed", 0)
    if posted == 0:
        show.console.print(f"The sales are there already: {count_rows(wanted):,} rows were posted by an earlier run.")
        return
    seconds = time.monotonic() - began
    show.console.print(f"Posted {posted:,} rows in {seconds:.1f} s; {completed:,} days without a sale became zeros.")


def write_sales(folder: Path) -> None:
    """The year without its last day, and that day."""
    folder.mkdir(parents=True, exist_ok=True)
    sales = daily_sales()
    last = sales["date"].max()
    for name, part in ((YEAR, sales[sales["date"] < last]), (NEXT_DAY, sales[sales["date"] == last])):
        temporary = (folder / name).with_suffix(".part")
        part.to_parquet(temporary, index=False)
        temporary.replace(folder / name)


def train(client: Client) -> dict[str, Any]:
    """The champion, made now unless there is one."""
    for model in client.pages("/v1/models", "models"):
        if "champion" in model["aliases"]:
            show.console.print(f"Version {model['version']} was trained by an earlier run.")
            return model
    put_names(client)
    show.console.print("Training an LSTM on all 500 products at once …")
    began = time.monotonic()
    job = follow(client, client.post("/v1/training-jobs", {"model": "lstm"})["id"])
    if job["status"] != "succeeded":
        raise DemoError(f"The training {job['status']}: {(job['error'] or {}).get('detail', '')}")
    show.console.print(f"Trained in {time.monotonic() - began:.0f} s.")
    version: dict[str, Any] = client.get(f"/v1/models/{job['model_version']}")
    return version


def put_names(client: Client) -> None:
    known = {row["sku"] for row in client.pages("/v1/series", "series")}
    goods = item_list()
    goods = goods[goods["product_id"].astype(int).astype(str).isin(known)]
    items = [
        {
            "sku": str(int(row.product_id)),
            "name": row.product_type,
            "category": row.product_category,
            "brand": row.brand,
        }
        for row in goods.itertuples()
    ]
    client.request("PUT", "/v1/items", json={"items": items})


def show_forecasts(client: Client, version: dict[str, Any]) -> None:
    for sku in PRODUCTS_SHOWN:
        forecast = client.get("/v1/forecasts", sku=sku)
        sales = list(client.pages("/v1/sales", "sales", sku=sku))
        item = next(iter(client.get("/v1/items", sku=sku)["items"]), {"name": ""})
        show.console.print()
        show.plot(sales, forecast, title=f"{item['name']} (SKU {sku})")
    show.console.print()
    show.metrics(version)
    key_file = ClientSettings().home.absolute() / "admin.key"
    show.console.print("\nThe same over HTTP:")
    url = f"{client.settings.base_url}/v1/forecasts?sku={PRODUCTS_SHOWN[0]}"
    line = f"""curl -H "Authorization: Bearer $(cat '{key_file}')" '{url}'"""
    show.console.print(line, highlight=False, soft_wrap=True, markup=False)


def update(client: Client) -> None:
    """Post one day more, let the champion learn from it, and show what the gate says about that."""
    file = ClientSettings().home.absolute() / "demo" / NEXT_DAY
    for answer in load(client, Load(file, {}, complete=True, chunk_rows=20_000)):
        show.console.print(f"\nPosted the next day: {answer['received']} rows, {answer['completed']} zeros. Updating …")
    began = time.monotonic()
    job = follow(client, client.post("/v1/training-jobs", {"kind": "update"})["id"])
    if job["status"] != "succeeded":
        raise DemoError(f"The update {job['status']}: {(job['error'] or {}).get('detail', '')}")
    updated = [model for model in client.pages("/v1/models", "models") if model["kind"] == "update"]
    if not updated:
        raise DemoError(f"The update made no version: {job['outcome']}")
    verdict = client.get(f"/v1/models/{updated[0]['version']}/verdict")
    show.console.print(f"Updated in {time.monotonic() - began:.0f} s: version {verdict['version']}.")
    show.verdict(verdict)


def stop(service: subprocess.Popen[bytes]) -> None:
    """Ask the service to end, and wait: it takes at most 20 s and leaves nothing behind."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if service.poll() is None:
        service.terminate()
        service.wait()


if __name__ == "__main__":
    sys.exit(main())
