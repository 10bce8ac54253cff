"""The report of what was found in the sales: kept with the artifact, read in pages, gone with the artifact."""

import uuid
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.config import Settings
from app.database.engine import Database
from app.errors import Problem
from app.registry import artifacts, retention
from app.registry.artifacts import ArtifactDamaged, ArtifactMissing, load, load_findings, save
from app.registry.quality import ROWS_OF_A_GROUP, Reported, Wanted, parquet_of, read_findings
from app.registry.store import publish
from app.sales.panel import NO_STRAY, StrayRows, TrainingData
from models.cleaning import Findings, clean
from models.panel import Panel
from tests.registry.support import a_candidate, flip_byte, published, unused_for, weights_of

JOB = uuid.UUID(int=1)


def data_of(panel: Panel, stray: StrayRows = NO_STRAY) -> TrainingData:
    ids = np.arange(panel.series)
    return TrainingData(panel, ids, date(2026, 1, 1), panel.days, ids, 0, stray)


def a_report(series: int = 3, *, gaps: int = 1, stray: StrayRows = NO_STRAY) -> bytes:
    """Series of 3, missing, 3, missing, … 3."""
    quantity = np.full((series, 2 * gaps + 1), 3, np.float32)
    quantity[:, 1::2] = np.nan
    panel = Panel([f"S-{n:05}" for n in range(series)], ["x"] * series, np.datetime64("2025-01-01"), quantity)
    return parquet_of(clean(panel).findings, data_of(panel, stray))


async def reported(database: Database, settings: Settings, report: bytes | None, *, promote: Any = "always") -> int:
    job_id = uuid.uuid4()
    artifact = save(settings.artifacts_location, *weights_of(), job_id=job_id, findings=report)
    config = {"architecture": "lstm", "cleaning": "mask"}
    async with database.transaction() as connection:
        return (await publish(connection, a_candidate(artifact, job_id=job_id, promote=promote, config=config))).version


async def quality(client: httpx.AsyncClient, status: int = 200, **query: Any) -> dict[str, Any]:
    answer = await client.get("/v1/series/quality", params=query)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def files(settings: Settings) -> list[Path]:
    return list(Path(settings.artifacts_location).iterdir())


