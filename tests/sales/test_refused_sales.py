"""Posting sales over HTTP: what is refused, and how it is named."""

from datetime import timedelta

import httpx
import pytest

from app.config import Settings
from app.database.engine import Database
from tests.sales.bodies import JSON, NDJSON, Row, compress, encode
from tests.sales.posting import counts, post, row, send, stored, today, value_of


class TestDays:
    async def test_tomorrow_is_the_last_day_and_1900_the_first(self, client: httpx.AsyncClient) -> None:
        before = today()
        assert (await post(client, row(date=(before + timedelta(days=1)).isoformat()))).status_code == 200
        late = (before + timedelta(days=3)).isoformat()  # two days ahead could become tomorrow at midnight
        refused = await post(client, row(), row(date=late), row(date="1899-12-31"))
        assert refused.status_code == 422
        assert [(e["row"], e["field"], e["code"]) for e in refused.json()["errors"]] == [
            (1, "date", "out_of_range"),
            (2, "date", "out_of_range"),
        ]
        last_allowed = [(day + timedelta(days=1)).isoformat() for day in (before, today())]
        assert any(f"to {day}, not {late}" in refused.json()["detail"] for day in last_allowed)


BAD_VALUES: list[tuple[Row, str, str]] = [
    ({"quantity": -1}, "quantity", "too_small"),
    ({"quantity": "12"}, "quantity", "wrong_type"),
    ({"quantity": True}, "quantity", "wrong_type"),
    ({"returned": -0.5}, "returned", "too_small"),
    ({"price": -1}, "price", "too_small"),
    ({"price": []}, "price", "wrong_type"),
    ({"promo": 1.5}, "promo", "too_large"),
    ({"promo": "yes"}, "promo", "wrong_type"),
    ({"in_stock": -0.1}, "in_stock", "too_small"),
    ({"sku": 123}, "sku", "wrong_type"),
    ({"sku": ""}, "sku", "invalid_text"),
    ({"sku": "  "}, "sku", "invalid_text"),
    ({"sku": None}, "sku", "missing"),
    ({"sku": "x" * 201}, "sku", "invalid_text"),
    ({"sku": "a\x00b"}, "sku", "invalid_text"),
    ({"location": "a\nb"}, "location", "invalid_text"),
    ({"location": 7}, "location", "wrong_type"),
    ({"date": "2026-02-30"}, "date", "invalid_date"),
    ({"date": "2026-1-5"}, "date", "invalid_date"),
    ({"date": "20260105"}, "date", "invalid_date"),
    ({"date": "2026-01-05T00:00:00"}, "date", "invalid_date"),
    ({"date": 20260105}, "date", "wrong_type"),
    ({"date": None}, "date", "missing"),
    ({"qty": 1}, "qty", "unknown_field"),
]


