"""How fast networks predict and train, as ratios to bare networks on random tensors of the same shapes, in one run, in turns.

    python -m benchmarks.speed --data m5_280.parquet [--series 30490] [--threads 2] [--rounds 3]

Prediction is `predict()` from arrays, of the file's series repeated under new names until there are so many. A bare network is
trunk, decoder and heads on random features: what is left when windows, features, adjustment and cleaning cost nothing. The bare
trunk is that without the decoder. Networks are trained for a few steps only; speed does not depend on weights. Also: what int8
weights and half the channels would win at most. Results: results/speed.*.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.accuracy import read_panel
from benchmarks.runs import repeated
from models.adjustment import Adjustment
from models.features import Features, context_channels
from models.forecaster import Forecaster, Member
from models.inference import AT_ONCE, predict
from models.networks.network import Network
from models.panel import Panel
from models.training import Course, cleaned_for, train
from models.training_config import ARCHITECTURES, LEVELS, TrainingConfig

RESULTS = Path(__file__).parent / "results"
DAYS = 500
TRAIN_STEPS = 10
WANTED = {"network": 5.0, "ensemble": 15.0, "training": 0.8, "smaller": 2.0}


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    small, _, _ = read_panel(args.data, "")
    panel = newest_days(repeated(small, args.series))
    forecasters = {model: briefly_trained(small, model) for model in (*ARCHITECTURES, "ensemble")}
    result = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}",
        "threads": args.threads,
        "load_average": round(os.getloadavg()[0], 1),
        "series": panel.series,
        "prediction": {name: prediction(one, panel, args.rounds) for name, one in forecasters.items()},
        "training": {model: training(small, model, args.rounds) for model in ARCHITECTURES},
        "smaller": {model: smaller(small, forecasters[model], panel, args.rounds) for model in ARCHITECTURES},
    }
    print(json.dumps(result, indent=2))
    if args.write:
        write(result)
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--series", type=int, default=30_490)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave the results as they are")
    return parser.parse_args(argv)


def newest_days(panel: Panel) -> Panel:
    """The last DAYS days."""
    return replace(
        panel,
        start=panel.start + np.timedelta64(panel.days - DAYS, "D"),
        quantity_ST=np.ascontiguousarray(panel.quantity_ST[:, -DAYS:]),
    )


def briefly_trained(panel: Panel, model: str) -> Forecaster:
    """A forecaster that takes every step an answer may take: climatology, calibrated levels, whole units, the area's mean."""
    forecaster = train(panel, TrainingConfig(model=model, epochs=1)).forecaster  # type: ignore[arg-type]
    levels_NGQ = np.tile(np.clip(np.array(LEVELS) + 0.005, LEVELS[0], LEVELS[-1]), (3, 3, 1))
    climatology_K = np.array([0.1, 0.0, 0.1])
    adjustment = Adjustment(forecaster.adjustment.weights_M, 0.0, climatology_K, levels_NGQ, True, area=0.5)
    return replace(forecaster, adjustment=adjustment)


def prediction(forecaster: Forecaster, panel: Panel, rounds: int) -> dict[str, float]:
    """Seconds to answer the panel, and of its bare networks alone."""
    bare = [bare_network(member.network, AT_ONCE) for member in forecaster.members]
    batches = -(-panel.series // AT_ONCE)

    def alone() -> None:
        with torch.inference_mode():
            for network in bare:
                for _ in range(batches):
                    network()

    whole, nothing_else = in_turns(lambda: predict(forecaster, panel, panel.days - 1), alone, rounds=rounds)
    return {
        "seconds": round(whole, 2),
        "bare_seconds": round(nothing_else, 2),
        "series_per_second": round(panel.series / whole),
        "ratio": round(nothing_else / whole, 3),
    }


def bare_network(network: Network, windows: int) -> Callable[[], Any]:
    """Trunk, decoder and heads on random features."""
    features, identity_BA = random_features(network, windows)
    network.eval()
    return lambda: network.decode(features, identity_BA)


def random_features(network: Network, windows: int) -> tuple[Features, Tensor]:
    config = network.config
    channels = network.from_ahead.in_features
    identities = len(network.firsts_A)
    embedded = network.identity.embedding_dim * identities
    features = Features(
        context_BLC=torch.randn(windows, config.context_length, context_channels(config.known, config.past)),
        static_BF=torch.randn(windows, network.from_static.in_features - embedded),
        ahead_BHF=torch.randn(windows, config.horizon, channels),
        scale_B=torch.ones(windows),
        error_B=torch.ones(windows),
        usual_BL=torch.ones(windows, config.context_length),
        begun_B=torch.ones(windows, dtype=torch.bool),
    )
    return features, torch.zeros(windows, identities, dtype=torch.int64)


def training(panel: Panel, model: str, rounds: int) -> dict[str, float]:
    """Windows a second of training, of the bare network and of the bare trunk, each with its backward pass and AdamW's step."""
    (config,) = TrainingConfig(model=model).members()  # type: ignore[arg-type]
    course = Course(panel, [config], end=panel.days, cleaned=cleaned_for(config, panel))
    other = Course(panel, [config], end=panel.days).fits[0].network
    features, identity_BA = random_features(other, config.batch_size)

    def bare_output() -> Tensor:
        output = other.decode(features, identity_BA)
        assert output.quantiles_BHQ is not None
        return output.quantiles_BHQ

    with torch.random.fork_rng(devices=[]):
        ours, bare, trunk = in_turns(
            lambda: [course.step(course.fits) for _ in range(TRAIN_STEPS)],
            stepping(other, bare_output),
            stepping(other.trunk, lambda: other.trunk(features.context_BLC)),
            rounds=rounds,
        )
    windows = TRAIN_STEPS * config.batch_size
    return {
        "windows_per_second": round(windows / ours),
        "bare_network": round(windows / bare),
        "bare_trunk": round(windows / trunk),
        "ratio_to_network": round(bare / ours, 3),
        "ratio_to_trunk": round(trunk / ours, 3),
    }


def stepping(module: nn.Module, output: Callable[[], Tensor]) -> Callable[[], None]:
    """TRAIN_STEPS steps on random tensors towards nothing in particular."""
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, foreach=True)

    def steps() -> None:
        for _ in range(TRAIN_STEPS):
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(output().square().mean())
            optimizer.step()

    return steps


