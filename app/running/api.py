"""One API process: uvicorn around the app, listening on an address of its own or on the socket the service gave it."""

import asyncio
import contextlib
import errno
import gc
import secrets
import signal
import socket
import sys
from collections.abc import Iterator
from types import FrameType

import orjson
import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.config import Settings
from app.database.embedded import running_url
from app.errors import MEDIA_TYPE, Problem, problem_body
from app.telemetry import configure_logging

ADDRESS_IN_USE = 4
NO_DATABASE = 5
_BIND_SECONDS = 2.0  # the API of a service that was just killed may still be letting go of the port
_BACKLOG = 2048
_KEEP_ALIVE_SECONDS = 30

log = structlog.get_logger("app.running.api")


def api(settings: Settings) -> int:
    """Run the API alone, over the database of the settings or that of the service that runs on this home."""
    configure_logging(settings.log_level)
    url = settings.database_url.get_secret_value() if settings.database_url else running_url(settings.home)
    if url is None:
        _say(f"No database: set SHELFCAST_DATABASE_URL, or start `shelfcast serve` on {settings.home}.")
        return NO_DATABASE
    try:
        listener = asyncio.run(listen(settings))
    except OSError as error:
        _say(
            f"The address {settings.host}:{settings.port} cannot be listened on ({error.strerror}). "
            "Stop what runs there, or set SHELFCAST_PORT."
        )
        return ADDRESS_IN_USE
    return _run(settings, url, listener, announce=True)


def supervised_api(settings: Settings, descriptor: int) -> int:
    """Run the API on a socket that the service listens on."""
    configure_logging(settings.log_level)
    assert settings.database_url is not None
    listener = socket.socket(fileno=descriptor)
    return _run(settings, settings.database_url.get_secret_value(), listener, announce=False)


async def listen(settings: Settings) -> socket.socket:
    """A socket that listens on the address of the settings."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _BIND_SECONDS
    while True:
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(address)
            listener.listen(_BACKLOG)
        except OSError as error:
            listener.close()
            if error.errno != errno.EADDRINUSE or loop.time() > deadline:
                raise
            await asyncio.sleep(0.05)
        else:
            listener.setblocking(False)
            return listener


def url_of(listener: socket.socket) -> str:
    """The address to give to people: the real port, and a host that a browser can open."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Server(uvicorn.Server):
    """uvicorn, telling the app as soon as it is asked to stop, so that streams without an end can end."""

    def __init__(self, config: uvicorn.Config, stopping: asyncio.Event, announcement: str | None) -> None:
        super().__init__(config)
        self._stopping = stopping
        self._announcement = announcement

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop on a signal and leave it at that: the process ends in order, with exit code 0, not by the signal."""
        earlier = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._stopping.set()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # a full collection need not walk what PyTorch and the app brought along: requests waited 0.2 s for it
        if self._announcement and self.started:
            print(self._announcement, flush=True)  # noqa: T201


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP parser, which answers what is no HTTP with a problem too."""

    def send_400_response(self, msg: str) -> None:
        request_id = secrets.token_hex(16)
        problem = Problem(
            "malformed_request", f"{msg} In a URL, write letters beyond ASCII percent-encoded, ä as %C3%A4."
        )
        body = orjson.dumps(problem_body(problem, request_id=request_id))
        head = (
            f"HTTP/1.1 400 Bad Request\r\ncontent-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\n"
            f"x-request-id: {request_id}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
        log.info("malformed_request", request_id=request_id, detail=msg)


def _run(settings: Settings, url: str, listener: socket.socket, *, announce: bool) -> int:
    from app.main import create_app  # loads PyTorch, which the service that only watches over this process does without

    app = create_app(settings, url)
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=max(1, int(settings.shutdown_seconds)),
    )
    announcement = f"The Shelfcast API is ready on {url_of(listener)}" if announce else None
    server = Server(config, app.state.stopping, announcement)
    server.run(sockets=[listener])
    return 0 if server.started else 1


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201
