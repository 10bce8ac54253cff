"""Fine-tuning: what a lineage learns from, what it must not read, and what it leaves as it was."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.checkpoint import deserialise, serialise
from models.evaluation import evaluate
from models.forecaster import Forecaster, Member
from models.identities import identities_of
from models.inference import predict
from models.metrics import Doubles
from models.online.finetuning import UpdateConfig, carried_on, continued, last_complete_day
from models.online.stream import fine_tuned
from models.panel import Panel
from models.progress import Clock, Progress, TimeLimitReached
from models.training import Course, Trained, unadjusted
from models.validation import learn_from_newest
from tests.models.panels import make_panel, resolved

QUICK = UpdateConfig(steps=8, batch_size=64)
ALL_DAYS = make_panel(days=230)


def weights(forecaster: Forecaster, member: int = 0) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in forecaster.members[member].network.state_dict().items()}


def same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> bool:
    return all(first[name].equal(second[name]) for name in first)


def first_days(days: int) -> Panel:
    return ALL_DAYS.until(ALL_DAYS.start + np.timedelta64(days - 1, "D"))


def with_covariates(panel: Panel) -> Panel:
    """The panel with an amount and a flag known ahead, and one that is known of the past only."""
    rng = np.random.default_rng(0)
    known = {name: rng.integers(0, 2, (5, 230)).astype(np.float32) for name in ("promo", "event=fair")}
    return replace(panel, known=known, past={"rain": rng.random((5, 230)).astype(np.float32)[:, : panel.days]})


def several() -> list[Forecaster]:
    """A forecaster of five fresh networks, some of a longer context or with more dropout, then one of each alone."""
    covariates = {"known": ("promo", "event=fair"), "past": ("rain",), "dropout": 0.1}
    members = [
        resolved("mlp", **covariates),
        resolved("lstm", **covariates | {"context_length": 42}),
        resolved("transformer", **covariates | {"dropout": 0.4}),
        resolved("cnn", **covariates | {"context_length": 42}),
        resolved("mlp", **covariates | {"seed": 1}),
    ]
    panel = with_covariates(first_days(160))
    course = Course(panel, members, end=160)
    all_of = [Member(fit.network.config, fit.network) for fit in course.fits]
    return [unadjusted(panel, some, course.identities, until=159) for some in (all_of, *([one] for one in all_of))]


def test_a_child_has_learned_and_its_parent_is_unchanged(trained: Trained) -> None:
    parent = trained.forecaster
    before, twin_before = weights(parent), weights(parent.twin)  # type: ignore[arg-type]
    child = carried_on(parent, first_days(190), config=QUICK)
    assert same(weights(parent), before) and same(weights(parent.twin), twin_before)  # type: ignore[arg-type]
    assert parent.trained_until == np.datetime64("2025-06-09")
    assert not same(weights(child), before)
    assert child.trained_until == first_days(190).end and child.keys == parent.keys
    assert child.twin is None


def test_however_many_series_a_sender_adds_networks_learn_no_more_from_them(trained: Trained) -> None:
    """Ten copies of a new series and a hundred are the same quarter of what is drawn."""
    panel = first_days(190)

    def flooded(copies: int) -> Panel:
        new_ST = np.repeat(20 * panel.quantity_ST[:1] + 7, copies, axis=0)
        skus, locations = [*panel.skus, *(f"N-{n}" for n in range(copies))], [*panel.locations, *[""] * copies]
        return Panel(skus, locations, panel.start, np.concatenate([panel.quantity_ST, new_ST]))

    ten, hundred = (weights(carried_on(trained.forecaster, flooded(n), config=QUICK)) for n in (10, 100))
    assert not same(ten, weights(carried_on(trained.forecaster, panel, config=QUICK)))
    for name, value in ten.items():
        torch.testing.assert_close(value, hundred[name], rtol=1e-4, atol=1e-5)


def test_a_lineage_that_outlived_a_training_counts_as_new_what_that_did_not_know(trained: Trained) -> None:
    """Its own networks knew two of the five series, those trained since know all: then nothing is bounded."""
    panel = first_days(190)
    old = replace(trained.forecaster, identities=identities_of(panel.rows([0, 1])), tracking=None, lineage=None)
    alone, beside = carried_on(old, panel, config=QUICK), fine_tuned(old, panel, config=QUICK).lineage
    assert beside is not None and same(weights(alone), weights(beside))
    renewed = fine_tuned(replace(trained.forecaster, lineage=old), panel, config=QUICK).lineage
    assert renewed is not None and not same(weights(alone), weights(renewed))
    assert same(weights(renewed), weights(carried_on(old, panel, config=QUICK, known=trained.forecaster.identities)))


def test_networks_that_learn_on_together_become_what_each_becomes_alone() -> None:
    """To the bit: windows, features and dropout are those that a network has for itself."""
    panel = with_covariates(first_days(190))
    together, *alone = several()
    child = carried_on(together, panel, config=QUICK)
    for number, one in enumerate(alone):
        assert not same(weights(child, number), weights(one))
        assert same(weights(child, number), weights(carried_on(one, panel, config=QUICK)))


def test_an_update_of_several_networks_tells_every_step_and_keeps_to_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.progress.REPORT_SECONDS", 0.0)
    panel = with_covariates(first_days(190))
    told: list[Progress] = []
    carried_on(several()[0], panel, config=QUICK, report=told.append, part=(0.2, 0.8))
    fractions = [p.fraction for p in told]
    assert fractions == sorted(fractions) and fractions[0] == 0.2 and fractions[-1] < 0.8
    assert [p.stage for p in told] == ["updating"] * 8
    assert all(p.loss is not None and p.loss > 0 for p in told[1:])
    with pytest.raises(TimeLimitReached):
        carried_on(several()[0], panel, config=replace(QUICK, steps=100_000, max_seconds=1.0))


def test_steps_follow_the_days_within_bounds() -> None:
    assert [UpdateConfig().steps_for(days) for days in (1, 5, 10, 28, 365)] == [20, 20, 40, 112, 112]
    assert UpdateConfig(steps=7).steps_for(28) == 7


def test_small_updates_have_a_lower_rate_so_that_steps_times_rate_follow_the_days() -> None:
    config = UpdateConfig(learning_rate=0.02)
    for days in (1, 2, 3, 5, 10, 28):
        assert config.steps_for(days) * config.rate_for(days) == pytest.approx(4 * days * 0.02)
    assert config.rate_for(365) == 0.02 and UpdateConfig(steps=7, learning_rate=0.02).rate_for(1) == 0.02


def test_shuffled_labels_after_the_end_leave_the_weights_identical(trained: Trained) -> None:
    panel = first_days(200)
    shuffled = replace(panel, quantity_ST=panel.quantity_ST.copy())
    shuffled.quantity_ST[:, 180:] = np.random.default_rng(0).permutation(shuffled.quantity_ST[:, 180:], axis=1) + 5
    made = [
        continued(trained.forecaster, p, QUICK, end=180, clock=Clock(60, 1, lambda progress: None), part=(0, 1))
        for p in (panel, shuffled, first_days(180))
    ]
    assert same(weights(made[0]), weights(made[1])) and same(weights(made[0]), weights(made[2]))


def test_a_new_day_reaches_the_weights(trained: Trained) -> None:
    """One day more, and only its value differs: the update differs, though 6 of 7 days of its windows are absent."""
    panel = first_days(161)
    other = replace(panel, quantity_ST=panel.quantity_ST.copy())
    other.quantity_ST[:, 160] += 30
    children = [carried_on(trained.forecaster, p, config=QUICK) for p in (panel, other)]
    assert not same(weights(children[0]), weights(children[1]))
    assert all(torch.isfinite(value).all() for value in weights(children[0]).values())


def test_the_same_update_twice_gives_the_same_weights(trained: Trained) -> None:
    panel = first_days(190)
    first, second = (carried_on(trained.forecaster, panel, config=QUICK) for _ in range(2))
    assert same(weights(first), weights(second))
    assert first.adjustment.as_dict() == second.adjustment.as_dict()


def test_shares_of_climatology_are_relearned_from_days_before_the_end_alone(trained: Trained) -> None:
    """By what the forecaster itself says of the week before the end; it is that week's loss that is added."""
    parent = trained.forecaster
    before, end = parent.adjustment, 190
    found = learn_from_newest(parent, first_days(230), end)
    assert before.evidence_C is not None and found.evidence_C is not None
    assert not np.allclose(found.evidence_C, before.evidence_C)
    changed = replace(ALL_DAYS, quantity_ST=ALL_DAYS.quantity_ST.copy())
    changed.quantity_ST[:, end:] += 1000
    assert learn_from_newest(parent, changed, end).as_dict() == found.as_dict()
    changed.quantity_ST[:, end - 1] += 1000
    assert learn_from_newest(parent, changed, end).as_dict() != found.as_dict()
    learned = parent.trained_until
    assert before.evidence_until == learned and found.evidence_until == first_days(end).end
    assert learn_from_newest(parent, ALL_DAYS, ALL_DAYS.day_index(learned) + 1) is before