class TestRefusing:
    async def test_a_bad_value_is_named_and_nothing_is_written(
        self, client: httpx.AsyncClient, database: Database
    ) -> None:
        for values, field, code in BAD_VALUES:
            answer = await post(client, row(sku="good"), row(**values))
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_rows"), values
            errors = answer.json()["errors"]
            assert [(e["row"], e["field"], e["code"]) for e in errors] == [(1, field, code)], values
            assert errors[0]["detail"]
        assert await value_of(database, "SELECT (SELECT count(*) FROM sales) + (SELECT count(*) FROM series)") == 0

    async def test_a_negative_quantity_is_told_where_returns_belong(self, client: httpx.AsyncClient) -> None:
        answer = await post(client, row(quantity=-3))
        assert "Units that came back belong in `returned`" in answer.json()["errors"][0]["detail"]

    async def test_a_required_field_must_be_there(self, client: httpx.AsyncClient) -> None:
        for name in ["sku", "date", "quantity"]:
            answer = await post(client, {key: value for key, value in row().items() if key != name})
            assert [(e["row"], e["field"], e["code"]) for e in answer.json()["errors"]] == [(0, name, "missing")]

    async def test_up_to_a_hundred_bad_rows_are_named(self, client: httpx.AsyncClient) -> None:
        rows = [row(date=f"2026-{month:02}-{day:02}") for month in range(1, 7) for day in range(1, 29)]
        bad = [r | {"quantity": -1} if number % 2 else r for number, r in enumerate(rows)]
        answer = await post(client, *bad)
        assert [e["row"] for e in answer.json()["errors"]] == [2 * i + 1 for i in range(84)]
        assert answer.json()["detail"].startswith("84 rows are not valid")
        answer = await post(client, *(r | {"price": -1} for r in rows))
        assert [e["row"] for e in answer.json()["errors"]] == list(range(100))
        assert answer.json()["detail"].startswith("100 or more rows are not valid")

    async def test_two_rows_for_one_day_are_both_named(self, client: httpx.AsyncClient, database: Database) -> None:
        answer = await post(client, row(), row(sku="B"), row(quantity=9), row(location=""))
        assert answer.status_code == 422
        errors = answer.json()["errors"]
        assert [(e["row"], e["field"], e["code"]) for e in errors] == [
            (0, "date", "repeated_day"),
            (2, "date", "repeated_day"),
        ]
        assert "Row 2 too is for 'A-1' at 'S1' on 2026-01-05" in errors[0]["detail"]
        assert await stored(database) == []

    async def test_a_body_of_another_shape_is_told_the_shape(self, client: httpx.AsyncClient) -> None:
        for body in [
            b"[]",
            b"{}",
            b'{"sales": {}}',
            b'{"sales": [], "more": 1}',
            b'{"sales": null}',
            b"1",
            b'"sales"',
            b"null",
        ]:
            answer = await send(client, body, JSON)
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
            assert '{"sales": [row, …]}' in answer.json()["detail"]

    async def test_what_is_not_json_is_refused(self, client: httpx.AsyncClient) -> None:
        for body in [b"", b" ", b"{", b'{"sales": [NaN]}', b"\xff", b'{"sales": ["\\ud800"]}', b"[" * 9999]:
            answer = await send(client, body, JSON)
            assert (answer.status_code, answer.json()["code"]) == (400, "unreadable_body")

    async def test_a_key_given_twice_is_refused_and_not_dropped(self, client: httpx.AsyncClient) -> None:
        line = b'{"sku": "A", "date": "2026-01-05", "quantity": 1, "quantity" : 2}'
        whole = await send(client, b'{"sales": [' + line + b"]}", JSON)
        assert (whole.status_code, whole.json()["code"]) == (400, "unreadable_body")
        assert "'quantity' stands twice" in whole.json()["detail"]
        lines = await send(client, b'{"sku": "B", "date": "2026-01-05", "quantity": 1}\n' + line, NDJSON)
        assert [(e["row"], e["field"], e["code"]) for e in lines.json()["errors"]] == [
            (1, "quantity", "repeated_field")
        ]

    async def test_a_text_that_looks_like_a_key_is_only_a_text(self, client: httpx.AsyncClient) -> None:
        assert counts(await post(client, row(sku='say "quantity": 1'))) == [1, 1, 0, 0, 0]

    async def test_rows_that_are_not_objects_are_named(self, client: httpx.AsyncClient) -> None:
        answer = await send(client, b'{"sales": [1, null, "x", []]}', JSON)
        named = [e["row"] for e in answer.json()["errors"] if e["code"] == "not_an_object"]
        assert (answer.status_code, named) == (422, [0, 1, 2, 3])

    async def test_no_rows_are_refused(self, client: httpx.AsyncClient) -> None:
        answer = await send(client, b'{"sales": []}', JSON)
        assert (answer.status_code, answer.json()["detail"]) == (422, "The body has no rows.")

    async def test_a_query_that_is_not_understood_is_refused(self, client: httpx.AsyncClient) -> None:
        for query in ["?complete=maybe", "?unknown=1", "?dry_run=1&dry_run=0"]:
            assert (await post(client, row(), query=query)).status_code == 422


