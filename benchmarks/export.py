"""What an exported graph would win: ONNX Runtime beside eager torch, the same untrained network, windows, threads and batches.

    .venv-peers/bin/python -m benchmarks.export [--data FILE.parquet --covariates known:promo,past:rain] [--threads 1]

For each trunk a network of the default size with weights as they are drawn: neither speed nor agreement depends on training. It
is exported by torch.onnx, by way of torch.export, twice: what follows the features (trunk, decoder and heads), and the whole
network with its features; each for the very number of windows in a batch, which suits it best. Cutting windows and adjusting
answers stay outside of both. Without a file the windows are of a panel made by formula. Prints one line of JSON and writes
results/export.md; needs the peers' environment.

Shapes: B windows, M memory days, L context days, H horizon, Q levels, F features, A identities.
"""

import argparse
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.accuracy import read_panel
from benchmarks.runs import circumstances
from benchmarks.speed import in_turns
from models.features import Features, compute_features
from models.inference import AT_ONCE
from models.networks.network import Network, Output
from models.panel import Panel
from models.training import Course
from models.training_config import ARCHITECTURES, Architecture, TrainingConfig
from models.windows import Windows

RESULTS = Path(__file__).parent / "results"
CODE = ("models", "benchmarks/export.py", "benchmarks/speed.py")
READ = tuple(field.name for field in fields(Windows))
DECODED = ("context_BLC", "static_BF", "ahead_BHF", "identity_BA")
KNOWN, PAST = ("promo", "price", "event=first"), ("rain",)
WINDOWS = 1024
BATCHES = (1024, AT_ONCE, 1)
ONES = 20
"""Windows that are answered one after the other where a batch is one."""


def main(argv: list[str]) -> int:
    args = parse(argv)
    torch.set_num_threads(args.threads)
    panel, known, past = read_panel(args.data, args.covariates) if args.data else (some_sales(), KNOWN, PAST)
    result = {
        "data": args.data.name if args.data else "sales made by formula",
        "covariates": {"known": known, "past": past},
        "threads": args.threads,
        "rounds": args.rounds,
        "load_average": round(os.getloadavg()[0], 1),
        "versions": {name: version(name) for name in ("torch", "onnx", "onnxruntime", "onnxscript")},
        **circumstances(args.threads, CODE),
        "trunks": {
            model: {name: compared(one, args) for name, one in cases(model, panel, known, past).items()}
            for model in args.trunks
        },
    }
    print(json.dumps(result))
    if args.write:
        (RESULTS / "export.md").write_text(rendered(result), encoding="utf-8")
    return 0


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a file of sales instead of those made by formula")
    parser.add_argument("--covariates", default="", help="of the file: known:promo,past:rain,static:brand")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--trunks", nargs="+", choices=ARCHITECTURES, default=ARCHITECTURES)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--no-write", dest="write", action="store_false", help="leave the results as they are")
    return parser.parse_args(argv)


def some_sales(series: int = 64, days: int = 800) -> Panel:
    """Sales by weekday with promotions, prices, a yearly event and rain."""
    rng = np.random.default_rng(0)
    promo_ST = (rng.random((series, days)) < 0.1).astype(np.float32)
    week_T = 1 + 0.5 * np.sin(2 * np.pi * np.arange(days) / 7)
    quantity_ST = rng.poisson(rng.gamma(1.0, 5.0, (series, 1)) * week_T * (1 + promo_ST)).astype(np.float32)
    event_ST = np.broadcast_to(np.arange(days) % 365 == 100, (series, days)).astype(np.float32)
    rain_ST = rng.random((series, days)).astype(np.float32)
    return Panel(
        [f"sku-{row}" for row in range(series)], [""] * series, np.datetime64("2024-01-01"), quantity_ST,
        known={"promo": promo_ST, "price": 2 - promo_ST / 2, "event=first": event_ST}, past={"rain": rain_ST},
    )  # fmt: skip


def compared(case: "Case", args: argparse.Namespace) -> dict[str, Any]:
    """How far the two are apart at most, in units of a window's scale, and milliseconds of both for each batch size."""
    graphs = {batch: exported(case.first(batch), threads=args.threads) for batch in BATCHES}
    with torch.inference_mode():
        parts = [batched(case, graph, batch) for batch, graph in graphs.items()]
        answers = [(eager(), theirs()) for eager, theirs in parts]
        pairs = [(a.numpy(), b) for ours, other in answers for x, y in zip(ours, other, strict=True)
                 for a, b in zip(x, y, strict=True)]  # fmt: skip
        times = {
            batch: milliseconds(part, batch, rounds=args.rounds) for batch, part in zip(BATCHES, parts, strict=True)
        }
    return {
        "largest_difference": max(float(np.abs(a - b).max()) for a, b in pairs),
        "largest_output": max(float(np.abs(a).max()) for a, _ in pairs),
        "batches": times,
    }


@dataclass(frozen=True)
class Case:
    """A module from tensors to means, dispersions and quantiles, and what it reads of WINDOWS windows."""

    module: nn.Module
    names: tuple[str, ...]
    tensors: tuple[Tensor, ...]

    def first(self, windows: int) -> "Case":
        return replace(self, tensors=tuple(tensor[:windows] for tensor in self.tensors))


