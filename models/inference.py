"""Prediction: a forecaster, a panel and one cutoff a series in; means and quantiles of the days ahead out.

Shapes: S series, B series in one batch, M members, H horizon, Q quantile levels.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from models.adjustment import Mixture, answer
from models.adjustment import in_units as units_of
from models.days import Index
from models.features import Features, compute_features
from models.forecast import Forecast
from models.forecaster import Forecaster, Member
from models.mean import kept_near
from models.networks.network import Output
from models.online.shifts import Doubles, at_present_level, eased
from models.online.tracking import Tracking, seasonal_error, together
from models.panel import Floats, Panel
from models.windows import Windows, WindowSource, sells_whole_units

AT_ONCE = 256
"""Windows in one batch. Larger ones take twice as long a window: their intermediate results no longer fit what the allocator
keeps, and each of them is paged in anew."""
MINIMUM_DAYS = 14
"""Observed days a series needs before a network may answer for it."""


def predict(
    forecaster: Forecaster,
    panel: Panel,
    cutoffs: ArrayLike,
    *,
    horizon: int | None = None,
    batch_size: int = AT_ONCE,
    whole_units: bool = True,
) -> Forecast:
    """Forecast every series of the panel from its own cutoff (the index of its last seen day, an int or one each).

    Only the `context_days` up to the cutoff and known covariates are read. Series that sell whole units are answered so
    where the forecaster has seen that it pays, unless `whole_units` is False. Raises ValueError for a horizon past the
    forecaster's, or for a covariate the panel lacks.
    """
    horizon = forecaster.horizon if horizon is None else horizon
    if not 1 <= horizon <= forecaster.horizon:
        raise ValueError(f"The horizon {horizon} is outside 1 … {forecaster.horizon}, as far as this version goes.")
    said = issue(forecaster, panel, cutoffs, batch_size=batch_size, whole_units=whole_units)
    return said.forecast.days(horizon)


@dataclass(frozen=True)
class Issued:
    """A forecast, and what the experts behind it said (not rounded): the networks as trained and, where there is one, their
    lineage. It is what an update learns from once the days have come in (online/tracking.py)."""

    trained_SHQ: Floats
    lineage_SHQ: Floats | None
    forecast: Forecast
    before: Forecast | None = None
    """The forecast by the state before, where that was asked for."""


def issue(
    forecaster: Forecaster,
    panel: Panel,
    cutoffs: ArrayLike,
    *,
    batch_size: int = AT_ONCE,
    whole_units: bool = True,
    before: Tracking | None = None,
) -> Issued:
    """As `predict`, over the whole horizon, with what each expert said; and by another state of the series, for little more."""
    if forecaster.tracking is None:
        forecast = _untracked(forecaster, _batches(forecaster, panel, cutoffs, batch_size), whole_units=whole_units)
        return Issued(forecast.quantiles_SHQ.copy(), None, forecast)
    odds = forecaster.tracking.odds_at(panel.start + np.asarray(cutoffs, "timedelta64[D]"))
    experts = asked(forecaster, panel, cutoffs, odds=odds, batch_size=batch_size)
    states = [state.of(panel.keys) for state in (forecaster.tracking, before) if state is not None]
    return experts.issued(*(by_state(forecaster, experts, state, whole_units=whole_units) for state in states))


Said = tuple[Floats, Floats]
"""Mean (S, H) and quantiles (S, H, Q)."""


@dataclass(frozen=True)
class Experts:
    """What networks say before any state of the series counts: as trained and, where there is one, their lineage; not rounded.
    `frozen` is what the networks as trained answer without any update, where that was asked for."""

    trained: Said
    lineage: Said | None
    whole_S: NDArray[np.bool_]
    scale_S: Floats
    frozen: Forecast | None = None

    def issued(self, forecast: Forecast, before: Forecast | None = None) -> Issued:
        """With the forecasts that were made of it."""
        return Issued(self.trained[1], None if self.lineage is None else self.lineage[1], forecast, before)


def asked(
    forecaster: Forecaster,
    panel: Panel,
    cutoffs: ArrayLike,
    *,
    odds: Doubles | None,
    frozen: bool = False,
    batch_size: int = AT_ONCE,
) -> Experts:
    """What the networks of a forecaster say, with contexts brought to their present level by the `odds` of shifts, (D,) or
    (S, D); None: levels do not count."""
    parts, plain = [], []
    identity_SA = _lineage_identity(forecaster, panel)
    odds_SD = None if odds is None else np.broadcast_to(odds, (panel.series, odds.shape[-1]))
    for number, windows in enumerate(_batches(forecaster, panel, cutoffs, batch_size)):
        rows = slice(number * batch_size, (number + 1) * batch_size)
        identity_BA = None if identity_SA is None else identity_SA[rows]
        odds_BD = None if odds_SD is None else odds_SD[rows]
        parts.append(_asked(forecaster, windows, identity_BA, odds_BD))
        if frozen:
            plain.append(_untracked(forecaster, [windows]))
    lineages = [part.lineage for part in parts if part.lineage is not None]
    return Experts(
        _joined([part.trained for part in parts]),
        _joined(lineages) if lineages else None,
        np.concatenate([part.whole_S for part in parts]),
        np.concatenate([part.scale_S for part in parts]),
        Forecast.joined(plain) if plain else None,
    )


def by_state(
    forecaster: Forecaster, experts: Experts, state: Tracking, *, whole_units: bool = True, batch_size: int = AT_ONCE
) -> Forecast:
    """What is answered by a state of the same series."""
    rounds = forecaster.adjustment.whole_units and whole_units
    answers = []
    for first in range(0, len(experts.whole_S), batch_size):
        rows = np.arange(first, min(first + batch_size, len(experts.whole_S)))
        whole_B = experts.whole_S[rows]
        trained, lineage = (None if s is None else (s[0][rows], s[1][rows]) for s in (experts.trained, experts.lineage))
        assert trained is not None
        mean_BH, quantiles_BHQ = together(state.rows(rows), trained, lineage, experts.scale_S[rows])
        mean_BH = kept_near(mean_BH, np.maximum(quantiles_BHQ, 0.0), whole_B)
        answers.append((mean_BH, units_of(quantiles_BHQ, whole_B if rounds else None)))
    return Forecast(*_joined(answers), forecaster.levels)


def _asked(forecaster: Forecaster, windows: Windows, identity_BA: Tensor | None, odds_BD: Doubles | None) -> Experts:
    """A batch by networks as trained and their lineage together; `identity_BA` where the lineage was trained earlier."""
    memory_BL = windows.quantity_BM.numpy()
    whole_B, scale_B = sells_whole_units(memory_BL), seasonal_error(memory_BL)
    taken_back_B = np.zeros(len(memory_BL), np.float32)
    if odds_BD is not None:
        brought_BM, taken_back_B = at_present_level(memory_BL, odds_BD)
        windows = replace(windows, quantity_BM=torch.from_numpy(brought_BM))
    features: dict[int, Features] = {}

    def said(one: Forecaster, windows: Windows, features: dict[int, Features]) -> Said:
        mixture = replace(members_of(one, windows, features), whole=whole_B)
        return eased(*answer(mixture, one.adjustment, whole_units=False), taken_back_B)

    trained, lineage = said(forecaster, windows, features), forecaster.lineage
    if lineage is None:
        return Experts(trained, None, whole_B, scale_B)
    if identity_BA is not None:
        windows, features = replace(windows, identity_BA=identity_BA), {}
    return Experts(trained, said(lineage, windows, features), whole_B, scale_B)


def _lineage_identity(forecaster: Forecaster, panel: Panel) -> Tensor | None:
    """The numbers (S, A) of a panel's series to a lineage that was trained earlier; None where there is no such lineage."""
    if forecaster.lineage is None or not forecaster.lineage_apart:
        return None
    return torch.from_numpy(forecaster.lineage.identities.of(panel))


