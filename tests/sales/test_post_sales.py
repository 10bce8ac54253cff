"""Posting sales over HTTP: what is stored, counted and kept, alone, twice and at once, in every format alike."""

import asyncio
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from sqlalchemy import text

from app.database.engine import Database
from tests.sales.bodies import ARROW, FORMATS, NDJSON, compress, encode
from tests.sales.posting import counts, post, row, send, stored, value_of


class TestStoring:
    @pytest.mark.parametrize("content_type", FORMATS)
    async def test_every_format_stores_the_same(
        self, client: httpx.AsyncClient, database: Database, content_type: str
    ) -> None:
        rows = [
            row(returned=1, price=3.5, promo=1, in_stock=0.5),
            row(sku="00123", location="NA", quantity=None),
            row(sku="1e5", date="1900-01-01", quantity=0.25),
        ]
        answer = await send(client, encode(rows, content_type), content_type)
        assert counts(answer) == [3, 3, 0, 0, 0]
        assert await stored(database) == [
            ("00123", "NA", "2026-01-05", None, None, None, None, None),
            ("1e5", "S1", "1900-01-01", 0.25, None, None, None, None),
            ("A-1", "S1", "2026-01-05", 12.0, 1.0, 3.5, 1.0, 0.5),
        ]
        post_row = await value_of(database, "SELECT content_type FROM posts")
        assert post_row == content_type

    async def test_location_absent_null_or_empty_is_one_series(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        absent = {"sku": "A", "date": "2026-01-05", "quantity": 1}
        rows = [
            absent,
            absent | {"location": None, "date": "2026-01-06"},
            absent | {"location": "", "date": "2026-01-07"},
        ]
        assert counts(await post(client, *rows)) == [3, 3, 0, 0, 0]
        assert await value_of(database, "SELECT count(*) FROM series WHERE location = ''") == 1

    async def test_a_correction_replaces_the_whole_row_and_keeps_what_it_replaced(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        first = (await post(client, row(price=3.5), row(date="2026-01-06"))).json()["post_id"]
        answer = await post(client, row(quantity=13), row(date="2026-01-06"), row(date="2026-01-07"))
        second = answer.json()["post_id"]
        assert counts(answer) == [3, 1, 1, 1, 0]
        assert await stored(database) == [
            ("A-1", "S1", "2026-01-05", 13.0, None, None, None, None),
            ("A-1", "S1", "2026-01-06", 12.0, None, None, None, None),
            ("A-1", "S1", "2026-01-07", 12.0, None, None, None, None),
        ]
        assert await stored(database, "replaced_sales") == [("A-1", "S1", "2026-01-05", 12.0, None, 3.5, None, None)]
        async with database.reading() as connection:
            kept = await connection.fetchrow("SELECT post_id, replaced_post_id FROM replaced_sales")
            writers = await connection.fetch("SELECT post_id FROM sales ORDER BY day")
            series = await connection.fetchrow("SELECT revision, rows, first_day::text, last_day::text FROM series")
        assert tuple(kept) == (second, first)
        assert [writer["post_id"] for writer in writers] == [second, first, second]
        assert tuple(series) == (2, 3, "2026-01-05", "2026-01-07")

    async def test_the_same_rows_again_are_not_written(self, client: httpx.AsyncClient, database: Database) -> None:
        rows = [row(date=f"2026-01-{day:02}", price=day, promo=None) for day in range(1, 29)]
        await post(client, *rows)
        before = await value_of(database, "SELECT array_agg(xmin::text || ctid::text ORDER BY day) FROM sales")
        answer = await post(client, *reversed(rows))
        assert counts(answer) == [28, 0, 0, 28, 0]
        assert await value_of(database, "SELECT array_agg(xmin::text || ctid::text ORDER BY day) FROM sales") == before
        assert await value_of(database, "SELECT revision FROM series") == 1
        assert await value_of(database, "SELECT count(*) FROM posts") == 2

    async def test_a_null_is_a_value_that_can_be_corrected_to_and_from(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        assert counts(await post(client, row(quantity=None))) == [1, 1, 0, 0, 0]
        assert counts(await post(client, row(quantity=None))) == [1, 0, 0, 1, 0]
        assert counts(await post(client, row(quantity=0))) == [1, 0, 1, 0, 0]
        assert counts(await post(client, row(quantity=None))) == [1, 0, 1, 0, 0]
        assert [r[3] for r in await stored(database, "replaced_sales")] == [None, 0.0]

    async def test_days_far_apart_and_days_between_stored_ones_meet_their_rows(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        await post(client, *(row(date=day) for day in ("1990-05-01", "2026-01-01", "2026-01-09", "2026-02-01")))
        answer = await post(
            client, *(row(date=day, quantity=5) for day in ("1990-05-01", "2000-01-01", "2026-01-05", "2026-02-01"))
        )
        assert counts(answer) == [4, 2, 2, 0, 0]
        assert [r[2] for r in await stored(database)] == [
            "1990-05-01", "2000-01-01", "2026-01-01", "2026-01-05", "2026-01-09", "2026-02-01"
        ]  # fmt: skip

    async def test_a_body_of_several_buckets_is_one_post(
        self, client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.sales.validate.ROWS_A_BUCKET", 50)
        monkeypatch.setattr("app.sales.validate._ROWS_A_PIECE", 64)
        days = [f"2026-{month:02}-{day:02}" for month in (1, 2) for day in range(1, 29)]
        rows = [row(sku=f"{number:03}", date=day, quantity=number) for day in days for number in range(17)]
        answer = await send(client, encode(rows, NDJSON), NDJSON)
        assert counts(answer) == [len(rows), len(rows), 0, 0, 0]
        assert await stored(database) == sorted(
            (r["sku"], "S1", r["date"], float(r["quantity"]), None, None, None, None) for r in rows
        )
        changed = [r | {"quantity": 99} if r["sku"] in ("003", "016") else r for r in rows]
        assert counts(await send(client, encode(changed, NDJSON), NDJSON)) == [len(rows), 0, 112, len(rows) - 112, 0]
        twice = await send(client, encode([*rows, rows[5]], NDJSON), NDJSON)
        assert [(e["row"], e["code"]) for e in twice.json()["errors"]] == [
            (5, "repeated_day"),
            (len(rows), "repeated_day"),
        ]

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    @pytest.mark.parametrize("content_type", FORMATS)
    async def test_compressed_bodies_are_unpacked(
        self, client: httpx.AsyncClient, database: Database, content_type: str, encoding: str
    ) -> None:
        body = compress(encode([row(), row(sku="B")], content_type), encoding)
        answer = await send(client, body, content_type, Content_Encoding=encoding)
        assert counts(answer) == [2, 2, 0, 0, 0]

    async def test_a_series_given_more_often_than_there_are_days_is_refused_early(
        self, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.sales.validate._MOST_DAYS", 30)
        rows = [row(date=f"2026-01-{1 + number % 28:02}") for number in range(40)]
        answer = await send(client, encode(rows, NDJSON), NDJSON)
        assert [e["row"] for e in answer.json()["errors"]] == [*range(12), *range(28, 40)]

    async def test_a_large_arrow_stream_is_mapped_and_read(self, client: httpx.AsyncClient) -> None:
        rows = [row(sku=f"S{number // 40}", price=2, date=f"2025-{1 + number % 40 // 28:02}-{1 + number % 40 % 28:02}")
                for number in range(40_000)]  # fmt: skip
        body = encode(rows, ARROW)
        assert len(body) > 2**20
        assert counts(await send(client, body, ARROW)) == [40_000, 40_000, 0, 0, 0]


class TestDryRun:
    async def test_it_counts_and_writes_nothing(self, client: httpx.AsyncClient, database: Database) -> None:
        await post(client, row(), row(date="2026-01-06"))
        before = await stored(database)
        body = [row(), row(date="2026-01-06", quantity=1), row(date="2026-01-07"), row(sku="new")]
        answer = await post(client, *body, query="?dry_run=true")
        assert answer.json()["post_id"] is None
        assert counts(answer) == [4, 2, 1, 1, 0]
        assert await stored(database) == before
        assert await value_of(database, "SELECT count(*) FROM series") == 1
        assert await value_of(database, "SELECT count(*) FROM posts") == 1

    async def test_it_names_bad_rows_and_keeps_no_answer(self, client: httpx.AsyncClient, database: Database) -> None:
        assert (await post(client, row(quantity=-1), query="?dry_run=true")).status_code == 422
        headers = {"Idempotency-Key": "k"}
        for _ in range(2):
            answer = await client.post("/v1/sales?dry_run=true", json={"sales": [row()]}, headers=headers)
            assert "idempotent-replayed" not in answer.headers
        assert await value_of(database, "SELECT count(*) FROM idempotent_answers") == 0


class TestOnce:
    async def test_a_repeated_post_is_answered_from_the_record(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        headers = {"Idempotency-Key": "file-7"}
        first = await client.post("/v1/sales", json={"sales": [row()]}, headers=headers)
        again = await client.post("/v1/sales", json={"sales": [row()]}, headers=headers)
        assert again.headers["idempotent-replayed"] == "true"
        assert again.content == first.content
        assert await value_of(database, "SELECT count(*) FROM posts") == 1

    async def test_the_fingerprint_is_of_the_unpacked_body(self, client: httpx.AsyncClient) -> None:
        body = encode([row()], NDJSON)
        await send(client, body, NDJSON, Idempotency_Key="k")
        packed = compress(body, "gzip")
        again = await send(client, packed, NDJSON, Idempotency_Key="k", Content_Encoding="gzip")
        assert again.headers["idempotent-replayed"] == "true"
        other = await send(client, encode([row(quantity=1)], NDJSON), NDJSON, Idempotency_Key="k")
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
        complete = await send(client, body, NDJSON, query="?complete=true", Idempotency_Key="k")
        assert complete.status_code == 422

    async def test_a_hundred_clients_with_one_key_have_one_effect(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        async def until_answered() -> httpx.Response:
            while True:
                answer = await client.post("/v1/sales", json={"sales": [row()]}, headers={"Idempotency-Key": "one"})
                if answer.status_code not in (409, 503):
                    return answer
                assert "retry-after" in answer.headers
                await asyncio.sleep(0.01)

        answers = await asyncio.gather(*(until_answered() for _ in range(100)))
        assert {answer.status_code for answer in answers} == {200}
        assert len({answer.content for answer in answers}) == 1
        assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1
        assert await value_of(database, "SELECT count(*) FROM posts") == 1


class TestTogether:
    async def test_two_posts_for_one_day_at_once_come_one_after_the_other(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        days = [f"2026-01-{day:02}" for day in range(1, 29)]

        async def one(quantity: int) -> httpx.Response:
            skus = ("A", "B", "C") if quantity % 2 else ("C", "B", "A")
            return await post(client, *(row(sku=sku, date=day, quantity=quantity) for sku in skus for day in days))

        answers = await asyncio.gather(*(one(quantity) for quantity in range(8)))
        written = [counts(answer) for answer in answers]
        cells = 3 * len(days)
        assert sorted(written) == [[cells, 0, cells, 0, 0]] * 7 + [[cells, cells, 0, 0, 0]]
        last = {value[3] for value in await stored(database)}
        assert len(last) == 1
        kept = await value_of(database, "SELECT array_agg(DISTINCT quantity ORDER BY quantity) FROM replaced_sales")
        assert sorted([*kept, *last]) == list(range(8))
        assert await value_of(database, "SELECT count(*) FROM replaced_sales") == 7 * cells
        # The history of each day is one chain: every post but the last was replaced once, by the post that came next.
        chain = """SELECT count(*) FROM replaced_sales r WHERE r.post_id <> (
            SELECT min(p.id) FROM posts p WHERE p.id > r.replaced_post_id)"""
        assert await value_of(database, chain) == 0
        assert await value_of(database, "SELECT array_agg(DISTINCT ARRAY[revision, rows]) FROM series") == [[8, 28]]

    async def test_posts_that_make_the_same_series_at_once_make_them_once(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        async def one(number: int) -> httpx.Response:
            skus = [f"S{i:02}" for i in range(20)]
            chosen = skus[number:] + skus[:number]
            return await post(client, *(row(sku=sku, date=f"2026-01-{number + 1:02}") for sku in chosen))

        answers = await asyncio.gather(*(one(number) for number in range(8)))
        assert [counts(answer) for answer in answers] == [[20, 20, 0, 0, 0]] * 8
        assert await value_of(database, "SELECT array_agg(DISTINCT ARRAY[revision, rows]) FROM series") == [[8, 8]]
        assert await value_of(database, "SELECT count(*) FROM series") == 20

    async def test_a_series_id_is_not_spent_on_series_that_are_there(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        for day in range(1, 6):
            await post(client, row(sku="A", date=f"2026-01-{day:02}"), row(sku="B", date=f"2026-01-{day:02}"))
        await post(client, row(sku="C"))
        assert await value_of(database, "SELECT max(id) FROM series") == 3


class TestComplete:
    async def discontinue(self, database: Database, sku: str, day: str) -> None:
        async with database.transaction() as connection:
            insert = text("INSERT INTO items (sku, discontinued_on) VALUES (:sku, CAST(:day AS text)::date)")
            await connection.execute(insert, {"sku": sku, "day": day})

    async def test_active_series_without_a_row_get_a_zero(self, client: httpx.AsyncClient, database: Database) -> None:
        history = [row(sku=sku, location=place, date="2026-01-05") for sku in "ABC" for place in ("S1", "S2")]
        await post(client, *history)
        await self.discontinue(database, "C", "2026-01-07")
        body = [row(sku="A", date="2026-01-06", quantity=3), row(sku="A", date="2026-01-07", quantity=4)]
        answer = await post(client, *body, query="?complete=true")
        assert counts(answer) == [2, 2, 0, 0, 3]
        zeros = [(r[0], r[1], r[2]) for r in await stored(database) if r[3] == 0]
        assert zeros == [("B", "S1", "2026-01-06"), ("B", "S1", "2026-01-07"), ("C", "S1", "2026-01-06")]
        post_row = await value_of(
            database, "SELECT ROW(complete, completed, cardinality(series_ids)) FROM posts WHERE complete"
        )
        assert tuple(post_row) == (True, 3, 3)
        states = await value_of(
            database,
            "SELECT array_agg(ARRAY[sku, rows::text, revision::text] ORDER BY sku) FROM series WHERE location = 'S1'",
        )
        assert states == [["A", "3", "2"], ["B", "3", "2"], ["C", "2", "2"]]
        written_by = await value_of(database, "SELECT count(DISTINCT post_id) FROM sales WHERE day > '2026-01-05'")
        assert written_by == 1

    async def test_only_a_sale_in_the_56_days_before_makes_a_series_active(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        day = datetime(2026, 6, 1, tzinfo=UTC).date()
        ago = {"just": 56, "past": 57}
        history = [row(sku=sku, date=(day - timedelta(days=days)).isoformat()) for sku, days in ago.items()]
        history += [row(sku="never sold", date=(day - timedelta(days=3)).isoformat(), quantity=0)]
        history += [row(sku="unknown", date=(day - timedelta(days=3)).isoformat(), quantity=None)]
        history += [row(sku="later", date=(day + timedelta(days=1)).isoformat())]
        await post(client, *history)
        answer = await post(client, row(sku="new", date=day.isoformat()), query="?complete=true")
        assert counts(answer) == [1, 1, 0, 0, 1]
        assert [r[0] for r in await stored(database) if r[2] == day.isoformat()] == ["just", "new"]

    async def test_rows_already_stored_and_days_not_in_the_body_are_left_alone(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        await post(client, row(sku="B", date="2026-01-01"), row(sku="B", date="2026-01-03", quantity=None))
        body = [row(sku="A", date="2026-01-03"), row(sku="A", date="2026-01-05")]
        answer = await post(client, *body, query="?complete=true")
        assert counts(answer) == [2, 2, 0, 0, 1]
        assert [r[2:4] for r in await stored(database) if r[0] == "B"] == [
            ("2026-01-01", 12.0), ("2026-01-03", None), ("2026-01-05", 0.0)
        ]  # fmt: skip

    async def test_a_whole_history_in_one_body_gets_its_zeros_between_sales(
        self, client: httpx.AsyncClient, database: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.sales.complete._CELLS", 300)
        days = [(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=n)).date().isoformat() for n in range(150)]
        daily = [row(sku="daily", date=day) for day in days]
        rare = [row(sku=f"rare {n}", date=days[at]) for n in range(5) for at in (10 + n, 30, 110)]
        answer = await post(client, *daily, *rare, query="?complete=true")
        # rare n sells on day 10+n, 30 and 110: zeros from 10+n to 86 but for day 30, and from 111 to the end.
        expected = sum((86 - (10 + n)) - 1 + (149 - 110) for n in range(5))
        assert counts(answer) == [165, 165, 0, 0, expected]
        again = await post(client, *daily, *rare, query="?complete=true")
        assert counts(again) == [165, 0, 0, 165, 0]

    async def test_a_dry_run_counts_the_zeros_and_writes_nothing(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        await post(client, row(sku="B", date="2026-01-04"))
        before = await stored(database)
        body = [row(sku="A"), row(sku="A", date="2026-01-06"), row(sku="C", date="2026-01-05")]
        answer = await post(client, *body, query="?complete=true&dry_run=true")
        assert counts(answer) == [3, 3, 0, 0, 3]
        assert answer.json()["post_id"] is None
        assert await stored(database) == before
        assert await value_of(database, "SELECT count(*) FROM series") == 1
        assert await value_of(database, "SELECT count(*) FROM posts") == 1
        assert counts(await post(client, *body, query="?complete=true")) == [3, 3, 0, 0, 3]
