"""When a new version becomes champion, and what it says about it."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.registry.decision import Champions, Promote, complete, decide, decide_update
from tests.registry.support import scored

NONE = Champions(None, None)
FIVE = Champions(5, 5)


@pytest.mark.parametrize(
    ("metrics", "champions", "promoted", "sentence"),
    [
        (
            scored(0.65),
            NONE,
            True,
            "Promoted: its WQL of 0.6500 is lower than the 0.7000 of the best baseline's, exponential smoothing, "
            "on the same held-out windows; there was no champion.",
        ),
        (scored(0.75), NONE, False, "is higher than the 0.7000 of the best baseline's"),
        (scored(0.70), NONE, False, "equals the 0.7000 of the best baseline's"),
        (scored(0.5, champion=0.6), FIVE, True, "is lower than the 0.6000 of the champion's, version 5"),
        (scored(0.6, champion=0.5), FIVE, False, "is higher than the 0.5000 of the champion's, version 5"),
        (scored(0.5, champion=0.5), FIVE, False, "equals the 0.5000 of the champion's"),
        # Beating the champion is what counts, even where a baseline is better still.
        (scored(0.8, champion=0.9), FIVE, True, "the champion's, version 5"),
        # The champion's artifact could not be loaded, or its forecasts are not numbers.
        (scored(0.65), FIVE, True, "the champion, version 5, could not be scored"),
        (scored(0.65, champion=math.nan), FIVE, True, "the champion, version 5, could not be scored"),
        (scored(0.75), FIVE, False, "the champion, version 5, could not be scored"),
        # Somebody else became champion while this one was trained.
        (scored(0.1, champion=0.9), Champions(5, 6), False, "judged against version 5, but version 6 was"),
        (scored(0.1), Champions(None, 1), False, "judged against no champion, but version 1 was"),
        # Four decimals would hide which is lower.
        (
            scored(0.12345678, champion=0.12345679),
            FIVE,
            True,
            "of 0.12345678 is lower than the 0.12345679 of",
        ),
    ],
)
def test_by_merit(metrics: dict[str, Any], champions: Champions, promoted: bool, sentence: str) -> None:
    decision = decide("auto", metrics, champions)
    assert decision.promoted is promoted
    assert sentence in decision.sentence
    assert decision.sentence.startswith("Promoted: " if promoted else "Kept as challenger: ")
    assert decision.sentence.endswith(".")


def test_the_request_may_say_never_or_always() -> None:
    assert decide("never", scored(0.1), NONE).promoted is False
    assert decide("always", scored(0.9, champion=0.1), FIVE).promoted is True
    assert decide("always", scored(0.9), Champions(5, 6)).promoted is True


@pytest.mark.parametrize("wql", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("promote", ["auto", "always", "never"])
@pytest.mark.parametrize("champions", [NONE, FIVE])
def test_what_cannot_be_measured_is_never_promoted(wql: float | None, promote: Promote, champions: Champions) -> None:
    assert decide(promote, scored(wql, champion=0.9), champions).promoted is False


def test_without_any_measured_rival_nothing_is_beaten() -> None:
    unmeasured = {"seasonal_naive": None, "moving_average": math.nan, "exponential_smoothing": math.inf}
    decision = decide("auto", scored(0.5, **unmeasured), NONE)
    assert decision == (False, "Kept as challenger: there was no champion, and no baseline could be scored.")


@given(own=st.floats(0, 1e9), theirs=st.floats(0, 1e9))
def test_lower_wins_and_the_sentence_shows_it(own: float, theirs: float) -> None:
    decision = decide("auto", scored(own, champion=theirs), FIVE)
    assert decision.promoted is (own < theirs)
    words = decision.sentence.split()
    told, other = float(words[words.index("of") + 1]), float(words[words.index("the") + 1])
    if own == theirs:
        assert told == other
    else:
        assert (told < other) is (own < theirs)


def verdict(*, accepted: bool, failed: str | None = None) -> dict[str, Any]:
    names = ["finite", "replay_loss"]
    checks = [{"name": n, "value": 0.0, "limit": 0.0, "passed": n != failed, "detail": "…"} for n in names]
    return {
        "accepted": accepted,
        "sentence": "Accepted: …." if accepted else "Refused. …",
        "checks": checks,
        "days": 60,
    }


def test_an_update_is_let_in_by_the_gates_verdict_alone() -> None:
    assert decide_update("auto", verdict(accepted=True)) == (True, "Promoted. Accepted: ….")
    assert decide_update("auto", verdict(accepted=False)) == (False, "Kept as challenger. Refused. …")
    assert decide_update("never", verdict(accepted=True)).promoted is False


def test_always_lets_a_refused_update_in_but_none_whose_forecasts_are_no_numbers() -> None:
    forced = decide_update("always", verdict(accepted=False, failed="replay_loss"))
    assert forced.promoted is True
    assert "Refused" in forced.sentence
    assert decide_update("always", verdict(accepted=False, failed="finite")).promoted is False


def test_a_verdict_is_completed_by_whether_the_champion_is_still_the_same() -> None:
    same = complete(verdict(accepted=True), FIVE)
    assert (same["accepted"], same["checks"][-1]["name"], same["checks"][-1]["passed"]) == (
        True,
        "champion_unchanged",
        True,
    )
    other = complete(verdict(accepted=True), Champions(5, 6))
    assert other["accepted"] is False
    assert other["sentence"] == (
        "Refused. champion_unchanged: It was judged against version 5; version 6 is the champion now."
    )
    assert decide_update("auto", other).promoted is False
    assert decide_update("always", other) == (False, f"Kept as challenger. {other['sentence']}")
