"""Ten broken updates, each made for real, and the checks of the gate that refuse them; and that honest updates pass."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pytest
import torch

from models.adjustment import AREA_Q
from models.forecaster import Forecaster
from models.inference import predict
from models.online.finetuning import UpdateConfig, carried_on
from models.online.gate import Limits, beyond_doubt, failed_names, verdict
from models.online.soundness import state_checks
from models.online.stream import Speeds, Stream, scales
from models.online.updating import Looks, checks_now, live_broken, older_check, replayed
from models.panel import Floats, Panel
from models.training import train
from tests.models.answering import answered
from tests.models.panels import START, small

TRAINED, WEEKS = 420, 2
NEWEST = TRAINED - 1 + 7 * WEEKS


def sales(days: int, *, series: int = 40, seed: int = 0) -> Panel:
    """Sales by weekday, each series with a rhythm of its own, around levels that wander: a network knows more of them than a
    series' own past year does."""
    rng = np.random.default_rng(seed)
    level_ST = rng.uniform(8, 40, (series, 1)) * np.exp(rng.normal(0, 0.04, (series, days)).cumsum(axis=1))
    weekday_ST = 1 + 0.6 * np.sin(2 * np.pi * (np.arange(days) + rng.integers(0, 7, (series, 1))) / 7)
    quantity_ST = rng.poisson(level_ST * weekday_ST).astype(np.float32)
    return Panel([f"sku-{i}" for i in range(series)], ["north"] * series, START, quantity_ST)


PANEL = sales(NEWEST + 1)


def until(panel: Panel, day: int) -> Panel:
    return panel.until(panel.start + np.timedelta64(day, "D"))


@dataclass
class Line:
    """A champion, which has learned for a week, and the honest update of a further week. `panel` ends with the newest day."""

    champion: Forecaster
    honest: Forecaster
    panel: Panel

    @cached_property
    def replay(self) -> dict[str, Any]:
        """The honest update's."""
        return replayed(self.honest, self.champion, self.panel, NEWEST)

    def lived(self, panel: Panel, *, seed: int = 0) -> Forecaster:
        """The champion after the last week of another panel."""
        stream = Stream(self.champion, panel, speeds=Speeds(), seed=seed)
        for cutoff in range(NEWEST - 14, NEWEST - 6):
            stream.issue(cutoff)
        for day in range(NEWEST - 6, NEWEST + 1):
            stream.learn(day)
            stream.issue(day)
        return stream.forecaster

    def tuned(self, panel: Panel, **settings: float) -> Forecaster:
        """The honest update with a lineage that was fine-tuned in another way."""
        before = self.champion.lineage
        assert before is not None
        config = replace(UpdateConfig(seed=1), **settings)  # type: ignore[arg-type]
        return replace(self.honest, lineage=carried_on(before, panel, config=config))

    def refused_by(self, candidate: Forecaster, *, panel: Panel | None = None) -> list[str]:
        """The names of the checks that the candidate fails; it is refused when there is one."""
        seen, limits = panel or self.panel, Limits()
        said = answered(candidate, self.champion, seen, NEWEST)
        metrics = replayed(candidate, self.champion, seen, NEWEST)
        checks = [
            *checks_now(Looks.at(said), metrics, most(seen), limits),
            older_check(candidate, self.champion, seen, NEWEST, limits),
            *state_checks(candidate, self.champion, seen, NEWEST, limits),
        ]
        told = verdict(checks, days=0)
        failed = failed_names(checks)
        assert told.accepted == (not failed)
        assert all(name in told.sentence for name in failed)
        return failed


def most(panel: Panel) -> Floats:
    found: Floats = np.fmax.reduce(panel.quantity_ST[:, -365:], axis=1)
    return found


def changed(networks: Sequence[torch.nn.Module], name: str, factor: float) -> None:
    for network in networks:
        for parameter in network.get_submodule(name).parameters():
            parameter.data.mul_(factor)


@pytest.fixture(scope="module")
def line() -> Line:
    config = small("mlp", horizon=28, epochs=12, width=24)
    stream = Stream(train(until(PANEL, TRAINED - 1), config).forecaster, PANEL, speeds=Speeds())
    stream.issue(TRAINED - 1)
    versions = []
    for day in range(TRAINED, NEWEST + 1):
        stream.learn(day)
        stream.issue(day)
        versions.append(stream.forecaster)
    return Line(versions[6], versions[-1], PANEL)


@pytest.mark.parametrize("seed", range(4))
def test_an_honest_update_passes(line: Line, seed: int) -> None:
    assert line.refused_by(line.lived(PANEL, seed=seed)) == []


def test_weights_that_are_no_numbers(line: Line) -> None:
    candidate = copy.deepcopy(line.honest)
    assert candidate.lineage is not None
    next(candidate.lineage.members[0].network.parameters()).data.view(-1)[0] = torch.nan
    assert {"finite", "near_copy", "weights_near"} <= set(line.refused_by(candidate))


@pytest.mark.parametrize("layer", ["head", "mix", "from_state", "from_static", "from_ahead", "trunk"])
def test_a_layer_of_zeros(line: Line, layer: str) -> None:
    lineage = copy.deepcopy(line.honest)
    assert lineage.lineage is not None
    changed([lineage.lineage.members[0].network], layer, 0.0)
    assert "weights_near" in line.refused_by(lineage)
    trained = copy.deepcopy(line.honest)
    changed([trained.members[0].network], layer, 0.0)
    assert "networks_as_trained" in line.refused_by(trained)


def test_a_learning_rate_a_thousand_times_too_high(line: Line) -> None:
    failed = line.refused_by(line.tuned(PANEL, learning_rate=2.0))
    assert {"replay_loss", "weights_near"} <= set(failed)


