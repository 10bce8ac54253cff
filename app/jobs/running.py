"""One claimed job, from the start of its child to its settled end in the database.

Four things race: the child's end, the heartbeat (which learns of a cancel or a lost lease), the time limit and the worker's
shutdown. Whichever comes first decides the outcome; then one fenced transaction writes it, publication included.
"""

import asyncio
import signal
import time
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import asyncpg
import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accuracy.store import Issuance, record_issuance, record_scores
from app.config import Settings
from app.database.engine import Database
from app.errors import Problem
from app.jobs import queue
from app.jobs.drifting import record_drift
from app.jobs.process import Child
from app.jobs.publication import publish
from app.jobs.queue import Claim
from app.registry.promotions import champion, lock_registry
from app.registry.watching import Watch, roll_back_if_worse

log = structlog.get_logger()

LOOK_SECONDS = 1.0
"""A cancel is seen within this time even when no NOTIFY arrives."""
LIMIT_GRACE_SECONDS = 5.0
"""The child ends itself at its limit and says how far it came; this much later it is ended."""
SHUTDOWN_SECONDS = 4.0
"""A worker that was asked to stop tries at most so long to hand its job back to a database that is away."""
RETRY_SECONDS = 0.2
PUBLICATION_WAIT_SECONDS = 2.0
"""A publication waits at most so long for a lock, then lets the lease be prolonged and tries again."""

PASSING = (
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.TransactionRollbackError,
    asyncpg.exceptions.IdleInTransactionSessionTimeoutError,
)


@dataclass(frozen=True)
class Outcome:
    """How a job's attempt ended; `word` is the child's last message, `problem` what a failed job keeps."""

    kind: Literal["trained", "backtested", "scored", "nothing_new", "failed", "passing", "cancelled", "lost", "stopped"]
    word: dict[str, Any] | None = None
    problem: Problem | None = None


