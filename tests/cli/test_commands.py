"""The command line as a person or a script uses it, against a whole service of real processes."""

import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from tests.serve.service import Service

Shelfcast = Callable[..., subprocess.CompletedProcess[str]]
FIRST_DAY = datetime.date(2025, 1, 1)

pytestmark = pytest.mark.xdist_group("cli")  # one service for the whole file


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(tmp_path_factory.mktemp("cli") / "home").until_ready()
    yield service
    service.end()


@pytest.fixture
def shelfcast(service: Service) -> Shelfcast:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(*arguments),
            check=False,
            env=environment(service) | variables,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", *arguments]


def environment(service: Service) -> dict[str, str]:
    return os.environ | {"SHELFCAST_HOME": str(service.home), "SHELFCAST_URL": service.url, "COLUMNS": "200"}


def answer(done: subprocess.CompletedProcess[str]) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def sales(skus: int, days: int, **columns: Any) -> pd.DataFrame:
    rows = [
        {"sku": f"{sku:05}", "date": FIRST_DAY + datetime.timedelta(days=day), "quantity": float((sku + day) % 7)}
        for day in range(days)
        for sku in range(skus)
    ]
    return pd.DataFrame(rows).assign(**columns)


def test_a_csv_with_the_shops_own_column_names_is_loaded_and_read_back(shelfcast: Shelfcast, tmp_path: Path) -> None:
    file = tmp_path / "sales.csv"
    frame = sales(2, 30, shop="csv").rename(columns={"sku": "ITEM_NO", "quantity": "UNITS"})
    frame.to_csv(file, index=False)
    names = ("--map", "sku=ITEM_NO", "--map", "quantity=UNITS", "--map", "location=shop")
    loaded = answer(shelfcast("load", str(file), *names, "--json"))
    assert (loaded["received"], loaded["inserted"]) == (60, 60)
    forecast = answer(shelfcast("forecast", "00001", "--location", "csv", "--horizon", "7", "--json"))
    assert forecast["cutoff"] == "2025-01-30"
    assert len(forecast["forecast"]) == 7
    assert shelfcast("forecast", "00001", "--location", "csv").stdout.count("2025-02") >= 28
    assert "sales" in shelfcast("forecast", "00001", "--location", "csv", "--plot").stdout