async def test_the_report_of_the_champion_is_read_by_sku_and_location_and_kind(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    mistyped = StrayRows([("S-00001", "x")], np.array(["1925-01-01"], "datetime64[D]"), np.array([7.1], np.float32))
    await reported(database, settings, a_report(stray=mistyped))
    gap = {
        "sku": "S-00001", "location": "x", "first_day": "2025-01-02", "last_day": "2025-01-02", "kind": "gap",
        "observed": None, "expected": 3.0, "done": "masked",
    }  # fmt: skip
    lost = gap | {
        "first_day": "1925-01-01", "last_day": "1925-01-01", "kind": "stray", "observed": 7.1, "expected": None,
        "done": "left_out",
    }  # fmt: skip
    body = await quality(client, sku="S-00001", location="x")
    assert body == {"model_version": 1, "cleaning": "mask", "findings": [lost, gap], "next_page_token": None}
    assert (await quality(client, sku="S-00001", kind="gap"))["findings"] == [gap]
    assert (await quality(client, sku="S-00001", location=""))["findings"] == []
    assert (await quality(client, sku="unknown"))["findings"] == []
    everything = await quality(client)
    assert [(row["sku"], row["kind"]) for row in everything["findings"]] == [
        ("S-00000", "gap"), ("S-00001", "stray"), ("S-00001", "gap"), ("S-00002", "gap"),
    ]  # fmt: skip


async def test_pages_stay_with_the_version_of_the_first_one(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    await reported(database, settings, a_report(3, gaps=2))
    page = await quality(client, page_size=4)
    await reported(database, settings, a_report(1))
    rest = await quality(client, page_size=4, page_token=page["next_page_token"])
    assert (page["model_version"], rest["model_version"], rest["next_page_token"]) == (1, 1, None)
    keys = [(row["sku"], row["first_day"]) for row in page["findings"] + rest["findings"]]
    assert keys == [(f"S-{n:05}", day) for n in range(3) for day in ("2025-01-02", "2025-01-04")]
    assert (await quality(client))["model_version"] == 2
    refused = await quality(client, 422, page_token=page["next_page_token"], model_version=2)
    assert "another version" in refused["detail"]


def test_pages_over_many_row_groups_are_the_whole_report(tmp_path: Path) -> None:
    content = a_report(series=300, gaps=150)  # 45,000 findings
    location = str(tmp_path)
    version = Reported(1, "mask", save(location, *weights_of(), job_id=JOB, findings=content).sha256)
    assert 2 * ROWS_OF_A_GROUP < 45_000
    rows: list[dict[str, Any]] = []
    after = None
    while True:
        page = read_findings(location, version, Wanted(None, None, None, after, 7_001))
        rows += page
        if len(page) < 7_001:
            break
        after = tuple(page[-1][name] for name in ("sku", "location", "first_day", "kind"))
    keys = [(row["sku"], row["first_day"]) for row in rows]
    first = date(2025, 1, 2)
    assert keys == [(f"S-{n:05}", first + timedelta(days=2 * gap)) for n in range(300) for gap in range(150)]
    for sku in ("S-00000", "S-00109", "S-00299"):
        one = read_findings(location, version, Wanted(sku, "x", None, None, 1000))
        assert one == [row for row in rows if row["sku"] == sku]


async def test_without_a_report_the_answer_says_why(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    assert "No version has been promoted yet" in (await quality(client, 404))["detail"]
    await published(database, settings, promote="always")
    assert "without a report" in (await quality(client, 404))["detail"]
    assert "There is no version 9" in (await quality(client, 404, model_version=9))["detail"]


async def test_retention_removes_the_report_with_the_artifact(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    old = await reported(database, settings, a_report(), promote="never")
    assert {file.suffix for file in files(settings)} == {".json", ".safetensors", ".parquet"}
    assert len((await quality(client, model_version=old))["findings"]) == 3
    await unused_for(database, timedelta(days=91), old)
    removed = await retention.remove_old_artifacts(database, settings)
    assert removed.versions == [old]
    assert files(settings) == []
    assert "were removed with it on" in (await quality(client, 404, model_version=old))["detail"]


async def test_a_damaged_report_is_named_and_the_weights_go_on(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    await reported(database, settings, a_report())
    (file,) = [file for file in files(settings) if file.suffix == ".parquet"]
    flip_byte(file, 100)
    problem = await quality(client, 409)
    assert (problem["code"], file.name in problem["detail"]) == ("artifact_damaged", True)
    assert load(settings.artifacts_location, file.stem) == weights_of()
    file.unlink()
    assert "missing" in (await quality(client, 409))["detail"]


async def test_reading_the_report_needs_the_scope_of_sales(
    client: httpx.AsyncClient, database: Database, settings: Settings, key_with: Any
) -> None:
    await reported(database, settings, a_report())
    for scope, status in (("models:read", 403), ("sales:read", 200)):
        key = await key_with(scope)
        answer = await client.get("/v1/series/quality", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == status


def test_the_report_is_verified_and_counted_with_the_artifact(tmp_path: Path) -> None:
    location, report = str(tmp_path), a_report()
    artifact = save(location, *weights_of(), job_id=JOB, findings=report)
    assert load_findings(location, artifact.sha256) == report
    assert artifact.bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    plain = save(location, *weights_of(), job_id=JOB)
    assert plain.sha256 != artifact.sha256 and load_findings(location, plain.sha256) is None
    file = tmp_path / f"{artifact.sha256}.parquet"
    file.write_bytes(report[:-1])
    with pytest.raises(ArtifactDamaged, match=file.name):
        load_findings(location, artifact.sha256)
    file.unlink()
    with pytest.raises(ArtifactMissing, match=file.name):
        load_findings(location, artifact.sha256)
    assert artifacts.remove(location, artifact.sha256)


def test_a_report_that_cannot_be_written_leaves_no_half_artifact(tmp_path: Path) -> None:
    weights, description = weights_of()
    probe = save(str(tmp_path / "probe"), weights, description, job_id=JOB, findings=b"report").sha256
    folder = tmp_path / "real"
    (folder / f"{probe}.parquet").mkdir(parents=True)  # the name is taken by something that cannot be replaced
    with pytest.raises(Problem):
        save(str(folder), weights, description, job_id=JOB, findings=b"report")
    assert [file.name for file in folder.iterdir()] == [f"{probe}.parquet"]


def test_nothing_found_is_a_report_too(tmp_path: Path) -> None:
    panel = Panel(["A"], [""], np.datetime64("2025-01-01"), np.full((1, 40), 3, np.float32))
    found: Findings = clean(panel).findings
    report = parquet_of(found, data_of(panel))
    sha256 = save(str(tmp_path), *weights_of(), job_id=JOB, findings=report).sha256
    assert read_findings(str(tmp_path), Reported(1, "mask", sha256), Wanted(None, None, None, None, 10)) == []
