"""What a training may be told: every field with its range, its default and its meaning, in one table.

The service's request schema, the documentation and `TrainingConfig` itself all read `RANGES`.
"""

from dataclasses import dataclass, fields, replace
from typing import Any, Literal, cast, get_args

Architecture = Literal["lstm", "transformer", "cnn", "mlp"]
Model = Literal["lstm", "transformer", "cnn", "mlp", "ensemble"]
Loss = Literal["pinball", "mse", "mae"]
Cleaning = Literal["mask", "linear", "mean", "seasonal", "model", "none"]
ARCHITECTURES: tuple[Architecture, ...] = get_args(Architecture)
MODELS: tuple[Model, ...] = get_args(Model)
LOSSES: tuple[Loss, ...] = get_args(Loss)
CLEANINGS: tuple[Cleaning, ...] = get_args(Cleaning)

ENSEMBLE: tuple[tuple[Architecture, int], ...] = (
    ("mlp", 0),
    ("cnn", 0),
    ("lstm", 0),
    ("transformer", 0),
    ("mlp", 1),
    ("cnn", 1),
)
"""The members of an ensemble: each a trunk, and what is added to the seed."""

STUDENT = {"width": 64, "context_length": 28}
"""At most so much of the first member, an MLP, is what an ensemble is distilled into (distilling.py)."""

STEPS_PER_EPOCH = 20
"""An epoch is this many optimiser steps, whatever the size of the data: one validation follows each."""

LEVELS = (0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99)
"""The quantile levels every forecaster answers on; others are interpolated between them."""


@dataclass(frozen=True)
class Range:
    """One numeric field: inclusive bounds, the default per architecture (one for all when they agree), its meaning."""

    low: float
    high: float
    default: float | dict[Architecture, float]
    meaning: str
    whole: bool = True

    def default_for(self, architecture: Architecture) -> float:
        return self.default[architecture] if isinstance(self.default, dict) else self.default


RANGES: dict[str, Range] = {
    "horizon": Range(1, 365, 28, "days ahead that are forecast"),
    "context_length": Range(
        7, 364, {"lstm": 56, "transformer": 56, "cnn": 56, "mlp": 56}, "past days the trunk reads day by day"
    ),
    "layers": Range(1, 8, {"lstm": 1, "transformer": 2, "cnn": 2, "mlp": 2}, "layers of the trunk"),
    "width": Range(
        8, 512, {"lstm": 64, "transformer": 64, "cnn": 64, "mlp": 128}, "channels of the trunk and the decoder"
    ),
    "heads": Range(1, 16, 4, "attention heads (transformer only); must divide the width"),
    "dropout": Range(0.0, 0.8, 0.1, "share of activations dropped while training", whole=False),
    "learning_rate": Range(1e-5, 0.1, 6e-3, "highest learning rate of AdamW", whole=False),
    "batch_size": Range(8, 8192, 512, "windows in one optimiser step"),
    "epochs": Range(1, 500, 60, f"at most so many epochs of {STEPS_PER_EPOCH} optimiser steps"),
    "weight_decay": Range(0.0, 1.0, 0.01, "decoupled weight decay of AdamW", whole=False),
    "noise": Range(
        0.0,
        0.5,
        0.0,
        "spread of the noise that past days are multiplied with while training; in that share of windows one day up to tenfold",
        whole=False,
    ),
    "patience": Range(1, 500, 8, "epochs without a better validation loss before training stops"),
    "seed": Range(0, 2**31 - 1, 0, "seed of weights, sampling and dropout"),
    "max_seconds": Range(1.0, 86_400.0, 1800.0, "seconds after which the training gives up", whole=False),
}


class ConfigError(ValueError):
    """A field of the configuration is out of its range; the message names field, value and range."""


