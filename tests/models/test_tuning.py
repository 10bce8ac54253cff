"""Tuning: what is tried, what is pruned, what is found, and that a tuning which was cut off finds the same."""

from dataclasses import replace

import numpy as np
import pytest

from models.progress import Progress
from models.training import train
from models.training_config import RANGES, TrainingConfig
from models.tuning import FEWEST_COMPLETE, Budget, Trial, search_space, tune
from tests.models.panels import make_panel, small

PANEL = make_panel(days=100)
CONFIG = small("mlp", width=8, context_length=14, batch_size=16, epochs=5, horizon=3)
AMPLE = 600.0


def test_a_tuning_that_goes_on_finds_what_an_uninterrupted_one_finds() -> None:
    kept: list[Trial] = []
    whole = tune(PANEL, CONFIG, Budget(7, AMPLE), keep=kept.append)
    assert [trial.number for trial in kept] == list(range(7))
    again: list[Trial] = []
    resumed = tune(PANEL, CONFIG, Budget(7, AMPLE), done=kept[:5], keep=again.append)
    assert resumed.config == whole.config
    assert [(t.params, t.validation, t.state) for t in again] == [(t.params, t.validation, t.state) for t in kept[5:]]
    assert resumed.findings["resumed"] == 5
    assert {n: v for n, v in resumed.findings.items() if n not in ("resumed", "seconds")} == {
        n: v for n, v in whole.findings.items() if n not in ("resumed", "seconds")
    }
    complete = [trial for trial in kept if trial.state == "complete"]
    best = min(complete, key=lambda trial: trial.value or np.inf)
    assert {name: getattr(whole.config, name) for name in best.params} == best.params
    assert whole.findings["best_trial"] == best.number + 1
    assert whole.findings["validation"] == best.value == min(best.validation)
    assert whole.findings["validation_as_asked"] == kept[0].value
    assert whole.findings["importance"] is None
    assert str(FEWEST_COMPLETE) in whole.findings["notes"][-1]


def test_the_first_trial_is_the_training_that_was_asked_for() -> None:
    kept: list[Trial] = []
    tune(PANEL, CONFIG, Budget(1, AMPLE), keep=kept.append)
    (asked,) = CONFIG.members()
    assert kept[0].params == {name: getattr(asked, name) for name in search_space(CONFIG)}
    history = train(PANEL, CONFIG).history
    assert list(kept[0].validation) == [epoch["validation"] for epoch in history]


def test_a_trial_that_is_clearly_worse_is_pruned_and_progress_names_the_trial() -> None:
    (asked,) = CONFIG.members()
    good = {name: getattr(asked, name) for name in search_space(CONFIG)}
    before = [Trial(n, "complete", good, (0.001,) * 5, 0.001, 0.1) for n in range(4)]
    told: list[Progress] = []
    kept: list[Trial] = []
    found = tune(PANEL, CONFIG, Budget(5, AMPLE), done=before, keep=kept.append, report=told.append)
    assert kept[0].state == "pruned"
    assert 1 < len(kept[0].validation) < kept[0].params["epochs"] + 1
    assert found.findings["pruned"] == 1
    assert {progress.stage for progress in told} == {"tuning, trial 5 of 5"}
    assert all(progress.loss is None for progress in told)
    fractions = [progress.fraction for progress in told]
    assert fractions == sorted(fractions)


def test_what_mattered_is_named_once_enough_trials_ran_to_their_end() -> None:
    rng = np.random.default_rng(3)
    (asked,) = CONFIG.members()
    same = {name: getattr(asked, name) for name in search_space(CONFIG)}
    trials = []
    for number in range(24):
        rate = float(0.0025 * 16 ** rng.random())
        params = same | {"learning_rate": rate, "dropout": float(rng.uniform(0, 0.3))}
        loss = abs(np.log(rate / 0.02))  # only the learning rate matters
        trials.append(Trial(number, "complete", params, (float(loss),), float(loss), 0.1))
    found = tune(PANEL, CONFIG, Budget(24, AMPLE), done=trials)
    importance = found.findings["importance"]
    assert sum(importance.values()) == pytest.approx(1, abs=1e-3)
    assert max(importance, key=importance.__getitem__) == "learning_rate"
    assert importance["learning_rate"] > 3 * importance["dropout"]
    assert found.findings["notes"] == []


def test_a_budget_of_no_time_trains_what_was_asked_for_and_says_so() -> None:
    kept: list[Trial] = []
    found = tune(PANEL, CONFIG, Budget(5, 1e-9), keep=kept.append)
    assert [trial.state for trial in kept] in ([], ["pruned"])
    assert "No trial ran to its end" in found.findings["notes"][0]
    (asked,), (chosen,) = CONFIG.members(), found.config.members()
    assert chosen == asked


def test_a_trial_whose_loss_is_not_finite_has_failed_and_the_others_go_on() -> None:
    wild = PANEL.quantity_ST.copy()
    wild[0] = np.float32(3e38)
    kept: list[Trial] = []
    found = tune(replace(PANEL, quantity_ST=wild), replace(CONFIG, cleaning="none"), Budget(2, AMPLE), keep=kept.append)
    assert [trial.state for trial in kept] == ["failed", "failed"]
    assert found.findings["failed"] == 2
    assert "No trial ran to its end" in found.findings["notes"][0]


@pytest.mark.parametrize("model", ["lstm", "transformer", "cnn", "mlp", "ensemble"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"width": 8, "heads": 8, "layers": 1, "context_length": 7, "epochs": 1, "batch_size": 8, "weight_decay": 0.0},
     {"width": 508, "heads": 4, "layers": 8, "context_length": 364, "epochs": 500, "batch_size": 8192, "dropout": 0.8}],
)  # fmt: skip
def test_every_corner_of_the_search_space_can_be_trained(model: str, changes: dict[str, float]) -> None:
    config = TrainingConfig(model=model, **changes)  # type: ignore[arg-type]
    space = search_space(config)
    for end in ("low", "high", "asked"):
        values = {name: getattr(field, end) for name, field in space.items()}
        replace(config, **values).members()
    for name, field in space.items():
        assert RANGES[name].low <= field.low <= field.asked <= field.high <= RANGES[name].high
        if field.step is not None:
            assert (field.asked - field.low) % field.step == (field.high - field.low) % field.step == 0


def test_an_ensemble_is_tuned_by_its_cheapest_member() -> None:
    found = tune(PANEL, replace(CONFIG, model="ensemble"), Budget(1, AMPLE))
    assert "mlp" in found.findings["notes"][-1]
    assert {member.width for member in found.config.members()} == {found.findings["best"]["width"]}
