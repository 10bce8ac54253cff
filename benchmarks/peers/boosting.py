"""LightGBM, one model for each quantile level and one for the mean: the strongest peer where covariates decide.

Trained once on what precedes the first cutoff, for all series and all days ahead together: a row is a series, a cutoff
and a day ahead of it, its target the sales in units of the series' level. How many trees are enough is measured on the
last 140 days (three levels, the others lie between), then all days are fitted with as many.

Shapes: S series, H horizon, Q quantile levels, N rows, F features.
"""

import time
from dataclasses import asdict, dataclass, field
from typing import Any

import lightgbm
import numpy as np
from numpy.typing import NDArray

from benchmarks.peers.data import Data
from benchmarks.peers.features import Features
from benchmarks.peers.task import Answer, Task
from models import metrics
from models.evaluation import SCORED_LEVELS
from models.forecast import Forecast
from models.panel import Floats

Index = NDArray[np.int64]

MEASURED_LEVELS = (0.1, 0.5, 0.9)
MEAN = "mean"


@dataclass(frozen=True)
class Settings:
    """What was chosen on earlier blocks of `bakery` and `m5_280`; benchmarks/results/peers.md has the trials."""

    rows: int = 300_000
    learning_rate: float = 0.08
    leaves: int = 31
    leaf_rows: int = 100
    feature_share: float = 0.4
    row_share: float = 0.5
    most_trees: int = 1000
    patience: int = 50
    held_out_days: int = 140
    scale_power: float = 0.5
    threads: int = 1


@dataclass
class Boosted:
    """Trained trees: one booster a level, and one for the mean."""

    boosters: dict[float | str, lightgbm.Booster]
    settings: Settings
    horizon: int
    trees: dict[str, int] = field(default_factory=dict)

    def leaves(self) -> int:
        """Numbers learnt: the leaves of all trees."""
        trees = (tree for b in self.boosters.values() for tree in b.dump_model()["tree_info"])
        return sum(int(tree["num_leaves"]) for tree in trees)


def answer(task: Task) -> Answer:
    """Trained once, on what precedes the first cutoff."""
    started = time.perf_counter()
    settings = Settings(**{"threads": task.threads} | task.settings)
    boosted = train(task.training(), task.horizon, seed=task.seed, settings=settings)
    trained = time.perf_counter()
    features = Features(task.data)
    forecasts = [forecast(boosted, features, cutoff) for cutoff in task.cutoffs]
    ended = time.perf_counter()
    detail = {"trees": boosted.trees, "settings": asdict(boosted.settings)}
    return Answer(forecasts, "once", trained - started, ended - trained, boosted.leaves(), detail)


