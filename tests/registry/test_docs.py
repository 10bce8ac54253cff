"""What docs/models.md shows is what happens."""

import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.config import Settings
from app.database.engine import Database
from app.registry.decision import Champions, Promote, complete, decide, decide_update
from tests.registry.support import published, scored

PAGE = Path(__file__).parents[2].joinpath("docs/models.md").read_text()

ONE = Champions(1, 1)
SHOWN: list[tuple[Promote, dict[str, Any], Champions]] = [
    ("auto", scored(0.2315, exponential_smoothing=0.249), Champions(None, None)),
    ("auto", scored(0.2401, champion=0.2315), ONE),
    ("auto", scored(0.2, champion=0.2315), Champions(1, 3)),
    ("never", scored(0.2), ONE),
]


def test_the_sentences_shown_are_those_of_the_code() -> None:
    shown = re.findall(r"^- `((?:Promoted|Kept).*)`$", PAGE, re.MULTILINE)
    assert shown == [decide(*case).sentence for case in SHOWN]


def test_the_sentence_about_an_update_is_that_of_the_code() -> None:
    (shown,) = re.findall(r"^> `(Kept as challenger\. Refused\. champion_unchanged.*)`$", PAGE, re.MULTILINE)
    verdict = complete({"accepted": True, "sentence": "", "checks": [], "days": 60}, Champions(1, 3))
    assert shown == decide_update("auto", verdict).sentence


async def test_the_walk_of_rollbacks_is_the_one_shown(
    client: httpx.AsyncClient, database: Database, settings: Settings
) -> None:
    for _ in range(3):
        await published(database, settings)
    rows = re.findall(r"^\| (promote [\d, ]+|roll back) \| (\d)( \(409\))? \| ([\d, ]+) \|$", PAGE, re.MULTILINE)
    assert len(rows) == 6
    for done, champion, refused, standing in rows:
        for version in re.findall(r"\d", done):
            assert (await client.post(f"/v1/models/{version}/promote")).status_code == 200
        if done == "roll back":
            assert (await client.post("/v1/models/rollback")).status_code == (409 if refused else 200)
        models = (await client.get("/v1/models")).json()["models"]
        assert [m["version"] for m in models if "champion" in m["aliases"]] == [int(champion)]
        log = (await client.get("/v1/models/promotions")).json()["promotions"]
        stand = [p["version"] for p in reversed(log) if p["kind"] != "rollback" and not p["rolled_back"]]
        assert ", ".join(map(str, stand)) == standing


@pytest.mark.parametrize(("setting", "value"), [("artifact_days", "90")])
def test_the_settings_named_are_there_with_the_defaults_told(setting: str, value: str) -> None:
    told = re.search(rf"`SHELFCAST_{setting.upper()}` \((\d+)\)", PAGE)
    assert told is not None
    assert told[1] == value == f"{Settings.model_fields[setting].default:g}"
