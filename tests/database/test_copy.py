"""Binary COPY with NumPy, against a real Postgres: what goes in as columns is what the server holds, and comes out again."""

import numpy as np
import pytest

from app.database.copy import copy_in, copy_out, encoded, int_array
from app.database.engine import Database, begun

EPOCH_2000 = 10_957


async def test_values_arrive_as_written_and_nan_arrives_as_null(database: Database) -> None:
    async with database.transaction() as transaction:
        connection = await begun(transaction)
        await connection.execute("CREATE TEMP TABLE t (id int, day date, big bigint, a float8, b float8, c float8)")
        await copy_in(
            connection,
            "t",
            [
                ("id", "int4", np.array([1, -2, 3], np.int32)),
                ("day", "date", np.array([0, EPOCH_2000, 20_781], np.int32)),
                ("big", "int8", np.array([2**40, -1, 0])),
                ("a", "float8", np.array([1.5, np.nan, 0.1])),
                ("b", "float8", np.full(3, np.nan)),
                ("c", "float8", np.array([np.nan, 2, 1e308])),
            ],
        )
        rows = await connection.fetch("SELECT id, day::text, big, a, b, c FROM t ORDER BY abs(id)")
    assert [tuple(row) for row in rows] == [
        (1, "1970-01-01", 2**40, 1.5, None, None),
        (-2, "2000-01-01", -1, None, None, 2.0),
        (3, "2026-11-24", 0, 0.1, None, 1e308),
    ]


async def test_rows_come_out_as_they_went_in_across_many_pieces(database: Database) -> None:
    count = 200_000
    random = np.random.default_rng(7)
    days = random.integers(-20_000, 30_000, count).astype(np.int32)
    values = np.where(random.random(count) < 0.3, np.nan, random.random(count))
    async with database.transaction() as transaction:
        connection = await begun(transaction)
        await connection.execute("CREATE TEMP TABLE t (id int, day date, value float8)")
        columns = [
            ("id", "int4", np.arange(count, dtype=np.int32)),
            ("day", "date", days),
            ("value", "float8", values),
        ]
        await copy_in(connection, "t", columns)  # type: ignore[arg-type]
        query = "SELECT id, day, coalesce(value, 'NaN'), value::float4 IS NULL AND false FROM t ORDER BY id"
        query = "SELECT id, day, coalesce(value, 'NaN') FROM t ORDER BY id"
        ids, read_days, read_values = await copy_out(connection, query, ["int4", "date", "float8"])
    assert np.array_equal(ids, np.arange(count))
    assert np.array_equal(read_days, days)
    assert np.array_equal(read_values, values, equal_nan=True)


async def test_no_rows_are_no_rows(database: Database) -> None:
    async with database.transaction() as transaction:
        connection = await begun(transaction)
        await connection.execute("CREATE TEMP TABLE t (id int, value float8)")
        await copy_in(connection, "t", [("id", "int4", np.empty(0, np.int32)), ("value", "float8", np.empty(0))])
        ids, values = await copy_out(connection, "SELECT id, value FROM t", ["int4", "float8"])
    assert (ids.dtype, values.dtype, len(ids), len(values)) == (np.int32, np.float64, 0, 0)


async def test_a_null_where_none_was_promised_is_an_error_and_not_another_number(database: Database) -> None:
    async with database.transaction() as transaction:
        connection = await begun(transaction)
        with pytest.raises(ValueError, match="NULL"):
            await copy_out(connection, "SELECT 1, NULL::float8 UNION ALL SELECT 2, 3", ["int4", "float8"])


def test_a_literal_holds_integers_only() -> None:
    assert int_array(np.array([3, -1], np.int64)) == "'{3,-1}'::int[]"
    with pytest.raises(ValueError, match="invalid literal"):
        int_array(["1}'; DROP TABLE sales; --"])  # type: ignore[list-item]


def test_an_encoded_row_is_what_the_format_says() -> None:
    # int16 fields, then int32 length and value each; a NULL is a length of -1 and nothing more.
    assert encoded([("int4", np.array([7])), ("float8", np.array([np.nan]))]).hex() == "00020000000400000007ffffffff"
