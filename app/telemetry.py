"""What the service tells of itself: structured log lines without secrets, and Prometheus metrics.

`configure_logging` is called once by each process; the lines of uvicorn, Alembic and others come out in the same form.
"""

import logging
import re
import sys
from functools import cache
from typing import Any

import orjson
import structlog
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from structlog.typing import Processor

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
METRICS_MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

REQUESTS = Counter("shelfcast_http_requests", "Requests answered.", ["method", "route", "status"])
DURATION = Histogram(
    "shelfcast_http_request_seconds",
    "Seconds from the first byte of a request to the last of its answer.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900),
)
IN_PROGRESS = Gauge("shelfcast_http_requests_in_progress", "Requests that are being answered now.")

DATABASE_UP = Gauge("shelfcast_database_up", "1 when the database answered this scrape, else 0.")
CONNECTIONS = Gauge("shelfcast_database_connections_in_use", "Connections of this process that are in use.")
JOBS = Gauge("shelfcast_jobs", "Training jobs that are kept, by status.", ["status"])
ROLLBACKS = Gauge(
    "shelfcast_rollbacks_total", "Times the champion went back, by whether it did so by itself.", ["kind"]
)
DRIFTS = Gauge("shelfcast_drifts_total", "Drifts found, of series and of segments.", ["scope"])
WORKERS = Gauge("shelfcast_workers", "Workers that gave a sign of life lately.")

WQL = Gauge(
    "shelfcast_forecast_wql",
    "WQL 1 to 7 days ahead over the newest 28 days, by source; none without scores.",
    ["source"],
)

_SECRETS = re.compile(rb"shelfcast_[A-Za-z0-9_-]{43}|(?<=://)[^\s/@\"]+(?=@)")


def count_request(method: str, route: str, status: int, seconds: float) -> None:
    """Count an answered request under its route's template: never under a path, of which there are endlessly many."""
    requests, duration = _measures_of(method if method in METHODS else "other", route, status)
    requests.inc()
    duration.observe(seconds)


@cache
def _measures_of(method: str, route: str, status: int) -> tuple[Counter, Histogram]:
    return REQUESTS.labels(method, route, status), DURATION.labels(method, route)


def metrics_text() -> bytes:
    return generate_latest(REGISTRY)


def configure_logging(level: str, *, human: bool | None = None) -> None:
    """Log to standard error: one JSON object a line, or coloured text on a terminal (`human`).

    Stacks are printed without the variables of their frames: those hold keys and customers' numbers.
    """
    human = sys.stderr.isatty() if human is None else human
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    rendered: list[Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback), _as_bytes]
        if human
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_dump)]
    )
    structlog.configure(
        processors=[*shared, *rendered, _without_secrets],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(max(number, logging.INFO))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers = []
        logging.getLogger(name).propagate = True


class _ToStructlog(logging.Handler):
    """Gives the lines of the standard library's loggers to structlog."""

    def emit(self, record: logging.LogRecord) -> None:
        log = structlog.get_logger(record.name)
        exc_info = record.exc_info if record.exc_info and record.exc_info[0] else None
        log.log(record.levelno, record.getMessage(), logger=record.name, **({"exc_info": exc_info} if exc_info else {}))


def _dump(event: dict[str, Any], **_: Any) -> bytes:
    return orjson.dumps(event, default=str, option=orjson.OPT_NON_STR_KEYS)


def _as_bytes(_logger: object, _method: str, line: Any) -> Any:
    return str(line).encode("utf-8", "backslashreplace")


def _without_secrets(_logger: object, _method: str, line: Any) -> Any:
    """Keys and passwords of URLs are cut out of the finished line, wherever they came from."""
    if b"shelfcast_" in line or b"://" in line:  # far cheaper than the expression, and nearly always false
        return _SECRETS.sub(b"***", line)
    return line