def _untracked(forecaster: Forecaster, batches: Iterable[Windows], *, whole_units: bool = True) -> Forecast:
    """What the networks answer as trained."""
    parts = [
        answer(members_of(forecaster, windows), forecaster.adjustment, whole_units=whole_units) for windows in batches
    ]
    return Forecast(*_joined(parts), forecaster.levels)


def _batches(forecaster: Forecaster, panel: Panel, cutoffs: ArrayLike, batch_size: int) -> Iterator[Windows]:
    cutoff_S = np.broadcast_to(np.asarray(cutoffs, dtype=np.int64), (panel.series,))
    source = forecaster.source(panel)
    for first in range(0, panel.series, batch_size):
        series_B = np.arange(first, min(first + batch_size, panel.series))
        yield source.windows(series_B, cutoff_S[series_B])


def _joined(parts: Sequence[Said]) -> Said:
    mean_SH, quantiles_SHQ = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    return mean_SH, quantiles_SHQ


def predict_members(
    forecaster: Forecaster, source: WindowSource, series_B: Index, cutoff_B: Index, *, batch_size: int = AT_ONCE
) -> Mixture:
    """What each member says of any (series, cutoff) pairs of a prepared panel."""
    parts = [
        members_of(
            forecaster, source.windows(series_B[first : first + batch_size], cutoff_B[first : first + batch_size])
        )
        for first in range(0, len(series_B), batch_size)
    ]
    return Mixture(
        np.concatenate([p.mean_MBH for p in parts], axis=1),
        np.concatenate([p.dispersion_MBH for p in parts], axis=1),
        np.concatenate([p.quantiles_MBHQ for p in parts], axis=1),
        np.concatenate([p.memory_BL for p in parts]),
    )