def evidence_beside(forecaster: Forecaster, panel: Panel, end: int, *, faded: float) -> Doubles:
    """What the days before `end` add to the evidence, beside what is left of it."""
    before, after = forecaster.adjustment.evidence_C, learn_from_newest(forecaster, panel, end).evidence_C
    assert before is not None and after is not None
    return after - faded * before


def without(panel: Panel, days: slice) -> Panel:
    absent = replace(panel, quantity_ST=panel.quantity_ST.copy())
    absent.quantity_ST[:, days] = np.nan
    return absent


def test_each_day_with_sales_counts_once_and_as_a_twentyeighth_whatever_the_horizon(trained: Trained) -> None:
    """Four weeks of which one day came in add what that day alone adds, and older evidence fades by all of them; where all came
    in, each day is heard, forecast week by week by a network of seven days that has seen none of them."""
    parent = trained.forecaster
    one = evidence_beside(parent, first_days(161), 161, faded=0.9 ** (1 / 28))
    alone = evidence_beside(parent, without(ALL_DAYS, np.s_[161:]), 188, faded=0.9)
    np.testing.assert_allclose(alone, one, rtol=1e-3)  # windows are weighed beside others
    assert 0 < one[0] < np.nanmean(ALL_DAYS.quantity_ST[:, 160]) / 28  # a mean loss is well below a mean quantity
    whole = learn_from_newest(parent, ALL_DAYS, 188).as_dict()
    for day in (160, 166, 167, 187):
        assert learn_from_newest(parent, without(ALL_DAYS, np.s_[day : day + 1]), 188).as_dict() != whole