class RunningJob:
    """A job that this worker holds. `claimed` is the monotonic time just before the claim was sent."""

    def __init__(
        self, ours: Claim, database: Database, settings: Settings, *, claimed: float, stop: asyncio.Event
    ) -> None:
        self.ours = ours
        self.changed = asyncio.Event()  # set when somebody announced a change of this job
        self._database = database
        self._settings = settings
        self._stop = stop
        self._started = claimed
        self._lease_ends = claimed + settings.lease_seconds
        self._log = log.bind(job=str(ours.id), kind=ours.kind, attempt=ours.attempt)

    async def run(self, task: dict[str, Any], waiting: asyncio.subprocess.Process | None = None) -> None:
        """Run the child (the one that waits, if it is given) to its end and write what came of it. Returns when the job is no
        longer ours."""
        self._log.info("job_started")
        child = await Child.start(task, waiting)
        try:
            outcome = await self._outcome(child)
        finally:
            await child.kill()
        await self._settle(outcome, child.news)

    async def _outcome(self, child: Child) -> Outcome:
        racers = [
            asyncio.create_task(racer)
            for racer in (self._child_ended(child), self._heartbeat(child), self._overran(), self._stopped())
        ]
        try:
            await asyncio.wait(racers, return_when=asyncio.FIRST_COMPLETED)
            first = next(racer for racer in racers if racer.done())  # the child's own end goes before the others
            return first.result()
        finally:
            for racer in racers:
                racer.cancel()
            await asyncio.gather(*racers, return_exceptions=True)

    async def _child_ended(self, child: Child) -> Outcome:
        code = await child.ended()
        word = child.last_word
        if word is None:
            return Outcome("failed", problem=died(code))
        if word["type"] in ("failed", "passing"):
            return Outcome(word["type"], problem=Problem(word["code"], word["detail"]))
        return Outcome(word["type"], word)

    async def _heartbeat(self, child: Child) -> Outcome:
        due = self._started + self._settings.heartbeat_seconds
        pause = min(LOOK_SECONDS, self._settings.heartbeat_seconds)
        delivered: queue.News | None = None
        while True:
            await self._changed_within(pause)
            before, news = time.monotonic(), child.news
            beats = news is not delivered or before >= due
            try:
                async with asyncio.timeout(self._lease_ends - before):
                    cancel = await (self._beat(news) if beats else self._look())
            except (Problem, DBAPIError, TimeoutError) as error:
                if not passes(error):
                    raise
                if time.monotonic() >= self._lease_ends:
                    return Outcome("lost")
                self._log.warning("heartbeat_missed", lease_seconds_left=round(self._lease_ends - time.monotonic(), 1))
                continue
            if cancel is None:
                return Outcome("lost")
            if cancel:
                return Outcome("cancelled")
            if beats:
                self._lease_ends = before + self._settings.lease_seconds
                due, delivered = before + self._settings.heartbeat_seconds, news

    async def _beat(self, news: queue.News | None = None) -> bool | None:
        async with self._database.transaction() as connection:
            return await queue.beat(connection, self.ours, lease_seconds=self._settings.lease_seconds, news=news)

    async def _look(self) -> bool | None:
        async with self._database.transaction() as connection:
            return await queue.look(connection, self.ours)

    async def _changed_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self.changed.wait()
        except TimeoutError:
            return
        self.changed.clear()

    async def _overran(self) -> Outcome:
        limit: float = self.ours.request["max_seconds"]
        await asyncio.sleep(self._started + limit + LIMIT_GRACE_SECONDS - time.monotonic())
        return Outcome(
            "failed", problem=Problem("time_limit", f"The job did not end within {limit:g} s and was stopped.")
        )

    async def _stopped(self) -> Outcome:
        await self._stop.wait()
        return Outcome("stopped")

    async def _settle(self, outcome: Outcome, news: queue.News | None) -> None:
        """Write the outcome, again and again while the database is away, the lease holds and the worker has time."""
        stopping: float | None = None
        while outcome.kind != "lost":
            if self._stop.is_set():
                stopping = stopping or time.monotonic()
            ends = self._lease_ends if stopping is None else min(self._lease_ends, stopping + SHUTDOWN_SECONDS)
            try:
                async with asyncio.timeout(max(ends - time.monotonic(), 1.0)):
                    status = await self._write(outcome, news)
            except (Problem, DBAPIError, TimeoutError) as error:
                outcome = await self._not_written(outcome, error, ends=ends)
                continue
            self._log.info("job_ended", outcome=outcome.kind, status=status or "lost")
            return
        self._log.warning("lease_lost")

    async def _not_written(self, outcome: Outcome, error: Exception, *, ends: float) -> Outcome:
        """What to write instead, or the same once more; the lease is prolonged meanwhile, or found lost."""
        if not passes(error):
            self._log.error("job_end_refused", exc_info=error)
            if outcome.problem is not None:
                raise error
            return Outcome("failed", problem=Problem("internal_error", "The end of the job could not be written."))
        await asyncio.sleep(RETRY_SECONDS)
        before = time.monotonic()
        if before >= ends:
            return Outcome("lost")
        if self._stop.is_set() and outcome.kind in ("trained", "backtested"):
            outcome = Outcome("stopped")  # whoever takes it next publishes
        try:
            async with asyncio.timeout(ends - before):
                cancel = await self._beat()
        except (Problem, DBAPIError, TimeoutError) as again:
            if not passes(again):
                raise
            return outcome
        self._lease_ends = before + self._settings.lease_seconds
        # No row: taken over, or ended by ourselves when only the answer to the COMMIT was lost. Nothing is left to do.
        return Outcome("lost") if cancel is None else outcome

    async def _write(self, outcome: Outcome, news: queue.News | None) -> str | None:
        """One transaction behind the fence; the job's new status, None when it is no longer ours."""
        async with self._database.transaction() as connection:
            wait = int(1000 * min(PUBLICATION_WAIT_SECONDS, self._settings.lease_seconds / 3))
            await connection.execute(text(f"SET LOCAL lock_timeout = {wait}"))
            cancel = await queue.hold(connection, self.ours)
            if cancel is None:
                return None
            if news is not None:  # what the child told last, just before its end
                await queue.beat(connection, self.ours, lease_seconds=self._settings.lease_seconds, news=news)
            if cancel or outcome.kind == "cancelled":
                return await queue.cancelled(connection, self.ours)
            return await self._written(connection, outcome)

    async def _written(self, connection: AsyncConnection, outcome: Outcome) -> str | None:
        if outcome.kind == "stopped":
            return await queue.hand_back(connection, self.ours)
        if outcome.kind == "passing":
            assert outcome.problem is not None
            return await queue.retry(
                connection,
                self.ours,
                outcome.problem,
                max_attempts=self._settings.max_attempts,
                retry_seconds=self._settings.retry_seconds,
            )
        if outcome.problem is not None:
            return await queue.fail(connection, self.ours, outcome.problem)
        assert outcome.word is not None
        if outcome.kind == "backtested":
            return await queue.succeed(connection, self.ours, {"version": None, **outcome.word["result"]})
        same = await self._same_champion(connection, outcome.word)
        rolled_back = None
        if self.ours.kind == "update":
            rolled_back = await self._watched(connection, outcome.word, same=same)
        if outcome.kind in ("nothing_new", "scored"):
            told = " ".join(filter(None, (outcome.word["detail"], rolled_back)))
            return await queue.succeed(connection, self.ours, {"version": None, "outcome": told})
        published = await publish(connection, self.ours, outcome.word["candidate"])
        if outcome.word.get("issuance") and same and rolled_back is None:  # else callers never read what was said there
            await self._record(connection, outcome.word["issuance"], published["version"])
        found = {name: outcome.word[name] for name in ("tuning", "compressed")}
        return await queue.succeed(connection, self.ours, published | found)

    async def _same_champion(self, connection: AsyncConnection, word: dict[str, Any]) -> bool:
        """Whether the champion is still the one that an update was judged against. It stays so until the transaction ends."""
        await lock_registry(connection)
        return bool("candidate" in word and word["candidate"]["judged_against"] == await champion(connection))

    async def _watched(self, connection: AsyncConnection, word: dict[str, Any], *, same: bool) -> str | None:
        """Let what an update scored count. A champion that has to go back does so before anything is published: the update came
        of it, and is then kept as challenger. The reason, None where the champion stays."""
        await record_scores(connection, self.ours.id, word.get("scores", {}))
        settings = self._settings
        await record_drift(connection, self.ours.id, word.get("drifts", []), acts=settings.drift_acts)
        broken = word.get("live_broken") if same else None  # said of a champion that has left otherwise
        watch = Watch(settings.rollback_percent, settings.rollback_days, settings.artifacts_location, broken)
        return await roll_back_if_worse(connection, watch)

    async def _record(self, connection: AsyncConnection, issued: dict[str, Any], version: int) -> None:
        """Let what an update issued count, with its version."""
        present = await champion(connection)
        assert present is not None
        cutoff = date.fromisoformat(issued["cutoff"])
        await record_issuance(connection, Issuance(cutoff, self.ours.id, version, present, issued["horizon"]))


def passes(error: BaseException) -> bool:
    """Whether an error of the database may pass when tried again."""
    if isinstance(error, Problem):
        return error.code == "unavailable"
    if isinstance(error, DBAPIError):
        return isinstance(getattr(error.orig, "__cause__", None), PASSING)
    return isinstance(error, TimeoutError)


def died(code: int) -> Problem:
    """What a failed job says about a child that ended without a last word."""
    if code == -signal.SIGKILL:
        return Problem(
            "training_died", "The training process was killed (SIGKILL); most often the machine ran out of memory."
        )
    if code < 0:
        return Problem("training_died", f"The training process was ended by {signal.Signals(-code).name}.")
    return Problem("training_died", f"The training process ended with exit code {code}; the worker's log says why.")
