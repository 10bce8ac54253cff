"""The process that trains: reads the panel, trains or updates, scores the champion, saves the artifact, tells its parent.

It publishes nothing and holds no connection while it works. It lives only as long as its parent: the kernel kills it with
the parent, and so does the end of its stdin. The parent's side is in process.py, which also says what goes over the pipes.
"""

import asyncio
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import orjson
import torch

from app.database.engine import Database
from app.errors import Problem
from app.jobs.publication import described
from app.jobs.task import Reading, read_task_data
from app.registry.artifacts import ArtifactDamaged, save
from app.registry.serving import load_forecaster
from app.registry.store import Candidate, TrainedOn
from models.checkpoint import serialise
from models.fitting import NonFiniteLoss
from models.heldout import NotEnoughHistory, compare
from models.networks.forecaster import Forecaster
from models.online import NothingNew, UpdateConfig, update
from models.training import Progress, TimeLimitReached, Trained, train
from models.training_config import RANGES, ConfigError, TrainingConfig

PR_SET_PDEATHSIG = 1
NICENESS = 10
FIRST_TO_GO = "500"
"""When memory runs out, the kernel should end this process before Postgres or the API."""

Tell = Callable[[dict[str, Any]], None]


def main() -> None:
    task = orjson.loads(first_line(0))
    live_with(task["parent"])
    os.nice(NICENESS)
    Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    torch.set_num_threads(task["threads"])
    pipe = own_stdout()

    def tell(message: dict[str, Any]) -> None:
        pipe.write(orjson.dumps(message) + b"\n")
        pipe.flush()

    tell(last_word(task, tell))


def first_line(descriptor: int) -> bytes:
    with os.fdopen(descriptor, "rb", buffering=0, closefd=False) as pipe:
        return pipe.readline()


def live_with(parent: int) -> None:
    """Let the kernel kill this process when its parent dies; the end of stdin tells the same where that is not known."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)

    def watch() -> None:
        while os.read(0, 1):  # not sys.stdin: a thread inside a buffered reader breaks the interpreter's end
            pass
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def own_stdout() -> BinaryIO:
    """The pipe to the parent, taken away from whatever prints: that goes to stderr from now on."""
    pipe = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return pipe


def last_word(task: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Do the work; what the parent is told of its end. What is not foreseen here ends the process with its traceback."""
    try:
        return {"type": "trained", "candidate": described(work(task, tell))}
    except NothingNew as error:
        return {"type": "nothing_new", "detail": str(error)}
    except (NotEnoughHistory, NonFiniteLoss, ConfigError) as error:
        return _failed("not_trainable", str(error))
    except TimeLimitReached as error:
        return _failed("time_limit", str(error))
    except MemoryError:
        return _failed("training_died", "The training ran out of memory.")
    except Problem as problem:
        kind = "passing" if problem.code == "unavailable" else "failed"
        return {"type": kind, "code": problem.code, "detail": problem.detail}


def _failed(code: str, detail: str) -> dict[str, Any]:
    return {"type": "failed", "code": code, "detail": detail}


def work(task: dict[str, Any], tell: Tell) -> Candidate:
    """Train or update on all sales, and save what came of it."""
    report = reporter(tell)
    report(Progress(0.0, 0, 0, None, None, None, "reading"))
    request = task["request"]
    data = asyncio.run(_read(task))
    if data.panel is None:
        raise NotEnoughHistory("There are no sales to learn from; post some first.")
    if task["kind"] == "train":
        trained = train(data.panel, training_config(request, data), report=report)
        report(Progress(1.0, trained.steps, trained.steps, None, None, None, "comparing"))
        trained.metrics = compare(trained, data.panel, _champion_to_judge(task, data))
        parent = None
    else:
        champion = _champion_to_update(task, data)
        config = UpdateConfig(seed=request["seed"], max_seconds=request["max_seconds"])
        trained = update(champion, data.panel, config=config, report=report)
        parent = data.champion
    return _saved(task, data, trained, parent)


async def _read(task: dict[str, Any]) -> Reading:
    database = Database(task["database_url"], pool_size=1)
    try:
        return await read_task_data(database, kind=task["kind"], request=task["request"])
    finally:
        await database.close()


def reporter(tell: Tell) -> Callable[[Progress], None]:
    """Passes progress on; it never goes back."""

    def report(progress: Progress) -> None:
        tell(
            {
                "type": "progress",
                "progress": progress.fraction,
                "stage": progress.stage,
                "epoch": progress.epoch,
                "loss": progress.loss,
                "validation": progress.validation,
                "eta_seconds": progress.eta_seconds,
            }
        )

    return report


def training_config(request: dict[str, Any], data: Reading) -> TrainingConfig:
    assert data.panel is not None
    numbers = {name: request[name] for name in RANGES}
    return TrainingConfig(
        architecture=request["model"],
        loss=request["loss"],
        known=tuple(data.panel.known),
        past=tuple(data.panel.past),
        **numbers,
    )


def _champion_to_judge(task: dict[str, Any], data: Reading) -> Forecaster | None:
    """The champion, to be scored beside the new version; None where there is none or its artifact is damaged."""
    if data.champion is None or data.champion_sha256 is None:
        return None
    try:
        return load_forecaster(task["artifacts"], data.champion_sha256)
    except ArtifactDamaged as damage:
        print(f"The champion, version {data.champion}, cannot be scored: {damage.detail}", file=sys.stderr)  # noqa: T201
        return None


def _champion_to_update(task: dict[str, Any], data: Reading) -> Forecaster:
    if data.champion is None or data.champion_sha256 is None:
        raise Problem("conflict", "There is no champion to update; train one first.")
    return load_forecaster(task["artifacts"], data.champion_sha256)


def _saved(task: dict[str, Any], data: Reading, trained: Trained, parent: int | None) -> Candidate:
    assert data.panel is not None
    forecaster, job_id = trained.forecaster, UUID(task["job_id"])
    weights, description = serialise(forecaster)
    artifact = save(task["artifacts"], weights, description, job_id=job_id)
    return Candidate(
        job_id=job_id,
        kind=task["kind"],
        architecture=forecaster.config.architecture,
        parent=parent,
        horizon=forecaster.horizon,
        context_length=forecaster.config.context_length,
        trained_on=TrainedOn(data.cutoff, data.rows, data.panel.series, data.panel.fingerprint()),
        config=forecaster.config.as_dict(),
        metrics=trained.metrics,
        artifact=artifact,
        judged_against=data.champion,
        promote=task["request"]["promote"],
    )


if __name__ == "__main__":
    main()
