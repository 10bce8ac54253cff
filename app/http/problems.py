"""How a problem is answered over HTTP. What problems there are stands in app/errors.py, which jobs use without HTTP."""

import orjson
from fastapi import Request
from fastapi.responses import Response

from app.errors import MEDIA_TYPE, Problem, problem_body


def render(request: Request, problem: Problem) -> Response:
    """Answer a request with a problem."""
    body = problem_body(problem, instance=request.url.path, request_id=getattr(request.state, "request_id", ""))
    headers = dict(problem.headers)
    if problem.status in (429, 503):
        headers.setdefault("Retry-After", "1")
    return Response(orjson.dumps(body), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)
