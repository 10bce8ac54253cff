"""Files read to checked columns: what each format means, what is refused, and that no bytes at all can break the reader."""

import io
import json
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import ipc, parquet

from app.errors import Problem
from app.names import wrong_with_location, wrong_with_sku
from app.tabular.fields import BadRows, Field
from app.tabular.formats import Format
from app.tabular.reading import floats, pieces
from app.tabular.spool import Body

FIELDS = (
    Field("sku", "text", required=True, nullable=False, check=wrong_with_sku),
    Field("location", "text", check=wrong_with_location, default=""),
    Field("date", "day", required=True, nullable=False, low=-25_567, high=20_000),
    Field("quantity", "number", required=True, low=0),
    Field("promo", "flag", low=0, high=1),
    Field("open", "boolean"),
    Field("attributes", "object"),
)


def read(content: bytes, form: Format, *, limit: int = 10**8) -> dict[str, list[Any]]:
    """All columns of a body as lists; raises the problem that the caller would be answered with."""
    body = Body(io.BytesIO(content), len(content), b"", form, None, limit)
    bad = BadRows()
    found = list(pieces(body, FIELDS, bad, key="sales"))
    bad.refuse()
    assert [n for piece in found for n in piece.rows.tolist()] == list(range(sum(map(len, found))))
    return {field.name: [v for piece in found for v in piece.columns[field.name].to_pylist()] for field in FIELDS}


def refused(content: bytes, form: Format, **options: Any) -> Problem:
    with pytest.raises(Problem) as caught:
        read(content, form, **options)
    assert 400 <= caught.value.status < 500
    return caught.value


def named(problem: Problem) -> list[tuple[Any, ...]]:
    return [(e["row"], e["field"], e["code"]) for e in problem.errors]


def csv_of(*lines: str) -> bytes:
    return "\n".join(lines).encode() + b"\n"


def parquet_of(**columns: Any) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()


def arrow_of(**columns: Any) -> bytes:
    table, sink = pa.table(columns), io.BytesIO()
    with ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


GOOD: dict[str, Any] = {
    "sku": pa.array(["A", "B"]),
    "date": pa.array([date(2020, 1, 1), date(2020, 1, 2)]),
    "quantity": pa.array([1.5, None]),
}


