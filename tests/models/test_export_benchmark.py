"""`benchmarks.export` compares the network that answers: what it exports says the same, and the graph says nearly that."""

import json
import subprocess
from pathlib import Path

import pytest
import torch

from benchmarks.export import DECODED, KNOWN, PAST, READ, WINDOWS, cases, main, rendered, some_sales
from models.features import compute_features
from models.training_config import ARCHITECTURES, Architecture
from models.windows import Windows


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_both_modules_say_what_the_network_says(model: Architecture) -> None:
    with torch.random.fork_rng(devices=[]):
        found = cases(model, some_sales(), KNOWN, PAST)
    whole, decoder = found["with_features"].first(40), found["without_features"].first(40)
    assert whole.names == READ and decoder.names == DECODED and len(whole.tensors[0]) == 40
    assert len(found["with_features"].tensors[0]) == WINDOWS
    windows, network = Windows(*whole.tensors), whole.module.network
    with torch.no_grad():
        output = network(windows)
        features = compute_features(windows, network.statistics, context_length=network.config.context_length)
        for case in (whole, decoder):
            for said, expected in zip(
                case.module(*case.tensors), (output.mean_BH, output.dispersion_BH, output.quantiles_BHQ), strict=True
            ):
                torch.testing.assert_close(said, expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(decoder.tensors[0], features.context_BLC, rtol=1e-5, atol=1e-5)
    assert float(features.context_BLC.std()) > 0.1 and float(output.mean_BH.std()) > 0


def test_a_graph_is_apart_from_eager_torch_by_rounding_only(peers_python: Path) -> None:
    there = subprocess.run(
        [str(peers_python), "-c", "import onnx, onnxruntime, onnxscript"], capture_output=True, check=False
    )
    if there.returncode:
        pytest.skip("The peers' environment is older than its lock: it has no onnxruntime.")
    command = [str(peers_python), "-m", "benchmarks.export", "--trunks", "mlp", "--rounds", "1", "--no-write"]
    ran = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-4000:]
    result = json.loads(ran.stdout.splitlines()[-1])
    for case in result["trunks"]["mlp"].values():
        assert 0 < case["largest_difference"] < 1e-5 and case["largest_output"] > 0.5
        assert all(times["ratio"] > 0 for times in case["batches"].values())


def test_the_table_tells_both_cases_of_every_trunk() -> None:
    times = {"1024": {"eager": 30.5, "onnx": 40.25, "ratio": 1.32}, "1": {"eager": 0.38, "onnx": 0.09, "ratio": 0.237}}
    case = {"largest_difference": 7e-7, "largest_output": 3.9, "batches": times}
    result = {
        "data": "sales made by formula", "covariates": {"known": ["promo"], "past": []}, "versions": {"onnx": "1"},
        "date": "a day", "machine": "two cores", "commit": "abc", "load_average": 0.1, "rounds": 3,
        "trunks": {"mlp": {"without_features": case, "with_features": case | {"largest_difference": 9e-7}}},
    }  # fmt: skip
    table = rendered(result)
    assert "| mlp | 30.5 / 40.25 (1.32) | 0.38 / 0.09 (0.24) | 7.0e-07 of 3.9 |" in table
    assert "9.0e-07 of 3.9" in table.split("## The whole network")[1] and "known ahead: promo; past: none" in table
    with pytest.raises(SystemExit):
        main(["--trunks", "rnn"])
