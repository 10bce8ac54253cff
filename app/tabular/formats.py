"""Which format a body is in, from its Content-Type and Content-Encoding. No reading here."""

from enum import StrEnum

from fastapi import Request

from app.errors import Problem


class Format(StrEnum):
    JSON = "application/json"
    NDJSON = "application/x-ndjson"
    CSV = "text/csv"
    PARQUET = "application/vnd.apache.parquet"
    ARROW = "application/vnd.apache.arrow.stream"


ENCODINGS = {"": None, "identity": None, "gzip": "gzip", "x-gzip": "gzip", "zstd": "zstd"}


def format_of(request: Request) -> Format:
    """The body's format; a 415 that lists what there is for another one."""
    given = request.headers.get("content-type", "")
    essence, _, parameters = given.partition(";")
    try:
        found = Format(essence.strip().lower())
    except ValueError:
        said = f"not {given!r}" if given else "and the header Content-Type must say which"
        raise Problem("unsupported_media_type", f"This route reads {', '.join(Format)}, {said}.") from None
    charset = parameters.lower().replace(" ", "").replace('"', "").partition("charset=")[2].partition(";")[0]
    if charset not in ("", "utf-8", "utf8", "us-ascii"):
        raise Problem("unsupported_media_type", f"The body must be UTF-8, not {charset}.")
    return found


def encoding_of(request: Request) -> str | None:
    """The compression that the body came in ("gzip", "zstd" or none); a 415 for another one."""
    given = ", ".join(request.headers.getlist("content-encoding")).strip().lower()
    if given not in ENCODINGS:
        raise Problem("unsupported_media_type", f"Content-Encoding may be gzip or zstd (once), not {given!r}.")
    return ENCODINGS[given]