class TestCsv:
    def test_text_is_as_written_and_an_empty_cell_is_null(self) -> None:
        rows = read(
            csv_of(
                "sku,location,date,quantity,promo,open",
                "00123,NA,2020-01-01,1e1,TRUE,1",
                "1e5,null,2020-01-02,,0.25,False",
                '"say ""hi"", ok",,2020-01-03,.5,0,',
            ),
            Format.CSV,
        )
        assert rows["sku"] == ["00123", "1e5", 'say "hi", ok']
        assert rows["location"] == ["NA", "null", ""]
        assert rows["quantity"] == [10.0, None, 0.5]
        assert rows["promo"] == [1.0, 0.25, 0.0]
        assert rows["open"] == [True, False, None]
        assert rows["date"][0] == date(2020, 1, 1)
        assert rows["attributes"] == [None] * 3

    @pytest.mark.parametrize("end", [b"\n", b"\r\n"])
    def test_a_mark_windows_line_ends_and_blank_lines_do_no_harm(self, end: bytes) -> None:
        lines = [b"\xef\xbb\xbfsku,date,quantity", b"A,2020-01-01,1", b"", b"B,2020-01-02,2"]
        for tail in (b"", end, end + end):
            assert read(end.join(lines) + tail, Format.CSV)["sku"] == ["A", "B"]

    def test_a_name_may_not_hold_a_line_break_though_a_cell_may(self) -> None:
        problem = refused(b'sku,location,date,quantity\n"A\nB",S,2020-01-01,1\nC,S,2020-01-01,1\n', Format.CSV)
        assert named(problem) == [(0, "sku", "invalid_text")]

    def test_columns_may_stand_in_any_order(self) -> None:
        assert read(csv_of("quantity,date,sku", "1,2020-01-01,A"), Format.CSV)["sku"] == ["A"]

    def test_every_bad_cell_is_named(self) -> None:
        problem = refused(
            csv_of(
                "sku,date,quantity,promo,open",
                'A,2020-01-01,"1,5",true,true',
                "B,01.02.2020,1,yes,true",
                ",2020-01-01,nan,,2",
                "D,,1e999,,maybe",
                "E,2020-01-01,12 ,,",
            ),
            Format.CSV,
        )
        assert named(problem) == [
            (0, "quantity", "wrong_type"),
            (1, "date", "invalid_date"),
            (1, "promo", "wrong_type"),
            (2, "open", "wrong_type"),
            (2, "quantity", "wrong_type"),
            (2, "sku", "missing"),
            (3, "date", "missing"),
            (3, "open", "wrong_type"),
            (3, "quantity", "not_finite"),
            (4, "quantity", "wrong_type"),
        ]
        assert "write 1.5 with a point" in problem.errors[0]["detail"]

    def test_not_a_number_is_no_number(self) -> None:
        for text in ("nan", "NaN", "inf", "-inf", "Infinity"):
            problem = refused(csv_of("sku,date,quantity", f"A,2020-01-01,{text}"), Format.CSV)
            assert named(problem) == [(0, "quantity", "not_finite")]

    def test_ragged_rows_are_named_and_the_rows_after_them_keep_their_numbers(self) -> None:
        problem = refused(
            csv_of("sku,date,quantity", "A,2020-01-01,1", "B,2020-01-01", "", "C,2020-01-01,1,2", "D,2020-01-01,-1"),
            Format.CSV,
        )
        assert named(problem) == [(1, None, "ragged_row"), (2, None, "ragged_row"), (3, "quantity", "too_small")]
        assert "has 2 cells, the header 3" in problem.errors[0]["detail"]

    def test_ragged_rows_are_numbered_right_across_blocks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.tabular.csv_rows._BLOCK", 400)
        lines = [f"SKU{n},2020-01-01,{n}" for n in range(300)]
        lines[70], lines[150], lines[299] = "X,2020-01-01", "Y,2020-01-01,-5", "Z"
        problem = refused(csv_of("sku,date,quantity", *lines), Format.CSV)
        assert named(problem) == [(70, None, "ragged_row"), (150, "quantity", "too_small"), (299, None, "ragged_row")]
        lines[70], lines[150], lines[299] = (f"SKU{n},2020-01-01,{n}" for n in (70, 150, 299))
        assert read(csv_of("sku,date,quantity", *lines), Format.CSV)["quantity"] == [float(n) for n in range(300)]

    def test_an_open_quote_is_hinted_at(self) -> None:
        problem = refused(csv_of("sku,date,quantity", '"A,2020-01-01,1', "B,2020-01-01,2"), Format.CSV)
        assert named(problem) == [(0, None, "ragged_row")]
        assert "quote left open" in problem.errors[0]["detail"]

    @pytest.mark.parametrize(
        ("header", "field", "code", "hint"),
        [
            ("sku;date;quantity", "sku;date;quantity", "unknown_column", "separated by commas, not semicolons"),
            ("sku\tdate\tquantity", "sku\tdate\tquantity", "unknown_column", "not tabs"),
            ("sku,date,quantity,quantity", "quantity", "repeated_column", "more than once"),
            ("sku,date,quantity,Promo", "Promo", "unknown_column", "did you mean 'promo'?"),
            ("sku,date,quantity,", "", "unknown_column", "not known"),
            ("sku,date", "quantity", "missing_column", "missing"),
            ("sku, date,quantity", " date", "unknown_column", "did you mean 'date'?"),
        ],
    )
    def test_a_wrong_header_is_told_with_a_hint(self, header: str, field: str, code: str, hint: str) -> None:
        line = header.replace("sku", "A").replace("date", "2020-01-01").replace("quantity", "1")
        problem = refused(csv_of(header, line), Format.CSV)
        error = problem.errors[0]
        assert (problem.code, error["row"], error["field"], error["code"]) == ("invalid_request", None, field, code)
        assert hint in error["detail"]

    def test_other_encodings_are_refused(self) -> None:
        text = "sku,date,quantity\nKäse,2020-01-01,1\n"
        for encoding in ("latin-1", "utf-16", "utf-16-le", "cp1252"):
            assert refused(text.encode(encoding), Format.CSV).code in ("unreadable_body", "invalid_request"), encoding
        assert read(text.encode(), Format.CSV)["sku"] == ["Käse"]

    def test_no_rows_and_no_header(self) -> None:
        for content in (b"sku,date,quantity", b"sku,date,quantity\n", b"sku,date,quantity\n\n"):
            assert refused(content, Format.CSV).detail == "The body has no rows."
        for content in (b"", b"\n", b" \r\n"):
            assert "empty" in refused(content, Format.CSV).detail

    def test_a_row_longer_than_a_block_is_refused(self) -> None:
        content = csv_of("sku,date,quantity", "A,2020-01-01,1", f"{'x' * (5 * 2**20)},2020-01-01,1")
        assert refused(content, Format.CSV).status == 400


