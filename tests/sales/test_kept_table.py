"""The kept copy of sales: with it a panel is what it is without it, whatever was posted, corrected, undone or deleted since."""

import hashlib
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sqlalchemy import text

from app.database.engine import Database
from app.sales.kept_table import load, save
from app.sales.panel import TrainingData, read_panel

FIRST = date(2026, 1, 1)
SINCE = date(2026, 1, 5)


async def post(client: httpx.AsyncClient, *rows: tuple[str, int, float, dict[str, Any]]) -> int:
    sales = [
        {"sku": sku, "location": "L", "date": str(FIRST + timedelta(days=day)), "quantity": quantity, **more}
        for sku, day, quantity, more in rows
    ]
    answer = await client.post("/v1/sales", json={"sales": sales})
    assert answer.status_code == 200, answer.text
    return int(answer.json()["post_id"])


async def read(database: Database, kept: Path | None = None, *, since: date | None = SINCE) -> TrainingData:
    async with database.snapshot() as connection:
        data = await read_panel(connection, since=since, kept=kept)
    assert data is not None
    return data


async def checked(database: Database, file: Path, *, since: date | None = SINCE) -> TrainingData:
    """The panel with the help of the file is the plain one; the file then holds it."""
    plain, helped = await read(database, since=since), await read(database, file, since=since)
    assert helped.panel.fingerprint() == plain.panel.fingerprint()
    assert (helped.rows, helped.cutoff) == (plain.rows, plain.cutoff)
    np.testing.assert_array_equal(helped.series_ids, plain.series_ids)
    np.testing.assert_array_equal(helped.revisions, plain.revisions)
    assert helped.to_keep is not None
    save(file, helped.to_keep)
    return helped


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "kept" / "sales.bin"


@pytest.fixture
async def kept(client: httpx.AsyncClient, database: Database, file: Path) -> Path:
    """Three series of twenty days, kept."""
    await post(client, *[(f"K-{n}", day, 5.0 + n + day % 7, {}) for n in range(3) for day in range(20)])
    await checked(database, file)
    return file


async def used(database: Database, file: Path) -> bool:
    """Whether a reading begins from the file: a value changed in it alone is then in the panel."""
    before = load(file)
    assert before is not None
    columns = before.table.columns | {"quantity": before.table.columns["quantity"] + 1000}
    changed = file.with_name("changed.bin")
    save(changed, replace(before, table=replace(before.table, columns=columns)))
    found = (await read(database, changed)).panel.quantity_ST
    return bool(np.nanmax(found) >= 1000)


async def test_what_came_since_is_read_and_nothing_else(
    client: httpx.AsyncClient, database: Database, kept: Path
) -> None:
    await post(client, ("K-0", 20, 9.0, {}), ("K-1", 20, 8.0, {}), ("K-2", 20, 7.0, {}))
    assert await used(database, kept)
    data = await checked(database, kept)
    assert data.cutoff == FIRST + timedelta(days=20)
    tampered = load(kept)
    assert tampered is not None
    tampered.table.columns["quantity"][0, (SINCE - FIRST).days + 3] = (
        77.0  # a day that no post touches is not read again
    )
    save(kept, tampered)
    await post(client, ("K-0", 21, 9.0, {}))
    assert (await read(database, kept)).panel.quantity_ST[0, 3] == 77.0


@pytest.mark.parametrize(
    "change", ["corrected", "undone", "deleted", "new", "gone", "priced", "unchanged", "held", "none"]
)
async def test_whatever_happened_since(client: httpx.AsyncClient, database: Database, kept: Path, change: str) -> None:
    if change == "corrected":
        await post(client, ("K-1", 6, 99.0, {}), ("K-1", 21, 4.0, {}))
    elif change == "undone":
        number = await post(client, ("K-1", 6, 9.0, {}), ("K-2", 22, 4.0, {}))
        await checked(database, kept)
        assert (await client.post(f"/v1/posts/{number}/undo")).status_code == 200
    elif change == "deleted":
        answer = await client.delete("/v1/sales", params={"sku": "K-0", "from": "2026-01-10", "to": "2026-01-12"})
        assert answer.status_code == 200, answer.text
    elif change == "new":
        await post(client, *[("A-new", day, 3.0, {}) for day in range(2, 25)])
    elif change == "gone":
        assert (await client.delete("/v1/series", params={"sku": "K-1", "location": "L"})).status_code in (200, 204)
    elif change == "priced":
        await post(client, ("K-2", 8, 6.0, {"price": 2.5}), ("K-2", 21, 6.0, {"price": 2.0, "promo": 1.0}))
    elif change == "unchanged":
        await post(client, ("K-0", 7, 5.0 + 0 + 0, {}))
    elif change == "held":
        async with database.transaction() as connection:
            await connection.execute(
                text("UPDATE series SET revision = revision + 1 WHERE sku = 'K-1'")
            )  # as a decision about the quarantine does
    data = await checked(database, kept)
    assert data.panel.series == {"new": 4, "gone": 2}.get(change, 3)
    later = SINCE + timedelta(days=4)
    await checked(database, kept, since=later)


