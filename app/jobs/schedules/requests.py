"""What the job of a schedule asks for: an update by what came in, or a training as the champion's own."""

from datetime import date
from typing import Any, NamedTuple

from pydantic import ValidationError

from app.jobs.schemas import TrainRequest, UpdateRequest
from models.training_config import RANGES, STUDENT


def update_request(day: date) -> dict[str, Any]:
    """The daily update for a day of sales; drift may have the networks learn on."""
    return UpdateRequest(kind="update", fine_tune="drift", until=day).filled_in()


def fine_tuning_request() -> dict[str, Any]:
    return UpdateRequest(kind="update", fine_tune=True).filled_in()


class Retraining(NamedTuple):
    """A training to ask for, and the fields of the version's configuration that it could not take over."""

    request: dict[str, Any]
    left_out: list[str]


def retraining(config: dict[str, Any], compressed: dict[str, Any] | None) -> Retraining:
    """The training that a version's configuration came from, as far as the version tells it; the rest are defaults.

    Of an ensemble that is what its members share. `compressed` is what was decided when an ensemble was distilled (None: it was
    not); a student's own width and context are not those of its teachers. Raises ValidationError for a network that is unknown.
    """
    # A version that does not say how its sales were cleaned comes from before that was done.
    members: list[dict[str, Any]] = [{"cleaning": "none"} | member for member in config.get("members") or [config]]
    first = members[0]
    asked = {name: first[name] for name in (*RANGES, "loss", "cleaning") if _agreed(members, name)}
    asked |= {name: first[name] for name in ("seed",) if name in first}  # members' own seeds follow from the first's
    # What a version says is what was left of the limit after its trials, and was enough for the sales of then.
    asked["max_seconds"] = max(float(first.get("max_seconds", 0)), RANGES["max_seconds"].default_for("lstm"))
    left_out: list[str] = []
    model = config["architecture"]
    if compressed is not None:
        model, asked["compress"] = "ensemble", True
        if compressed.get("kept") == "student":
            left_out += [name for name in STUDENT if asked.pop(name, None) is not None]
    while True:
        try:
            return Retraining(TrainRequest(model=model, **asked).filled_in(), left_out)
        except ValidationError as error:
            refused = _refused(error, asked)
            if not refused:
                raise
            left_out += refused
            asked = {name: value for name, value in asked.items() if name not in refused}


def _refused(error: ValidationError, asked: dict[str, Any]) -> list[str]:
    """The fields that are refused by name; all of them where they contradict each other, which is told without a name."""
    places = [part["loc"] for part in error.errors()]
    named = {str(place[0]) for place in places if place} & set(asked)
    return sorted(named) or ([] if all(places) else sorted(asked))


def _agreed(members: list[dict[str, Any]], name: str) -> bool:
    return all(name in member and member[name] == members[0].get(name) for member in members)
