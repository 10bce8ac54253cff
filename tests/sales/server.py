"""A real API process for tests that harm it: its address, its key, its open files."""

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

START_SECONDS = 60

# The limit is set in the child itself, once everything is imported and listening sockets are no files.
CODE = """
import resource, sys
from app.running.api import api
from app.config import Settings
limit = int(sys.argv[1])
if limit:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.exit(api(Settings()))
"""


@dataclass(frozen=True)
class Server:
    process: "subprocess.Popen[bytes]"
    port: int
    home: Path

    @property
    def key(self) -> str:
        return (self.home / "admin.key").read_text().strip()

    def post(self, body: bytes, content_type: str, **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.key}", "Content-Type": content_type}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"http://127.0.0.1:{self.port}/v1/sales", content=body, headers=sent, timeout=60)

    def spooling(self) -> list[str]:
        """Open files of the process that lie in its spool."""
        folder = Path(f"/proc/{self.process.pid}/fd")
        found = []
        for entry in folder.iterdir():
            with contextlib.suppress(OSError):  # closed while we looked
                found.append(str(entry.readlink()))
        return [path for path in found if path.startswith(str(self.home / "spool"))]


@contextlib.contextmanager
def api_server(database_url: str, home: Path, *, file_limit: int = 0, **settings: str) -> Iterator[Server]:
    """An API process over a database; `file_limit` is the size past which it can write no file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, **settings, "SHELFCAST_DATABASE_URL": database_url, "SHELFCAST_HOME": str(home)}
    environment |= {"SHELFCAST_PORT": str(port), "SHELFCAST_LOG_LEVEL": "warning"}
    process = subprocess.Popen([sys.executable, "-c", CODE, str(file_limit)], env=environment)
    try:
        _wait_for(process, port)
        yield Server(process, port, home)
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(process: "subprocess.Popen[bytes]", port: int) -> None:
    with httpx.Client(transport=httpx.HTTPTransport(retries=0), timeout=START_SECONDS) as client:
        for _ in range(START_SECONDS * 20):
            assert process.poll() is None, "the server ended"
            with contextlib.suppress(httpx.TransportError):
                if client.get(f"http://127.0.0.1:{port}/healthz").status_code == 200:
                    return
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
    raise AssertionError("the server did not answer")