def members_of(forecaster: Forecaster, windows: Windows, features: dict[int, Features] | None = None) -> Mixture:
    """The members' forecasts of one batch of windows, in units, without gradients; the batch moves to their device once.

    Members share their features' constants, with those of a lineage too unless it was trained earlier, so features are computed
    once for each length of context. `features` holds those that were found for the same windows before, and takes the others.
    """
    features = {} if features is None else features
    said = []
    memory_BL = windows.quantity_BM.numpy()
    windows = windows.to(forecaster.device)
    with torch.inference_mode():
        for member in forecaster.members:
            length, network = member.config.context_length, member.network
            if network.training:  # eval() walks all modules: a tenth of a single series' time
                network.eval()
            if length not in features:
                features[length] = compute_features(windows, network.statistics, context_length=length)
            said.append(in_units(member, network.decode(features[length], windows.identity_BA)))
    mean_MBH, dispersion_MBH, quantiles_MBHQ = (np.stack(columns) for columns in zip(*said, strict=True))
    return Mixture(mean_MBH, dispersion_MBH, quantiles_MBHQ, memory_BL)


def in_units(member: Member, output: Output) -> tuple[Floats, Floats, Floats]:
    """An output back in units sold: mean, dispersion, quantiles. A point head's are its validation residuals around the point."""
    scale_B11 = output.scale_B.cpu().numpy()[:, None, None]
    point_BH, dispersion_BH = output.mean_BH.cpu().numpy(), output.dispersion_BH.cpu().numpy()
    if output.quantiles_BHQ is not None:
        quantiles_BHQ = np.maximum(output.quantiles_BHQ.cpu().numpy(), 0.0) * scale_B11
        return point_BH * scale_B11[:, 0], dispersion_BH, quantiles_BHQ
    if member.residuals_HQ is None or member.residual_mean_H is None:
        raise ValueError("This network has a point head and no residuals; its quantiles are unknown.")
    quantiles_BHQ = np.maximum(point_BH[:, :, None] + member.residuals_HQ, 0.0) * scale_B11
    mean_BH = point_BH
    if member.config.loss == "mae":
        mean_BH = np.maximum(point_BH + member.residual_mean_H, 0.0)
    return mean_BH * scale_B11[:, 0], dispersion_BH, quantiles_BHQ


def answerable(panel: Panel, cutoffs: ArrayLike) -> NDArray[np.bool_]:
    """Which series have at least MINIMUM_DAYS observed days up to their cutoff, so that a network may answer."""
    cutoff_S = np.broadcast_to(np.asarray(cutoffs, dtype=np.int64), (panel.series,))
    seen_ST = np.isfinite(panel.quantity_ST) & (np.arange(panel.days) <= cutoff_S[:, None])
    out: NDArray[np.bool_] = seen_ST.sum(axis=1) >= MINIMUM_DAYS
    return out
