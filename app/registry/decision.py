"""Whether a new version becomes champion, and the sentence that says why. Pure: metrics in, a decision out.

A version beats another when its WQL is lower on the same held-out windows. A WQL that is not a finite number beats nobody.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

Promote = Literal["auto", "never", "always"]
Kind = Literal["train", "update"]

FORECASTERS = ("model", "champion", "parent")
"""Entries of the metrics that are networks; every other entry with a WQL is a baseline."""


class Champions(NamedTuple):
    """The champion that the new version was judged against, and the one that stands at publication."""

    judged_against: int | None
    present: int | None


class Decision(NamedTuple):
    promoted: bool
    sentence: str


def decide(promote: Promote, kind: Kind, metrics: Mapping[str, Any], champions: Champions) -> Decision:
    """Promote the new version or keep it as challenger.

    `metrics` holds `model`, the baselines, and `champion` (a training) or `parent` (an update) where there is one. Where
    the champion could not be scored (its artifact is damaged, its forecasts are not numbers), the best baseline stands in.
    """
    own = wql_of(metrics, "model")
    if promote == "never":
        return _kept("the request said never to promote")
    if own is None:
        return _kept("its WQL could not be measured on the held-out windows")
    if promote == "always":
        return Decision(True, f"Promoted because the request said always; its WQL is {own:.4f}.")
    return _by_merit(own, kind, metrics, champions)


def _by_merit(own: float, kind: Kind, metrics: Mapping[str, Any], champions: Champions) -> Decision:
    if champions.present != champions.judged_against:
        return _kept(
            f"it was judged against {_named(champions.judged_against)}, but {_named(champions.present)} "
            "was the champion when it was published"
        )
    if champions.present is None:
        return _against_baselines(own, metrics, "there was no champion")
    rival = "parent" if kind == "update" else "champion"
    theirs = wql_of(metrics, rival)
    if theirs is None:
        return _against_baselines(own, metrics, f"the champion, version {champions.present}, could not be scored")
    return _against(own, theirs, f"the {rival}'s, version {champions.present}", equal_is_enough=kind == "update")


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
    decision = _against(own, finite[best], f"the best baseline's, {best.replace('_', ' ')}", equal_is_enough=False)
    return Decision(decision.promoted, f"{decision.sentence.removesuffix('.')}; {because}.")


def _against(own: float, theirs: float, whose: str, *, equal_is_enough: bool) -> Decision:
    own_text, their_text = _told_apart(own, theirs)
    compared = f"its WQL of {own_text} {{}} {their_text} of {whose}, on the same held-out windows"
    if own < theirs:
        return Decision(True, f"Promoted: {compared.format('is lower than the')}.")
    if own == theirs and equal_is_enough:
        return Decision(True, f"Promoted: {compared.format('equals the')}.")
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