def test_labels_shuffled_in_time(line: Line) -> None:
    rng = np.random.default_rng(0)
    quantity = PANEL.quantity_ST.copy()
    for row in quantity:
        rng.shuffle(row)
    assert "older_loss" in line.refused_by(line.tuned(replace(PANEL, quantity_ST=quantity)))


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_days_that_cannot_be_true(line: Line, share: float) -> None:
    rng = np.random.default_rng(0)
    quantity = PANEL.quantity_ST.copy()
    quantity[rng.choice(len(quantity), int(share * len(quantity)), replace=False), -14:] *= 20
    poisoned = replace(PANEL, quantity_ST=quantity)
    assert "days_plausible" in line.refused_by(line.lived(poisoned), panel=poisoned)


def test_quantiles_that_were_swapped(line: Line) -> None:
    said = answered(line.honest, line.champion, PANEL, NEWEST)
    forecast = said.candidate
    swapped = replace(forecast, quantiles_SHQ=forecast.quantiles_SHQ[..., ::-1])
    answer = replace(said, candidate=swapped)
    checks = checks_now(Looks.at(answer), line.replay, most(PANEL), Limits())
    assert failed_names(checks) == ["ordered"]


@pytest.mark.parametrize("factor", [0.1, 10.0])
def test_a_scale_off_by_ten(line: Line, factor: float) -> None:
    candidate = copy.deepcopy(line.honest)
    assert candidate.lineage is not None
    changed([candidate.lineage.members[0].network], "head", factor)
    assert {"older_loss", "weights_near"} <= set(line.refused_by(candidate))
    said = answered(line.honest, line.champion, PANEL, NEWEST)
    forecast = said.candidate
    scaled = replace(forecast, mean_SH=forecast.mean_SH * factor, quantiles_SHQ=forecast.quantiles_SHQ * factor)
    checks = checks_now(Looks.at(replace(said, candidate=scaled)), line.replay, most(PANEL), Limits())
    assert "near_copy" in failed_names(checks)


def test_a_version_from_before_under_a_new_name(line: Line) -> None:
    assert line.refused_by(copy.deepcopy(line.champion)) == ["fresh"]
    assert line.champion.tracking is not None
    renamed = replace(line.champion, tracking=replace(line.champion.tracking, until=PANEL.end))
    assert line.refused_by(renamed) == ["fresh"]


def test_one_that_knows_the_newest_weeks_by_heart(line: Line) -> None:
    first = NEWEST - 90
    newest = replace(PANEL, start=PANEL.start + np.timedelta64(first, "D"), quantity_ST=PANEL.quantity_ST[:, first:])
    failed = line.refused_by(line.tuned(newest, steps=300, batch_size=64))
    assert "weights_near" in failed
    assert "replay_loss" not in failed  # on the days that it knows by heart it looks best


@pytest.mark.parametrize("share", [-0.1, 0.1])
def test_a_bias_of_a_tenth(line: Line, share: float) -> None:
    tracking, said = line.honest.tracking, predict(line.honest, PANEL, NEWEST)
    assert tracking is not None
    shift_S = share * said.mean_SH.mean(axis=1) / (scales(PANEL, NEWEST) * AREA_Q.sum())
    biased = tracking.shift_SGQ + shift_S[:, None, None].astype(np.float32)
    candidate = replace(line.honest, tracking=replace(tracking, shift_SGQ=biased))
    assert "replay_bias" in line.refused_by(candidate)


def test_a_champion_that_says_no_numbers_has_to_go_back_and_a_sound_one_has_not(line: Line) -> None:
    broken = copy.deepcopy(line.champion)
    assert broken.lineage is not None
    next(broken.lineage.members[0].network.parameters()).data.view(-1)[0] = torch.nan
    said = answered(line.honest, line.champion, PANEL, NEWEST)
    assert live_broken(Looks.at(said), most(PANEL), Limits()) is None
    said = replace(said, champion=predict(broken, PANEL, NEWEST))
    assert str(live_broken(Looks.at(said), most(PANEL), Limits())).startswith("finite: 40 series")


def test_a_loss_above_the_limit_counts_once_it_is_beyond_doubt() -> None:
    rng = np.random.default_rng(0)
    frozen = rng.uniform(80, 120, 60)
    assert beyond_doubt(frozen * 1.05, frozen, percent=1.0, days=61) is None
    assert beyond_doubt(frozen * 1.005, frozen, percent=1.0, days=28) is None
    assert beyond_doubt(rng.permutation(frozen) * 1.02, frozen, percent=1.0, days=28) is None  # within chance
    told = beyond_doubt(frozen * 1.05, frozen, percent=1.0, days=28)
    assert told == (
        "Its live loss was 5.00 % above that of the networks as trained over 28 days (+5.00 to +5.00 %, limit 2 %)."
    )
    told = beyond_doubt(frozen * 1.0175, frozen, percent=1.0, days=28)  # too little for four weeks, not for eight
    assert told is not None and "over 56 days (+1.75 to +1.75 %, limit 1.41 %)" in told
    assert beyond_doubt(frozen * 1.0125, frozen, percent=1.0, days=28) is None
    twice = np.concatenate([frozen, frozen])
    assert "over 112 days" in str(beyond_doubt(twice * 1.0125, twice, percent=1.0, days=28))


def test_a_long_good_past_hides_no_loss_of_the_newest_weeks() -> None:
    frozen = np.random.default_rng(0).uniform(80, 120, 328)
    live = np.concatenate([frozen[:300] * 0.9, frozen[300:] * 1.05])
    assert beyond_doubt(live[:320], frozen[:320], percent=1.0, days=28) is None
    assert "over 28 days" in str(beyond_doubt(live, frozen, percent=1.0, days=28))
