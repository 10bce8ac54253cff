"""Every error is a problem with a code, whoever found it; none tells a stack or a secret."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.errors import CODES, MEDIA_TYPE


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, object]:
    assert answer.headers["content-type"] == MEDIA_TYPE, answer.text
    body: dict[str, object] = answer.json()
    assert (answer.status_code, body["code"]) == (status, code), body
    assert body["status"] == status
    assert body["request_id"] == answer.headers["x-request-id"]
    assert set(body) == {"type", "title", "status", "detail", "instance", "code", "request_id", "errors"}
    return body


def test_the_page_of_errors_lists_every_code_and_no_other() -> None:
    page = Path(__file__).parents[2].joinpath("docs/errors.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\d{3}) \| (.+?) \| (.+) \|$", page, re.MULTILINE)
    assert {(code, int(status), title, meaning) for code, status, title, meaning in rows} == {
        (code, *entry) for code, entry in CODES.items()
    }


def test_the_page_of_errors_lists_every_code_of_an_entry_and_no_other() -> None:
    root = Path(__file__).parents[2]
    page = root.joinpath("docs/errors.md").read_text()
    listed = re.findall(r"^\| `(\w+)` \| [^|]+ \|$", page, re.MULTILINE)
    written = {code for file in root.joinpath("app").rglob("*.py") for code in entry_codes(ast.parse(file.read_text()))}
    assert listed == sorted(
        written | {"invalid_text", "invalid_object"}
    )  # those two are put together from a field's kind
    (example,) = re.findall(r'"row": 0, .*"code": "(\w+)"', page)
    assert example in listed


def entry_codes(module: ast.Module) -> Iterator[str]:
    """Every code that the source writes into an entry of `errors`, however it makes the entry."""
    places = {"row": 2, "where": 3, "column": 1, "_wrong": 1, "PydanticCustomError": 0}
    for node in ast.walk(module):
        found: list[ast.expr | None] = []
        if isinstance(node, ast.Dict):
            entry = {
                key.value: value
                for key, value in zip(node.keys, node.values, strict=True)
                if isinstance(key, ast.Constant)
            }
            found = [entry.get("code")] if "row" in entry else []
        elif isinstance(node, ast.Call):
            place = places.get(ast.unparse(node.func).rpartition(".")[2], len(node.args))
            found = [*node.args[place : place + 1], *(k.value for k in node.keywords if k.arg == "custom_error_type")]
        yield from (code.value for code in found if isinstance(code, ast.Constant) and isinstance(code.value, str))


@pytest.mark.parametrize(
    ("how", "status", "code"),
    [
        ("disk", 503, "disk_full"),
        ("file-size", 503, "disk_full"),
        ("database-disk", 503, "disk_full"),
        ("group", 503, "disk_full"),
        ("nested", 503, "disk_full"),
        ("memory", 503, "unavailable"),
        ("defect", 500, "internal_error"),
        ("other-os-error", 500, "internal_error"),
    ],
)
async def test_what_goes_wrong_below_a_route_is_answered_by_its_kind(
    faulty: httpx.AsyncClient, how: str, status: int, code: str
) -> None:
    answer = await faulty.get("/v1/fails", params={"how": how})
    problem(answer, status, code)
    assert "Traceback" not in answer.text
    assert "kkk" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)


async def test_a_path_that_is_not_there_is_a_404_and_a_method_that_is_not_a_405_with_every_method_that_is(
    faulty: httpx.AsyncClient,
) -> None:
    problem(await faulty.get("/v1/nothing"), 404, "not_found")
    problem(await faulty.get("/v1/boxes/"), 404, "not_found")
    answer = await faulty.delete("/v1/boxes")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"
    assert (await faulty.request("BREW", "/healthz")).headers["allow"] == "GET, HEAD"


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"{", "not valid JSON"),
        (b'{"count": NaN}', "not valid JSON"),
        (b'{"count": 1, "weight": Infinity}', "not valid JSON"),
        (b'{"count": 1, "weight": 1e999}', "not valid JSON"),
        (b'{"count": 1, "label": "\\ud800"}', "not valid JSON"),
        (b'{"count": 1, "label": "\xff"}', "not valid JSON"),
        (b"\xef\xbb\xbf{}", "not valid JSON"),
        (b'{"count": 1, "count": 2}', "'count' stands twice"),
        (b'{"count": 1, "inside": [{"count": 1, "label": "a", "label": "b"}]}', "'label' stands twice"),
        (b"[" * 101 + b"]" * 101, "deeper than 100"),
        (b"[" * 5000 + b"]" * 5000, "not valid JSON"),
        (b'{"inside":' * 900 + b"1" + b"}" * 900, "deeper than 100"),
    ],
)
async def test_a_body_that_is_no_json_by_the_letter_is_a_400_that_says_why(
    faulty: httpx.AsyncClient, body: bytes, says: str
) -> None:
    answer = await faulty.post("/v1/boxes", content=body, headers={"content-type": "application/json"})
    assert says in str(problem(answer, 400, "unreadable_body")["detail"])


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"count": "1"}, "count"),
        ({"count": True}, "count"),
        ({"count": 1.5}, "count"),
        ({"count": 10**30}, "count"),
        ({"count": 1, "weight": "2"}, "weight"),
        ({"count": 1, "label": 5}, "label"),
        ({"count": 1, "colour": "red"}, "colour"),
        ({}, "count"),
        ([], "body"),
        (None, "body"),
    ],
)
async def test_a_field_of_another_type_or_name_is_a_422_that_names_it(
    faulty: httpx.AsyncClient, body: object, field: str
) -> None:
    answer = await faulty.post("/v1/boxes", json=body)
    (error,) = problem(answer, 422, "invalid_request")["errors"]  # type: ignore[misc]
    assert error["field"] == field
    assert error["detail"]


async def test_a_bad_element_of_a_list_is_named_by_its_row(faulty: httpx.AsyncClient) -> None:
    body = {"count": 1, "inside": [{"count": 1}, {"count": "x"}]}
    (error,) = problem(await faulty.post("/v1/boxes", json=body), 422, "invalid_request")["errors"]  # type: ignore[misc]
    assert (error["row"], error["field"]) == (1, "count")


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "text/csv"},
        {"content-type": "application/json-seq"},
        {},
        {"content-type": "application/json", "content-encoding": "gzip"},
    ],
)
async def test_a_body_in_another_format_is_a_415_that_names_the_one_that_is_read(
    faulty: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    answer = await faulty.post("/v1/boxes", content=b'{"count": 1}', headers=headers)
    assert "JSON" in str(problem(answer, 415, "unsupported_media_type")["detail"]).replace("json", "JSON")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("two=1", "two"),
        ("one=1&one=2", "one"),
        ("One=1", "One"),
        ("one=a%00b", "one"),
        ("many=a&many=b&x=", "x"),
    ],
)
async def test_a_parameter_that_is_unknown_or_given_twice_is_a_422_that_names_it(
    faulty: httpx.AsyncClient, query: str, field: str
) -> None:
    (error,) = problem(await faulty.get(f"/v1/lists?{query}"), 422, "invalid_request")["errors"]  # type: ignore[misc]
    assert error["field"] == field


async def test_a_list_may_be_given_more_than_once(faulty: httpx.AsyncClient) -> None:
    answer = await faulty.get("/v1/lists?one=x&many=a&many=b")
    assert answer.json() == {"one": ["x"], "many": ["a", "b"]}


@pytest.mark.parametrize("query", ["one=K%E4se", "many=a&many=%C3%28", "K%E4se=1"])
async def test_a_query_that_is_not_utf_8_is_a_422_and_not_taken_for_another_text(
    faulty: httpx.AsyncClient, query: str
) -> None:
    (error,) = problem(await faulty.get(f"/v1/lists?{query}"), 422, "invalid_request")["errors"]  # type: ignore[misc]
    assert (error["field"], "UTF-8" in error["detail"]) == ("query", True)
    kept = await faulty.get("/v1/lists?one=K%C3%A4se%EF%BF%BD%25E4")
    assert kept.json()["one"] == ["Käse\ufffd%E4"]


async def test_the_type_of_a_problem_is_a_page_that_explains_it(faulty: httpx.AsyncClient) -> None:
    answer = await faulty.get("/v1/nothing")
    page = await faulty.get(str(answer.json()["type"]))
    assert page.status_code == 200
    assert 'id="not_found"' in page.text


@pytest.mark.parametrize(
    ("sql", "bare", "status", "code"),
    [
        ("SELECT pg_sleep(9)", False, 503, "timed_out"),
        ("DO $$ BEGIN RAISE SQLSTATE '55P03'; END $$", False, 503, "unavailable"),
        ("DO $$ BEGIN RAISE SQLSTATE '40P01'; END $$", False, 503, "unavailable"),
        ("DO $$ BEGIN RAISE SQLSTATE '53100'; END $$", False, 503, "disk_full"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", False, 503, "unavailable"),
        ("SELECT nothing", False, 500, "internal_error"),
        ("a text where a number belongs", True, 500, "internal_error"),
    ],
)
async def test_what_goes_wrong_in_the_database_is_answered_by_its_kind_and_the_next_request_works(
    faulty: httpx.AsyncClient, sql: str, bare: bool, status: int, code: str
) -> None:
    problem(await faulty.get("/v1/statements", params={"sql": sql, "bare": bare}), status, code)
    assert (await faulty.get("/v1/statements", params={"sql": "SELECT 1"})).status_code == 200
