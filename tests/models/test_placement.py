"""Where networks compute: names of devices, nothing left behind on another device, mixed precision, compilation.

What runs on a real GPU is at the end, and skipped where there is none.
"""

import copy
import warnings
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from models.checkpoint import deserialise, serialise
from models.features import compute_features
from models.fitting import Examples, Fit, Schedule, examples_of, losses_of
from models.forecaster import Forecaster
from models.inference import predict
from models.online.finetuning import carried_on
from models.panel import Panel
from models.placement import (
    COMPILED_FROM_STEPS,
    CPU,
    NoSuchDevice,
    Placement,
    compiled,
    compiles,
    device_named,
    placement_of,
)
from models.training import Course, train
from models.training_config import ARCHITECTURES, MODELS
from tests.models.panels import START, make_panel, resolved, small

META = torch.device("meta")
MIXED = Placement(CPU.device, mixed=True)
a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="There is no GPU here.")


def panel_with_covariates() -> Panel:
    rng = np.random.default_rng(0)
    known = {name: rng.random((5, 200)).astype(np.float32) for name in ("promo", "event=fair")}
    return replace(make_panel(), known=known, past={"rain": rng.random((5, 160)).astype(np.float32)})


def course_of(architecture: str, **changes: object) -> Course:
    config = resolved(architecture, known=("promo", "event=fair"), past=("rain",), **changes)
    return Course(panel_with_covariates(), [config], end=160)


def batch_of(course: Course, length: int = 28) -> Examples:
    series, cutoff = course.sampler.draw(32, np.random.default_rng(0))
    windows, target = course.source.windows(series, cutoff), course.source.targets(series, cutoff)
    return examples_of(windows, target, course.fits[0].network.statistics, length)


