"""The parts of `benchmarks.speed` on tiny networks: what is compared has the same shapes and does the same work."""

import numpy as np
import torch

from benchmarks.runs import repeated
from benchmarks.speed import (
    bare_network,
    briefly_trained,
    in_turns,
    newest_days,
    prediction,
    quantised,
    random_features,
)
from models.features import compute_features
from models.inference import predict
from models.training import Course
from tests.models.panels import forecaster_of, make_panel, resolved

PANEL = make_panel(days=520)


def test_random_features_have_the_shapes_of_real_ones() -> None:
    course = Course(PANEL, [resolved("mlp")], end=PANEL.days)
    network, source = course.fits[0].network, course.source
    windows = source.windows(np.array([0, 1]), np.array([400, 401]))
    real = compute_features(windows, network.statistics, context_length=28)
    made, identity_BA = random_features(network, 2)
    assert {name: value.shape for name, value in vars(made).items()} == {
        name: value.shape for name, value in vars(real).items()
    }
    assert identity_BA.shape == windows.identity_BA.shape
    assert bare_network(network, 2)().quantiles_BHQ.shape == (2, 7, 17)


def test_repeated_series_are_the_files_own_under_new_names() -> None:
    panel = newest_days(repeated(PANEL, 12))
    assert len(set(panel.keys)) == panel.series == 12
    assert panel.skus[:7] == [*PANEL.skus, "sku-0#2", "sku-1#2"]
    assert panel.end == PANEL.end
    np.testing.assert_array_equal(panel.quantity_ST[7], PANEL.quantity_ST[2, -500:])


def test_a_forecaster_that_is_measured_takes_every_step_of_an_answer() -> None:
    adjustment = briefly_trained(make_panel(days=120), "mlp").adjustment
    assert adjustment.climatology_K.sum() > 0 and adjustment.levels_NGQ is not None and adjustment.whole_units
    assert adjustment.area > 0


def test_int8_weights_change_the_answer_a_little() -> None:
    network = Course(PANEL, [resolved("lstm")], end=PANEL.days).fits[0].network
    whole = predict(forecaster_of(network, PANEL), PANEL, PANEL.days - 1).quantiles_SHQ
    less = predict(forecaster_of(quantised(network), PANEL), PANEL, PANEL.days - 1).quantiles_SHQ
    assert 0 < np.abs(whole - less).sum() < 0.2 * np.abs(whole).sum()


def test_runs_are_measured_in_turns_after_one_that_does_not_count() -> None:
    seen: list[str] = []
    assert len(in_turns(lambda: seen.append("a"), lambda: seen.append("b"), rounds=2)) == 2
    assert seen == ["a", "b"] * 3


def test_a_prediction_is_told_beside_its_bare_network() -> None:
    with torch.random.fork_rng(devices=[]):
        network = Course(PANEL, [resolved("mlp")], end=PANEL.days).fits[0].network
        found = prediction(forecaster_of(network, PANEL), PANEL, 1)
    assert found["seconds"] >= 0 and found["ratio"] > 0
