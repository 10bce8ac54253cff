"""What the OpenAPI document says beyond what routes say of themselves: problems, tags, texts that hold for every route.

A route lists the problems it can answer with `responses=problems(404, 409)`; those that any route can answer are always in.
How requests are read is in app/http/requests.py, what each problem's code means in app/errors.py.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field

from app.errors import CODES, MEDIA_TYPE

ALWAYS = (400, 401, 403, 405, 413, 422, 429, 500, 503)
WITH_BODY = (415,)
OPEN = (400, 405, 422, 500, 503)  # for what answers without a key
ALSO_WITH_KEY = ("/metrics",)
ALSO_ONCE = (("put", "/v1/schedules"),)  # beside every POST
KEY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key made with `shelfcast keys create`, sent as `Authorization: Bearer <key>`.",
}

_DESCRIPTIONS = {
    400: "The body cannot be read",
    401: "No valid key",
    403: "The key lacks the scope",
    404: "Not found",
    405: "The path exists, the method does not",
    406: "No such answer format",
    409: "The state does not allow it",
    413: "The body is too large",
    415: "The format is not known",
    422: "The request is not valid",
    429: "The key's rate limit is spent",
    500: "A defect of the service; the request id finds it in the logs",
    503: "The service cannot answer now",
}
_HEADERS = {
    401: {"WWW-Authenticate": ("string", "The scheme to use: `Bearer`.")},
    405: {"Allow": ("string", "The methods that the path has.")},
    429: {"Retry-After": ("integer", "Seconds to wait.")},
    503: {"Retry-After": ("integer", "Seconds to wait.")},
}


class BadField(BaseModel):
    """One thing that is wrong with a request."""

    row: int | None = Field(None, description="Data row, counted from 0, where the body has rows.")
    field: str | None = Field(None, description="Field or parameter.")
    code: str = Field(description="What kind of mistake it is.")
    detail: str = Field(description="What to mend, in a sentence.")


class ProblemBody(BaseModel):
    """Problem details (RFC 9457): the body of every answer that is not a success."""

    type: str = Field(description="Where the code is explained.")
    title: str
    status: int
    detail: str = Field(description="What to mend, in a sentence.")
    instance: str = Field(description="Path of the request.")
    code: str = Field(description="Stable name of the problem.", json_schema_extra={"enum": [*CODES]})
    request_id: str = Field(description="The answer's `X-Request-ID`; finds the request in the logs.")
    errors: list[BadField] = Field(description="Up to 100 bad rows, fields or parameters.")


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For a route's `responses=`: the given problem statuses and those that every route can answer."""
    return {status: _response(status) for status in sorted({*statuses, *ALWAYS})}


def open_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The same for a route that needs no key and reads no body."""
    return {status: _response(status) for status in sorted({*statuses, *OPEN})}


def _response(status: int) -> dict[str, Any]:
    codes = [code for code, entry in CODES.items() if entry.status == status]
    headers = {
        name: {"description": text, "schema": {"type": kind}} for name, (kind, text) in _HEADERS.get(status, {}).items()
    }
    return {
        "description": f"{_DESCRIPTIONS[status]} ({', '.join(f'`{code}`' for code in codes)})",
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        **({"headers": headers} if headers else {}),
    }


TAGS = [
    {"name": "sales", "description": "Daily sales in, read back, corrected and undone."},
    {"name": "catalog", "description": "What is known of items, locations and days."},
    {"name": "forecasts", "description": "What will be sold, with its uncertainty."},
    {"name": "training", "description": "Jobs that train and update networks."},
    {"name": "models", "description": "Versions of networks: the champion, its challengers, promotion and roll-back."},
    {
        "name": "quarantine",
        "description": "Posted days that cannot be true, held until somebody confirms or dismisses them.",
    },
    {"name": "operations", "description": "For those who run the service."},
]

DESCRIPTION = """\
Post daily sales, train networks on them in the background, fetch forecasts per SKU with honest uncertainty.

Every call under `/v1` needs `Authorization: Bearer <key>`. Every error is `application/problem+json` with a stable `code`.
An unknown parameter or field is an error, not a silence. Dates are `YYYY-MM-DD`, times RFC 3339 UTC.
Every answer carries `X-Request-ID`; send your own to find a call in both logs.
"""


def describe(app: FastAPI) -> None:
    """Make `app.openapi()` answer the completed document, computed once."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(
                get_openapi(
                    title=app.title,
                    version=app.version,
                    summary="Demand forecasting as a service",
                    description=DESCRIPTION,
                    routes=app.routes,
                    tags=TAGS,
                    separate_input_output_schemas=False,
                )
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    """Add what holds for every operation, so that no room can forget it."""
    document.setdefault("components", {})["securitySchemes"] = {"key": KEY_SCHEME}
    schemas = document["components"].setdefault("schemas", {})
    body = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(body.pop("$defs"))
    schemas["Problem"] = body
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            responses = operation["responses"]
            if (method == "post" and path != "/v1/forecasts/query") or (
                method,
                path,
            ) in ALSO_ONCE:  # a query changes nothing
                _describe_idempotency(operation)
            needs_key = path.startswith("/v1/") or path in ALSO_WITH_KEY
            if needs_key:
                operation["security"] = [{"key": []}]
            needed = ALWAYS if needs_key else OPEN
            for status in (*needed, *(WITH_BODY if "requestBody" in operation else ())):
                responses.setdefault(str(status), _response(status))
            operation["responses"] = dict(sorted(responses.items()))
            for response in operation["responses"].values():
                response.setdefault("headers", {}).setdefault(
                    "X-Request-ID", {"description": "Names this request.", "schema": {"type": "string"}}
                )
    return document


def _describe_idempotency(operation: dict[str, Any]) -> None:
    """The header that app/http/idempotency.py reads wherever a route runs its effect `once`."""
    operation.setdefault("parameters", []).append(
        {
            "name": "Idempotency-Key",
            "in": "header",
            "required": False,
            "description": "The same key and request within a day is answered as the first was; another request is 422.",
            "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
        }
    )
    responses = operation["responses"]
    responses.setdefault("409", _response(409)).setdefault("headers", {})["Retry-After"] = {
        "description": "Seconds to wait, while the first request with this Idempotency-Key runs.",
        "schema": {"type": "integer"},
    }
    for status, response in responses.items():
        if status.startswith("2"):
            response.setdefault("headers", {})["Idempotent-Replayed"] = {
                "description": "`true` where this is the stored answer of the first request.",
                "schema": {"type": "string", "enum": ["true"]},
            }
