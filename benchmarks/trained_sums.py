"""Sums of the weeks ahead in two ways: from paths of days, as the service makes them, and from a network trained on sums.

    python -m benchmarks.trained_sums --data FILE.parquet --covariates known:promo --end DATE --horizon 28 --windows 5 --step 28

Both are a network of --model with the same features, seed and stopping. The one for sums learns and forecasts a week's sum where
the other has a day: its decoder is told the mean of the week's days, and its levels are set on the days held out as those of
paths' sums are. Prints one line of JSON: for both, and for independent days, the WQL of the sums of the days 1–7, 8–14, … ahead,
and how often their 0.1–0.9 interval holds what was sold. The days after --end are dropped.

Shapes: B windows, H horizon, G weeks, Q quantile levels.
"""

import argparse
import json
import sys
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from benchmarks.accuracy import forecasts_of, read_panel, seen
from benchmarks.runs import add_window_options, circumstances, scores, settings_of
from benchmarks.weekly import score_sums, sold_in_weeks, weekly_scores
from models.days import Index
from models.dependence import Dependence, levels_of_sums, usual_dependence
from models.evaluation import SCORED_LEVELS, average, window_cutoffs
from models.features import compute_features
from models.fitting import Examples, Fit, examples_by_context
from models.heldout import hold_out
from models.inference import AT_ONCE
from models.networks.network import Network
from models.panel import Floats, Panel
from models.placement import CPU, own_randomness
from models.progress import Clock
from models.quantiles import interpolate_levels
from models.sampling import shorten_some
from models.sums import WEEK, whole_weeks
from models.training import Course, cleaned_for, fit_twins, refit, train
from models.training_config import LEVELS, ResolvedConfig, TrainingConfig
from models.validation import validation_pairs
from models.windows import WindowSource

CODE = ("models", "benchmarks/trained_sums.py", "benchmarks/weekly.py", "benchmarks/accuracy.py", "benchmarks/runs.py")


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    panel, known, past = read_panel(args.data, args.covariates, country=args.country, end=args.end)
    cutoffs = window_cutoffs(panel.days, horizon=args.horizon, windows=args.windows, step=args.step)
    config = TrainingConfig(
        model=args.model, horizon=args.horizon, seed=args.seed, known=known, past=past, **settings_of(args.set)
    )
    before = seen(panel, cutoffs[0])
    trained = train(before, config)
    days = forecasts_of([trained.forecaster] * len(cutoffs), panel, cutoffs)
    paths = weekly_scores(days, panel, cutoffs, trained.forecaster.dependence, horizon=args.horizon)
    plain = forecasts_of([trained.forecaster] * len(cutoffs), panel, cutoffs, whole_units=False)
    unrounded = weekly_scores(plain, panel, cutoffs, trained.forecaster.dependence, horizon=args.horizon)
    assert paths is not None
    assert unrounded is not None
    (member,) = config.members()
    with own_randomness(CPU.device):
        weeks = TrainedSums(before, member)
    told = [score_sums(*weeks.beside_sold(panel, cutoff)) for cutoff in cutoffs]
    daily = scores(days, panel, cutoffs, horizon=args.horizon)["wql"]
    result = {
        name: getattr(args, name) for name in ("model", "end", "horizon", "windows", "step", "covariates", "seed")
    }
    result |= {"data": args.data.name, "daily_wql": daily, "independent": paths.pop("independent"), "paths": paths}
    result |= {"paths_of_unrounded_days": {name: unrounded[name] for name in paths}}
    result |= {"trained": average(told), **circumstances(args.threads, CODE)}
    print(json.dumps(result))
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_window_options(parser)
    parser.add_argument("--model", choices=("lstm", "transformer", "cnn", "mlp"), default="mlp")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the training")
    args = parser.parse_args(argv)
    if not args.end:
        parser.error("--end is needed: this is measured on earlier windows alone")
    if args.horizon < WEEK:
        parser.error(f"--horizon {args.horizon} has no whole week")
    return args


