"""Each network: shapes, learning, masks, seeds, and quantiles that keep their order whatever the weights are."""

import numpy as np
import pytest
import torch

from models import losses
from models.fitting import Fit, NonFiniteLoss, Schedule, examples_of
from models.inference import predict
from models.networks.network import Network
from models.panel import Panel
from models.sampling import WindowSampler
from models.training import Course, train
from models.training_config import ARCHITECTURES, LEVELS
from models.windows import WindowSource
from tests.models.panels import START, forecaster_of, make_panel, resolved, small

LAST = 159


def untrained(panel: Panel, architecture: str, **changes: object) -> tuple[Network, WindowSource, WindowSampler]:
    course = Course(panel, [resolved(architecture, **changes)], end=panel.days)
    return course.fits[0].network, course.source, course.sampler


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("context_length", "horizon"), [(7, 1), (30, 7), (56, 40)])
def test_every_shape_of_input_gives_the_shape_asked_for(architecture: str, context_length: int, horizon: int) -> None:
    panel = make_panel()
    network, source, sampler = untrained(panel, architecture, context_length=context_length, horizon=horizon, layers=2)
    series, cutoff = sampler.draw(9, np.random.default_rng(0))
    output = network(source.windows(series, cutoff))
    assert output.mean_BH.shape == (9, horizon)
    assert output.quantiles_BHQ.shape == (9, horizon, len(LEVELS))
    assert torch.isfinite(output.quantiles_BHQ).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_overfits_one_batch(architecture: str) -> None:
    """Twelve windows of plain noise are learned by heart: trunk, decoder and heads all pass the gradient."""
    panel = make_panel(series=12, days=120)
    network, source, _ = untrained(panel, architecture, width=64, dropout=0.0)
    series, cutoff = np.arange(12), np.full(12, 100)
    windows, target = source.windows(series, cutoff), source.targets(series, cutoff)
    examples = examples_of(windows, target, network.statistics, network.config.context_length)
    fit = Fit(network, Schedule(0.01, 1000))

    def loss() -> float:
        with torch.no_grad():
            output = network.eval()(windows)
        scaled = target / output.scale_B[:, None]
        return float(losses.pinball(scaled, output.quantiles_BHQ, network.levels_Q, losses.day_weights(target)).mean())

    first = loss()
    for _ in range(200):
        fit.step(examples, lambda i: panel.keys[i])
    assert loss() < 0.4 * first


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_trunk_matters(architecture: str) -> None:
    """The order of the last four weeks reaches the forecast through the trunk, not only through averages."""
    panel = make_panel(series=1, days=160, missing=0.0)
    network, source, _ = untrained(panel, architecture)
    network.eval()
    windows = source.windows(np.array([0]), np.array([LAST]))
    swapped = panel.quantity_ST.copy()
    swapped[0, -7:], swapped[0, -14:-7] = panel.quantity_ST[0, -14:-7], panel.quantity_ST[0, -7:]
    other = Panel(panel.skus, panel.locations, START, swapped)
    _, other_source, _ = untrained(other, architecture)
    after = other_source.windows(np.array([0]), np.array([LAST]))
    with torch.no_grad():
        assert not torch.equal(network(windows).mean_BH, network(after).mean_BH)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_the_same_seed_gives_the_same_losses_and_another_seed_others(architecture: str) -> None:
    panel = make_panel()
    runs = [train(panel, small(architecture, seed=seed, epochs=1)) for seed in (3, 3, 4)]
    assert runs[0].history == runs[1].history
    assert runs[0].history != runs[2].history
    forecasts = [predict(run.forecaster, panel, LAST).quantiles_SHQ for run in runs[:2]]
    np.testing.assert_array_equal(forecasts[0], forecasts[1])


def test_training_leaves_the_callers_random_state_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    train(make_panel(), small(epochs=1))
    torch.testing.assert_close(torch.rand(3), expected)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_quantiles_never_cross_nor_go_below_zero_whatever_the_weights(architecture: str) -> None:
    panel = make_panel()
    network, _, _ = untrained(panel, architecture)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(5 * torch.randn(parameter.shape, generator=generator))
    forecaster = forecaster_of(network, panel)
    forecast = predict(forecaster, panel, LAST)
    assert np.isfinite(forecast.quantiles_SHQ).all() and np.isfinite(forecast.mean_SH).all()
    assert (forecast.quantiles_SHQ >= 0).all() and (forecast.mean_SH >= 0).all()
    assert (np.diff(forecast.quantiles_SHQ, axis=2) >= 0).all()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_missing_day_is_not_a_zero(architecture: str) -> None:
    panel = make_panel(missing=0.0)
    network, _, _ = untrained(panel, architecture)
    forecaster = forecaster_of(network, panel)
    means = []
    for gap in (np.nan, 0.0):
        quantity = panel.quantity_ST.copy()
        quantity[:, -10:-3] = gap
        means.append(predict(forecaster, Panel(panel.skus, panel.locations, START, quantity), LAST).mean_SH)
    assert (means[0] != means[1]).all()
    assert means[0].mean() > means[1].mean()


def test_a_loss_that_is_not_finite_names_the_series_and_saves_nothing() -> None:
    panel = make_panel()
    panel.quantity_ST[3] = np.where(np.isfinite(panel.quantity_ST[3]), np.float32(3e38), np.nan)
    with pytest.raises(NonFiniteLoss, match="'sku-3' at 'north'") as caught:
        train(panel, small())
    assert "sku-1" not in str(caught.value)


@pytest.mark.parametrize(("first", "cleaning"), [(130, "mask"), (130, "none")])
def test_a_loss_that_is_not_finite_on_the_days_held_out_alone_saves_nothing_either(first: int, cleaning: str) -> None:
    """The networks learn from sound days; of those that are to judge them, one series' are beyond all measure."""
    panel = make_panel()
    panel.quantity_ST[3, first:] = 1e37
    with pytest.raises(NonFiniteLoss, match="'sku-3' at 'north'") as caught:
        train(panel, small("mlp", cleaning=cleaning))
    assert "sku-1" not in str(caught.value)


@pytest.mark.parametrize("cleaning", ["mask", "none"])
def test_absurd_days_among_those_held_out_rule_nothing_that_is_learned_from_them(cleaning: str) -> None:
    sound, panel = make_panel(), make_panel()
    panel.quantity_ST[3, 157:] = 1e37
    learned = [train(one, small("mlp", cleaning=cleaning)).forecaster for one in (sound, panel)]
    ours, theirs = (predict(one, sound, LAST).quantiles_SHQ for one in learned)
    assert np.isfinite(theirs).all() and theirs.max() < 2 * ours.max()
