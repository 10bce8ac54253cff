"""Migrations up and down on a database that holds a row of every table, twice, and from several processes at once."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from sqlalchemy.exc import DBAPIError

import migrations
from app.database.engine import Database
from app.database.migrate import configuration, downgrade, expected_revision, schema_is_current, upgrade
from app.database.tables import metadata
from migrations.versions import __path__ as versions_path
from tests.support import driver_url, on_database, run_sql

# A row of every table, with a value wherever a column may have one that a migration could trip over.
ROWS = {
    "api_keys": "INSERT INTO api_keys (name, digest, scopes) VALUES ('erp', sha256('key'), '{admin}')",
    "idempotent_answers": "INSERT INTO idempotent_answers VALUES (1, 'POST /v1/sales', 'k', '\\x00', 200, '{}', '{}')",
    "series": "INSERT INTO series (sku, first_day, last_day, rows) VALUES ('A', '2026-03-01', '2026-03-01', 1)",
    "posts": "INSERT INTO posts (kind, key_id, received, inserted, series_ids) VALUES ('sales', 1, 1, 1, '{1}')",
    "sales": "INSERT INTO sales (series_id, day, post_id, quantity, promo) VALUES (1, '2026-03-01', 1, 2.5, 1)",
    "replaced_sales": "INSERT INTO replaced_sales (series_id, day, post_id, replaced_post_id) VALUES (1, '2026-03-01', 1, 1)",
    "items": "INSERT INTO items (sku, launched_on, discontinued_on, attributes) VALUES"
    " ('A', '2026-01-01', '2026-12-31', '{\"a\": [1]}')",
    "locations": "INSERT INTO locations (location, country, timezone) VALUES ('', 'DE', 'Europe/Berlin')",
    "calendar": "INSERT INTO calendar (sku, date, price, covariates) VALUES ('A', '2026-03-01', 1, '{\"rain\": 1}'),"
    " (NULL, '2026-03-01', NULL, '{}')",
    "schedules": "UPDATE schedules SET timezone = 'Europe/Berlin', last_day = '2026-03-01', last_run = now()",
    "jobs": "INSERT INTO jobs (kind, key_id, request, status, attempt, finished_at, result) VALUES"
    " ('train', 1, '{}', 'queued', 0, NULL, NULL), ('backtest', 1, '{}', 'queued', 0, NULL, NULL),"
    " ('backtest', 1, '{}', 'succeeded', 1, now(), jsonb_build_object('table',"
    " jsonb_build_object('sha256', repeat('a', 64))))",
    "trials": "INSERT INTO trials (job_id, number, state, params, validation, value, seconds)"
    " SELECT id, 0, 'complete', '{\"width\": 64}', '{0.5, 0.4}', 0.4, 2 FROM jobs WHERE kind = 'train'",
    "workers": "INSERT INTO workers (name) VALUES ('w')",
    "versions": "INSERT INTO versions (version, architecture, kind, horizon, context_length, trained_on, config, metrics,"
    " decision, artifact_sha256, artifact_bytes, job_id) VALUES (1, 'lstm', 'train', 28, 56, '{}', '{}', '{}', 'first',"
    " repeat('a', 64), 1, gen_random_uuid())",
    "aliases": "INSERT INTO aliases VALUES ('champion', 1)",
    "promotions": "INSERT INTO promotions (version, kind, reason) VALUES (1, 'merit', 'first')",
    "forecasts": "INSERT INTO forecasts (series_id, version, series_revision, calendar_revision, cutoff, horizon, means,"
    " quantiles) VALUES (1, 1, 1, 0, '2026-03-01', 1, '\\x00000000', '\\x00')",
    "quarantine": "INSERT INTO quarantine (series_id, day, post_id, quantity, expected, reason, detail, status, decided_at,"
    " key_id) VALUES (1, '2026-03-01', 1, 600, 12, 'factor', 'much', 'dismissed', now(), 1)",
    "issuances": "INSERT INTO issuances (cutoff, job_id, version, champion, horizon) VALUES"
    " ('2026-03-01', repeat('1', 32)::uuid, 1, 1, 28)",
    "issued": "INSERT INTO issued (job_id, block, series_ids, scales, trained, frozen) VALUES"
    " (repeat('1', 32)::uuid, 0, '{1}', '\\x00', '\\x00', '\\x00')",
    "scored_days": "INSERT INTO scored_days VALUES ('2026-03-02', repeat('1', 32)::uuid)",
    "scores": "INSERT INTO scores VALUES ('2026-03-02', 'live', 'slow', '1-7', '{1}')",
    "series_scores": "INSERT INTO series_scores (block, day, job_id, days, series_ids, sums) VALUES"
    " (0, '2026-03-02', repeat('1', 32)::uuid, 7, '{1}', '\\x00')",
    "drifts": "INSERT INTO drifts (scope, series_id, segment, found_on, since, size, job_id) VALUES"
    " ('series', 1, NULL, '2026-03-02', '2026-03-01', 0.5, repeat('1', 32)::uuid),"
    " ('segment', NULL, 'slow', '2026-03-02', '2026-03-01', 0.5, repeat('1', 32)::uuid)",
    "drift_states": "INSERT INTO drift_states VALUES (repeat('1', 32)::uuid, 0, '{1}', '\\x00')",
    "verdicts": "INSERT INTO verdicts (version, accepted, sentence, checks, days) VALUES (1, true, 'Accepted.', '[]', 0)",
    "revisions": "UPDATE revisions SET value = 3",
}


@pytest.fixture
def empty_url(postgres_url: str) -> Iterator[str]:
    """The URL of a database without any table."""
    name = f"empty_{os.getpid()}"
    run_sql(postgres_url, f"CREATE DATABASE {name}")
    yield on_database(postgres_url, name)
    run_sql(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


async def fetch(url: str, query: str) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(driver_url(url))
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(driver_url(url))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def objects(url: str) -> set[object]:
    """Tables, sequences, types and functions of ours."""
    found = await fetch(
        url,
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'S', 'v')"
        " UNION ALL SELECT proname::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        " UNION ALL SELECT typname::text FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype IN ('e', 'd')",
    )
    return {row[0] for row in found}


async def test_up_and_down_and_up_again_on_data(database_url: str) -> None:
    assert set(ROWS) == set(metadata.tables), "every table has its row here"
    await execute(database_url, *ROWS.values())
    before = await objects(database_url)
    for table in metadata.tables:
        assert await fetch(database_url, f"SELECT FROM {table}"), table
    await downgrade(database_url, "base")
    assert await objects(database_url) == {"alembic_version"}
    await upgrade(database_url)
    assert await objects(database_url) == before
    await asyncio.to_thread(command.check, configuration(database_url))
    await execute(database_url, *ROWS.values())


async def test_backtests_go_with_the_schema_that_can_hold_them(database_url: str) -> None:
    await execute(database_url, *ROWS.values())
    jobs = "SELECT kind, status FROM jobs ORDER BY kind, status"
    assert await fetch(database_url, jobs) == [("backtest", "queued"), ("backtest", "succeeded"), ("train", "queued")]
    await downgrade(database_url, "0001")
    assert await fetch(database_url, jobs) == [("train", "queued")]
    backtest = (
        "INSERT INTO jobs (kind, status, attempt, finished_at, result) VALUES ('backtest', 'succeeded', 1, now(), '%s')"
    )
    with pytest.raises(asyncpg.CheckViolationError, match="ck_jobs_kind"):
        await execute(database_url, backtest % '{"table": {"sha256": "%s"}}' % ("a" * 64))
    await upgrade(database_url)
    await asyncio.to_thread(command.check, configuration(database_url))
    await execute(database_url, backtest % '{"table": {"sha256": "%s"}}' % ("a" * 64))
    for result in ("{}", '{"table": {}}', '{"table": {"sha256": "../admin.key"}}'):
        with pytest.raises(asyncpg.CheckViolationError, match="ck_jobs_backtest_has_table"):
            await execute(database_url, backtest % result)
    assert await fetch(database_url, jobs) == [("backtest", "succeeded"), ("train", "queued")]


async def test_jobs_of_the_daily_hour_become_those_of_the_daily_update_and_back(database_url: str) -> None:
    """Their day was that of the hour; it is now the day of sales, the one before. Fine-tuning is forgotten as such."""
    await downgrade(database_url, "0004")
    job = "INSERT INTO jobs (kind, scheduled_for) VALUES ('update', '2026-03-01'), ('update', '2026-03-02'), ('train', NULL)"
    await execute(database_url, job)
    days = "SELECT kind, scheduled_for::text FROM jobs ORDER BY kind, scheduled_for"
    before = await fetch(database_url, days)
    await upgrade(database_url)
    assert await fetch(database_url, "SELECT schedule, scheduled_for::text FROM jobs ORDER BY 1, 2") == [
        ("daily-update", "2026-02-28"),
        ("daily-update", "2026-03-01"),
        (None, None),
    ]
    same_day = "INSERT INTO jobs (kind, schedule, scheduled_for) VALUES ('update', '%s', '2026-03-01')"
    await execute(database_url, same_day % "fine-tuning")
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_jobs_schedule_scheduled_for"):
        await execute(database_url, same_day % "fine-tuning")
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        await execute(database_url, same_day % "nightly")
    await downgrade(database_url, "0004")
    assert await fetch(database_url, days) == [before[0], *before[1:], ("update", None)]


async def test_records_that_were_paired_all_along_go_on(database_url: str) -> None:
    """Of the second day the lineage had said less than the others: part of it was said before its line began."""
    await downgrade(database_url, "0008")
    for day, counts in (("2026-03-02", (6, 6, 6)), ("2026-03-03", (4, 6, 6))):
        await execute(database_url, f"INSERT INTO scored_days VALUES ('{day}', repeat('1', 32)::uuid)")
        for source, count in zip(("lineage", "frozen", "live"), counts, strict=True):
            for segment in ("fast", "slow"):
                sums = f"{{{count},{len(source)}}}"
                await execute(
                    database_url, f"INSERT INTO scores VALUES ('{day}', '{source}', '{segment}', '1-7', '{sums}')"
                )
    await upgrade(database_url)
    paired = (
        "SELECT day::text, source, segment, sums FROM scores WHERE source LIKE 'lineage_%' ORDER BY source, segment"
    )
    assert await fetch(database_url, paired) == [
        ("2026-03-02", "lineage_frozen", "fast", [6, len("frozen")]),
        ("2026-03-02", "lineage_frozen", "slow", [6, len("frozen")]),
        ("2026-03-02", "lineage_live", "fast", [6, len("live")]),
        ("2026-03-02", "lineage_live", "slow", [6, len("live")]),
    ]
    await downgrade(database_url, "0008")
    assert await fetch(database_url, "SELECT count(*) FROM scores") == [(12,)]


async def test_an_upgrade_of_a_current_schema_changes_nothing(database_url: str) -> None:
    await execute(database_url, *ROWS.values())
    before = [await fetch(database_url, f"SELECT * FROM {table}") for table in metadata.tables]
    await upgrade(database_url)
    await upgrade(database_url)
    assert [await fetch(database_url, f"SELECT * FROM {table}") for table in metadata.tables] == before


async def test_upgrades_at_once_from_several_processes(empty_url: str) -> None:
    config = Path(migrations.__file__).with_name("alembic.ini")
    processes = [
        await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "alembic", "-c", str(config), "upgrade", "head"),
            cwd=config.parent.parent,
            env=os.environ | {"SHELFCAST_DATABASE_URL": empty_url},
            stderr=asyncio.subprocess.PIPE,
        )
        for _ in range(2)
    ]
    errors = [(await process.communicate())[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert await fetch(empty_url, "SELECT version_num FROM alembic_version") == [(expected_revision(),)]
    assert await fetch(empty_url, "SELECT name, value FROM revisions") == [("calendar", 0)]


async def test_every_step_runs_with_time_outs(empty_url: str) -> None:
    """An event trigger notes the settings that each DDL command of a migration really ran with."""
    await execute(
        empty_url,
        "CREATE SCHEMA noted",
        "CREATE TABLE noted.settings AS SELECT '' AS lock, '' AS statement WHERE false",
        "CREATE FUNCTION noted.note() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO noted.settings"
        " VALUES (current_setting('lock_timeout'), current_setting('statement_timeout')); END $$",
        "CREATE EVENT TRIGGER note ON ddl_command_end EXECUTE FUNCTION noted.note()",
    )
    await upgrade(empty_url)
    await downgrade(empty_url, "base")
    noted = await fetch(empty_url, "SELECT DISTINCT lock, statement FROM noted.settings")
    assert noted == [("10s", "15min")]


async def test_a_migration_that_fails_leaves_the_schema_as_it_was(database_url: str) -> None:
    await downgrade(database_url, "0001")  # each migration is a transaction of its own
    await execute(database_url, "CREATE VIEW report AS SELECT * FROM api_keys")  # the last table to be dropped
    before = await objects(database_url)
    with pytest.raises(DBAPIError, match="other objects depend on it"):
        await downgrade(database_url, "base")
    assert await objects(database_url) == before
    # Each migration is a transaction of its own: those after the one that failed are undone, that one is not.
    assert await fetch(database_url, "SELECT version_num FROM alembic_version") == [("0001",)]


async def test_whether_a_schema_is_current(database: Database, database_url: str) -> None:
    async def is_current() -> bool:
        async with database.snapshot() as connection:
            return await schema_is_current(connection)

    assert await is_current()
    await execute(database_url, "UPDATE alembic_version SET version_num = 'from the future'")
    assert await is_current(), "a newer schema than the code's serves older code while machines are upgraded one by one"
    await execute(database_url, "DELETE FROM alembic_version")
    assert not await is_current()
    await execute(database_url, "DROP TABLE alembic_version")
    assert not await is_current()


def test_revisions_form_one_line() -> None:
    """Two heads would leave it to chance which one a deployment gets."""
    files = [file for folder in versions_path for file in Path(folder).glob("[0-9]*.py")]
    assert sorted(file.name[:4] for file in files) == [f"{n:04}" for n in range(1, len(files) + 1)]
    assert expected_revision() == f"{len(files):04}"
