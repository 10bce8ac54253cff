"""A forecaster as bytes and a readable description, and back again. No pickle: weights are safetensors.

`serialise` gives (weights, description), wherever the networks stand; `deserialise` rebuilds the same forecaster to the bit,
on the CPU, and strictly: a missing, surplus, misshapen or non-finite tensor, or damaged bytes, is a CheckpointError with a
sentence. The twin travels along, and so does what an updated version has learned since: the state of each series and the lineage.
"""

import math
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from models.adjustment import STRETCHES, Adjustment
from models.climatology import KINDS
from models.dependence import Dependence
from models.forecaster import Forecaster, Member
from models.identities import Identities
from models.networks.network import Network
from models.online.common_shifts import CommonShifts
from models.online.shifts import SPANS
from models.online.tracking import REMEMBERED_DAYS, Tracking
from models.training_config import LEVELS, ConfigError, ResolvedConfig

FORMAT = 6
READ = (3, 4, 5, FORMAT)
"""Format 3 knew climatology by weekday alone, or wrote its three shares under the same number; 4 compared no logarithms; 5 held
no state of series and no lineage."""
UNKNOWN = -1.0
"""Stands for a day that was not learned: no sales are below zero."""


class CheckpointError(ValueError):
    """Weights and description do not make a forecaster; the message says what is wrong."""


def serialise(forecaster: Forecaster) -> tuple[bytes, dict[str, Any]]:
    """The weights as safetensors bytes, and everything else as plain JSON values."""
    parts = {"model": forecaster, "twin": forecaster.twin, "lineage": forecaster.lineage}
    tensors: dict[str, Tensor] = {}
    for name, part in parts.items():
        tensors |= {} if part is None else _tensors(name, part)
    description = {
        "format": FORMAT,
        "levels": [float(level) for level in forecaster.levels],
        "parameters": forecaster.parameters(),
        **{name: None if part is None else _plain(part) for name, part in parts.items()},
        "tracking": None if forecaster.tracking is None else _plain_tracking(forecaster.tracking),
    }
    if forecaster.tracking is not None:
        tensors |= _tracking_tensors(forecaster.tracking)
    return save(tensors), description


def deserialise(weights: bytes, description: dict[str, Any]) -> Forecaster:
    """The forecaster that `serialise` was given. Raises CheckpointError."""
    try:
        tensors = load(weights)
    except SafetensorError as error:
        raise CheckpointError(f"The weights are damaged: {error}.") from error
    try:
        if description["format"] not in READ:
            raise CheckpointError(f"The format is {description['format']!r}; this code reads {READ[0]} to {FORMAT}.")
        if description["levels"] != list(LEVELS):
            raise CheckpointError("The quantile levels differ from those this code answers on.")
        if description["format"] < 5:
            tensors |= _without_logarithms(tensors)
        forecaster = _forecaster("model", tensors, description["model"])
        if description["twin"] is not None:
            forecaster.twin = _forecaster("twin", tensors, description["twin"])
        if description.get("lineage") is not None:
            forecaster.lineage = _forecaster("lineage", tensors, description["lineage"])
            if forecaster.lineage.identities == forecaster.identities:  # then series are looked up once for both
                forecaster.lineage.identities = forecaster.identities
        if description.get("tracking") is not None:
            forecaster.tracking = _tracking(tensors, description["tracking"])
    except CheckpointError:
        raise
    except ConfigError as error:
        raise CheckpointError(f"The configuration cannot be used: {error}") from error
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CheckpointError(f"The description is incomplete or misshapen: {error!r}.") from error
    if tensors:
        raise CheckpointError(f"The weights hold surplus tensors: {sorted(tensors)[:5]}.")
    return forecaster