def test_an_update_whose_forecasts_were_far_off_leans_on_climatology(trained: Trained) -> None:
    """Sales in chaos since the training: whatever the networks knew of the week is worth less."""
    panel = first_days(230)
    shuffled = replace(panel, quantity_ST=panel.quantity_ST.copy())
    rng = np.random.default_rng(3)
    shuffled.quantity_ST[:, 160:] = rng.permuted(shuffled.quantity_ST[:, 160:], axis=1)
    child = trained.forecaster
    for day in (187, 194, 201, 208, 215):
        child = carried_on(child, shuffled.until(shuffled.start + np.timedelta64(day, "D")), config=QUICK)
    calm = trained.forecaster.adjustment.climatology_K
    assert child.adjustment.climatology_K[1:].sum() > calm[1:].sum()


def test_an_update_helps_after_a_shift(trained: Trained) -> None:
    """Sales triple on weekdays that the parent knew as quiet: its child is nearer to the truth of the days that follow."""
    panel = replace(make_panel(days=230), quantity_ST=make_panel(days=230).quantity_ST.copy())
    quiet = np.arange(230) % 7 == 5
    panel.quantity_ST[:, (np.arange(230) >= 160) & quiet] *= 6
    seen = panel.until(panel.start + np.timedelta64(222, "D"))
    config = UpdateConfig(steps=120, batch_size=128, learning_rate=3e-3, decay=0.9)
    child = carried_on(trained.forecaster, seen, config=config)
    scores = [
        evaluate(lambda p, c, f=f: predict(f, p, c), panel, [222], horizon=7) for f in (trained.forecaster, child)
    ]
    assert scores[1]["wql"] < 0.95 * scores[0]["wql"]


def test_a_chain_of_updates_survives_its_file(trained: Trained) -> None:
    child = carried_on(trained.forecaster, first_days(175), config=QUICK)
    grandchild = carried_on(deserialise(*serialise(child)), first_days(190), config=QUICK)
    direct = carried_on(child, first_days(190), config=QUICK)
    assert same(weights(grandchild), weights(direct))


def test_a_series_that_is_new_since_takes_part(trained: Trained) -> None:
    panel = make_panel(6, 190)
    child = carried_on(trained.forecaster, panel, config=QUICK)
    assert np.isfinite(predict(child, panel, 189).mean_SH).all()
    assert len(child.keys) == 5


def test_a_day_of_which_little_has_come_in_is_not_complete() -> None:
    panel = first_days(190)
    panel.quantity_ST[1:, 188:] = np.nan
    assert last_complete_day(panel) == 187
