"""Artifacts: the weights of a version and their description, on a folder or any fsspec URL, addressed by SHA-256.

An artifact is up to three files of one name. `<sha256>.json` holds the description, the job that made it and the SHA-256 of the
others; `<sha256>.safetensors` holds the weights, `<sha256>.parquet` what was found in the sales that they learned from. The
name is the SHA-256 of the JSON's bytes, so it vouches for all files, and each is verified whenever it is read. Which artifact
belongs to which version is the database's to know, not this file's.
"""

import errno
import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import fsspec
import structlog
from fsspec.implementations.local import LocalFileSystem

from app.errors import Problem

log = structlog.get_logger()

FORMAT = 1
FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_NAME = re.compile(r"([0-9a-f]{64})\.(json|safetensors|parquet)")
_UNFINISHED = re.compile(r"\.[0-9a-f]{64}\.(?:json|safetensors|parquet)\.[0-9a-f]{32}\.tmp")


class ArtifactDamaged(Problem):
    """A file of the artifact does not hold the bytes that its version was published with; the message names the file."""

    def __init__(self, detail: str) -> None:
        super().__init__("artifact_damaged", detail)


class ArtifactMissing(ArtifactDamaged):
    """A file of the artifact is not there; the message names the file."""


class Artifact(NamedTuple):
    """What a version keeps of its artifact: the address, and the bytes of its files together."""

    sha256: str
    bytes: int


