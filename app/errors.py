"""What a caller is told when something does not go: one exception that carries its own answer, and the table of codes.

`Problem` is raised anywhere in the service, jobs included, and rendered in one place (app/http/problems.py) as RFC 9457
`application/problem+json`. The framework's own errors are turned into problems by app/http/framework_errors.py. docs/errors.md
lists CODES; a test holds them equal.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

MEDIA_TYPE = "application/problem+json"
MAX_NAMED_ERRORS = 100


class Code(NamedTuple):
    status: int
    title: str
    meaning: str


CODES: dict[str, Code] = {
    "invalid_request": Code(422, "The request is not valid", "A parameter or field has a wrong type, range or name."),
    "invalid_rows": Code(422, "Some rows are not valid", "Nothing was written; `errors` names up to 100 bad rows."),
    "unreadable_body": Code(400, "The body cannot be read", "Not valid JSON, CSV, Parquet, Arrow or compressed data."),
    "malformed_request": Code(400, "The request is not valid HTTP", "The request line or a header cannot be parsed."),
    "unauthorized": Code(
        401, "A valid key is needed", "Send `Authorization: Bearer <key>`; the key is unknown or revoked."
    ),
    "forbidden": Code(403, "The key lacks a scope", "The key is valid, but may not do this; `detail` names the scope."),
    "not_found": Code(404, "Not found", "The named thing does not exist; `detail` says what does."),
    "method_not_allowed": Code(405, "The method is not allowed", "The path exists, the method does not; see `Allow`."),
    "conflict": Code(409, "The state does not allow it", "Something else happened first; `detail` says what."),
    "idempotency_running": Code(
        409, "The first request still runs", "Same Idempotency-Key; retry after `Retry-After`."
    ),
    "idempotency_mismatch": Code(
        422, "The key was used for another body", "Use a new Idempotency-Key for new content."
    ),
    "artifact_damaged": Code(
        409, "The artifact is damaged", "The version's weights are gone or do not match their SHA-256."
    ),
    "not_trainable": Code(
        422,
        "The data cannot be trained on",
        "A job's error: too little history or unusable values; `detail` says what.",
    ),
    "time_limit": Code(
        422, "The time limit was reached", "A job's error: the training took longer than `max_seconds`."
    ),
    "training_died": Code(
        500, "The training process died", "A job's error: it crashed, was killed or ran out of memory; not tried again."
    ),
    "worker_lost": Code(
        503,
        "The workers were lost",
        "A job's error: it was tried as often as allowed, and its worker was lost each time.",
    ),
    "body_too_large": Code(413, "The body is too large", "More bytes or rows than the setting for this format allows."),
    "unsupported_media_type": Code(415, "The format is not known", "`detail` lists the content types and encodings."),
    "not_acceptable": Code(406, "No such answer format", "`Accept` names no format that this route can answer in."),
    "rate_limited": Code(429, "Too many requests", "The key's rate limit is spent; retry after `Retry-After`."),
    "client_disconnected": Code(400, "The body ended early", "The connection closed before the whole body had come."),
    "unavailable": Code(
        503, "The service cannot answer now", "Database or capacity is missing; retry after `Retry-After`."
    ),
    "timed_out": Code(503, "The request took too long", "It was stopped and nothing was written; retry with less."),
    "disk_full": Code(503, "The disk is full", "Nothing was written; room must be made on the server."),
    "internal_error": Code(500, "The service failed", "A defect; the request id finds it in the logs."),
}


class Problem(Exception):
    """An answer that is not a success. `errors` holds `{"row", "field", "code", "detail"}` objects."""

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.status = CODES[code].status
        self.detail = detail
        self.errors = list(errors)
        self.headers = dict(headers or {})


def problem_body(problem: Problem, *, instance: str = "", request_id: str = "") -> dict[str, Any]:
    """The JSON object of a problem; also what a failed job keeps as its `error`."""
    body: dict[str, Any] = {
        "type": f"/docs/errors#{problem.code}",
        "title": CODES[problem.code].title,
        "status": problem.status,
        "detail": problem.detail,
        "instance": instance,
        "code": problem.code,
        "request_id": request_id,
        "errors": problem.errors,
    }
    return body