@pytest.mark.parametrize("name", ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CUDA", "meta", "cpu:0"])
def test_a_device_that_is_not_known_is_named(name: str) -> None:
    with pytest.raises(NoSuchDevice, match=f"{name!r} is not known"):
        placement_of(name)


@pytest.mark.skipif(torch.cuda.is_available(), reason="There is a GPU here.")
def test_without_a_gpu_auto_is_the_cpu_and_cuda_a_sentence() -> None:
    assert placement_of("auto") == placement_of("cpu") == CPU
    for name in ("cuda", "cuda:1"):
        with pytest.raises(NoSuchDevice, match=rf"There is no device '{name}'.*Take auto or cpu"):
            device_named(name)


class Elsewhere(TorchDispatchMode):
    """Notes every operation that reads or makes a tensor on another device than meta."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if any(isinstance(one, Tensor) and one.device != META for one in tree_leaves((args, kwargs, out))):
            self.seen.append(str(func))
        return out


@pytest.mark.parametrize(("architecture", "cleaning"), [*((a, "mask") for a in ARCHITECTURES), ("mlp", "model")])
def test_every_tensor_of_a_step_lives_on_the_networks_device(architecture: str, cleaning: str) -> None:
    """On the meta device nothing is computed, but whatever a step would make anywhere else is seen."""
    course = course_of(architecture, cleaning=cleaning)
    network = course.fits[0].network.to(META).train()
    examples = batch_of(course)
    assert all(
        one.device == META for one in tree_leaves([vars(examples.features), vars(examples)]) if hasattr(one, "device")
    )
    series, cutoff = np.arange(3), np.full(3, 120)
    windows = course.source.windows(series, cutoff).to(META)
    with Elsewhere() as elsewhere:
        compute_features(windows, network.statistics, context_length=28)
        output = network.decode(examples.features, examples.identity_BA)
        loss_B, weight_B = losses_of(output, network, examples, by_maturity=True)
        torch.autograd.backward((loss_B * weight_B).sum())
    assert elsewhere.seen == []
    assert output.quantiles_BHQ is not None and output.quantiles_BHQ.shape == (32, 7, 17)
    assert all(p.grad is not None and p.grad.device == META for p in network.parameters())


def test_windows_move_as_a_whole_and_stay_where_they_are_already() -> None:
    windows = course_of("mlp").source.windows(np.arange(2), np.full(2, 100))
    there, here = windows.to(META), windows.to(CPU.device)
    for field in fields(windows):
        before = getattr(windows, field.name)
        moved = getattr(there, field.name)
        assert moved.device == META and moved.shape == before.shape and moved.dtype == before.dtype
        assert getattr(here, field.name) is before


def test_a_forecaster_moves_with_its_twin(trained: Any) -> None:
    forecaster: Forecaster = copy.deepcopy(trained.forecaster)
    assert forecaster.device == CPU.device
    assert forecaster.to(META) is forecaster and forecaster.device == META
    assert forecaster.twin is not None and forecaster.twin.device == META
    networks = [member.network for one in (forecaster, forecaster.twin) for member in one.members]
    assert all(value.device == META for network in networks for value in network.state_dict().values())


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_mixed_precision_learns_in_bfloat16_and_keeps_weights_and_losses_in_float32(architecture: str) -> None:
    course = course_of(architecture, dropout=0.0)
    fit = Fit(course.fits[0].network, Schedule(0.01, 200), placement=MIXED)
    said: list[torch.dtype] = []
    fit.network.mix.register_forward_hook(lambda module, given, out: said.append(out.dtype))
    examples = batch_of(course)
    losses = [fit.step(examples, lambda i: ("", "")) for _ in range(60)]
    assert set(said) == {torch.bfloat16}
    assert np.isfinite(losses).all() and np.mean(losses[-5:]) < 0.9 * np.mean(losses[:5])
    assert (
        {p.dtype for p in fit.network.parameters()} == {p.dtype for p in fit.averaged.parameters()} == {torch.float32}
    )
    with torch.autocast("cpu", torch.bfloat16):
        output = fit.averaged.decode(examples.features, examples.identity_BA)
    assert output.quantiles_BHQ is not None
    assert output.quantiles_BHQ.dtype == output.mean_BH.dtype == output.dispersion_BH.dtype == torch.float32


@pytest.mark.parametrize("model", ARCHITECTURES)
def test_mixed_precision_forecasts_nearly_what_float32_does(model: str) -> None:
    panel = make_panel(missing=0.0)
    exact, mixed = (train(panel, small(model), placement=placement) for placement in (CPU, MIXED))
    assert mixed.history[-1]["loss"] == pytest.approx(exact.history[-1]["loss"], rel=0.02)
    assert mixed.history != exact.history
    ours, theirs = (predict(one.forecaster, panel, 159).mean_SH for one in (mixed, exact))
    assert np.abs(ours - theirs).mean() < 0.05 * theirs.mean()


def test_few_steps_are_not_worth_compiling() -> None:
    placement = Placement(CPU.device, compiled=True)
    assert compiled(abs, placement, steps=COMPILED_FROM_STEPS - 1) is abs
    assert compiled(abs, CPU, steps=COMPILED_FROM_STEPS) is abs


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_network_takes_the_same_steps() -> None:
    placement = Placement(CPU.device, compiled=True)
    if not compiles(CPU.device):
        pytest.skip("torch.compile needs a C++ compiler, and there is none here.")
    histories = []
    for where in (CPU, placement):
        course = course_of("mlp", dropout=0.0, width=8, layers=1)
        fit = Fit(course.fits[0].network, Schedule(0.01, COMPILED_FROM_STEPS), placement=where)
        examples = batch_of(course)
        histories.append([fit.step(examples, lambda i: ("", "")) for _ in range(10)])
        assert (fit.decode == fit.network.decode) == (where is CPU)
    np.testing.assert_allclose(histories[1], histories[0], rtol=1e-3)


def near(ours: Forecaster, theirs: Forecaster, panel: Panel) -> None:
    a, b = predict(ours, panel, 159), predict(theirs, panel, 159)
    np.testing.assert_allclose(a.mean_SH, b.mean_SH, rtol=0.01, atol=0.01)
    assert np.abs(a.quantiles_SHQ - b.quantiles_SHQ).mean() < 0.01 * b.quantiles_SHQ.mean()


@a_gpu
@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("loss", ["pinball", "mae"])
def test_what_a_gpu_has_learned_a_cpu_answers_and_the_reverse(model: str, loss: str) -> None:
    panel, placement = make_panel(), placement_of("cuda")
    trained = train(panel, small(model, loss=loss), placement=placement)
    assert trained.forecaster.device.type == "cuda"
    weights, description = serialise(trained.forecaster)
    served = deserialise(weights, description)
    assert served.device == CPU.device
    near(trained.forecaster, served, panel)
    at_home = train(panel, small(model, loss=loss))
    near(copy.deepcopy(at_home.forecaster).to(placement.device), at_home.forecaster, panel)
    assert trained.metrics["model"]["wql"] < 1.1 * at_home.metrics["model"]["wql"]


@a_gpu
def test_a_gpu_learns_compiled_is_updated_and_leaves_the_callers_random_state_alone() -> None:
    placement = placement_of("auto")
    state = torch.cuda.get_rng_state(placement.device)
    panel = make_panel(days=200)
    seen = panel.until(START + np.timedelta64(170, "D"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        epochs = COMPILED_FROM_STEPS // 20
        trained = train(seen, small("mlp", epochs=epochs), placement=placement)
    later = carried_on(trained.forecaster, panel)
    assert later.device.type == "cuda"
    assert np.isfinite(predict(later, panel, 199).quantiles_SHQ).all()
    assert torch.equal(torch.cuda.get_rng_state(placement.device), state)
