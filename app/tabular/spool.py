"""A request's body brought to a file before anything else is held: bounded as it arrives, decompressed, hashed.

Small bodies stay in memory, larger ones go to an unlinked file in $SHELFCAST_HOME/spool, which no crash can leave behind.
No database connection is taken here.
"""

import asyncio
import errno
import hashlib
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pyarrow as pa
from fastapi import Request

from app.config import Settings
from app.errors import Problem
from app.tabular.formats import Format, encoding_of, format_of

IN_MEMORY = 2**20
_PIECE = 2**20
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass(frozen=True)
class Body:
    """A body as it was before compression, at the start of `file`."""

    file: IO[bytes]
    size: int
    sha256: bytes
    format: Format
    max_rows: int | None
    max_bytes: int


@asynccontextmanager
async def received(request: Request) -> AsyncIterator[Body]:
    """The whole body of a request. Raises 413 past a limit, 415 for unknown formats, 400 for what cannot be unpacked."""
    form, encoding = format_of(request), encoding_of(request)
    settings: Settings = request.app.state.settings
    is_json = form is Format.JSON
    most_sent = settings.max_json_bytes if is_json else settings.max_upload_bytes
    most = settings.max_json_bytes if is_json else settings.max_decoded_bytes
    rows = settings.max_json_rows if is_json else None
    with spool(settings.spool_folder) as sent:
        size, digest = await _fill(sent, request, limit=most_sent)
        if encoding is None:
            yield Body(sent, size, digest, form, rows, most)
            return
        with spool(settings.spool_folder) as plain:
            with disk_full_told():
                size, digest = await asyncio.to_thread(_unpack, sent, plain, encoding, most)
            yield Body(plain, size, digest, form, rows, most)


@contextmanager
def spool(folder: Path) -> Iterator[IO[bytes]]:
    """A file that vanishes with its last user; on disk once it passes a mebibyte."""
    with disk_full_told():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY, dir=str(folder))  # noqa: SIM115 - closed below
    try:
        yield file
    finally:
        with suppress(OSError):  # a full disk was told when it was met; closing only tries the same write again
            file.close()


@contextmanager
def disk_full_told() -> Iterator[None]:
    """Turns "no space left" and "file too large" into the problem that says so."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise Problem(
                "disk_full", "There is no room on the disk to take in the body; nothing was written."
            ) from error
        raise


async def _fill(file: IO[bytes], request: Request, *, limit: int) -> tuple[int, bytes]:
    """Write what arrives to the file; returns its size and SHA-256."""
    digest, size = hashlib.sha256(), 0
    waiting = bytearray()
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise Problem("body_too_large", f"A body in this format may have {limit:,} bytes as sent.")
        digest.update(chunk)
        waiting += chunk
        if len(waiting) >= _PIECE:
            with disk_full_told():
                await asyncio.to_thread(file.write, bytes(waiting))
            waiting.clear()
    with disk_full_told():
        file.write(waiting)
        file.seek(0)
    return size, digest.digest()


def _unpack(source: IO[bytes], target: IO[bytes], encoding: str, limit: int) -> tuple[int, bytes]:
    digest, size = hashlib.sha256(), 0
    for piece in _unpacked(source, encoding):
        size += len(piece)
        if size > limit:
            raise Problem("body_too_large", f"A body in this format may have {limit:,} bytes once decompressed.")
        digest.update(piece)
        target.write(piece)
    target.seek(0)
    return size, digest.digest()


def _unpacked(source: IO[bytes], encoding: str) -> Iterator[bytes]:
    read = _reader(source, encoding)
    while True:
        try:
            piece = read(_PIECE)
        except (OSError, pa.ArrowInvalid) as error:
            detail = f"The body is not whole {encoding} data ({error}); send it again, or without Content-Encoding."
            raise Problem("unreadable_body", detail) from error
        if not piece:
            return
        yield piece


def _reader(source: IO[bytes], encoding: str) -> Callable[[int], bytes]:
    reader: Callable[[int], bytes] = pa.CompressedInputStream(pa.PythonFile(source, mode="r"), encoding).read
    return reader
