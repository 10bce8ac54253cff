"""Where networks compute, and how a training on a GPU is made faster: mixed precision and compilation.

A name becomes a placement at the edge (`placement_of`); trainings are given one, a forecaster carries its networks' device
along. Windows are cut on the CPU and moved once a batch; what is kept and what is answered is on the CPU again.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from subprocess import SubprocessError
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor, nn

P = ParamSpec("P")
R = TypeVar("R")
NAMES = re.compile(r"auto|cpu|cuda(:\d{1,2})?")
COMPILED_FROM_STEPS = 400
"""Planned steps from which on a network is compiled: it takes tens of seconds once for each kind of network."""


class NoSuchDevice(ValueError):
    """The device cannot be had; the message says why, and what to do instead."""


@dataclass(frozen=True)
class Placement:
    """A device, and how a training may hurry on it. `mixed`: trunk and decoder learn in bfloat16, losses stay float32.

    `compiled`: they are compiled where that works and there are steps enough to be worth it.
    """

    device: torch.device
    mixed: bool = False
    compiled: bool = False


CPU = Placement(torch.device("cpu"))


def placement_of(name: str) -> Placement:
    """The placement of "auto" (a GPU when there is one), "cpu", "cuda" or "cuda:1". Raises NoSuchDevice."""
    return placement_on(device_named(name))


def device_named(name: str) -> torch.device:
    """The device of such a name; nothing is begun on it. Raises NoSuchDevice."""
    if not NAMES.fullmatch(name):
        raise NoSuchDevice(f"The device {name!r} is not known: auto, cpu, cuda, or cuda:1 for the second GPU.")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        built = torch.version.cuda is None and torch.version.hip is None
        why = "is a build for CPUs alone" if built else "finds no GPU"
        raise NoSuchDevice(f"There is no device {name!r}: PyTorch {torch.__version__} {why}. Take auto or cpu.")
    if device.index is not None and device.index >= torch.cuda.device_count():
        raise NoSuchDevice(
            f"There is no device {name!r}: PyTorch counts {torch.cuda.device_count()} GPUs, from cuda:0 on."
        )
    return device


def placement_on(device: torch.device) -> Placement:
    """The placement on a device that is there, as fast as it allows."""
    if device.type != "cuda":
        return Placement(device)
    with torch.cuda.device(device):
        mixed = torch.cuda.is_bf16_supported(including_emulation=False)
    return Placement(device, mixed=mixed, compiled=True)


@lru_cache(maxsize=8)
def compiles(device: torch.device) -> bool:
    """Whether torch.compile works at all here, tried once a process: a small image lacks the C compiler that it needs."""
    try:
        with torch.inference_mode(False), torch.enable_grad():
            weight = torch.ones(8, 8, device=device, requires_grad=True)
            torch.autograd.backward(torch.compile(lambda x: (x @ x).relu().sum())(weight))
    except (RuntimeError, ImportError, OSError, SubprocessError):
        return False
    return True


def compiled(function: Callable[P, R], placement: Placement, *, steps: int) -> Callable[P, R]:
    """The function, compiled at its first call, where it is to be called in so many steps; else itself.

    Networks of one kind share what was compiled.
    """
    if not placement.compiled or steps < COMPILED_FROM_STEPS or not compiles(placement.device):
        return function
    return torch.compile(function, dynamic=False)


@contextmanager
def own_randomness(device: torch.device) -> Iterator[None]:
    """Leave the process's random numbers as they were, on the CPU and on the device that draws."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices, device_type="cuda"):
        yield


class RandomNumbers:
    """Torch's random numbers from a seed on, on the CPU and on the device, for one of several who draw by turns.

    Within `drawn` each goes on where it stopped. The process's own are left alone only within `own_randomness`.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        self.device = device
        torch.manual_seed(seed)
        self._keep()

    @contextmanager
    def drawn(self) -> Iterator[None]:
        """Whatever is drawn meanwhile is drawn from these."""
        torch.set_rng_state(self.state)
        if self.device_state is not None:
            torch.cuda.set_rng_state(self.device_state, self.device)
        yield
        self._keep()

    def _keep(self) -> None:
        self.state = torch.get_rng_state()
        self.device_state = torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None


def device_of(module: nn.Module) -> torch.device:
    """Where a module stands: it is never spread over several devices."""
    first: Tensor = next(module.parameters())
    return first.device