class SumsCourse(Course):
    """A course whose examples are weeks."""

    def step(self, fits: list[Fit]) -> float:
        series_B, cutoff_B = self.sampler.draw(self.batch_size, self.rng)
        windows = shorten_some(self.source.windows(series_B, cutoff_B), self.rng, noise=self.noise)
        target_BH = self.source.targets(series_B, cutoff_B, end=self.end)
        read = examples_by_context((fit.network for fit in fits), windows, target_BH)
        keys = self.source.panel.keys
        losses = [
            fit.step(in_weeks(read[fit.network.config.context_length]), lambda i: keys[series_B[i]]) for fit in fits
        ]
        return float(np.mean(losses))

    def examples(self, series_B: Index, cutoff_B: Index) -> dict[int, list[Examples]]:
        found = super().examples(series_B, cutoff_B)
        return {length: [in_weeks(part) for part in parts] for length, parts in found.items()}


class TrainedSums:
    """A network that was trained on the sums of weeks, and the levels to read of it."""

    def __init__(self, panel: Panel, config: ResolvedConfig) -> None:
        held_out = hold_out(panel, horizon=config.horizon)
        pairs = validation_pairs(panel, held_out, config.horizon, np.random.default_rng(config.seed + 1))
        clock, cleaned = Clock(config.max_seconds, config.epochs, lambda progress: None), cleaned_for(config, panel)
        twins = SumsCourse(panel, [config], end=held_out.split, cleaned=cleaned)
        (twin,) = fit_twins(twins, pairs, clock.part("training", 0.6))
        whole = SumsCourse(panel, [config], end=panel.days, cleaned=cleaned)
        (self.network,) = refit(whole, [twin.steps], clock.part("refitting", 0.4, begin=0.6))
        self.config, self.identities = config, whole.identities
        sold_BG = _weeks(twins.source.targets(*pairs)).numpy() * WEEK
        sums_BGQ = self._sums(twin.best, twins.source, *pairs)
        levels_Q = levels_of_sums(sold_BG, sums_BGQ, np.random.default_rng(config.seed))
        self.levels = Dependence(usual_dependence(config.horizon).rows_NH, levels_Q)

    def beside_sold(self, panel: Panel, cutoff: int) -> tuple[Floats, Floats]:
        """What was sold in the weeks after a cutoff (S, G), and the scored levels of it (S, G, Q)."""
        sold_SG, rows = sold_in_weeks(panel, cutoff, whole_weeks(self.config.horizon))
        config = self.config
        source = WindowSource(
            panel, self.identities.of(panel), context_length=config.context_length, horizon=config.horizon,
            known=config.known, past=config.past, cleaning=config.cleaning,
        )  # fmt: skip
        sums_SGQ = self._sums(self.network, source, rows, np.full(len(rows), cutoff))
        return sold_SG, interpolate_levels(sums_SGQ, LEVELS, self.levels.read_at(np.array(SCORED_LEVELS)))

    def _sums(self, network: Network, source: WindowSource, series_B: Index, cutoff_B: Index) -> Floats:
        network.eval()
        parts = []
        for first in range(0, len(series_B), AT_ONCE):
            part = slice(first, first + AT_ONCE)
            windows = source.windows(series_B[part], cutoff_B[part])
            with torch.inference_mode():
                features = compute_features(windows, network.statistics, context_length=self.config.context_length)
                features = replace(features, ahead_BHF=_weeks(features.ahead_BHF))
                output = network.decode(features, windows.identity_BA)
            assert output.quantiles_BHQ is not None
            parts.append((output.quantiles_BHQ.clamp(min=0) * output.scale_B[:, None, None] * WEEK).numpy())
        return np.concatenate(parts)


def in_weeks(examples: Examples) -> Examples:
    """The same windows with weeks for days: means of what the decoder is told, and of the targets, NaN where a day is missing.

    Means, not sums, so that weeks stand in the units that days do; a unit sold is a seventh of one.
    """
    features = replace(examples.features, ahead_BHF=_weeks(examples.features.ahead_BHF))
    return replace(examples, features=features, target_BH=_weeks(examples.target_BH), unit_B=examples.unit_B / WEEK)


def _weeks(values: Tensor) -> Tensor:
    """The mean of each whole week of the days in the second dimension."""
    count = values.shape[1] // WEEK
    return values[:, : count * WEEK].unflatten(1, (count, WEEK)).mean(2)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
