"""The parts of `benchmarks.robustness` on tiny networks, and training on noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.robustness import ABSURD, CHANGE, absurd_day, attacked, on_purpose, totals_of
from models.features import compute_features
from models.forecaster import Forecaster
from models.panel import Panel
from models.sampling import SHORTENED_DAYS, shorten_some
from models.training import train
from models.training_config import ResolvedConfig
from models.windows import Windows
from tests.models.panels import make_panel, resolved, small

COUNTS = make_panel(days=160)
PANEL = replace(COUNTS, quantity_ST=(0.9 * COUNTS.quantity_ST).astype(np.float32))
"""Sold by weight: an attack of a few percent leaves it so, where of counts it makes another kind of series."""


@pytest.fixture(scope="module")
def forecaster() -> Forecaster:
    return train(PANEL, small("mlp")).forecaster


def windows_of(forecaster: Forecaster) -> Windows:
    return forecaster.source(PANEL).windows(np.arange(PANEL.series), np.full(PANEL.series, PANEL.days - 1))


def test_features_are_the_same_with_and_without_gradients(forecaster: Forecaster) -> None:
    windows, statistics = windows_of(forecaster), forecaster.members[0].network.statistics
    plain = compute_features(windows, statistics, context_length=28)
    learning = replace(windows, quantity_BM=windows.quantity_BM.clone().requires_grad_(True))
    with_gradient = compute_features(learning, statistics, context_length=28)
    for name, value in vars(plain).items():
        torch.testing.assert_close(getattr(with_gradient, name).detach(), value, rtol=0, atol=0)


def test_an_attack_stays_in_its_bounds_and_beats_chance(forecaster: Forecaster) -> None:
    windows = windows_of(forecaster)
    before_B = totals_of(forecaster, windows)
    up_BM, down_BM = (attacked(forecaster, windows, raise_it=raised) for raised in (True, False))
    original_BM = windows.quantity_BM
    for changed_BM in (up_BM, down_BM):
        gone_BM = torch.isnan(original_BM)
        assert torch.equal(torch.isnan(changed_BM), gone_BM)
        assert torch.equal(changed_BM[original_BM == 0], original_BM[original_BM == 0])
        moved_BM = (changed_BM - original_BM).abs()[~gone_BM]
        assert (moved_BM <= CHANGE * original_BM[~gone_BM] * 1.0001 + 1e-6).all()
    up_B, down_B = (totals_of(forecaster, replace(windows, quantity_BM=q)) for q in (up_BM, down_BM))
    assert (up_B > before_B).all() and (down_B < before_B).all()
    rng = np.random.default_rng(0)
    for _ in range(5):
        sign_BM = torch.from_numpy(rng.choice([-CHANGE, CHANGE], original_BM.shape).astype(np.float32))
        by_chance_B = totals_of(forecaster, replace(windows, quantity_BM=original_BM * (1 + sign_BM)))
        assert (by_chance_B <= up_B).all() and (by_chance_B >= down_B).all()


def test_the_worst_move_is_told_by_share_of_the_forecast(forecaster: Forecaster) -> None:
    windows = windows_of(forecaster)
    before_B = totals_of(forecaster, windows)
    up_B = totals_of(forecaster, replace(windows, quantity_BM=attacked(forecaster, windows, raise_it=True)))
    down_B = totals_of(forecaster, replace(windows, quantity_BM=attacked(forecaster, windows, raise_it=False)))
    found = on_purpose(forecaster, PANEL, PANEL.days - 1)
    expected_B = np.maximum(up_B - before_B, before_B - down_B) / before_B
    np.testing.assert_allclose(found.moved, expected_B[before_B >= 1], rtol=1e-5)
    assert found.left_out == int((before_B < 1).sum())


@pytest.mark.parametrize("sold", [COUNTS, PANEL], ids=["by the piece", "by weight"])
def test_an_absurd_day_is_the_worst_of_all_days_tried(forecaster: Forecaster, sold: Panel) -> None:
    panel = sold.rows(np.array([4]))
    last = panel.days - 1
    found = absurd_day(forecaster, panel, last)

    def total(changed: int | None) -> float:
        quantity_ST = panel.quantity_ST.copy()
        if changed is not None:
            quantity_ST[0, changed] *= ABSURD
        source = forecaster.source(replace(panel, quantity_ST=quantity_ST))
        return float(totals_of(forecaster, source.windows(np.array([0]), np.array([last])))[0])

    moves = [abs(total(day) - total(None)) for day in range(last - 55, last + 1) if panel.quantity_ST[0, day] > 0]
    assert found.moved[0] == pytest.approx(max(moves) / total(None), rel=1e-4)


def test_noise_multiplies_days_by_one_on_average_and_one_day_of_some_windows_by_up_to_ten(
    forecaster: Forecaster,
) -> None:
    windows = windows_of(forecaster)
    full = replace(
        windows, quantity_BM=torch.full((4000, 392), 8.0), identity_BA=windows.identity_BA[:1].repeat(4000, 1)
    )
    full = replace(
        full,
        known_BKE=torch.zeros(4000, 0, 0),
        past_BKL=torch.zeros(4000, 0, 28),
        calendar_BPC=windows.calendar_BPC[:1].repeat(4000, 1, 1),
    )
    noisy_BM = shorten_some(full, np.random.default_rng(1), noise=0.1).quantity_BM / 8
    plain_BM = shorten_some(full, np.random.default_rng(1)).quantity_BM / 8
    assert torch.equal(torch.isnan(noisy_BM), torch.isnan(plain_BM))
    older = noisy_BM[:, : 392 - SHORTENED_DAYS]
    older = older[~torch.isnan(older)]
    assert float(older.mean()) == pytest.approx(1, abs=0.002)
    assert float(older.log().std()) == pytest.approx(0.1, abs=0.002)
    absurd_BM = torch.nan_to_num(noisy_BM, nan=0.0) > 2
    assert int(absurd_BM.sum(1).max()) == 1
    assert float(absurd_BM.any(1).float().mean()) == pytest.approx(0.1 * 0.7, abs=0.02)  # log10 of 2 is 0.3
    assert float(torch.nan_to_num(noisy_BM).max()) < ABSURD * 1.6
    assert torch.equal(torch.nan_to_num(plain_BM), (~torch.isnan(plain_BM)).float())


def test_noise_changes_the_training_and_is_kept_with_the_version() -> None:
    plain, noisy = (train(PANEL, small("mlp", epochs=1, noise=noise)) for noise in (0.0, 0.2))
    assert plain.history[0]["loss"] != noisy.history[0]["loss"]
    config = noisy.forecaster.config
    assert config.noise == 0.2
    assert ResolvedConfig.from_dict(config.as_dict()) == config
    old = {name: value for name, value in resolved("mlp").as_dict().items() if name != "noise"}
    assert ResolvedConfig.from_dict(old).noise == 0.0