class TestJson:
    def test_rows_of_one_body(self) -> None:
        rows = [
            {"sku": "A", "date": "2020-01-01", "quantity": 1, "promo": True, "open": False, "attributes": {"a": [1]}},
            {"sku": "ü", "location": "S", "date": "2020-01-02", "quantity": 1e3, "promo": 0.5},
        ]
        found = read(json.dumps({"sales": rows}).encode(), Format.JSON)
        assert found["quantity"] == [1.0, 1000.0]
        assert found["promo"] == [1.0, 0.5]
        assert found["open"] == [False, None]
        assert found["attributes"] == ['{"a":[1]}', None]
        assert found["location"] == ["", "S"]

    def test_lines_blank_lines_and_no_last_line_end(self) -> None:
        line = '{"sku": "A", "date": "2020-01-01", "quantity": 1}'
        for content in (line, line + "\n", "\n\n" + line + "\r\n  \n"):
            assert read(content.encode(), Format.NDJSON)["sku"] == ["A"]

    def test_bad_lines_are_named_and_others_keep_their_numbers(self) -> None:
        good = '{"sku": "A", "date": "2020-01-01", "quantity": 1}'
        bad = good.replace("1}", "-1}")
        nan = good.replace("1}", "NaN}")
        lines = [good, "{", "[1]", good + good, nan, bad, '{"sku": "\\ud800"}']
        problem = refused("\n".join(lines).encode(), Format.NDJSON)
        assert named(problem) == [
            (1, None, "not_json"),
            (2, None, "not_an_object"),
            (3, None, "not_json"),
            (4, None, "not_json"),
            (5, "quantity", "too_small"),
            (6, None, "not_json"),
        ]

    def test_lines_are_read_across_chunks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.tabular.json_rows._CHUNK", 100)
        lines = [f'{{"sku": "S{n}", "date": "2020-01-01", "quantity": {n}}}' for n in range(50)]
        assert read("\n".join(lines).encode(), Format.NDJSON)["quantity"] == [float(n) for n in range(50)]

    def test_a_line_without_end_is_refused_before_it_fills_the_memory(self) -> None:
        assert refused(b"x" * (9 * 2**20), Format.NDJSON).status == 413

    def test_deep_nesting_is_refused_in_a_value_and_as_a_whole(self) -> None:
        for depth in (101, 500, 1023, 5000):
            deep = '{"a":' * depth + "1" + "}" * depth
            row = f'{{"sku": "A", "date": "2020-01-01", "quantity": 1, "attributes": {deep}}}'
            assert refused(f'{{"sales": [{row}]}}'.encode(), Format.JSON).code == "unreadable_body"
            assert named(refused(row.encode(), Format.NDJSON)) == [(0, None, "not_json")]

    def test_huge_numbers(self) -> None:
        def row(number: str) -> bytes:
            return f'{{"sku": "A", "date": "2020-01-01", "quantity": {number}}}'.encode()

        assert read(row("9007199254740993"), Format.NDJSON)["quantity"] == [9007199254740992.0]
        assert read(row("18446744073709551616"), Format.NDJSON)["quantity"] == [2.0**64]
        for number in ("1e999", "1" * 400, "-1e999"):
            assert refused(row(number), Format.NDJSON).status == 422


