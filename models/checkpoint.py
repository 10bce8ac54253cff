"""A forecaster as bytes and a readable description, and back again. No pickle: weights are safetensors.

`serialise` gives (weights, description); `deserialise` rebuilds the same forecaster to the bit, strictly: a missing,
surplus, misshapen or non-finite tensor, or damaged bytes, is a CheckpointError with a sentence. The twin travels along.
"""

from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from models.networks.forecaster import Forecaster, Network
from models.training_config import LEVELS, ConfigError, ResolvedConfig

FORMAT = 1
PARTS = ("model", "twin")


class CheckpointError(ValueError):
    """Weights and description do not make a forecaster; the message says what is wrong."""


def serialise(forecaster: Forecaster) -> tuple[bytes, dict[str, Any]]:
    """The weights as safetensors bytes, and everything else as plain JSON values."""
    tensors = _tensors("model", forecaster)
    if forecaster.twin is not None:
        tensors |= _tensors("twin", forecaster.twin)
    description = {
        "format": FORMAT,
        "config": forecaster.config.as_dict(),
        "keys": [list(key) for key in forecaster.keys],
        "levels": [float(level) for level in forecaster.levels],
        "trained_until": str(forecaster.trained_until),
        "twin_trained_until": None if forecaster.twin is None else str(forecaster.twin.trained_until),
        "twin_keys": None if forecaster.twin is None else [list(key) for key in forecaster.twin.keys],
        "parameters": forecaster.parameters(),
    }
    return save(tensors), description


def deserialise(weights: bytes, description: dict[str, Any]) -> Forecaster:
    """The forecaster that `serialise` was given. Raises CheckpointError."""
    try:
        tensors = load(weights)
    except SafetensorError as error:
        raise CheckpointError(f"The weights are damaged: {error}.") from error
    try:
        if description["format"] != FORMAT:
            raise CheckpointError(f"The format is {description['format']!r}; this code reads {FORMAT}.")
        if description["levels"] != list(LEVELS):
            raise CheckpointError("The quantile levels differ from those this code answers on.")
        config = ResolvedConfig.from_dict(description["config"])
        forecaster = _forecaster("model", tensors, config, description["keys"], description["trained_until"])
        if description["twin_trained_until"] is not None:
            forecaster.twin = _forecaster(
                "twin", tensors, config, description["twin_keys"], description["twin_trained_until"]
            )
    except CheckpointError:
        raise
    except ConfigError as error:
        raise CheckpointError(f"The configuration cannot be used: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"The description is incomplete or misshapen: {error!r}.") from error
    if tensors:
        raise CheckpointError(f"The weights hold surplus tensors: {sorted(tensors)[:5]}.")
    return forecaster


def _tensors(part: str, forecaster: Forecaster) -> dict[str, Tensor]:
    named = {f"network.{name}": value for name, value in forecaster.network.state_dict().items()}
    named["dependence"] = torch.from_numpy(np.array(forecaster.dependence_NH))
    if forecaster.residuals_HQ is not None and forecaster.residual_mean_H is not None:
        named["residuals"] = torch.from_numpy(np.array(forecaster.residuals_HQ))
        named["residual_mean"] = torch.from_numpy(np.array(forecaster.residual_mean_H))
    return {f"{part}.{name}": value.detach().clone().contiguous() for name, value in named.items()}


def _forecaster(
    part: str, tensors: dict[str, Tensor], config: ResolvedConfig, keys: list[list[str]], until: str
) -> Forecaster:
    """Takes this part's tensors out of the dictionary and rebuilds the forecaster from them."""
    prefix = f"{part}."
    own = {name: tensors.pop(name) for name in list(tensors) if name.startswith(prefix)}
    for name, tensor in own.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"The tensor {name!r} holds values that are not finite.")
    state = {n.removeprefix(f"{prefix}network."): v for n, v in own.items() if n.startswith(f"{prefix}network.")}
    network = Network(config, series=len(keys))
    _refuse_misfits(state, network.state_dict())
    network.load_state_dict(state, strict=True)
    network.requires_grad_(False).eval()
    extra: dict[str, tuple[int | None, ...]] = {"dependence": (None, config.horizon)}
    if config.loss != "pinball":
        extra |= {"residuals": (config.horizon, len(LEVELS)), "residual_mean": (config.horizon,)}
    surplus = {n.removeprefix(prefix) for n in own if not n.startswith(f"{prefix}network.")} - set(extra)
    if surplus:
        raise CheckpointError(f"The weights hold surplus tensors: {sorted(surplus)}.")
    arrays = {name: _array(own, prefix + name, shape) for name, shape in extra.items()}
    return Forecaster(
        config,
        network,
        [(sku, location) for sku, location in keys],
        np.datetime64(until, "D"),
        arrays["dependence"],
        arrays.get("residuals"),
        arrays.get("residual_mean"),
    )


def _refuse_misfits(given: dict[str, Tensor], needed: dict[str, Tensor]) -> None:
    """Tell in a sentence when the weights are not those of this code's network: one example, and how many there are."""
    there = {name: tuple(tensor.shape) for name, tensor in given.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in needed.items()}
    wrong = sorted(name for name in there.keys() | wanted.keys() if there.get(name) != wanted.get(name))
    if wrong:
        first = wrong[0]
        raise CheckpointError(
            f"The weights do not fit this version of the code: {len(wrong)} tensors differ, such as {first!r}, "
            f"which has the shape {there.get(first)} where {wanted.get(first)} is needed."
        )


def _array(tensors: dict[str, Tensor], name: str, shape: tuple[int | None, ...]) -> np.ndarray[Any, Any]:
    if name not in tensors:
        raise CheckpointError(f"The tensor {name!r} is missing.")
    array: np.ndarray[Any, Any] = tensors[name].numpy()
    if len(array.shape) != len(shape) or any(w is not None and w != a for w, a in zip(shape, array.shape, strict=True)):
        raise CheckpointError(f"The tensor {name!r} has the shape {array.shape}; {shape} is needed.")
    return array
