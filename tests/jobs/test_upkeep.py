"""What workers do beside jobs: forgetting what has had its time, and showing that they are there."""

import os
import time
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from app.jobs import upkeep
from tests.support import until


async def run(database: Database, statement: str, **values: Any) -> Any:
    async with database.transaction() as connection:
        result = await connection.execute(text(statement), values)
        return result.scalars().all() if result.returns_rows else None


async def test_finished_jobs_are_forgotten_after_their_time_and_no_others(database: Database) -> None:
    await run(
        database,
        """
        INSERT INTO jobs (kind, status, finished_at, result, error, request) VALUES
        ('train', 'succeeded', now() - interval '31 days', '{}', NULL, '{"n": "old"}'),
        ('train', 'failed', now() - interval '31 days', NULL, '{}', '{"n": "old failure"}'),
        ('train', 'succeeded', now() - interval '29 days', '{}', NULL, '{"n": "young"}'),
        ('train', 'queued', NULL, NULL, NULL, '{"n": "waiting"}')""",
    )
    async with database.transaction() as connection:
        assert await upkeep.remove_old_jobs(connection, 30) == 2
    left = await run(database, "SELECT request ->> 'n' FROM jobs ORDER BY 1")
    assert left == ["waiting", "young"]


async def test_housekeeping_forgets_workers_and_answers(database: Database, settings: Settings) -> None:
    await run(
        database,
        "INSERT INTO workers (name, heartbeat_at) VALUES ('gone', now() - interval '25 hours'), ('here', now())",
    )
    await run(database, "INSERT INTO api_keys (name, digest, scopes) VALUES ('k', sha256('k'), '{admin}')")
    await run(
        database,
        """
        INSERT INTO idempotent_answers (key_id, route, idempotency_key, fingerprint, status, headers, body, created_at)
        SELECT id, 'POST /', age || 'h', '', 200, '{}', '', now() - make_interval(hours => age)
        FROM api_keys, unnest(ARRAY[23, 25]) AS age""",
    )
    await upkeep.keep_house(database, settings)
    assert await run(database, "SELECT name FROM workers") == ["here"]
    assert await run(database, "SELECT idempotency_key FROM idempotent_answers") == ["23h"]


async def test_what_cannot_be_removed_keeps_nothing_else(database: Database, settings: Settings) -> None:
    await run(database, "ALTER TABLE idempotent_answers RENAME TO lost")
    await run(database, "INSERT INTO workers (name, heartbeat_at) VALUES ('gone', now() - interval '25 hours')")
    await run(
        database,
        "INSERT INTO jobs (kind, status, finished_at, error) VALUES ('train', 'failed', now() - interval '31 days', '{}')",
    )
    with structlog.testing.capture_logs() as told:
        await upkeep.keep_house(database, settings)
    await run(database, "ALTER TABLE lost RENAME TO idempotent_answers")
    assert await run(database, "SELECT name FROM workers") == []
    assert await run(database, "SELECT status FROM jobs") == []
    assert [one["step"] for one in told if one["event"] == "housekeeping_failed"] == ["answers"]
    assert [one["failed"] for one in told if one["event"] == "house_kept"] == [1]


async def test_housekeeping_forgets_days_in_quarantine_that_were_replaced(
    database: Database, settings: Settings
) -> None:
    """Eight weeks after their day; what was decided, or waits for it, stays."""
    await run(
        database,
        "INSERT INTO series (sku, rows, first_day, last_day) VALUES ('A', 1, DATE '2026-06-30', DATE '2026-06-30')",
    )
    await run(
        database,
        """
        INSERT INTO quarantine (series_id, day, post_id, quantity, reason, detail, status, decided_at)
        SELECT s.id, DATE '2026-06-30' - ago, 1, 1, 'factor', ago || ' ' || status, status, now()
        FROM series s, unnest(ARRAY[56, 57]) AS ago, unnest(ARRAY['held', 'confirmed', 'replaced']) AS status""",
    )
    await upkeep.keep_house(database, settings)
    left = await run(database, "SELECT detail FROM quarantine ORDER BY 1")
    assert left == ["56 confirmed", "56 held", "56 replaced", "57 confirmed", "57 held"]


async def test_a_sweep_removes_old_spool_leftovers_of_this_machine(settings: Settings) -> None:
    old, new = leftover(settings.spool_folder, "old", hours=25), leftover(settings.spool_folder, "new", hours=1)
    await upkeep.sweep(settings)
    assert (old.exists(), new.exists()) == (False, True)


def leftover(folder: Path, name: str, *, hours: float) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_bytes(b"half a body")
    moment = time.time() - 3600 * hours
    os.utime(file, (moment, moment))
    return file


async def test_a_worker_shows_that_it_is_there(database: Database) -> None:
    async with database.transaction() as connection:
        await upkeep.show_presence(connection, "w:1")
    first = await run(database, "SELECT heartbeat_at FROM workers")
    async with database.transaction() as connection:
        await upkeep.show_presence(connection, "w:1")
    assert await run(database, "SELECT heartbeat_at FROM workers") > first
    async with database.transaction() as connection:
        await upkeep.end_presence(connection, "w:1")
    assert await run(database, "SELECT name FROM workers") == []


async def test_a_session_frozen_amid_a_statement_is_ended_and_others_are_not(
    database: Database, database_url: str
) -> None:
    workers = Database(database_url, pool_size=2, application=upkeep.APPLICATION)
    try:
        async with workers.reading() as frozen, workers.reading() as idle:
            pid = frozen.get_server_pid()
            # Parse and Flush, and then nothing: what asyncpg has sent when its process is frozen at the worst moment.
            frozen._transport.write(
                b"P"
                + (4 + 1 + 9 + 2).to_bytes(4, "big")
                + b"\0"
                + b"SELECT 1\0"
                + (0).to_bytes(2, "big")
                + b"H\0\0\0\4"
            )

            async def waits() -> bool:
                found = await run(
                    database,
                    "SELECT true FROM pg_stat_activity WHERE pid = :pid AND state = 'active' AND wait_event = 'ClientRead'",
                    pid=pid,
                )
                return bool(found)

            await until(waits)
            async with database.transaction() as connection:
                assert await upkeep.end_frozen_sessions(connection, 3600) == 0
                assert await upkeep.end_frozen_sessions(connection, 0) == 1
            assert await idle.fetchval("SELECT 1") == 1
            await until(lambda: _closed(frozen))
            frozen.terminate()
    finally:
        await workers.close()


async def _closed(connection: Any) -> bool:
    return bool(connection.is_closed())
