"""The process that trains: reads the panel, trains, scores the champion, saves the artifact, tells its parent.

Or it updates (updating.py), or backtests (backtesting.py). It publishes nothing and holds no connection while it works. It lives
only as long as its parent: the kernel kills it with the parent, and so does the end of its stdin. The parent's side is in
process.py, which also says what goes over the pipes.
"""

import asyncio
import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO
from uuid import UUID

import orjson
import structlog
import torch

from app.database.engine import Database
from app.errors import Problem
from app.jobs.backtesting import backtested
from app.jobs.publication import described
from app.jobs.queue import NotOurs
from app.jobs.task import Champion, Reading, panel_for, read_task, training_config
from app.jobs.tuning import tuned
from app.jobs.updating import Updated, updated
from app.registry.artifacts import ArtifactDamaged, findings_left, save
from app.registry.quality import parquet_of
from app.registry.serving import load_forecaster
from app.registry.store import Candidate, TrainedOn
from app.sales.panel import TrainingData
from app.telemetry import configure_logging
from models.backtest import NoWindow
from models.checkpoint import serialise
from models.distilling import train_compressed
from models.fitting import NonFiniteLoss
from models.forecaster import Forecaster
from models.heldout import NotEnoughHistory, compare
from models.online.stream import Speeds, renewed
from models.online.tracking import REMEMBERED_DAYS
from models.online.updating import NothingNew
from models.panel import Panel
from models.placement import NoSuchDevice, Placement, placement_of
from models.progress import Progress, Report, TimeLimitReached
from models.training import Trained, train
from models.training_config import ConfigError, TrainingConfig

log = structlog.get_logger()

PR_SET_PDEATHSIG = 1
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3
NICENESS = 10
FIRST_TO_GO = "500"
"""When memory runs out, the kernel should end this process before Postgres or the API."""

OUT_OF_MEMORY = (
    "The training ran out of memory; a shorter context, a smaller batch or a machine with more of it will help."
)
TORCH_WITHOUT_MEMORY = "can't allocate memory"

FORESEEN: dict[type[Exception], str] = {
    NotEnoughHistory: "not_trainable",
    NoWindow: "not_trainable",
    NonFiniteLoss: "not_trainable",
    ConfigError: "not_trainable",
    TimeLimitReached: "time_limit",
    NoSuchDevice: "training_died",
}
"""What a failed job is called by the error that ended its work; the error says the rest."""

Tell = Callable[[dict[str, Any]], None]


def main() -> None:
    given = first_line(0)
    if not given:
        return  # its parent ended before it had a task for it
    task = orjson.loads(given)
    live_with(task["parent"])
    os.nice(NICENESS)
    Path("/proc/self/oom_score_adj").write_text(FIRST_TO_GO)
    torch.set_num_threads(task["threads"])
    keep_memory()
    pipe = own_stdout()
    configure_logging(task["log_level"])

    def tell(message: dict[str, Any]) -> None:
        pipe.write(orjson.dumps(message) + b"\n")
        pipe.flush()

    tell(last_word(task, tell))
    sys.stderr.flush()
    os._exit(0)  # all is told: taking a gigabyte of objects apart one by one would only keep the parent waiting


