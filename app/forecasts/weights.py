"""Trained weights in memory: which versions this process can answer with, and what stands in for a damaged champion.

A version's weights never change, so a loaded one is kept and never read again: a champion in memory keeps serving
whatever becomes of its files. Which version is champion is never remembered here, but read with every look-up.
"""

import asyncio
import math
import time
from collections import OrderedDict

import structlog
import torch

from app.database.engine import Database, begun
from app.errors import Problem
from app.forecasts import store
from app.forecasts.store import SIMPLE, StandIn
from app.registry.artifacts import ArtifactMissing
from app.registry.serving import load_forecaster, serving_version
from app.registry.store import touch_version
from models.forecaster import Forecaster

log = structlog.get_logger()

KEPT_VERSIONS = 8
RETRY_SECONDS = 60.0
"""Seconds after which a champion that could not be loaded is tried again: its files may have been put back."""

NOTE_SECONDS = 3600.0


class Weights:
    """The forecasters of versions, loaded once and verified, on the device that answers."""

    def __init__(self, database: Database, location: str, device: torch.device) -> None:
        self._database = database
        self._location, self._device = location, device
        self._loaded: OrderedDict[int, Forecaster] = OrderedDict()
        self._noted: dict[int, float] = {}
        self._lock = asyncio.Lock()
        self._look_at = 0.0
        self.stand_in: StandIn | None = None
        """What serves instead of a champion that this process could not load."""

    async def of(self, version: int) -> Forecaster:
        """The forecaster of a version. Raises ArtifactDamaged, which names what is wrong."""
        if version not in self._loaded:
            async with self._lock:
                if version not in self._loaded:
                    self._remember(version, await self._load(version))
        self._loaded.move_to_end(version)
        return self._loaded[version]

    async def find_serving(self) -> None:
        """Load the champion; where it is damaged, settle what stands in for it: a former champion or a simple method."""
        async with self._lock:
            serving = await serving_version(self._database, self._location, self._loaded, device=self._device)
            if serving.version is not None and serving.forecaster is not None:
                self._remember(serving.version, serving.forecaster)
            self.stand_in, self._look_at = None, math.inf
            if serving.champion is not None and serving.version != serving.champion:
                serves = "a simple method answers" if serving.version is None else f"version {serving.version} answers"
                why = f"{serving.damage} Meanwhile {serves}."
                self.stand_in = StandIn(serving.champion, serving.version or SIMPLE, why)
                self._look_at = time.monotonic() + RETRY_SECONDS

    async def present_stand_in(self) -> StandIn | None:
        """The stand-in. Looks whether the champion can be loaded at first, and from time to time where it could not."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + RETRY_SECONDS
            try:
                await self.find_serving()
            except Problem as problem:
                log.warning("champion_not_loaded", detail=problem.detail)
        return self.stand_in

    async def note_use(self, version: int) -> None:
        """Let retention know, once an hour, that this version is still asked for."""
        if version == SIMPLE or self._noted.get(version, -math.inf) > time.monotonic() - NOTE_SECONDS:
            return
        self._noted[version] = time.monotonic()
        async with self._database.transaction() as connection:
            await touch_version(await begun(connection), version)

    def _remember(self, version: int, forecaster: Forecaster) -> None:
        self._loaded[version] = forecaster
        self._loaded.move_to_end(version)
        while len(self._loaded) > KEPT_VERSIONS:
            self._loaded.popitem(last=False)

    async def _load(self, version: int) -> Forecaster:
        async with self._database.reading() as connection:
            artifact = await store.artifact_of(connection, version)
        if artifact is None:
            raise Problem("not_found", f"There is no version {version}.")
        if artifact.removed_at is not None:
            raise ArtifactMissing(f"The weights of version {version} were removed on {artifact.removed_at:%Y-%m-%d}.")
        forecaster = await asyncio.to_thread(load_forecaster, self._location, artifact.sha256, self._device)
        log.info("weights_loaded", version=version, parameters=forecaster.parameters())
        return forecaster