def test_a_load_that_was_killed_goes_on_where_it_stopped(
    service: Service, shelfcast: Shelfcast, tmp_path: Path
) -> None:
    file = tmp_path / "sales.parquet"
    sales(50, 200, location="killed").to_parquet(file, index=False)
    before = set((service.home / "loads").glob("*.json"))
    arguments = ("load", str(file), "--chunk-rows", "100", "--json")
    loading = subprocess.Popen(command(*arguments), env=environment(service), stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not (memory := set((service.home / "loads").glob("*.json")) - before):
        assert loading.poll() is None and time.monotonic() < deadline
    loading.kill()
    loading.communicate()
    sent = len(json.loads(memory.pop().read_text()))
    assert 1 <= sent < 100
    loaded = answer(shelfcast(*arguments))
    assert loaded["sent_before"] == 100 * sent
    with httpx.Client(base_url=service.url, headers={"Authorization": f"Bearer {service.key}"}) as client:
        series = client.get("/v1/series", params={"location": "killed"}).json()["series"]
    assert sum(row["rows"] for row in series) == 10_000
    assert answer(shelfcast(*arguments))["sent_before"] == 10_000


def test_a_bad_row_is_named_by_its_row_in_the_file(shelfcast: Shelfcast, tmp_path: Path) -> None:
    frame = sales(1, 30, location="bad")
    frame.loc[25, "quantity"] = -3
    frame.to_parquet(tmp_path / "bad.parquet", index=False)
    refused = shelfcast("load", str(tmp_path / "bad.parquet"), "--chunk-rows", "10")
    assert refused.returncode == 1
    assert "row 25" in refused.stderr and "Traceback" not in refused.stderr


def test_a_column_that_the_file_lacks_is_named(shelfcast: Shelfcast, tmp_path: Path) -> None:
    sales(1, 3).to_csv(tmp_path / "sales.csv", index=False)
    refused = shelfcast("load", str(tmp_path / "sales.csv"), "--map", "price=PREIS")
    assert refused.returncode == 1 and "PREIS" in refused.stderr


def test_days_are_never_cut_when_absent_means_zero(shelfcast: Shelfcast, tmp_path: Path) -> None:
    frame = sales(4, 20, location="whole").iloc[::-1]
    sold = frame[frame["quantity"] > 0]
    sold.to_parquet(tmp_path / "sold.parquet", index=False)
    loaded = answer(shelfcast("load", str(tmp_path / "sold.parquet"), "--complete", "--chunk-rows", "5", "--json"))
    assert loaded["updated"] == 0  # a zero that a later chunk had to correct would be an update
    assert loaded["inserted"] == len(sold)


def test_train_follows_the_job_and_shows_the_version_beside_the_baselines(shelfcast: Shelfcast, tmp_path: Path) -> None:
    sales(3, 200, location="train").to_parquet(tmp_path / "sales.parquet", index=False)
    assert shelfcast("load", str(tmp_path / "sales.parquet")).returncode == 0
    small = ("--set", "horizon=7", "--set", "epochs=1", "--set", "width=16")
    trained = shelfcast("train", *small, "--promote", "always", "--tune-trials", "2")
    assert trained.returncode == 0, trained.stderr
    assert "seasonal naive" in trained.stdout and "WQL" in trained.stdout
    assert "2 of 2 trials" in trained.stdout and "learning_rate" in trained.stdout
    assert "What mattered is not told" in trained.stdout
    (job,) = answer(shelfcast("jobs", "list", "--json"))
    assert job["status"] == "succeeded" and job["model_version"] == 1
    assert answer(shelfcast("models", "list", "--json"))[0]["aliases"] == ["champion"]
    assert (
        "Nothing new" in shelfcast("update").stdout
        or answer(shelfcast("jobs", "list", "--json"))[0]["kind"] == "update"
    )
    assert shelfcast("models", "rollback").returncode == 1  # there is nothing before version 1
    wrong = shelfcast("train", "--set", "width=1000000")
    assert wrong.returncode == 1 and "width" in wrong.stderr
    assert "--tune-trials" in shelfcast("train", "--tune-timeout", "5").stderr
    alone = shelfcast("train", "--model", "mlp", "--compress")
    assert alone.returncode == 1 and "compress needs the model ensemble" in alone.stderr


def test_backtest_follows_the_job_and_shows_the_scores_of_every_part(shelfcast: Shelfcast, tmp_path: Path) -> None:
    sales(3, 200, location="train").to_parquet(tmp_path / "sales.parquet", index=False)
    assert shelfcast("load", str(tmp_path / "sales.parquet")).returncode == 0
    small = ("--horizon", "7", "--windows", "3", "--step", "7", "--set", "epochs=1", "--set", "width=16")
    table = tmp_path / "backtest.parquet"
    shown = shelfcast("backtest", "--model", "lstm", *small, "--out", str(table))
    assert shown.returncode == 0, shown.stderr
    for part in ("lstm over 3 windows of 7 days", "seasonal naive", "slow", "days 1-7", "from 2025-07-12"):
        assert part in shown.stdout, shown.stdout
    frame = pd.read_parquet(table)
    assert set(frame["source"]) == {"model", "seasonal_naive", "moving_average", "exponential_smoothing"}
    job = answer(shelfcast("jobs", "list", "--json"))[0]
    assert (job["kind"], job["status"], job["model_version"]) == ("backtest", "succeeded", None)
    assert job["outcome"] in shelfcast("jobs", "watch", job["id"]).stdout.replace("\n", " ")
    wrong = shelfcast("backtest", "--model-version", "77")
    assert wrong.returncode == 1 and "version 77" in wrong.stderr
    for choice in ((), ("--model", "lstm", "--model-version", "1")):
        assert "either --model or --model-version" in shelfcast("backtest", *choice).stderr
    wrong = shelfcast("backtest", "--model", "lstm", "--windows", "53")
    assert wrong.returncode == 1 and "windows" in wrong.stderr


def test_schedules_are_listed_and_changed(shelfcast: Shelfcast) -> None:
    listed = shelfcast("schedules", "list")
    assert listed.returncode == 0, listed.stderr
    for part in ("daily-update", "fine-tuning", "retraining", "housekeeping", "03:00", "UTC", "0.95"):
        assert part in listed.stdout, listed.stdout
    options = ("--every", "2", "--at", "22:15", "--timezone", "Europe/Berlin", "--disable", "--hour-only")
    (changed,) = answer(shelfcast("schedules", "set", "daily-update", *options, "--json"))
    expected = {"every": 2, "at": "22:15", "timezone": "Europe/Berlin", "enabled": False, "closed_share": None}
    assert expected.items() <= changed.items()
    shown = shelfcast("schedules", "set", "daily-update", "--closed-share", "0.9").stdout
    assert "22:15" in shown and "0.9" in shown and "retraining" not in shown
    assert answer(shelfcast("schedules", "list", "--json"))[0]["closed_share"] == 0.9
    for wrong, told in (
        (("nightly", "--disable"), "daily-update"),
        (("retraining", "--at", "25:00"), "00:00 to 23:59"),
        (("retraining", "--timezone", "Berlin"), "Europe/Berlin"),
        (("daily-update", "--hour-only", "--closed-share", "0.9"), "either"),
    ):
        refused = shelfcast("schedules", "set", *wrong)
        assert refused.returncode != 0 and told in refused.stderr and "Traceback" not in refused.stderr, refused.stderr


def test_keys_are_made_listed_and_revoked_beside_the_running_service(service: Service, shelfcast: Shelfcast) -> None:
    made = answer(shelfcast("keys", "create", "--name", "erp", "--scopes", "sales:read", "--json"))
    headers = {"Authorization": f"Bearer {made['key']}"}
    assert httpx.get(f"{service.url}/v1/series", headers=headers).status_code == 200
    assert httpx.get(f"{service.url}/v1/models", headers=headers).status_code == 403
    assert made["key"] not in shelfcast("keys", "list").stdout
    assert shelfcast("keys", "revoke", "erp").returncode == 0
    deadline = time.monotonic() + 10
    while httpx.get(f"{service.url}/v1/series", headers=headers).status_code != 401:
        assert time.monotonic() < deadline
    assert shelfcast("keys", "revoke", "erp").returncode == 1
    assert "unknown scopes" in shelfcast("keys", "create", "--name", "x", "--scopes", "everything").stderr


def test_without_a_service_the_command_says_how_to_start_one(shelfcast: Shelfcast) -> None:
    refused = shelfcast("jobs", "list", SHELFCAST_URL="http://127.0.0.1:9")
    assert refused.returncode == 1
    assert "shelfcast serve" in refused.stderr and "Traceback" not in refused.stderr


def test_days_in_quarantine_are_listed_and_decided(shelfcast: Shelfcast, tmp_path: Path) -> None:
    first = datetime.date(2026, 3, 1)  # after all other sales here: only the newest days are judged
    days = [first + datetime.timedelta(days=day) for day in range(42)]
    rows = [{"sku": "held", "location": "cli", "date": day, "quantity": 10} for day in days]
    past, new = tmp_path / "past.csv", tmp_path / "new.csv"
    pd.DataFrame(rows[:40]).to_csv(past, index=False)
    pd.DataFrame(rows[40:]).assign(quantity=[500, 600]).to_csv(new, index=False)
    assert answer(shelfcast("load", str(past), "--json"))["held"] == 0
    assert "2 held" in shelfcast("load", str(new)).stdout
    listed = answer(shelfcast("quarantine", "list", "--sku", "held", "--json"))
    assert [entry["quantity"] for entry in listed] == [600, 500]
    assert "times the mean of days with sales" in shelfcast("quarantine", "list").stdout
    assert "Made without days in quarantine: 2026-04-10, 2026-04-11" in " ".join(
        shelfcast("forecast", "held", "--location", "cli").stdout.split()
    )
    assert answer(shelfcast("quarantine", "confirm", str(listed[1]["id"]), "--json")) == {"decided": 1}
    assert "1 day decided" in shelfcast("quarantine", "dismiss", "--post", str(listed[0]["post_id"])).stdout
    assert answer(shelfcast("quarantine", "list", "--sku", "held", "--json")) == []
    refused = shelfcast("quarantine", "confirm", str(listed[0]["id"]))
    assert refused.returncode == 1
    assert "it was dismissed" in refused.stderr
    assert shelfcast("quarantine", "confirm").returncode == 2