def save(
    location: str, weights: bytes, description: dict[str, Any], *, job_id: uuid.UUID, findings: bytes | None = None
) -> Artifact:
    """Write an artifact so that it is either whole and on disk, or not there. Blocking.

    `description` is plain JSON, `findings` a Parquet file (see quality.py). `job_id` lets housekeeping tell what a job of this
    database left behind unpublished. Raises Problem `disk_full` or `unavailable`.
    """
    body = {
        "format": FORMAT,
        "job_id": str(job_id),
        "weights": {"sha256": _sha256(weights), "bytes": len(weights)},
        "description": description,
    }
    if findings is not None:
        body["findings"] = {"sha256": _sha256(findings), "bytes": len(findings)}
    document = json.dumps(body, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    artifact = Artifact(_sha256(document), len(document) + len(weights) + len(findings or b""))
    store = Store(location)
    files = _files(artifact.sha256)
    try:
        # The JSON first: whatever is left of a save that was killed then names the job it came from.
        store.write(files.description, document)
        store.write(files.weights, weights)
        if findings is not None:
            store.write(files.findings, findings)
    except OSError as error:
        _take_back(store, files, error)
        raise not_written(error) from error
    return artifact


def load(location: str, sha256: str) -> tuple[bytes, dict[str, Any]]:
    """The weights and the description that `save` was given, verified. Blocking.

    Raises ArtifactMissing or ArtifactDamaged, which name the file, or Problem `unavailable`.
    """
    store = Store(location)
    body = _body(store, sha256)
    return _verified(store, _files(sha256).weights, body["weights"]["sha256"]), body["description"]


def load_findings(location: str, sha256: str) -> bytes | None:
    """The Parquet file of findings that `save` was given, verified; None where it was given none. Blocking.

    Raises as `load` does.
    """
    store = Store(location)
    told = _body(store, sha256).get("findings")
    return None if told is None else _verified(store, _files(sha256).findings, told["sha256"])


def findings_left(location: str, sha256: str, *, version: int) -> bytes | None:
    """The same for a version that goes on from another one's: None, and a line in the log, where they are damaged. A lost report
    is no reason to lose the version too."""
    try:
        return load_findings(location, sha256)
    except ArtifactDamaged as damage:
        log.warning("findings_lost", version=version, detail=damage.detail)
        return None


def _body(store: "Store", sha256: str) -> dict[str, Any]:
    """What an artifact's JSON says, verified by the address."""
    name = _files(sha256).description
    body: dict[str, Any] = json.loads(_verified(store, name, sha256))
    if body["format"] != FORMAT:
        raise ArtifactDamaged(f"The artifact's file {name} has format {body['format']}, not {FORMAT}.")
    return body


def _verified(store: "Store", name: str, sha256: str) -> bytes:
    content = store.read(name)
    if _sha256(content) != sha256:
        raise ArtifactDamaged(f"The artifact's file {name} is damaged: its bytes have another SHA-256.")
    return content


@contextmanager
def reached() -> Iterator[None]:
    """Turns what a store answers when it cannot be used into a problem."""
    try:
        yield
    except OSError as error:
        raise Problem("unavailable", f"The artifact store cannot be used: {error}") from error


@reached()
def remove(location: str, sha256: str) -> bool:
    """Remove an artifact; returns whether anything was there. Blocking."""
    store = Store(location)
    files = _files(sha256)
    # The JSON last, for the reason it is written first.
    were_there = [store.remove(files.findings), store.remove(files.weights), store.remove(files.description)]
    return any(were_there)


class Stored(NamedTuple):
    """An artifact found in the store; `job_id` is None where its JSON cannot be read."""

    sha256: str
    job_id: uuid.UUID | None


@reached()
def stored(location: str) -> set[str]:
    """The addresses of all artifacts that are there, whole or not. Blocking."""
    return {match[1] for name in Store(location).names() if (match := _NAME.fullmatch(name))}


@reached()
def older(location: str, addresses: set[str], age: timedelta) -> list[Stored]:
    """Those of the given artifacts that were written longer ago than `age`. Blocking."""
    store = Store(location)
    border = datetime.now(UTC) - age
    found = sorted(sha256 for sha256 in addresses if store.written_before(_files(sha256).description, border))
    return [Stored(sha256, _job_of(store, sha256)) for sha256 in found]


@reached()
def remove_unfinished(location: str, age: timedelta) -> int:
    """Remove what interrupted saves left under temporary names; returns how many files. Blocking."""
    store = Store(location)
    border = datetime.now(UTC) - age
    old = [name for name in store.names() if _UNFINISHED.fullmatch(name) and store.written_before(name, border)]
    return sum(store.remove(name) for name in old)


class _Files(NamedTuple):
    description: str
    weights: str
    findings: str


def _files(sha256: str) -> _Files:
    return _Files(f"{sha256}.json", f"{sha256}.safetensors", f"{sha256}.parquet")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _job_of(store: "Store", sha256: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(json.loads(store.read(_files(sha256).description))["job_id"])
    except (ValueError, KeyError, TypeError, ArtifactMissing):
        return None  # not written by `save`, or damaged since: nobody can say whose it is


def _take_back(store: "Store", files: _Files, error: OSError) -> None:
    """Remove what a failed save has written. Where that fails as well, the error says so and housekeeping finds it."""
    for name in files:
        try:
            store.remove(name)
        except OSError as also:
            error.add_note(f"{name} could not be removed either: {also}")


def not_written(error: OSError) -> Problem:
    """What a failed write means to whoever asked for it."""
    if error.errno in FULL:
        return Problem("disk_full", f"The artifact could not be written ({error.strerror}); no part of it is used.")
    return Problem("unavailable", f"The artifact store cannot be written to: {error}")


@dataclass(frozen=True)
class Store:
    """The files of one location; also those of backtests (app/jobs/results.py)."""

    location: str

    def write(self, name: str, content: bytes) -> None:
        filesystem, folder = self._opened()
        if isinstance(filesystem, LocalFileSystem):
            _write_durably(Path(folder), name, content)
        else:
            filesystem.makedirs(folder, exist_ok=True)
            filesystem.pipe_file(f"{folder}/{name}", content)

    def read(self, name: str) -> bytes:
        filesystem, folder = self._opened()
        try:
            content: bytes = filesystem.cat_file(f"{folder}/{name}")
        except FileNotFoundError as error:
            raise ArtifactMissing(f"The artifact's file {name} is missing.") from error
        except OSError as error:
            raise Problem("unavailable", f"The artifact's file {name} cannot be read: {error}") from error
        return content

    def remove(self, name: str) -> bool:
        filesystem, folder = self._opened()
        try:
            filesystem.rm_file(f"{folder}/{name}")
        except FileNotFoundError:
            return False
        return True

    def names(self) -> Iterator[str]:
        filesystem, folder = self._opened()
        try:
            entries = filesystem.ls(folder, detail=False)
        except FileNotFoundError:
            return iter(())
        return (entry.rsplit("/", 1)[-1] for entry in entries)

    def written_before(self, name: str, moment: datetime) -> bool:
        filesystem, folder = self._opened()
        try:
            written: datetime = filesystem.modified(f"{folder}/{name}")
        except FileNotFoundError:
            return False
        return (written if written.tzinfo else written.replace(tzinfo=UTC)) < moment

    def _opened(self) -> tuple[fsspec.AbstractFileSystem, str]:
        try:
            filesystem, folder = fsspec.core.url_to_fs(self.location)
        except (ImportError, ValueError) as error:
            raise Problem("unavailable", f"The artifact store cannot be opened: {error}") from error
        filesystem.invalidate_cache()  # another process may have written since this one last listed
        return filesystem, folder.rstrip("/")


def _write_durably(folder: Path, name: str, content: bytes) -> None:
    """Under a temporary name, onto the disk, then renamed: the name appears with all of its bytes or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{name}.{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(folder / name)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    for entry in (folder, folder.parent):  # the parent too, since the folder may be new itself
        descriptor = os.open(entry, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
