"""docs/operations.md says what is so: settings, metrics, and sentences that the service really speaks."""

import ast
import re
from pathlib import Path

import pytest

from app import telemetry
from app.config import ClientSettings, Settings, settings_table

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")


def test_the_table_of_settings_is_what_the_code_reads() -> None:
    table = PAGE.partition("`python -m app.config` -->\n")[2].partition("\n<!-- end of settings -->")[0]
    assert table == settings_table(), "write it anew: python -m app.config"


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", ROOT / "docker-compose.yml", *(ROOT / "docs").glob("*.md")], ids=str
)
def test_every_setting_that_is_named_exists(page: Path) -> None:
    known = {f"SHELFCAST_{name.upper()}" for name in (*Settings.model_fields, *ClientSettings.model_fields)}
    # Compose's own variable for the tag, and those of the tests, are no settings of the service.
    known |= {"SHELFCAST_VERSION", "SHELFCAST_TEST_POSTGRES", "SHELFCAST_IMAGE_TOOL"}
    assert set(re.findall(r"SHELFCAST_[A-Z_]*[A-Z]", page.read_text(encoding="utf-8"))) <= known


def test_every_metric_is_listed_and_every_listed_one_exists() -> None:
    shown = set(re.findall(r"^# TYPE (shelfcast_\w+) ", telemetry.metrics_text().decode(), re.MULTILINE))
    shown = {name for name in shown if not name.endswith("_created")}
    table = PAGE.partition("<!-- metrics -->")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(shelfcast_\w+)", table, re.MULTILINE)) == shown
    alerts = PAGE.partition("\ngroups:\n")[2].partition("```")[0]
    asked = {re.sub("_bucket$", "", name) for name in re.findall(r"shelfcast_\w+", alerts)}
    assert asked
    assert asked <= shown


def test_every_sentence_of_the_last_table_is_one_that_the_service_speaks() -> None:
    table = PAGE.partition("<!-- sentences -->")[2]
    sentences = re.findall(r"^\| `(.+?)` \|", table, re.MULTILINE)
    spoken = texts_of_the_code()
    assert len(sentences) > 10
    assert [sentence for sentence in sentences if not any(says(text, sentence) for text in spoken)] == []


def says(text: str, sentence: str) -> bool:
    return re.search(".*".join(map(re.escape, sentence.split("…"))), text) is not None


def texts_of_the_code() -> list[str]:
    """Every text of service and engine, adjacent pieces joined; what is put into an f-string shows as `…`."""
    found: list[str] = []
    for file in (*(ROOT / "app").rglob("*.py"), *(ROOT / "models").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                found.append("".join(str(p.value) if isinstance(p, ast.Constant) else "…" for p in node.values))
    return found