def train(data: Data, horizon: int, *, seed: int, settings: Settings | None = None) -> Boosted:
    """Fit on all observed days of the data; nothing after its last day is read but covariates known ahead."""
    settings = settings or Settings()
    sample = Sample(data, horizon, seed=seed, settings=settings)
    split = data.panel.days - min(settings.held_out_days, data.panel.days // 4)
    rounds = measured_rounds(sample, split, seed=seed)
    boosters: dict[float | str, lightgbm.Booster] = {}
    dataset = sample.dataset(np.ones(len(sample.series_N), bool))
    for level in SCORED_LEVELS:
        trees = round(float(np.interp(level, MEASURED_LEVELS, [rounds[m] for m in MEASURED_LEVELS])))
        boosters[level] = lightgbm.train(parameters(settings, level, seed), dataset, num_boost_round=trees)
    boosters[MEAN] = lightgbm.train(parameters(settings, MEAN, seed), dataset, num_boost_round=rounds[0.5])
    return Boosted(boosters, settings, horizon, {str(name): b.num_trees() for name, b in boosters.items()})


def forecast(boosted: Boosted, features: Features, cutoff: int) -> Forecast:
    """All series of the features' data from the end of the day `cutoff` on."""
    series, horizon = features.data.panel.series, boosted.horizon
    series_N = np.repeat(np.arange(series), horizon)
    ahead_N = np.tile(np.arange(1, horizon + 1), series)
    rows = features.rows(series_N, np.full(len(series_N), cutoff), ahead_N)
    answers = {
        name: booster.predict(rows.x_NF, num_threads=boosted.settings.threads).reshape(series, horizon)
        for name, booster in boosted.boosters.items()
    }
    level_SH = rows.level_N.reshape(series, horizon)
    scaled_SHQ = np.sort(np.stack([answers[level] for level in SCORED_LEVELS], axis=-1), axis=-1)
    quantiles_SHQ = np.maximum(scaled_SHQ * level_SH[:, :, None], 0.0).astype(np.float32)
    mean_SH = np.maximum(answers[MEAN] * level_SH, 0.0).astype(np.float32)
    return Forecast(mean_SH, quantiles_SHQ, np.array(SCORED_LEVELS))


class Sample:
    """Rows drawn evenly from all (series, day, day ahead) with a day observed and a fortnight of history before it."""

    def __init__(self, data: Data, horizon: int, *, seed: int, settings: Settings) -> None:
        panel = data.panel
        rng = np.random.default_rng(seed)
        features = Features(data)
        candidate_N, day_N = np.nonzero(np.isfinite(panel.quantity_ST))
        copies = min(horizon, -(-settings.rows // max(len(candidate_N), 1)))
        ahead_CN = rng.permuted(np.tile(np.arange(1, horizon + 1), (len(candidate_N), 1)), axis=1)[:, :copies]
        series_N = np.repeat(candidate_N, copies)
        day_N, ahead_N = np.repeat(day_N, copies), ahead_CN.reshape(-1)
        usable = np.flatnonzero(day_N - ahead_N >= features.first_S[series_N] + 13)
        if not len(usable):
            raise ValueError(
                f"No series has {14 + horizon} days before the first cutoff; LightGBM has nothing to learn."
            )
        kept = np.sort(rng.permutation(usable)[: settings.rows])
        self.series_N, self.day_N, self.ahead_N = series_N[kept], day_N[kept], ahead_N[kept]
        self.settings = settings
        self.rows = features.rows(self.series_N, self.day_N - self.ahead_N, self.ahead_N)
        self.target_N = panel.quantity_ST[self.series_N, self.day_N] / self.rows.level_N
        self.weight_N = self.rows.level_N * self._importance(panel.quantity_ST)

    def _importance(self, quantity_ST: Floats) -> Floats:
        """What a unit of error counts: between one for all (WQL, power 0) and one over the series' scale (SQL, power 1)."""
        scale_S = metrics.seasonal_error(quantity_ST)
        usable_S = np.isfinite(scale_S) & (scale_S > metrics.SMALLEST_SCALE)
        largest = scale_S[usable_S].max() if usable_S.any() else 1.0
        filled_S = np.where(usable_S, scale_S, largest)
        return (filled_S[self.series_N] ** -self.settings.scale_power).astype(np.float32)

    def dataset(self, chosen_N: NDArray[np.bool_], reference: lightgbm.Dataset | None = None) -> lightgbm.Dataset:
        names = self.rows.names
        weight_N = self.weight_N[chosen_N]
        return lightgbm.Dataset(
            self.rows.x_NF[chosen_N],
            label=self.target_N[chosen_N],
            weight=weight_N / weight_N.mean(),
            feature_name=[n.replace(",", "").replace(":", "") for n in names],
            categorical_feature=[names.index(c) for c in self.rows.categories],
            reference=reference,
            free_raw_data=False,
            params={"verbose": -1, "min_data_in_bin": 20, "max_bin": 127},
        )


def measured_rounds(sample: Sample, split: int, *, seed: int) -> dict[float, int]:
    """How many trees are best for the days from `split` on, when trained on those before; by level."""
    before_N = sample.day_N < split
    if before_N.all() or not before_N.any():
        raise ValueError("The history is too short to hold days out for the number of trees.")
    training = sample.dataset(before_N)
    # The held-out days are forecast as a user would meet them: from cutoffs that training has not seen past.
    validation = sample.dataset(~before_N, reference=training)
    out = {}
    for level in MEASURED_LEVELS:
        stop = lightgbm.early_stopping(sample.settings.patience, verbose=False)
        booster = lightgbm.train(
            parameters(sample.settings, level, seed), training, num_boost_round=sample.settings.most_trees,
            valid_sets=[validation], callbacks=[stop],
        )  # fmt: skip
        out[level] = max(booster.best_iteration, 20)
    return out


def parameters(settings: Settings, target: float | str, seed: int) -> dict[str, Any]:
    aim: dict[str, Any] = {"objective": "regression"} if target == MEAN else {"objective": "quantile", "alpha": target}
    return aim | {
        "metric": "l2" if target == MEAN else "quantile",
        "learning_rate": settings.learning_rate,
        "num_leaves": settings.leaves,
        "min_data_in_leaf": settings.leaf_rows,
        "feature_fraction": settings.feature_share,
        "bagging_fraction": settings.row_share,
        "bagging_freq": 1,
        "lambda_l2": 1.0,
        "cat_smooth": 50,
        "min_data_per_group": 200,
        "num_threads": settings.threads,
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "verbose": -1,
    }