def cases(
    model: Architecture, panel: Panel, known: tuple[str, ...], past: tuple[str, ...]
) -> dict[str, Case]:  # fmt: skip
    """One network without its features and with them."""
    (config,) = TrainingConfig(model=model, known=known, past=past).members()
    course = Course(panel, [config], end=panel.days)
    network = course.fits[0].network.eval()
    rng = np.random.default_rng(0)
    series_B = rng.integers(0, panel.series, WINDOWS)
    windows = course.source.windows(series_B, rng.integers(panel.days // 2, panel.days - config.horizon, WINDOWS))
    with torch.no_grad():
        features = compute_features(windows, network.statistics, context_length=config.context_length)
    told = (features.context_BLC.contiguous(), features.static_BF, features.ahead_BHF, windows.identity_BA)
    return {
        "without_features": Case(Decoder(network).eval(), DECODED, told),
        "with_features": Case(Whole(network).eval(), READ, tuple(getattr(windows, name) for name in READ)),
    }


def outputs(output: Output) -> list[Tensor]:
    assert output.quantiles_BHQ is not None
    return [output.mean_BH, output.dispersion_BH, output.quantiles_BHQ]


class Whole(nn.Module):
    """A network with its features, from the tensors of windows in the order of READ."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        return outputs(self.network(Windows(*tensors)))


class Decoder(nn.Module):
    """What of a network follows the features."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, context_BLC: Tensor, static_BF: Tensor, ahead_BHF: Tensor, identity_BA: Tensor) -> list[Tensor]:
        unread_B = static_BF[:, 0]  # scale and error only pass through, the rest serves the cleaning `model`
        features = Features(
            context_BLC, static_BF, ahead_BHF, scale_B=unread_B, error_B=unread_B, usual_BL=context_BLC[..., 0],
            begun_B=unread_B,
        )  # fmt: skip
        return outputs(self.network.decode(features, identity_BA))


Arrays = list[NDArray[Any]]
Graph = Callable[[Arrays], Arrays]
Both = tuple[Callable[[], list[list[Tensor]]], Callable[[], list[Arrays]]]


def exported(case: Case, *, threads: int) -> Graph:
    """The graph as ONNX Runtime runs it, on the CPU, for as many windows as the case has."""
    import onnxruntime

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own parts
        case.module(*case.tensors)  # what features keep between calls is made of real tensors before they are traced
        # Features are sorted by torch only where a gradient is wanted; NumPy's sort cannot be traced.
        traced = tuple(
            tensor.clone().requires_grad_() if name == READ[0] else tensor
            for name, tensor in zip(case.names, case.tensors, strict=True)
        )
        program = torch.onnx.export(case.module, traced, dynamo=True, input_names=case.names, verbose=False)
    assert program is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    read = {one.name for one in session.get_inputs()}
    named = [(at, name) for at, name in enumerate(case.names) if name in read]
    return lambda arrays: session.run(None, {name: arrays[at] for at, name in named})


def batched(case: Case, graph: Graph, batch: int) -> Both:
    """All windows in such batches, eager and by the graph; where a batch is one window, the first ONES."""
    starts = range(0, ONES if batch == 1 else WINDOWS, batch)
    parts = [[tensor[first : first + batch] for tensor in case.tensors] for first in starts]
    arrays = [[tensor.numpy() for tensor in part] for part in parts]
    return lambda: [case.module(*part) for part in parts], lambda: [graph(part) for part in arrays]


def milliseconds(both: Both, batch: int, *, rounds: int) -> dict[str, float]:
    """Of both, in turns, for all windows (where a batch is one window, for one), and theirs over ours."""
    eager, theirs = in_turns(*both, rounds=rounds)
    unit = 1000 / (ONES if batch == 1 else 1)
    return {"eager": round(eager * unit, 2), "onnx": round(theirs * unit, 2), "ratio": round(theirs / eager, 3)}


def rendered(result: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in result["versions"].items())
    known, past = (", ".join(result["covariates"][role]) or "none" for role in ("known", "past"))
    batches = [f"batches of {batch:,}" for batch in BATCHES if batch > 1] + ["one window"]
    rows = [
        "# An exported graph beside eager torch",
        "",
        f"{result['date']}, {result['machine']}, {versions}, {result['commit']},"
        f" load average {result['load_average']} before the run.",
        f"`python -m benchmarks.export`: untrained networks of the default size, windows of {result['data']}, covariates known"
        f" ahead: {known}; past: {past}.",
        "",
        f"Milliseconds for {WINDOWS:,} windows, and for one window alone: eager torch / ONNX Runtime (ratio of the second to the"
        f" first), medians of {result['rounds']} rounds in turns. Apart: the largest difference of any output, in units of a"
        " window's scale, and the largest output.",
    ]
    for name in ("without_features", "with_features"):
        title = "Trunk, decoder and heads" if name == "without_features" else "The whole network, with its features"
        rows += [
            "",
            f"## {title}",
            "",
            f"| trunk | {' | '.join(batches)} | apart |",
            "| --- " * (len(batches) + 2) + "|",
        ]
        for trunk, both in result["trunks"].items():
            times = [f"{t['eager']} / {t['onnx']} ({t['ratio']:.2f})" for t in both[name]["batches"].values()]
            apart = f"{both[name]['largest_difference']:.1e} of {both[name]['largest_output']:.1f}"
            rows.append(f"| {trunk} | {' | '.join(times)} | {apart} |")
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