async def test_any_number_of_random_changes(client: httpx.AsyncClient, database: Database, kept: Path) -> None:
    rng = np.random.default_rng(0)
    posts = []
    for _ in range(12):
        rows = {(f"K-{rng.integers(5)}", int(rng.integers(40))): float(rng.integers(30)) for _ in range(4)}
        posts.append(await post(client, *[(sku, day, quantity, {}) for (sku, day), quantity in rows.items()]))
        if rng.random() < 0.3:
            await client.post(f"/v1/posts/{rng.choice(posts)}/undo")  # some are refused: later posts changed the rows
        if rng.random() < 0.5:
            await checked(database, kept)
    await checked(database, kept)


async def test_changes_that_no_post_tells_of_are_read_all_the_same(database: Database, kept: Path) -> None:
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE sales SET quantity = 50 WHERE day = '2026-01-09'"))
        await connection.execute(text("UPDATE series SET revision = revision + 1"))
    assert not await used(database, kept)
    await checked(database, kept)


async def test_a_file_of_another_history_is_not_used(database: Database, kept: Path) -> None:
    """As after a restored backup: the post that was seen last is there, but of another time."""
    assert await used(database, kept)
    async with database.transaction() as connection:
        await connection.execute(text("UPDATE posts SET created_at = created_at + interval '1 second'"))
    assert not await used(database, kept)


async def test_everything_is_kept_whatever_part_was_read(
    client: httpx.AsyncClient, database: Database, kept: Path
) -> None:
    assert (await checked(database, kept, since=None)).panel.days == 20
    await post(client, ("K-1", -30, 3.0, {}))  # a backfill, older than everything
    assert (await checked(database, kept, since=None)).panel.days == 50
    assert await used(database, kept)
    async with database.snapshot() as connection:
        assert await read_panel(connection, since=date(2026, 3, 1), kept=kept) is None


async def test_with_a_mistyped_date_nothing_is_kept(client: httpx.AsyncClient, database: Database, kept: Path) -> None:
    await post(client, *[(f"K-{n}", day, 4.0, {}) for n in range(3) for day in range(20, 40)])
    await post(client, ("K-1", -36_000, 3.0, {}))
    for since in (None, SINCE):
        plain, helped = await read(database, since=since), await read(database, kept, since=since)
        assert helped.panel.fingerprint() == plain.panel.fingerprint()
        assert helped.to_keep is None
    assert len((await read(database, kept, since=None)).stray.keys) == 1


def damaged(file: Path, damage: str) -> None:
    whole = file.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :]
    file.write_bytes({"cut": whole[:-100], "flipped": flipped, "empty": b"", "text": b"no archive at all"}[damage])


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text"])
async def test_a_damaged_file_is_not_used(database: Database, kept: Path, damage: str) -> None:
    damaged(kept, damage)
    assert load(kept) is None
    await checked(database, kept)
    assert load(kept) is not None


async def test_a_file_of_another_format_is_read_anew_and_what_was_kept_formerly_goes(
    database: Database, kept: Path
) -> None:
    of_another_format(kept)
    former = kept.with_suffix(".npz")
    former.touch()
    assert load(kept) is None
    await checked(database, kept)
    assert load(kept) is not None
    assert not former.exists()


def of_another_format(file: Path) -> None:
    """Undamaged, but written by another version of the service."""
    content = file.read_bytes()[32:].replace(b"sales 2:", b"sales 3:", 1)
    file.write_bytes(hashlib.sha256(content).digest() + content)


async def test_a_folder_that_cannot_be_written_costs_nothing_but_time(database: Database, kept: Path) -> None:
    before = load(kept)
    assert before is not None
    in_the_way = kept.parent / "file"
    in_the_way.touch()
    save(in_the_way / "sales.bin", before)
    assert load(in_the_way / "sales.bin") is None
