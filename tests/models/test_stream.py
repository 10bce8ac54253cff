"""Days that come in one after the other: what is learned from them, what must not be read, and that it can be done again."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from models.checkpoint import deserialise, serialise
from models.forecaster import Forecaster
from models.inference import asked, predict
from models.online.finetuning import UpdateConfig
from models.online.stream import Speeds, Stream, fine_tuned, renewed, tracked
from models.panel import Panel
from models.training import train
from tests.models.panels import make_panel, small

DAYS, TRAINED = 190, 160
PANEL = make_panel(days=DAYS)


@pytest.fixture(scope="module")
def champion() -> Forecaster:
    return train(PANEL.until(PANEL.start + np.timedelta64(TRAINED - 1, "D")), small()).forecaster


def lived(champion: Forecaster, panel: Panel, *, until: int, speeds: Speeds | None = None) -> Stream:
    """A stream that has issued at every cutoff since the training and learned from every day since."""
    stream = Stream(champion, panel, speeds=speeds or Speeds())
    stream.issue(TRAINED - 1)
    for day in range(TRAINED, until + 1):
        stream.learn(day)
        stream.issue(day)
    return stream


def state_of(stream: Stream) -> dict[str, torch.Tensor]:
    """All that was learned: the state of each series and the weights of the lineage."""
    tracking, lineage = stream.forecaster.tracking, stream.forecaster.lineage
    assert tracking is not None
    found = {"lean": torch.from_numpy(tracking.lean_SG), "shift": torch.from_numpy(tracking.shift_SGQ)}
    if lineage is not None:
        found |= lineage.members[0].network.state_dict()
    return found


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def test_days_after_the_cutoff_change_nothing_of_what_was_learned_or_said(champion: Forecaster) -> None:
    until = TRAINED + 16
    rng = np.random.default_rng(1)
    quantity = PANEL.quantity_ST.copy()
    for row in quantity:
        rng.shuffle(row[until + 1 :])
    quantity[:, until + 1 :] *= 3
    one, other = (lived(champion, panel, until=until) for panel in (PANEL, replace(PANEL, quantity_ST=quantity)))
    assert same(state_of(one), state_of(other))
    assert one.forecaster.lineage is not None
    np.testing.assert_array_equal(one.said[until].forecast.quantiles_SHQ, other.said[until].forecast.quantiles_SHQ)


def test_the_same_days_give_the_same_state_and_a_day_that_differs_another(champion: Forecaster) -> None:
    until = TRAINED + 9
    again = PANEL.quantity_ST.copy()
    again[:, TRAINED + 4] += 5
    first, second = lived(champion, PANEL, until=until), lived(champion, PANEL, until=until)
    third = lived(champion, replace(PANEL, quantity_ST=again), until=until)
    assert same(state_of(first), state_of(second))
    assert not same(state_of(first), state_of(third))


def test_what_is_switched_off_stays_as_it_was(champion: Forecaster) -> None:
    off = Speeds(levels=False, weights=False, quantiles=False, fine_tuning=False)
    stream = lived(champion, PANEL, until=TRAINED + 9, speeds=off)
    said = stream.said[TRAINED + 9].forecast
    plain = predict(champion, PANEL, TRAINED + 9)
    np.testing.assert_array_equal(said.quantiles_SHQ, plain.quantiles_SHQ)
    only = lived(champion, PANEL, until=TRAINED + 9, speeds=replace(off, quantiles=True))
    assert only.forecaster.lineage is None
    assert only.forecaster.tracking is not None
    assert only.forecaster.tracking.shift_SGQ.any()
    assert not only.forecaster.tracking.lean_SG.any()


def test_a_fine_tuning_leaves_the_networks_as_trained_beside_it(champion: Forecaster) -> None:
    before = {name: value.clone() for name, value in champion.members[0].network.state_dict().items()}
    ready = tracked(champion, PANEL, speeds=Speeds())
    tuned = fine_tuned(ready, PANEL, config=UpdateConfig(steps=4))
    assert tuned.lineage is not None
    assert same(before, tuned.members[0].network.state_dict())
    assert not same(before, tuned.lineage.members[0].network.state_dict())
    assert tuned.lineage.trained_until == PANEL.end
    further = fine_tuned(tuned, PANEL, config=UpdateConfig(steps=4))
    assert further.lineage is not None
    assert not same(tuned.lineage.members[0].network.state_dict(), further.lineage.members[0].network.state_dict())


def test_a_series_that_begins_is_learned_from_as_soon_as_a_network_may_answer_for_it(champion: Forecaster) -> None:
    quantity = PANEL.quantity_ST.copy()
    quantity[2, : TRAINED - 3] = np.nan
    stream = lived(champion, replace(PANEL, quantity_ST=quantity), until=TRAINED + 9)
    tracking = stream.forecaster.tracking
    assert tracking is not None
    assert not tracking.shift_SGQ[2].any()
    stream = lived(champion, replace(PANEL, quantity_ST=quantity), until=TRAINED + 20)
    assert stream.forecaster.tracking is not None
    assert stream.forecaster.tracking.shift_SGQ[2].any()


@pytest.fixture(scope="module")
def retrained() -> Forecaster:
    """Of the same kind, trained later on fewer series: neither its identities nor its features' constants are the champion's."""
    return train(
        PANEL.rows(np.array([4, 1, 3])).until(PANEL.start + np.timedelta64(TRAINED + 9, "D")), small(seed=5)
    ).forecaster


def test_networks_trained_anew_stand_beside_the_lineage_that_was_there(
    champion: Forecaster, retrained: Forecaster
) -> None:
    stream = lived(champion, PANEL, until=TRAINED + 9)
    before = stream.forecaster
    stream.replace(retrained, TRAINED + 9)
    after = stream.forecaster
    assert before.tracking is not None
    assert after.tracking is not None
    np.testing.assert_array_equal(after.tracking.shift_SGQ, before.tracking.shift_SGQ)
    assert not after.tracking.lean_SG.any()
    assert after.lineage is before.lineage
    said = stream.issue(TRAINED + 9)
    for one, quantiles_SHQ in ((retrained, said.trained_SHQ), (before.lineage, said.lineage_SHQ)):
        assert one is not None
        alone = asked(
            one, PANEL, TRAINED + 9, odds=before.tracking.odds_at(PANEL.start + np.timedelta64(TRAINED + 9, "D"))
        ).trained[1]
        np.testing.assert_array_equal(quantiles_SHQ, alone)


def test_a_renewed_forecaster_comes_back_from_its_bytes_to_the_bit(champion: Forecaster, retrained: Forecaster) -> None:
    stream = lived(champion, PANEL, until=TRAINED + 9)
    stream.replace(retrained, TRAINED + 9)
    again = deserialise(*serialise(stream.forecaster))
    one, other = (predict(forecaster, PANEL, TRAINED + 9) for forecaster in (stream.forecaster, again))
    np.testing.assert_array_equal(one.quantiles_SHQ, other.quantiles_SHQ)


def test_networks_of_another_kind_begin_alone(champion: Forecaster) -> None:
    stream = lived(champion, PANEL, until=TRAINED + 9)
    other = train(PANEL.until(PANEL.start + np.timedelta64(TRAINED - 1, "D")), small(context_length=14)).forecaster
    stream.replace(other, TRAINED + 9)
    assert stream.forecaster.lineage is None
    assert stream.forecaster.tracking is not None
    assert not stream.forecaster.tracking.shift_SGQ.any()


def test_what_is_switched_off_is_not_taken_over(champion: Forecaster, retrained: Forecaster) -> None:
    before = lived(champion, PANEL, until=TRAINED + 9).forecaster
    alone = renewed(before, retrained, speeds=Speeds(levels=False, quantiles=False, fine_tuning=False))
    assert alone.lineage is None
    assert alone.tracking is not None
    assert not alone.tracking.levels
    assert not alone.tracking.shift_SGQ.any()
