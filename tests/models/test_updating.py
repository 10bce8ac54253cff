"""One update: what it changes, what it leaves, what all sides say at its end, and that it is a function of version and days."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.forecast import Forecast
from models.forecaster import Forecaster
from models.inference import predict
from models.online.common_shifts import CommonShifts
from models.online.finetuning import UpdateConfig
from models.online.gate import Limits
from models.online.shifts import SPANS
from models.online.stream import Speeds, Stream, matured
from models.online.updating import Answering, Looks, advanced, checks_now, fine_tuning_due, learned_on, replayed
from models.parallel import hands, in_parts
from models.training import train
from tests.models.answering import answered, together
from tests.models.panels import make_panel, small

PANEL = make_panel(days=190)
TRAINED, NEWEST = 160, 168


@pytest.fixture(scope="module")
def champion() -> Forecaster:
    return train(PANEL.until(PANEL.start + np.timedelta64(TRAINED - 1, "D")), small()).forecaster


@pytest.fixture(scope="module")
def head(champion: Forecaster) -> Forecaster:
    """The champion after days that it had forecast, with a lineage."""
    stream = Stream(champion, PANEL, speeds=Speeds())
    stream.issue(TRAINED - 1)
    for day in range(TRAINED, NEWEST):
        stream.learn(day)
        stream.issue(day)
    assert stream.forecaster.lineage is not None
    return stream.forecaster


def updated(head: Forecaster, common: CommonShifts | None = None) -> Forecaster:
    stream = Stream(head, PANEL, speeds=Speeds())
    stream.issue(NEWEST - 1)
    came = [matured(PANEL, NEWEST, stream.said, head.horizon)]
    return advanced(head, PANEL, came, [], speeds=Speeds(), common=common)


def test_an_update_is_the_days_of_a_stream(head: Forecaster) -> None:
    stream = Stream(head, PANEL, speeds=replace(Speeds(), fine_tuning=False))
    stream.issue(NEWEST - 1)
    stream.learn(NEWEST)
    one, other = stream.forecaster.tracking, updated(head).tracking
    assert one is not None and other is not None
    np.testing.assert_array_equal(one.shift_SGQ, other.shift_SGQ)
    np.testing.assert_array_equal(one.lean_SG, other.lean_SG)
    assert other.until == PANEL.start + np.timedelta64(NEWEST, "D")


def test_the_head_is_never_changed(head: Forecaster) -> None:
    assert head.tracking is not None and head.lineage is not None
    before = [values.copy() for values in head.tracking.arrays()]
    weights = {name: value.clone() for name, value in head.lineage.members[0].network.state_dict().items()}
    candidate = updated(head)
    _, findings = learned_on(candidate, PANEL, config=UpdateConfig(steps=4), report=lambda progress: None)
    assert len(findings.table(PANEL)) > 0
    for one, other in zip(before, head.tracking.arrays(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert all(value.equal(weights[name]) for name, value in head.lineage.members[0].network.state_dict().items())


def test_all_sides_are_answered_as_each_would_be_alone(head: Forecaster) -> None:
    candidate = updated(head)
    said = answered(candidate, head, PANEL, NEWEST)
    frozen = replace(head, tracking=None, lineage=None)
    for found, alone in ((said.candidate, candidate), (said.champion, head), (said.frozen, frozen)):
        same(found, predict(alone, PANEL, NEWEST))


@pytest.mark.parametrize("tuned", [False, True])
def test_a_champion_that_has_not_heard_of_common_shifts_is_judged_as_if_it_had(head: Forecaster, tuned: bool) -> None:
    """And read as it is. Also where the update has other networks."""
    common = CommonShifts(PANEL.start + np.timedelta64(NEWEST, "D"), (1.5,) * len(SPANS))
    candidate = updated(head, common)
    if tuned:
        candidate, _ = learned_on(candidate, PANEL, config=UpdateConfig(steps=2), report=lambda progress: None)
    assert head.tracking is not None
    knowing = replace(head, tracking=replace(head.tracking, common=common))
    with hands() as many:
        answering = Answering(
            candidate, head, PANEL, NEWEST, in_parts(PANEL.series), levels=True, common=common, many=many
        )
        said = together(answering, candidate, PANEL)
        assert not answering.as_read
        same(said.candidate, predict(candidate, PANEL, NEWEST))
        same(said.champion, predict(knowing, PANEL, NEWEST))
        as_read = Forecast.joined(answering.champion_as_read(many))
    same(as_read, predict(head, PANEL, NEWEST))
    assert np.abs(as_read.mean_SH - said.champion.mean_SH).max() > 0.01


def test_both_sides_of_a_replay_know_of_the_same_common_shifts(head: Forecaster) -> None:
    """Else a champion would know of a cutoff, since its own, what an update that learned later does not say of it."""
    assert head.tracking is not None
    common = CommonShifts(PANEL.start + np.timedelta64(NEWEST - 7, "D"), (1.5,) * len(SPANS))
    knowing = replace(head, tracking=replace(head.tracking, common=common))
    candidate = updated(head)
    assert replayed(candidate, knowing, PANEL, NEWEST) == replayed(candidate, head, PANEL, NEWEST)
    assert replayed(updated(head, common), head, PANEL, NEWEST) != replayed(candidate, head, PANEL, NEWEST)


def test_common_shifts_count_only_where_levels_do(head: Forecaster) -> None:
    common = CommonShifts(PANEL.start + np.timedelta64(NEWEST, "D"), (1.5,) * len(SPANS))
    off = advanced(head, PANEL, [], [], speeds=Speeds(levels=False), common=common)
    assert off.tracking is not None and off.tracking.common is None
    assert off.tracking.odds_at(common.day) is None


def test_each_series_is_answered_by_the_odds_of_its_own_cutoff(head: Forecaster) -> None:
    common = CommonShifts(PANEL.start + np.timedelta64(NEWEST, "D"), (1.5,) * len(SPANS))
    knowing = updated(head, common)
    cutoffs = NEWEST - np.arange(PANEL.series) % 2
    together = predict(knowing, PANEL, cutoffs, batch_size=2)
    for row, cutoff in enumerate(cutoffs.tolist()):
        alone = predict(knowing, PANEL.rows(np.array([row])), cutoff)
        np.testing.assert_allclose(together.quantiles_SHQ[row], alone.quantiles_SHQ[0], rtol=1e-4, atol=1e-4)


def same(found: Forecast, expected: Forecast) -> None:
    np.testing.assert_array_equal(found.mean_SH, expected.mean_SH)
    np.testing.assert_array_equal(found.quantiles_SHQ, expected.quantiles_SHQ)


def test_parts_of_the_series_are_put_together_in_their_order(head: Forecaster) -> None:
    candidate = updated(head)
    whole, parts = answered(candidate, head, PANEL, NEWEST), answered(candidate, head, PANEL, NEWEST, at_once=2)
    for one, other in zip(
        vars(whole).values(), vars(parts).values(), strict=True
    ):  # fewer series asked together round otherwise
        np.testing.assert_allclose(other.mean_SH, one.mean_SH, rtol=1e-6)
        np.testing.assert_allclose(other.quantiles_SHQ, one.quantiles_SHQ, rtol=1e-6)


def test_a_second_thread_changes_nothing(head: Forecaster) -> None:
    candidate = updated(head)
    alone = answered(candidate, head, PANEL, NEWEST)
    torch.set_num_threads(2)
    try:
        beside = answered(candidate, head, PANEL, NEWEST)
    finally:
        torch.set_num_threads(1)
    np.testing.assert_allclose(beside.frozen.quantiles_SHQ, alone.frozen.quantiles_SHQ, rtol=1e-5, atol=1e-4)
    np.testing.assert_allclose(beside.champion.mean_SH, alone.champion.mean_SH, rtol=1e-5, atol=1e-4)


def test_the_first_update_is_judged_beside_the_champion_as_it_was_trained(champion: Forecaster) -> None:
    candidate = advanced(champion, PANEL, [], [], speeds=Speeds(), common=None)
    said = answered(candidate, champion, PANEL, NEWEST)
    np.testing.assert_array_equal(said.champion.quantiles_SHQ, predict(champion, PANEL, NEWEST).quantiles_SHQ)
    np.testing.assert_array_equal(said.champion.quantiles_SHQ, said.frozen.quantiles_SHQ)


def test_an_honest_update_passes_the_checks_of_the_day(head: Forecaster) -> None:
    candidate = updated(head)
    said = answered(candidate, head, PANEL, NEWEST)
    metrics = replayed(candidate, head, PANEL, NEWEST)
    assert metrics["windows"] == [str(PANEL.start + np.timedelta64(NEWEST - 7 * week, "D")) for week in (4, 3, 2, 1)]
    maximum_S = np.nanmax(PANEL.quantity_ST[:, : NEWEST + 1], axis=1)
    checks = checks_now(Looks.at(said), metrics, maximum_S, Limits())
    assert [check.name for check in checks if not check.passed] == []


def test_fine_tuning_is_due_a_week_after_the_networks_last_learned(champion: Forecaster, head: Forecaster) -> None:
    trained = champion.trained_until
    assert [fine_tuning_due(champion, trained + np.timedelta64(days, "D")) for days in (6, 7)] == [False, True]
    assert head.lineage is not None
    assert not fine_tuning_due(head, head.lineage.trained_until + np.timedelta64(6, "D"))