class TestArrow:
    @pytest.mark.parametrize("encode", [parquet_of, arrow_of])
    def test_types_that_mean_the_same(self, encode: Callable[..., bytes]) -> None:
        form = Format.PARQUET if encode is parquet_of else Format.ARROW
        days = [date(2020, 1, 1), date(2020, 1, 2)]
        times = [datetime(2020, 1, 1), datetime(2020, 1, 2)]
        expected = read(encode(**GOOD), form)
        same: list[dict[str, Any]] = [
            {"sku": pa.array(["A", "B"], pa.large_string())},
            {"sku": pa.array(["A", "B"]).dictionary_encode()},
            {"sku": pa.array(["A", "B"], pa.string_view())} if encode is arrow_of else {},
            {"date": pa.array(days, pa.date64())},
            {"date": pa.array(["2020-01-01", "2020-01-02"])},
            {"date": pa.array(["2020-01-01", "2020-01-02"]).dictionary_encode()},
            *({"date": pa.array(times, pa.timestamp(unit))} for unit in ("s", "ms", "us", "ns")),
            {"quantity": pa.array([1.5, None], pa.float32())},
            {"quantity": pa.array([Decimal("1.5"), None], pa.decimal128(10, 2))},
            {"promo": pa.nulls(2)},
            {"location": pa.array([None, ""])},
        ]
        for change in same:
            assert read(encode(**{**GOOD, **change}), form) == expected, change
        whole = read(
            encode(**{**GOOD, "quantity": pa.array([1, 2], pa.uint16()), "promo": pa.array([True, None])}), form
        )
        assert (whole["quantity"], whole["promo"]) == ([1.0, 2.0], [1.0, None])

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"sku": pa.array([1, 2])}, "sku"),
            ({"sku": pa.array([b"A", b"B"])}, "sku"),
            ({"sku": pa.array([["A"], ["B"]])}, "sku"),
            ({"quantity": pa.array(["1", "2"])}, "quantity"),
            ({"quantity": pa.array([True, False])}, "quantity"),
            ({"promo": pa.array(["1", "0"])}, "promo"),
            ({"date": pa.array([1, 2])}, "date"),
            ({"date": pa.array([datetime(2020, 1, 1)] * 2, pa.timestamp("us", tz="UTC"))}, "date"),
            ({"open": pa.array([1, 0])}, "open"),
        ],
    )
    def test_a_column_of_another_type_is_named(self, change: dict[str, Any], field: str) -> None:
        problem = refused(parquet_of(**{**GOOD, **change}), Format.PARQUET)
        assert named(problem) == [(None, field, "wrong_type")]

    def test_bad_values_are_named(self) -> None:
        content = parquet_of(
            sku=pa.array([None, "B", "C", "D"]),
            date=pa.array(
                [datetime(2020, 1, 1), datetime(2020, 1, 1, 12), None, datetime(3000, 1, 1)], pa.timestamp("us")
            ),
            quantity=pa.array([float("nan"), float("inf"), -1, None]),
        )
        assert named(refused(content, Format.PARQUET)) == [
            (0, "quantity", "not_finite"),
            (0, "sku", "missing"),
            (1, "date", "not_midnight"),
            (1, "quantity", "not_finite"),
            (2, "date", "missing"),
            (2, "quantity", "too_small"),
            (3, "date", "out_of_range"),
        ]

    def test_structs_and_maps_are_objects_when_json_can_say_them(self) -> None:
        as_map = pa.array([[("a", 1.0)], None], pa.map_(pa.string(), pa.float64()))
        for attributes in (pa.array([{"a": 1.0}, None]), as_map, pa.array(['{"a":1.0}', None])):
            assert read(parquet_of(**GOOD, attributes=attributes), Format.PARQUET)["attributes"] == ['{"a":1.0}', None]
        for attributes in (pa.array([None, {"a": b"raw"}]), pa.array([None, "[1]"]), pa.array([None, "{"])):
            problem = refused(parquet_of(**GOOD, attributes=attributes), Format.PARQUET)
            assert named(problem) == [(1, "attributes", "invalid_object")]

    def test_an_index_column_is_told_with_the_way_out(self) -> None:
        problem = refused(parquet_of(**GOOD, __index_level_0__=pa.array([0, 1])), Format.PARQUET)
        assert "index=False" in problem.detail

    def test_two_columns_of_one_name(self) -> None:
        table = pa.Table.from_arrays([*GOOD.values(), GOOD["sku"]], names=[*GOOD, "sku"])
        sink = io.BytesIO()
        parquet.write_table(table, sink)
        assert named(refused(sink.getvalue(), Format.PARQUET)) == [(None, "sku", "repeated_column")]

    def test_text_that_is_not_utf8_is_refused(self) -> None:
        raw = pa.array([b"\xff\xfe", b"B"], pa.binary())
        broken = pa.Array.from_buffers(pa.string(), 2, raw.buffers())
        for content, form in (
            (arrow_of(**{**GOOD, "sku": broken}), Format.ARROW),
            (parquet_of(**{**GOOD, "sku": broken}), Format.PARQUET),
        ):
            assert refused(content, form).code == "unreadable_body"

    def test_a_feather_file_is_told_what_to_send(self) -> None:
        table, sink = pa.table(GOOD), io.BytesIO()
        with ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        assert "send an Arrow stream" in refused(sink.getvalue(), Format.ARROW).detail

    def test_truncated_files_are_refused_or_read_to_a_whole_piece(self) -> None:
        whole = parquet_of(**GOOD)
        for end in range(0, len(whole) - 1, 7):
            assert refused(whole[:end], Format.PARQUET).code == "unreadable_body"
        stream = arrow_of(**GOOD)
        schema_end = next(end for end in range(len(stream)) if _opens(stream[:end]))
        for end in range(0, len(stream) - 9, 7):
            problem = refused(stream[:end], Format.ARROW)
            assert problem.code == "unreadable_body" or (end >= schema_end and "no rows" in problem.detail)

    def test_many_batches_keep_their_row_numbers(self) -> None:
        table = pa.table({**GOOD, "quantity": pa.array([1.0, 2.0])})
        table = pa.concat_tables([table] * 40_000)
        sink = io.BytesIO()
        parquet.write_table(table.combine_chunks(), sink, row_group_size=30_000)
        assert len(read(sink.getvalue(), Format.PARQUET)["sku"]) == 80_000
        assert refused(sink.getvalue(), Format.PARQUET, limit=100_000).status == 413