class TestLimits:
    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        small = {"max_json_bytes": 4096, "max_json_rows": 20, "max_upload_bytes": 20_000, "max_decoded_bytes": 50_000}
        return settings.model_copy(update=small)

    async def test_json_has_limits_on_bytes_and_rows(self, client: httpx.AsyncClient) -> None:
        many = [{"sku": str(i), "date": "2026-01-05", "quantity": 1} for i in range(21)]
        rows = await post(client, *many)
        assert (rows.status_code, rows.json()["code"]) == (413, "body_too_large")
        big = await send(client, encode([row(sku="x" * 5000)], JSON), JSON)
        assert (big.status_code, big.json()["code"]) == (413, "body_too_large")
        packed = await send(client, compress(b" " * 100_000 + b"{}", "gzip"), JSON, Content_Encoding="gzip")
        assert packed.status_code == 413

    async def test_files_have_no_limit_on_rows_but_on_bytes_as_sent_and_unpacked(
        self, client: httpx.AsyncClient, settings: Settings
    ) -> None:
        rows = [{"sku": str(i), "date": "2026-01-05", "quantity": 1} for i in range(200)]
        assert (await send(client, encode(rows, NDJSON), NDJSON)).status_code == 200
        assert (await send(client, b" " * 20_001, NDJSON)).status_code == 413
        for encoding in ("gzip", "zstd"):
            bomb = compress(b"\n" * 10_000_000, encoding)
            assert len(bomb) < settings.max_upload_bytes
            answer = await send(client, bomb, NDJSON, Content_Encoding=encoding)
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")

    async def test_a_parquet_bomb_is_met_by_the_limit(self, client: httpx.AsyncClient) -> None:
        body = encode([row(sku="same", date="2026-01-05")] * 30_000, "application/vnd.apache.parquet")
        assert len(body) < 20_000
        answer = await send(client, body, "application/vnd.apache.parquet")
        assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


class TestMediaTypes:
    async def test_an_unknown_format_is_told_the_known_ones(self, client: httpx.AsyncClient) -> None:
        for content_type in ["", "text/plain", "application/xml", "multipart/form-data; boundary=x", "json"]:
            answer = await client.post(
                "/v1/sales", content=b"x", headers={"Content-Type": content_type} if content_type else {}
            )
            assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")
            assert "application/vnd.apache.parquet" in answer.json()["detail"]

    async def test_an_unknown_encoding_or_charset_is_refused(self, client: httpx.AsyncClient) -> None:
        assert (await send(client, b"x", JSON, Content_Encoding="br")).status_code == 415
        assert (await send(client, b"x", JSON, Content_Encoding="gzip, gzip")).status_code == 415
        assert (await send(client, b"x", "text/csv; charset=latin-1")).status_code == 415

    @pytest.mark.parametrize("encoding", ["gzip", "zstd"])
    async def test_damaged_compression_is_a_400(self, client: httpx.AsyncClient, encoding: str) -> None:
        whole = compress(encode([row()], JSON), encoding)
        for body in (whole[:-4], whole + b"junk", b"not compressed", encode([row()], JSON)):
            answer = await send(client, body, JSON, Content_Encoding=encoding)
            assert (answer.status_code, answer.json()["code"]) == (400, "unreadable_body")


class TestScopes:
    async def test_a_key_must_be_allowed_to_write(self, client: httpx.AsyncClient, key_with) -> None:  # type: ignore[no-untyped-def]
        reader = await key_with("sales:read")
        answer = await client.post("/v1/sales", json={"sales": [row()]}, headers={"Authorization": f"Bearer {reader}"})
        assert answer.status_code == 403
        del client.headers["Authorization"]
        assert (await post(client, row())).status_code == 401