@dataclass(frozen=True)
class TrainingConfig:
    """What to train and how. A field left None takes the architecture's default from `RANGES`."""

    model: Model = "lstm"
    horizon: int = 28
    context_length: int | None = None
    layers: int | None = None
    width: int | None = None
    heads: int | None = None
    dropout: float | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    epochs: int | None = None
    weight_decay: float | None = None
    noise: float | None = None
    patience: int | None = None
    loss: Loss = "pinball"
    seed: int = 0
    max_seconds: float = 1800.0
    cleaning: Cleaning = "mask"
    known: tuple[str, ...] = ()
    past: tuple[str, ...] = ()

    def members(self) -> "list[ResolvedConfig]":
        """Each network to train, with every default filled in and every field checked. Raises ConfigError."""
        if self.model not in MODELS:
            raise ConfigError(f"model must be one of {', '.join(MODELS)}, not {self.model!r}.")
        networks = ENSEMBLE if self.model == "ensemble" else ((self.model, 0),)
        return [self._resolved(architecture).replace(seed=self.seed + further) for architecture, further in networks]

    def student(self) -> "ResolvedConfig":
        """The small network that this ensemble can be distilled into. Raises ConfigError where it is no ensemble of quantiles."""
        if self.model != "ensemble":
            raise ConfigError(
                f"compress needs the model ensemble; a single {self.model} has nothing to be distilled from."
            )
        if self.loss != "pinball":
            raise ConfigError(
                f"compress needs the loss pinball, not {self.loss}: a student learns its members' quantiles."
            )
        first = self.members()[0]
        most: dict[str, int] = {name: min(getattr(first, name), value) for name, value in STUDENT.items()}
        return first.replace(**most)

    def _resolved(self, architecture: Architecture) -> "ResolvedConfig":
        if self.loss not in LOSSES:
            raise ConfigError(f"loss must be one of {', '.join(LOSSES)}, not {self.loss!r}.")
        if self.cleaning not in CLEANINGS:
            raise ConfigError(f"cleaning must be one of {', '.join(CLEANINGS)}, not {self.cleaning!r}.")
        values: dict[str, float] = {}
        for name, bounds in RANGES.items():
            value = getattr(self, name)
            value = bounds.default_for(architecture) if value is None else value
            if not bounds.low <= value <= bounds.high:
                raise ConfigError(f"{name} must lie between {bounds.low} and {bounds.high}, not {value}.")
            if bounds.whole and value != int(value):
                raise ConfigError(f"{name} must be a whole number, not {value}.")
            values[name] = int(value) if bounds.whole else float(value)
        if architecture == "transformer" and values["width"] % values["heads"]:
            raise ConfigError(f"heads ({values['heads']}) must divide width ({values['width']}).")
        text: dict[str, Any] = {name: getattr(self, name) for name in ("loss", "cleaning", "known", "past")}
        text["architecture"] = architecture
        return ResolvedConfig(**values, **text)  # type: ignore[arg-type]


@dataclass(frozen=True)
class ResolvedConfig:
    """A TrainingConfig without open questions; kept with every version."""

    architecture: Architecture
    horizon: int
    context_length: int
    layers: int
    width: int
    heads: int
    dropout: float
    learning_rate: float
    batch_size: int
    epochs: int
    weight_decay: float
    noise: float
    patience: int
    loss: Loss
    seed: int
    max_seconds: float
    cleaning: Cleaning
    known: tuple[str, ...]
    past: tuple[str, ...]

    @property
    def kind(self) -> tuple[object, ...]:
        """What kind of network it makes, and what that reads of a window."""
        made = (self.architecture, self.loss, self.horizon)
        return (*made, self.context_length, self.cleaning, self.known, self.past)

    def as_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}

    @classmethod
    def from_dict(cls, plain: dict[str, object]) -> "ResolvedConfig":
        """The inverse of `as_dict`; raises ConfigError for absent, surplus or impossible fields.

        A version that does not say how its sales were cleaned, or how noisy they were made, comes from before that was done.
        """
        plain = {"cleaning": "none", "noise": 0.0} | plain
        names = {f.name for f in fields(cls)}
        if set(plain) != names:
            raise ConfigError(f"The configuration's fields differ: {sorted(set(plain) ^ names)}.")
        lists = {n: tuple(cast(list[str], v)) if isinstance(v, list) else v for n, v in plain.items()}
        architecture = cast(Architecture, lists.pop("architecture"))
        (resolved,) = TrainingConfig(model=architecture, **lists).members()  # type: ignore[arg-type]
        return resolved

    def replace(self, **changes: object) -> "ResolvedConfig":
        return replace(self, **changes)  # type: ignore[arg-type]