def _opens(content: bytes) -> bool:
    try:
        ipc.open_stream(content)
    except (pa.ArrowException, OSError):
        return False
    return True


def test_a_negative_zero_is_a_zero() -> None:
    assert not np.signbit(floats(pa.array([-0.0, 0.0]))).any()


def any_reading_is_rows_or_a_4xx(content: bytes, form: Format) -> None:
    body = Body(io.BytesIO(content), len(content), b"", form, 50_000, 10**7)
    bad = BadRows()
    try:
        for piece in pieces(body, FIELDS, bad, key="sales"):
            assert set(piece.columns) == {field.name for field in FIELDS}
            assert {len(column) for column in piece.columns.values()} == {len(piece.rows)}
        bad.refuse()
    except Problem as problem:
        assert 400 <= problem.status < 500
        assert problem.detail
        json.dumps(problem.errors).encode()


cell = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["", "A", "2020-01-01", "1e5", "nan", '"', '""', "\n", ",", "true", "\x00", "-1", "1,5"]),
)
value = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | cell,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(cell, inner, max_size=3),
    max_leaves=8,
)
name = st.sampled_from([field.name for field in FIELDS]) | st.text(max_size=5)
EXAMPLES = settings(max_examples=150, deadline=None)


class TestAnyBytes:
    @EXAMPLES
    @given(st.binary(max_size=400), st.sampled_from(list(Format)))
    def test_noise(self, content: bytes, form: Format) -> None:
        any_reading_is_rows_or_a_4xx(content, form)

    @EXAMPLES
    @given(st.lists(st.lists(cell, max_size=5), max_size=6), st.sampled_from([b"\n", b"\r\n", b"\r"]))
    def test_csv(self, rows: list[list[str]], end: bytes) -> None:
        lines = [",".join(row).encode("utf-8", "surrogatepass") for row in rows]
        for header in ([], [b"sku,date,quantity,promo,open"]):
            any_reading_is_rows_or_a_4xx(end.join([*header, *lines]), Format.CSV)

    @EXAMPLES
    @given(st.lists(st.dictionaries(name, value, max_size=6) | value, max_size=5))
    def test_json(self, rows: list[Any]) -> None:
        any_reading_is_rows_or_a_4xx(json.dumps({"sales": rows}).encode(), Format.JSON)
        any_reading_is_rows_or_a_4xx("\n".join(json.dumps(row) for row in rows).encode(), Format.NDJSON)

    @EXAMPLES
    @given(st.data())
    def test_damaged_files(self, data: st.DataObject) -> None:
        encode, form = data.draw(st.sampled_from([(parquet_of, Format.PARQUET), (arrow_of, Format.ARROW)]))
        content = bytearray(encode(**GOOD))
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        any_reading_is_rows_or_a_4xx(bytes(content), form)

    @EXAMPLES
    @given(st.lists(st.tuples(cell, cell, st.floats() | st.none()), max_size=5))
    def test_parquet(self, rows: list[tuple[str, str, float | None]]) -> None:
        columns = {
            name: pa.array([row[at].encode("utf-8", "replace").decode() if at < 2 else row[at] for row in rows])  # type: ignore[union-attr]
            for at, name in enumerate(("sku", "date", "quantity"))
        }
        any_reading_is_rows_or_a_4xx(parquet_of(**columns), Format.PARQUET)