def smaller(small: Panel, forecaster: Forecaster, panel: Panel, rounds: int) -> dict[str, float]:
    """How many times as fast an answer is with int8 weights, and with a network built with half the channels.

    The latter is the most that cutting half of the channels out of a trained one could win.
    """
    (member,) = forecaster.members
    part = panel.rows(np.arange(min(panel.series, 20 * AT_ONCE)))
    (config,) = TrainingConfig(model=member.config.architecture, width=member.config.width // 2).members()
    torch.manual_seed(0)
    narrow = Course(small, [config], end=small.days).fits[0].network
    variants = [
        forecaster,
        replace(forecaster, members=[Member(member.config, quantised(member.network))]),
        replace(forecaster, members=[Member(config, narrow)]),
    ]
    whole, int8, half = in_turns(*(_answer(one, part) for one in variants), rounds=rounds)
    before, after = (predict(one, part, part.days - 1).quantiles_SHQ for one in variants[:2])
    change = np.abs(after - before).sum() / np.abs(before).sum()
    return {"int8": round(whole / int8, 2), "int8_moves": round(float(change), 4), "half": round(whole / half, 2)}


def _answer(forecaster: Forecaster, panel: Panel) -> Callable[[], Any]:
    return lambda: predict(forecaster, panel, panel.days - 1)


def quantised(network: Network) -> Network:
    """The network with the weights of its linear layers and LSTMs in int8; activations are scaled as they come."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch says at length that this part of it is being moved
        out: Network = torch.ao.quantization.quantize_dynamic(
            network.eval(), {nn.Linear, nn.LSTM}, dtype=torch.qint8
        )  # fmt: skip
    return out


def in_turns(*runs: Callable[[], Any], rounds: int) -> list[float]:
    """Median seconds of each, measured in turns after one round that does not count."""
    spent: list[list[float]] = [[] for _ in runs]
    for number in range(rounds + 1):
        for run, seconds in zip(runs, spent, strict=True):
            started = time.perf_counter()
            run()
            if number:
                seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds) for seconds in spent]


def write(result: dict[str, Any]) -> None:
    (RESULTS / "speed.json").write_text(json.dumps(result, indent=2) + "\n")
    (RESULTS / "speed.md").write_text(table(result))


def table(result: dict[str, Any]) -> str:
    answered = [
        f"| {name} | {one['seconds']:.2f} | {one['series_per_second']:,} | {one['bare_seconds']:.2f} | {one['ratio']:.2f} |"
        for name, one in result["prediction"].items()
    ]
    trained = [
        f"| {name} | {one['windows_per_second']:,} | {one['bare_network']:,} | {one['ratio_to_network']:.2f} |"
        f" {one['bare_trunk']:,} | {one['ratio_to_trunk']:.2f} |"
        for name, one in result["training"].items()
    ]
    less = [
        f"| {name} | {one['int8']:.2f} | {one['int8_moves']:.2%} | {one['half']:.2f} |"
        for name, one in result["smaller"].items()
    ]
    return "\n".join(
        [
            "# Speed of the engine",
            "",
            f"{result['date']}, {result['machine']}, {result['threads']} threads, load average {result['load_average']} before "
            "the run; `python -m benchmarks.speed`, medians, in turns.",
            "",
            f"## Prediction: {result['series']:,} series × 28 days × {len(LEVELS)} levels from arrays",
            "",
            f"Wanted: under {WANTED['network']:g} s by one network, under {WANTED['ensemble']:g} s by the ensemble of six.",
            "",
            "| | seconds | series/s | bare networks, seconds | ratio |",
            "| --- | --- | --- | --- | --- |",
            *answered,
            "",
            "## Training: windows a second",
            "",
            f"Wanted: a ratio of at least {WANTED['training']:g} to the bare trunk.",
            "",
            "| | training | bare network | ratio | bare trunk | ratio |",
            "| --- | --- | --- | --- | --- | --- |",
            *trained,
            "",
            "## Smaller networks: times as fast in prediction",
            "",
            f"Wanted, to be worth it: {WANTED['smaller']:g} times. Half the channels: the most that pruning could win.",
            "",
            "| | int8 weights | moves quantiles by | half the channels |",
            "| --- | --- | --- | --- |",
            *less,
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