def _without_logarithms(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """What older networks lack among their features' constants: covariates compared as they are, by what all series differ."""
    spreads = {name: value for name, value in tensors.items() if name.endswith(".statistics.spread_K")}
    own = {name.replace(".spread_K", ".own_spread_K"): value.clone() for name, value in spreads.items()}
    return own | {name.replace(".spread_K", ".floor_K"): torch.zeros_like(value) for name, value in spreads.items()}


def _plain(forecaster: Forecaster) -> dict[str, Any]:
    return {
        "members": [member.config.as_dict() for member in forecaster.members],
        "keys": [list(key) for key in forecaster.keys],
        "attributes": forecaster.identities.attributes,
        "adjustment": forecaster.adjustment.as_dict(),
        "levels_of_sums": forecaster.dependence.levels_Q.tolist(),
        "trained_until": str(forecaster.trained_until),
    }


def _plain_tracking(tracking: Tracking) -> dict[str, Any]:
    common = tracking.common
    return {
        "keys": [list(key) for key in tracking.keys],
        "until": str(tracking.until),
        "levels": tracking.levels,
        "common_shifts": None if common is None else {"day": str(common.day), "odds": list(common.odds)},
    }


def _tracking_tensors(tracking: Tracking) -> dict[str, Tensor]:
    named = {
        "lean": tracking.lean_SG,
        "shift": tracking.shift_SGQ,
        "learned": np.nan_to_num(tracking.learned_SD, nan=UNKNOWN),
        "again": tracking.again_SD,
    }
    return {f"tracking.{name}": torch.from_numpy(np.ascontiguousarray(values)) for name, values in named.items()}


def _tracking(tensors: dict[str, Tensor], plain: dict[str, Any]) -> Tracking:
    """Takes the state of the series out of the dictionary."""
    keys = [(sku, location) for sku, location in plain["keys"]]
    own = {name: tensors.pop(name) for name in list(tensors) if name.startswith("tracking.")}
    _refuse_not_finite(own)
    stretches = len(STRETCHES)
    learned_SD = _array(own, "tracking.learned", (len(keys), REMEMBERED_DAYS))
    return Tracking(
        keys,
        _array(own, "tracking.lean", (len(keys), stretches)),
        _array(own, "tracking.shift", (len(keys), stretches, len(LEVELS))),
        np.datetime64(plain["until"], "D"),
        np.where(learned_SD == UNKNOWN, np.float32(np.nan), learned_SD),
        _array(own, "tracking.again", (len(keys), REMEMBERED_DAYS)),
        plain["levels"],
        _common_shifts(plain.get("common_shifts")),
    )


def _common_shifts(plain: dict[str, Any] | None) -> CommonShifts | None:
    """None too of versions that were saved before there was such a thing."""
    if plain is None:
        return None
    odds = tuple(float(value) for value in plain["odds"])
    if len(odds) != len(SPANS) or not all(0 < value < math.inf for value in odds):
        raise CheckpointError(f"The odds of common shifts must be {len(SPANS)} finite numbers above 0.")
    return CommonShifts(np.datetime64(plain["day"], "D"), odds)


def _refuse_not_finite(tensors: dict[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"The tensor {name!r} holds values that are not finite.")


def _tensors(part: str, forecaster: Forecaster) -> dict[str, Tensor]:
    named = {f"{part}.dependence": torch.from_numpy(np.array(forecaster.dependence.rows_NH))}
    for number, member in enumerate(forecaster.members):
        prefix = f"{part}.{number}"
        named |= {f"{prefix}.network.{name}": value for name, value in member.network.state_dict().items()}
        if member.residuals_HQ is not None and member.residual_mean_H is not None:
            named[f"{prefix}.residuals"] = torch.from_numpy(np.array(member.residuals_HQ))
            named[f"{prefix}.residual_mean"] = torch.from_numpy(np.array(member.residual_mean_H))
    return {name: value.detach().cpu().clone().contiguous() for name, value in named.items()}


def _forecaster(part: str, tensors: dict[str, Tensor], plain: dict[str, Any]) -> Forecaster:
    """Takes this part's tensors out of the dictionary and rebuilds the forecaster from them."""
    own = {name: tensors.pop(name) for name in list(tensors) if name.startswith(f"{part}.")}
    _refuse_not_finite(own)
    identities = Identities([(sku, location) for sku, location in plain["keys"]], dict(plain["attributes"]))
    configs = [ResolvedConfig.from_dict(member) for member in plain["members"]]
    adjustment = Adjustment.from_dict(plain["adjustment"])
    if not configs or len(adjustment.weights_M) != len(configs):
        raise CheckpointError(f"There are {len(configs)} members and {len(adjustment.weights_M)} weights.")
    _numbers("climatology", adjustment.climatology_K, len(KINDS))
    members = [_member(f"{part}.{number}.", own, config, identities) for number, config in enumerate(configs)]
    rows_NH = _array(own, f"{part}.dependence", (None, configs[0].horizon))
    levels_Q = np.array(plain.get("levels_of_sums", LEVELS), np.float64)  # older ones read paths' sums as they are
    _numbers("levels_of_sums", levels_Q, len(LEVELS))
    dependence = Dependence(rows_NH, levels_Q)
    if own:
        raise CheckpointError(f"The weights hold surplus tensors: {sorted(own)[:5]}.")
    return Forecaster(members, identities, np.datetime64(plain["trained_until"], "D"), adjustment, dependence)


def _member(prefix: str, own: dict[str, Tensor], config: ResolvedConfig, identities: Identities) -> Member:
    of_network = f"{prefix}network."
    state = {name.removeprefix(of_network): own.pop(name) for name in list(own) if name.startswith(of_network)}
    network = Network(config, sizes=identities.sizes)
    _refuse_misfits(state, network.state_dict())
    network.load_state_dict(state, strict=True)
    network.requires_grad_(False).eval()
    if config.loss == "pinball":
        return Member(config, network)
    residuals_HQ = _array(own, f"{prefix}residuals", (config.horizon, len(LEVELS)))
    return Member(config, network, residuals_HQ, _array(own, f"{prefix}residual_mean", (config.horizon,)))


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


def _numbers(name: str, values: np.ndarray[Any, Any], count: int) -> None:
    if values.shape != (count,) or not np.isfinite(values).all():
        raise CheckpointError(f"{name} must be {count} numbers.")


def _array(tensors: dict[str, Tensor], name: str, shape: tuple[int | None, ...]) -> np.ndarray[Any, Any]:
    if name not in tensors:
        raise CheckpointError(f"The tensor {name!r} is missing.")
    array: np.ndarray[Any, Any] = tensors.pop(name).numpy()
    if len(array.shape) != len(shape) or any(w is not None and w != a for w, a in zip(shape, array.shape, strict=True)):
        raise CheckpointError(f"The tensor {name!r} has the shape {array.shape}; {shape} is needed.")
    return array
