"""How an ordinary request is read: its key first, then its parameters, then its body, each strictly.

`Route` is the route class of every room's router: `APIRouter(prefix="/v1", route_class=Route)`. File bodies are read by
app/tabular/, which takes the request's stream itself.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from functools import cached_property
from typing import Any
from urllib.parse import unquote_to_bytes

import orjson
from fastapi import Request
from fastapi._compat import field_annotation_is_sequence
from fastapi.dependencies.models import Dependant
from fastapi.dependencies.utils import _get_flat_fields_from_params
from fastapi.routing import APIRoute
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import QueryParams
from starlette.responses import Response

from app.auth import admit
from app.errors import Problem

_THREAD_BYTES = 256 * 1024  # a larger body is parsed beside the event loop
_MAX_DEPTH = 100


class NumberConvertor(Convertor[int]):
    """A number in a path, `{version:number}`. Starlette's own `int` answers 500 to more digits than Python reads."""

    regex = "[0-9]{1,18}"

    def convert(self, value: str) -> int:
        return int(value)

    def to_string(self, value: int) -> str:
        return str(value)


register_url_convertor("number", NumberConvertor())


class Route(APIRoute):
    """A route that lets its caller in before it reads anything, and that reads strictly.

    A query parameter that is unknown, given twice where one is meant, or not UTF-8 answers 422. A JSON body is JSON by the
    letter: no NaN, no key given twice, no lone surrogate, bounded in bytes and depth. What its fields may be is the model's
    matter.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()
        single, repeatable = _query_names(self.dependant)
        scope = _scope(self.dependant)
        reads_json = self.body_field is not None
        reads_nothing = self.methods == {"POST"} and not reads_json and "requestBody" not in (self.openapi_extra or {})

        async def handle(request: Request) -> Response:
            strict = StrictRequest(request.scope, request.receive)
            if scope is not None:
                await admit(strict, scope)
            if request.scope["query_string"]:
                check_encoding(request.scope["query_string"])
                check_query(strict.query_params, single, repeatable)
            if reads_json:
                check_json_type(strict)
            if reads_nothing:
                await refuse_body(strict)
            return await handler(strict)

        return handle


class StrictRequest(Request):
    """A request whose body is bounded and whose JSON is read by the letter."""

    async def body(self) -> bytes:
        if not hasattr(self, "_body"):
            limit: int = self.app.state.settings.max_json_bytes
            too_large = Problem("body_too_large", f"This body may have {limit} bytes.")
            if self.content_length > limit:
                raise too_large
            body = bytearray()
            async for chunk in self.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
            self._body = bytes(body)
        return self._body

    async def json(self) -> Any:
        body = await self.body()
        if len(body) < _THREAD_BYTES:
            return parse_json(body)
        return await asyncio.to_thread(parse_json, body)

    @cached_property
    def content_length(self) -> int:
        length = self.headers.get("content-length", "")
        return int(length) if length.isascii() and length.isdigit() else 0


def parse_json(body: bytes) -> Any:
    """The value of a JSON text; a 400 that says where it is not one."""
    try:
        value = orjson.loads(body)  # refuses NaN, Infinity, lone surrogates, bad UTF-8 and a thousand levels
        twice: list[str] = []
        json.loads(body, object_pairs_hook=lambda pairs: _note_repeated(pairs, twice), parse_int=float)
    except json.JSONDecodeError as error:
        raise Problem(
            "unreadable_body",
            f"The body is not valid JSON: {error.msg} at line {error.lineno}, column {error.colno}.",
        ) from error
    except RecursionError as error:
        raise Problem("unreadable_body", f"The JSON is nested deeper than {_MAX_DEPTH} levels.") from error
    if twice:
        raise Problem("unreadable_body", f"The key {twice[0]!r} stands twice in one JSON object.")
    if _deeper_than(value, _MAX_DEPTH):
        raise Problem("unreadable_body", f"The JSON is nested deeper than {_MAX_DEPTH} levels.")
    return value


def _note_repeated(pairs: list[tuple[str, Any]], twice: list[str]) -> None:
    if len(pairs) != len({key for key, _ in pairs}):
        twice.append(next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1))


def _deeper_than(value: Any, depth: int) -> bool:
    """Whether lists and objects nest deeper than `depth`, found level by level."""
    level = [value]
    for _ in range(depth):
        level = [
            child
            for parent in level
            if isinstance(parent, (dict, list))
            for child in (parent.values() if isinstance(parent, dict) else parent)
        ]
        if not level:
            return False
    return any(isinstance(value, (dict, list)) for value in level)


def check_json_type(request: StrictRequest) -> None:
    """A 415 for a body that says it is something else than JSON, or compressed."""
    if request.content_length == 0 and "transfer-encoding" not in request.headers:
        return
    content_type = request.headers.get("content-type", "")
    essence = content_type.partition(";")[0].strip().lower()
    if essence != "application/json":
        said = f"not {content_type!r}" if content_type else "and the header Content-Type must say so"
        raise Problem("unsupported_media_type", f"This route reads application/json, {said}.")
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise Problem("unsupported_media_type", f"This route reads plain JSON, not the encoding {encoding!r}.")


async def refuse_body(request: StrictRequest) -> None:
    """A 422 for a body with something in it, sent to a POST that takes none: it would be overlooked."""
    if (await request.body()).strip() not in (b"", b"{}"):
        detail = f"POST {request.url.path} takes no body; what was sent would be overlooked."
        error = {"row": None, "field": None, "code": "unexpected_body", "detail": detail}
        raise Problem("invalid_request", detail, errors=[error])


def check_encoding(query: bytes) -> None:
    """A 422 for a query in another encoding than UTF-8, whose letters would be replaced and then name something else."""
    if b"%" not in query:
        return
    try:
        unquote_to_bytes(query).decode()
    except UnicodeDecodeError as error:
        detail = (
            f"The query must be percent-encoded UTF-8, in which ä is %C3%A4; it has {error.object[error.start]:#04x}."
        )
        named = {"row": None, "field": "query", "code": "invalid_text", "detail": detail}
        raise Problem("invalid_request", detail, errors=[named]) from error


def check_query(given: QueryParams, single: frozenset[str], repeatable: frozenset[str]) -> None:
    """A 422 that names every parameter that is unknown, repeated or not text that can be stored."""
    items = given.multi_items()
    if len(items) == len(given) and given.keys() <= single and not any("\x00" in value for _, value in items):
        return
    counts = Counter(name for name, _ in items)
    errors = [
        _wrong(name, "unknown_parameter", f"This route has no parameter {name!r}; it has {_list(single | repeatable)}.")
        if name not in single | repeatable
        else _wrong(name, "repeated_parameter", f"The parameter {name!r} may be given once.")
        for name, count in counts.items()
        if name not in repeatable and (name not in single or count > 1)
    ]
    errors += [
        _wrong(name, "invalid_text", f"The parameter {name!r} holds a NUL character.")
        for name, value in items
        if "\x00" in value
    ]
    if errors:
        raise Problem("invalid_request", " ".join(error["detail"] for error in errors[:3]), errors=errors[:100])


def _wrong(name: str, code: str, detail: str) -> dict[str, Any]:
    return {"row": None, "field": name, "code": code, "detail": detail}


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _query_names(dependant: Dependant) -> tuple[frozenset[str], frozenset[str]]:
    """The query parameters that a route and its dependencies declare: those meant once, and lists."""
    fields = [field for part in _walk(dependant) for field in _get_flat_fields_from_params(part.query_params)]
    repeatable = {field.alias for field in fields if field_annotation_is_sequence(field.field_info.annotation)}
    return frozenset({field.alias for field in fields} - repeatable), frozenset(repeatable)


def _scope(dependant: Dependant) -> str | None:
    for part in _walk(dependant):
        scope = getattr(part.call, "required_scope", None)
        if scope is not None:
            return str(scope)
    return None


def _walk(dependant: Dependant) -> Iterator[Dependant]:
    yield dependant
    for child in dependant.dependencies:
        yield from _walk(child)
