"""Versions for the tests of the registry: real small networks, saved and published the way a worker does it."""

import uuid
from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sqlalchemy import text

from app.config import Settings
from app.database.engine import Database
from app.registry.artifacts import Artifact, save
from app.registry.decision import Promote
from app.registry.store import Candidate, Published, TrainedOn, publish
from models.adjustment import equal_members
from models.checkpoint import serialise
from models.dependence import Dependence
from models.forecaster import Forecaster, Member
from models.identities import Identities
from models.networks.network import Network
from models.training_config import TrainingConfig

HORIZON = 7


def a_forecaster(seed: int = 0) -> Forecaster:
    """A network of random weights: whether it forecasts well is not the registry's matter."""
    (config,) = TrainingConfig(horizon=HORIZON, context_length=14, width=8, layers=1, seed=seed).members()
    identities = Identities([("A", ""), ("B", "")], {})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(config, sizes=identities.sizes)
    network.requires_grad_(False).eval()
    dependence = Dependence(np.full((20, HORIZON), 0.5, dtype=np.float16))
    day = np.datetime64("2026-10-31", "D")
    return Forecaster([Member(config, network)], identities, day, equal_members(1), dependence)


@lru_cache
def weights_of(seed: int = 0) -> tuple[bytes, dict[str, Any]]:
    return serialise(a_forecaster(seed))


def scored(wql: float | None, **others: float | None) -> dict[str, Any]:
    """Metrics of a new version and of whatever else was scored on the same windows."""
    scores = {"seasonal_naive": 0.9, "moving_average": 0.8, "exponential_smoothing": 0.7, **others, "model": wql}
    return {name: {"wql": value, "mae": 1.0} for name, value in scores.items()} | {"windows": ["2026-10-01"]}


def a_candidate(artifact: Artifact, **changes: Any) -> Candidate:
    fields: dict[str, Any] = {
        "job_id": uuid.uuid4(),
        "kind": "train",
        "architecture": "lstm",
        "parent": None,
        "horizon": HORIZON,
        "context_length": 14,
        "trained_on": TrainedOn(cutoff=date(2026, 10, 31), rows=600, series=2, fingerprint="ab" * 32),
        "config": {"architecture": "lstm", "epochs": 3},
        "metrics": scored(0.5),
        "artifact": artifact,
        "judged_against": None,
        "promote": "auto",
    }
    return Candidate(**{**fields, **changes})


async def published(
    database: Database, settings: Settings, *, promote: Promote = "never", seed: int = 0, **changes: Any
) -> Published:
    """Save and publish a version with a real artifact."""
    job_id = changes.pop("job_id", None) or uuid.uuid4()
    weights, description = weights_of(seed)
    artifact = save(settings.artifacts_location, weights, description, job_id=job_id)
    async with database.transaction() as connection:
        return await publish(connection, a_candidate(artifact, job_id=job_id, promote=promote, **changes))


async def champion_of(database: Database) -> int | None:
    async with database.reading() as connection:
        version: int | None = await connection.fetchval("SELECT version FROM aliases WHERE alias = 'champion'")
        return version


async def sha256_of(database: Database, version: int) -> str:
    async with database.reading() as connection:
        return str(await connection.fetchval("SELECT artifact_sha256 FROM versions WHERE version = $1", version))


async def file_of(database: Database, settings: Settings, version: int, ending: str) -> Path:
    """A version's file on disk; `ending` is "json" or "safetensors"."""
    return Path(settings.artifacts_location) / f"{await sha256_of(database, version)}.{ending}"


def flip_byte(file: Path, position: int) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 0x01
    file.write_bytes(content)


async def unused_for(database: Database, age: timedelta, *versions: int) -> None:
    """Let versions look as if they had last been used so long ago."""
    async with database.transaction() as connection:
        await connection.execute(
            text("UPDATE versions SET last_used_at = now() - CAST(:age AS interval) WHERE version = ANY(:versions)"),
            {"age": age, "versions": list(versions)},
        )
