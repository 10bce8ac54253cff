"""Day-by-day replay of every way to keep a forecaster up to date, side by side: python -m benchmarks.updates --data FILE

Trains one named network once, before the last `--days` days (364). Then, day after day: the day is posted, learned from as each
policy says, and all series are forecast 28 days ahead. Frozen, every speed added to the ones before, retraining from scratch, the
seasonal naive, and two controls: the champion is trained to convergence, and "old days" takes the same steps on days from before
the replay. What is done is kept in `--work`, so that a broken run goes on where it was; `--preset short` is a small run for CI.

Losses by target day; intervals by block bootstrap (28 days), all series drawn together. With `--end` nothing is written to the
results: choices are made there.
"""

import argparse
import json
import pickle
import sys
import time
from functools import partial
from pathlib import Path

import torch

from benchmarks.accuracy import read_panel, seen
from benchmarks.runs import circumstances, positive, settings_of
from benchmarks.updates.losses import Losses, against, pooled
from benchmarks.updates.policies import STREAMS, Replay, old_days, retraining, seasonal_naive, streamed
from models.checkpoint import deserialise, serialise
from models.forecaster import Forecaster
from models.online.stream import Speeds
from models.panel import Panel
from models.segments import bucket_names
from models.training import train
from models.training_config import TrainingConfig

HORIZON = 28
BLOCK = 28
DAYS = 364
WEEKLY = "retraining 7"
WEEKLY_DAYS = 140
"""Weekly retraining is replayed over the last so many days; the other policies are compared with it on its cutoffs."""
SHORT = {"days": 36, "seeds": 1, "set": ["epochs=1"], "policies": ["frozen", "L1", "L2", "L3", "old days", "naive"]}
CHEAP = [*STREAMS, "old days", "naive"]
COSTLY = ["L4", "retraining 28", WEEKLY]
CODE = ("models", "benchmarks/updates", "benchmarks/accuracy.py")


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    unseen = args.days + 1
    panel, known, past = read_panel(args.data, args.covariates, country=args.country, end=args.end, unseen=unseen)
    config = partial(TrainingConfig, model=args.model, horizon=HORIZON, known=known, past=past, **settings_of(args.set))
    args.work.mkdir(parents=True, exist_ok=True)
    by_policy: dict[str, list[Losses]] = {}
    for seed in range(args.seeds):
        replay = Replay(panel, days=args.days, horizon=HORIZON, seed=seed)
        trainer = Trainer(args.work / f"{args.data.stem}-{args.end or 'end'}-{seed}", panel, config(seed=seed))
        for policy in args.policies:
            losses = replayed(policy, replay.last(min(WEEKLY_DAYS, args.days)) if policy == WEEKLY else replay, trainer)
            by_policy.setdefault(policy, []).append(losses)
            print(policy, seed, json.dumps(rounded(losses.figures())), file=sys.stderr)
    print(json.dumps(described(args, {name: pooled(found) for name, found in by_policy.items()})))
    return 0


class Trainer:
    """Trains on what is known at a cutoff, once: what was trained before, in this run or an earlier one, is read again."""

    def __init__(self, folder: Path, panel: Panel, config: TrainingConfig) -> None:
        self.folder, self.panel, self.config = folder, panel, config
        folder.mkdir(parents=True, exist_ok=True)

    def __call__(self, cutoff: int) -> tuple[Forecaster, float]:
        """A forecaster, and the processor seconds of its training."""
        file = self.folder / f"trained-{cutoff}.pickle"
        if not file.exists():
            started = time.process_time()
            forecaster = train(seen(self.panel, cutoff), self.config).forecaster
            kept = (serialise(forecaster), time.process_time() - started)
            unfinished = file.with_suffix(".part")
            unfinished.write_bytes(pickle.dumps(kept))
            unfinished.rename(file)
        (weights, description), seconds = pickle.loads(file.read_bytes())
        return deserialise(weights, description), seconds


def replayed(policy: str, replay: Replay, trainer: Trainer) -> Losses:
    """The losses of one policy, from the work folder where they are there already."""
    file = trainer.folder / f"{policy.replace(' ', '-')}.npz"
    if file.exists():
        return Losses.load(file)
    champion, _ = trainer(replay.first)
    if policy in STREAMS:
        losses = streamed(replay, champion, STREAMS[policy])
    elif policy == "L4":
        losses = streamed(replay, champion, Speeds(), retrained=trainer)
    elif policy == "old days":
        losses = old_days(replay, champion)
    elif policy == "naive":
        losses = seasonal_naive(replay)
    else:
        losses = retraining(replay, champion, trainer, every=int(policy.split()[1]))
    losses.save(file)
    return losses


def described(args: argparse.Namespace, by_policy: dict[str, Losses]) -> dict[str, object]:
    """One line of JSON: figures of each policy, by stretch too, against the frozen champion, and against weekly retraining."""
    weekly = by_policy.pop(WEEKLY, None)
    found: dict[str, object] = {"policies": compared(by_policy)}
    if weekly is not None:
        cutoffs = len(weekly.sums["days"])
        last = {name: losses.last(cutoffs) for name, losses in by_policy.items()} | {WEEKLY: weekly}
        found["last"] = {"cutoffs": cutoffs, "policies": compared(last, weekly)}
    asked = {name: getattr(args, name) for name in ("model", "end", "days", "seeds", "covariates", "country", "set")}
    return {"data": args.data.name, **asked} | found | circumstances(args.threads, CODE)


def compared(by_policy: dict[str, Losses], weekly: Losses | None = None) -> dict[str, object]:
    """Each policy's figures and what it cost."""
    others = {"frozen": by_policy.get("frozen"), "weekly": weekly}
    found = {}
    for name, losses in by_policy.items():
        stretches = zip(bucket_names(HORIZON), losses.by_stretch(), strict=True)
        found[name] = {
            "figures": rounded(losses.figures()),
            "by_days": {days: rounded(figures) for days, figures in stretches},
            "update_seconds": round(losses.cost("update_seconds"), 1),
            "training_seconds": round(losses.cost("training_seconds"), 1),
        } | {
            f"against_{which}": rounded_deep(against(losses, other, block=BLOCK))
            for which, other in others.items()
            if other is not None
        }
    return found


def rounded(figures: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in figures.items()}


def rounded_deep(found: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    return {name: {key: round(value, 2) for key, value in one.items()} for name, one in found.items()}


def add_replay_options(parser: argparse.ArgumentParser) -> None:
    """The file, its replayed days, seeds, and where champions and what is done are kept: the same words in every replay."""
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--covariates", default="", help="known:promo,past:rain,static:brand")
    parser.add_argument("--country", help="public holidays of all series, such as IT")
    parser.add_argument("--model", default="mlp")
    parser.add_argument("--end", help="last day used, inclusive; for choices on earlier days")
    parser.add_argument("--days", type=positive, default=DAYS)
    parser.add_argument("--seeds", type=positive, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("updates-work"), help="where what is done is kept")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_replay_options(parser)
    parser.add_argument("--policies", nargs="*", default=[*CHEAP, *COSTLY])
    parser.add_argument("--preset", choices=["short"], help="a small run that shows that all parts work")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="fields of the training")
    args = parser.parse_args(argv)
    if args.preset == "short":
        vars(args).update(SHORT)
    return args


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
