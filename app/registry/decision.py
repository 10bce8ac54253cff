"""Whether a new version becomes champion, and the sentence that says why. Pure: metrics in, a decision out.

A version that was trained beats another when its WQL is lower on the same held-out windows. A WQL that is not a finite number
beats nobody. An update is let in by the gate (models/online/gate.py), whose verdict is completed here.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Promote = Literal["auto", "never", "always"]
Kind = Literal["train", "update"]

FORECASTERS = ("model", "champion", "parent")
"""Entries of the metrics that are networks; every other entry with a WQL is a baseline."""
NEVER_WITHOUT = ("finite", "champion_unchanged")
"""Checks that an update must pass whatever was asked for."""


class Champions(NamedTuple):
    """The champion that the new version was judged against, and the one that stands at publication."""

    judged_against: int | None
    present: int | None


class Decision(NamedTuple):
    promoted: bool
    sentence: str


def decide(promote: Promote, metrics: Mapping[str, Any], champions: Champions) -> Decision:
    """Promote a version that was trained, or keep it as challenger.

    `metrics` holds `model`, the baselines, and `champion` where there is one. Where the champion could not be scored (its
    artifact is damaged, its forecasts are not numbers), the best baseline stands in.
    """
    own = wql_of(metrics, "model")
    if promote == "never":
        return _kept("the request said never to promote")
    if own is None:
        return _kept("its WQL could not be measured on the held-out windows")
    if promote == "always":
        return Decision(True, f"Promoted because the request said always; its WQL is {own:.4f}.")
    return _by_merit(own, metrics, champions)


def complete(verdict: Mapping[str, Any], champions: Champions) -> dict[str, Any]:
    """The gate's verdict about an update with the one check that only publication can make: the champion is still the same."""
    same = champions.present == champions.judged_against
    told = f"It was judged against {_named(champions.judged_against)}; {_named(champions.present)} is the champion now."
    check = {
        "name": "champion_unchanged",
        "value": champions.present,
        "limit": champions.judged_against,
        "passed": same,
        "detail": told,
    }
    found = dict(verdict) | {"checks": [*verdict["checks"], check]}
    if not same:
        before = f" {verdict['sentence']}" if not verdict["accepted"] else ""
        found |= {"accepted": False, "sentence": f"Refused. champion_unchanged: {told}{before}"}
    return found


def decide_update(promote: Promote, verdict: Mapping[str, Any]) -> Decision:
    """Promote an update, or keep it as challenger, by the gate's verdict. One whose forecasts are no numbers never gets in, nor
    one of a champion that has left."""
    if promote == "never":
        return _kept("the request said never to promote")
    may = all(check["passed"] for check in verdict["checks"] if check["name"] in NEVER_WITHOUT)
    if promote == "always" and may:
        return Decision(True, f"Promoted because the request said always. The gate: {verdict['sentence']}")
    if verdict["accepted"]:
        return Decision(True, f"Promoted. {verdict['sentence']}")
    return Decision(False, f"Kept as challenger. {verdict['sentence']}")


def _by_merit(own: float, metrics: Mapping[str, Any], champions: Champions) -> Decision:
    if champions.present != champions.judged_against:
        return _kept(
            f"it was judged against {_named(champions.judged_against)}, but {_named(champions.present)} "
            "was the champion when it was published"
        )
    if champions.present is None:
        return _against_baselines(own, metrics, "there was no champion")
    theirs = wql_of(metrics, "champion")
    if theirs is None:
        return _against_baselines(own, metrics, f"the champion, version {champions.present}, could not be scored")
    return _against(own, theirs, f"the champion's, version {champions.present}")


def wql_of(metrics: Mapping[str, Any], name: str) -> float | None:
    """The WQL of one entry of the metrics; None when it was not measured or is not finite."""
    entry = metrics.get(name)
    value = entry.get("wql") if isinstance(entry, Mapping) else None
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _against_baselines(own: float, metrics: Mapping[str, Any], because: str) -> Decision:
    scored = {name: wql_of(metrics, name) for name in metrics if name not in FORECASTERS}
    finite = {name: wql for name, wql in scored.items() if wql is not None}
    if not finite:
        return _kept(f"{because}, and no baseline could be scored")
    best = min(finite, key=lambda name: finite[name])
    decision = _against(own, finite[best], f"the best baseline's, {best.replace('_', ' ')}")
    return Decision(decision.promoted, f"{decision.sentence.removesuffix('.')}; {because}.")


def _against(own: float, theirs: float, whose: str) -> Decision:
    own_text, their_text = _told_apart(own, theirs)
    compared = f"its WQL of {own_text} {{}} {their_text} of {whose}, on the same held-out windows"
    if own < theirs:
        return Decision(True, f"Promoted: {compared.format('is lower than the')}.")
    return _kept(compared.format("equals the" if own == theirs else "is higher than the"))


def _told_apart(one: float, other: float) -> tuple[str, str]:
    """Both numbers with four decimals, or as many as it takes to see which is lower."""
    for decimals in range(4, 17):
        texts = f"{one:.{decimals}f}", f"{other:.{decimals}f}"
        if texts[0] != texts[1] or one == other:
            return texts
    return repr(one), repr(other)


def _kept(because: str) -> Decision:
    return Decision(False, f"Kept as challenger: {because}.")


def _named(version: int | None) -> str:
    return "no champion" if version is None else f"version {version}"
