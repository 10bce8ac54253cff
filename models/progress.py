"""Where a training stands: told about twice a second, and ended when its time is over. Nothing here trains."""

import time
from collections.abc import Callable
from dataclasses import dataclass

REPORT_SECONDS = 0.5


class TimeLimitReached(RuntimeError):
    """The training had not ended after `max_seconds`."""


@dataclass(frozen=True)
class Progress:
    """Where a training stands; `fraction` (0 … 1) never goes back. `eta_seconds` is None until it can be told."""

    fraction: float
    epoch: int
    epochs: int
    loss: float | None
    validation: float | None
    eta_seconds: float | None
    stage: str


Report = Callable[[Progress], None]


class Clock:
    """Tells progress at most twice a second, and raises when the time is over."""

    def __init__(self, max_seconds: float, epochs: int, report: Report) -> None:
        self.started = self.told = time.monotonic()
        self.limit, self.epochs, self.report = max_seconds, epochs, report
        self.epoch = 0
        self.history: list[dict[str, float]] = []
        self.loss: float | None = None
        self.validation: float | None = None

    def seconds(self) -> float:
        return time.monotonic() - self.started

    def part(self, stage: str, share: float, *, begin: float = 0.0) -> "Part":
        """A stage that takes `share` of the whole."""
        return Part(self, stage, begin, share)

    def check(self, stage: str, fraction: float) -> None:
        """Between two steps: raises TimeLimitReached, tells progress when it is time to."""
        if self.seconds() > self.limit:
            raise TimeLimitReached(
                f"The training was stopped after its limit of {self.limit:.0f} s, {fraction:.0%} done."
            )
        if time.monotonic() - self.told >= REPORT_SECONDS:
            self.tell(stage, fraction)

    def tell(self, stage: str, fraction: float) -> None:
        self.told = time.monotonic()
        left = self.seconds() * (1 - fraction) / fraction if fraction > 0.01 else None
        self.report(Progress(fraction, self.epoch, self.epochs, self.loss, self.validation, left, stage))


@dataclass(frozen=True)
class Part:
    """One stage's stretch of a training's progress."""

    clock: Clock
    stage: str
    begin: float
    width: float

    def over(self, share: float) -> bool:
        """Whether more than this share of the whole training's time is spent."""
        return self.clock.seconds() > share * self.clock.limit

    def check(self, done: float) -> None:
        self.clock.check(self.stage, self.begin + self.width * done)

    def end_epoch(self, loss: float, validation: float, done: float) -> None:
        """Count an epoch, keep it in the history and tell of it."""
        clock = self.clock
        clock.epoch, clock.loss, clock.validation = clock.epoch + 1, loss, validation
        clock.history.append({"epoch": clock.epoch, "loss": loss, "validation": validation})
        clock.tell(self.stage, self.begin + self.width * done)
