"""What the service writes to its log: one JSON object a line, with the request's id, and nothing that opens anything."""

import json
import subprocess
import sys

import pytest

KEY = "shelfcast_" + "Ab1-_" * 8 + "xyz"
PROGRAM = """
import logging, sys
import structlog
from app.telemetry import configure_logging

configure_logging(sys.argv[1], human=sys.argv[2] == "human")
key = sys.argv[3]
log = structlog.get_logger("test")
log.debug("too_quiet")
log.info("started", url="postgresql://me:secret@db/x", note=f"Bearer {key}")
logging.getLogger("uvicorn.error").warning("from %s", "elsewhere")
logging.getLogger("uvicorn.access").info("with %s", key)
with structlog.contextvars.bound_contextvars(request_id="r-1"):
    try:
        hidden = "a local variable"
        raise ValueError(f"no {key}\\nsecond line")
    except ValueError:
        log.exception("failed")
"""


def logged(level: str, form: str) -> str:
    command = [sys.executable, "-c", PROGRAM, level, form, KEY]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == ""
    return run.stderr


def test_a_line_is_a_json_object_with_level_time_and_the_id_of_the_request() -> None:
    lines = [json.loads(line) for line in logged("info", "json").splitlines()]
    assert [line["event"] for line in lines] == ["started", "from elsewhere", "with ***", "failed"]
    assert [line["level"] for line in lines] == ["info", "warning", "info", "error"]
    assert all(line["timestamp"].endswith("Z") for line in lines)
    assert lines[-1]["request_id"] == "r-1"
    assert "ValueError" in lines[-1]["exception"]


@pytest.mark.parametrize("form", ["json", "human"])
def test_no_key_no_password_and_no_local_variable_reaches_the_log(form: str) -> None:
    text = logged("debug", form)
    assert "too_quiet" in text
    for secret in (KEY, "secret", "a local variable"):
        assert secret not in text
    assert "***@db/x" in text


def test_the_level_of_the_settings_is_the_least_that_is_logged() -> None:
    assert [json.loads(line)["event"] for line in logged("error", "json").splitlines()] == ["failed"]