def keep_memory() -> None:
    """Have glibc keep what was freed instead of giving it back: networks take and free the same megabytes again and again, and
    the kernel would clear each page anew. Where the C library is another one, this is left out."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for parameter, value in ((M_MMAP_THRESHOLD, 2**30), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            mallopt(parameter, value)


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
        return work(task, tell)
    except NothingNew as error:
        return {"type": "nothing_new", "detail": str(error)}
    except NotOurs as error:
        log.warning("job_lost", job=task["job_id"], attempt=task["attempt"], detail=str(error))
        return {"type": "lost"}
    except tuple(FORESEEN) as error:
        return _failed(next(code for kind, code in FORESEEN.items() if isinstance(error, kind)), str(error))
    except (MemoryError, RuntimeError) as error:
        out_of_memory = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not out_of_memory and TORCH_WITHOUT_MEMORY not in str(error):
            raise
        return _failed("training_died", OUT_OF_MEMORY)
    except Problem as problem:
        kind = "passing" if problem.code == "unavailable" else "failed"
        return {"type": kind, "code": problem.code, "detail": problem.detail}


def _failed(code: str, detail: str) -> dict[str, Any]:
    return {"type": "failed", "code": code, "detail": detail}


def work(task: dict[str, Any], tell: Tell) -> dict[str, Any]:
    """Train, update or backtest, and save what came of it; the last word about it."""
    report, placement = reporter(tell), placement_of(task["device"])
    report(Progress(0.0, 0, 0, None, None, None, "reading"))
    if task["kind"] == "update":
        return _updated(task, updated(task, report, placement))
    reading = asyncio.run(_read(task))
    if reading.data is None:
        raise NotEnoughHistory("There are no sales to learn from, of a day that is over; post some first.")
    if task["kind"] == "backtest":
        return {"type": "backtested", "result": backtested(task, reading.data.panel, reading.judged, report, placement)}
    tuning: dict[str, Any] | None = None
    if task["request"].get("tune") is None:
        trained = _train(task, reading.data.panel, reading.champion, report, placement)
    else:
        panel, champion = reading.data.panel, reading.champion
        trained, tuning = tuned(
            task["request"],
            reading,
            panel,
            keep=lambda trial: tell({"type": "trial", "trial": trial}),
            report=report,
            train=lambda config, told: _train(task, panel, champion, told, placement, config=config),
            placement=placement,
        )
    candidate = described(_saved(task, reading.data, reading.champion, trained))
    return {"type": "trained", "candidate": candidate, "tuning": tuning, "compressed": trained.compressed}


async def _read(task: dict[str, Any]) -> Reading:
    database = Database(task["database_url"], pool_size=1)
    try:
        return await read_task(database, UUID(task["job_id"]), version=task["request"].get("model_version"))
    finally:
        await database.close()


def _train(
    task: dict[str, Any],
    panel: Panel,
    champion: Champion | None,
    report: Report,
    placement: Placement,
    *,
    config: TrainingConfig | None = None,
) -> Trained:
    """A new network, as asked for or as tuning found best, and its metrics beside the champion's on the same windows. What the
    champion has learned of the series goes on in it; both are judged without that."""
    learn = train_compressed if task["request"].get("compress") else train
    trained = learn(panel, config or training_config(task["request"], panel), report=report, placement=placement)
    last = trained.history[-1]
    epochs = len(trained.history)
    report(Progress(1.0, epochs, epochs, last["loss"], last["validation"], None, "comparing"))
    rival = None if champion is None else _scored_champion(task["artifacts"], champion, placement)
    if rival is not None:
        metrics = compare(trained.forecaster, trained.metrics, panel_for(rival, panel), rival)
        trained = replace(trained, metrics=metrics)
        if rival.learned_until <= panel.end + REMEMBERED_DAYS:  # else it knows days that were deleted since
            forecaster = renewed(rival, trained.forecaster, speeds=Speeds(**task["speeds"]))
            trained = replace(trained, forecaster=forecaster)
    if trained.compressed is not None:
        trained = replace(trained, metrics=trained.metrics | {"compressed": trained.compressed})
    return trained


def _scored_champion(artifacts: str, champion: Champion, placement: Placement) -> Forecaster | None:
    """The champion, None when its artifact is damaged: the new version is then judged by the baselines, and says so."""
    try:
        return load_forecaster(artifacts, champion.sha256, placement.device)
    except ArtifactDamaged as damage:
        log.warning("champion_not_scored", version=champion.version, detail=damage.detail)
        return None


def _updated(task: dict[str, Any], made: Updated) -> dict[str, Any]:
    """The last word about an update: the candidate with its verdict, or only the days that were scored."""
    if made.forecaster is None:
        detail = f"Nothing new to learn from; {len(made.scores)} days were scored."
        return {"type": "scored", "detail": detail, "scores": made.scores, "drifts": made.drifts}
    assert made.fingerprint is not None
    line, data = made.reading.line, made.reading.data
    weights, description = serialise(made.forecaster)
    job_id = UUID(task["job_id"])
    candidate = Candidate(
        job_id=job_id,
        kind="update",
        architecture=made.forecaster.architecture,
        parent=line.head.version,
        horizon=made.forecaster.horizon,
        context_length=made.forecaster.context_length,
        # A day that was learned may have been taken back since: it is not learned from anew, but as one that was corrected.
        trained_on=TrainedOn(
            max(made.reading.newest, line.learned_until), data.rows, data.panel.series, made.fingerprint
        ),
        config=made.forecaster.describe(),
        metrics=made.metrics,
        artifact=save(task["artifacts"], weights, description, job_id=job_id, findings=_findings(task, made)),
        judged_against=line.champion.version,
        promote=task["request"]["promote"],
        verdict=made.verdict,
    )
    return {
        "type": "trained",
        "candidate": described(candidate),
        "tuning": None,
        "compressed": None,
        "issuance": made.issuance,
        "scores": made.scores,
        "drifts": made.drifts,
        "live_broken": made.live_broken,
    }


def _findings(task: dict[str, Any], made: Updated) -> bytes | None:
    """What cleaning found in the sales that an update's networks learned from: its own, or its parent's where they did not, None
    where those are damaged: a lost report is no reason to learn nothing."""
    if made.findings is not None:
        return parquet_of(made.findings, made.reading.data)
    head = made.reading.line.head
    return findings_left(task["artifacts"], head.sha256, version=head.version)


def reporter(tell: Tell) -> Report:

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


def _saved(task: dict[str, Any], data: TrainingData, champion: Champion | None, trained: Trained) -> Candidate:
    forecaster, job_id = trained.forecaster, UUID(task["job_id"])
    weights, description = serialise(forecaster)
    version = None if champion is None else champion.version
    return Candidate(
        job_id=job_id,
        kind="train",
        architecture=forecaster.architecture,
        parent=None,
        horizon=forecaster.horizon,
        context_length=forecaster.context_length,
        # The champion's state may have learned a day that was taken back since: that is not learned anew, as in an update.
        trained_on=TrainedOn(
            max(data.cutoff, date.fromisoformat(str(forecaster.learned_until))),
            data.rows,
            data.panel.series,
            data.panel.fingerprint(),
        ),
        config=forecaster.describe(),
        metrics=trained.metrics,
        artifact=save(
            task["artifacts"], weights, description, job_id=job_id, findings=parquet_of(trained.findings, data)
        ),
        judged_against=version,
        promote=task["request"]["promote"],
    )


if __name__ == "__main__":
    main()
