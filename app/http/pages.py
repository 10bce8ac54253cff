"""Pages to read in a browser, without a key: the OpenAPI document to try out, and what each problem's code means.

Nothing on them comes from another host.
"""

import html
import importlib.resources

import orjson
from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, Response

from app.errors import CODES, Problem
from app.http.requests import Route

router = APIRouter(route_class=Route, include_in_schema=False)

ASSETS = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "favicon.png": "image/png",
}


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    return Response(orjson.dumps(request.app.openapi()), media_type="application/json")


@router.get("/docs")
async def docs() -> HTMLResponse:
    """The OpenAPI document as a page to read and try; nothing on it comes from another host."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="Shelfcast API",
        swagger_js_url="docs/assets/swagger-ui-bundle.js",
        swagger_css_url="docs/assets/swagger-ui.css",
        swagger_favicon_url="docs/assets/favicon.png",
    )


@router.get("/docs/assets/{name}")
async def asset(name: str) -> FileResponse:
    if name not in ASSETS:
        raise Problem("not_found", f"There is no file {name!r} here.")
    file = importlib.resources.files("fastapi_offline") / "static" / name
    return FileResponse(str(file), media_type=ASSETS[name], headers={"Cache-Control": "public, max-age=86400"})


@router.get("/docs/errors")
async def errors() -> HTMLResponse:
    """Where the `type` of every problem points to."""
    rows = "".join(
        f'<tr id="{code}"><td><code>{code}</code></td><td>{entry.status}</td>'
        f"<td>{html.escape(entry.title)}</td><td>{html.escape(entry.meaning)}</td></tr>"
        for code, entry in CODES.items()
    )
    return HTMLResponse(
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>Shelfcast problems</title><style>'
        "body{font:16px system-ui;margin:2rem;max-width:60rem}td,th{text-align:left;padding:.4rem;vertical-align:top}"
        "tr:target{background:#ffd}</style></head><body><h1>Problems</h1><table>"
        f"<tr><th>code</th><th>status</th><th>title</th><th>meaning</th></tr>{rows}</table></body></html>"
    )
