"""A really trained tiny network, and a database in which it is published."""

import uuid
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import numpy as np
import pytest

from app.config import Settings
from app.database.engine import Database
from app.registry.artifacts import save
from app.registry.decision import Promote
from app.registry.store import Candidate, TrainedOn, publish
from models.checkpoint import serialise
from models.panel import Panel
from models.training import Trained, train
from models.training_config import Architecture, TrainingConfig
from tests.forecasts.data import END

Publish = Callable[..., Awaitable[int]]
TRAINED_DAYS = 200


def trained_quantities(sku: int) -> list[float]:
    """Whole numbers with a weekly shape, a level of their own for each SKU, and noise that repeats."""
    rng = np.random.default_rng(sku)
    shape = np.array([4, 4, 5, 6, 8, 9, 3]) * (1 + sku)
    return rng.poisson(np.resize(shape, TRAINED_DAYS)).astype(float).tolist()


def _trained(architecture: Architecture, horizon: int, seed: int) -> Trained:
    quantity_ST = np.array([trained_quantities(sku) for sku in range(4)], dtype=np.float32)
    names = [f"T-{sku}" for sku in range(4)]
    start = np.datetime64(END, "D") - np.timedelta64(TRAINED_DAYS - 1, "D")
    panel = Panel(names, [""] * 4, start, quantity_ST)
    config = TrainingConfig(
        model=architecture,
        horizon=horizon,
        context_length=14,
        width=8,
        layers=1,
        epochs=2,
        batch_size=64,
        seed=seed,
    )
    return train(panel, config)


@pytest.fixture(scope="session")
def lstm() -> Trained:
    return _trained("lstm", 21, 0)


@pytest.fixture(scope="session")
def cnn() -> Trained:
    return _trained("cnn", 14, 1)


@pytest.fixture
def publish_version(database: Database, settings: Settings) -> Publish:
    """Publishes a trained network the way a worker does; returns its version."""

    async def published(trained: Trained, promote: Promote = "always") -> int:
        weights, description = serialise(trained.forecaster)
        job_id = uuid.uuid4()
        artifact = save(settings.artifacts_location, weights, description, job_id=job_id)
        config: dict[str, Any] = trained.forecaster.config.as_dict()
        candidate = Candidate(
            job_id=job_id,
            kind="train",
            architecture=trained.forecaster.architecture,
            parent=None,
            horizon=trained.forecaster.horizon,
            context_length=trained.forecaster.config.context_length,
            trained_on=TrainedOn(
                cutoff=date.fromisoformat(str(trained.forecaster.trained_until)),
                rows=800,
                series=4,
                fingerprint="0" * 64,
            ),
            config=config,
            metrics=trained.metrics,
            artifact=artifact,
            judged_against=None,
            promote=promote,
        )
        async with database.transaction() as connection:
            return (await publish(connection, candidate)).version

    return published
