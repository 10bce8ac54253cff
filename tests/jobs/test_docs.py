"""docs/jobs.md says what the database and the code say."""

import re
from pathlib import Path

from app.config import Settings
from app.database.tables import jobs
from app.errors import CODES
from app.jobs.schemas import ENDED

PAGE = (Path(__file__).parents[2] / "docs" / "jobs.md").read_text()


def checked_states() -> set[str]:
    check = next(c for c in jobs.constraints if c.name == "ck_jobs_status")
    return set(re.findall(r"'(\w+)'", str(check.sqltext)))  # type: ignore[attr-defined]


def test_the_diagram_has_exactly_the_states_that_the_database_allows() -> None:
    arrows = re.findall(r"^ +(\S+) --> (\S+):", PAGE, re.MULTILINE)
    assert {state for arrow in arrows for state in arrow} - {"[*]"} == checked_states()
    assert {before for before, after in arrows if after == "[*]"} == ENDED


def test_the_table_has_a_row_for_each_arrow_between_states() -> None:
    arrows = set(re.findall(r"^ +(\w+) --> (\w+):", PAGE, re.MULTILINE))
    rows = set(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE))
    assert rows == arrows


def test_codes_and_settings_on_the_page_exist() -> None:
    codes = re.findall(r"^\| `(\w+)` \| (?:yes|no) \|", PAGE, re.MULTILINE)
    assert codes and set(codes) <= set(CODES)
    settings = {name.lower() for name in re.findall(r"SHELFCAST_(\w+)", PAGE)}
    assert settings and settings <= set(Settings.model_fields)
