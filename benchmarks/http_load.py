"""A load generator that costs little: raw keep-alive connections, each asking as soon as it was answered.

    python -m benchmarks.http_load --port 8000 --connections 32 --seconds 6 --paths PATHS.txt --key KEY

Asks the paths of the file (one a line) in random order and prints one line of JSON: requests per second and latencies.
"""

import argparse
import asyncio
import json
import random
import time
from pathlib import Path
from typing import cast

import uvloop


class Client(asyncio.Protocol):
    """One connection. Bodies must come with Content-Length; anything but a 200 ends the run."""

    def __init__(self, requests: list[bytes], deadline: float, seed: int) -> None:
        self.latencies: list[float] = []
        self.received = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._requests, self._deadline = requests, deadline
        self._random = random.Random(seed)
        self._buffer = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        headers = bytes(self._buffer[:head]).lower()
        at = headers.index(b"content-length:") + 15
        length = int(headers[at:].partition(b"\r")[0])
        if len(self._buffer) < head + 4 + length:
            return
        if not headers.startswith(b"http/1.1 200"):
            self._end(AssertionError(bytes(self._buffer[:600])))
            return
        now = time.perf_counter()
        self.latencies.append(now - self._asked)
        self.received += length
        self._buffer.clear()
        if now >= self._deadline:
            self._end(None)
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        self._end(error or ConnectionError("closed"))

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        self._transport.write(self._random.choice(self._requests))

    def _end(self, error: BaseException | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
        self._transport.close()


async def load(port: int, requests: list[bytes], *, connections: int, seconds: float) -> dict[str, float]:
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    clients = [Client(requests, started + seconds, seed) for seed in range(connections)]
    for client in clients:
        await loop.create_connection(lambda client=client: client, "127.0.0.1", port)  # type: ignore[misc]
    await asyncio.wait_for(asyncio.gather(*(client.ended for client in clients)), seconds + 60)
    elapsed = time.perf_counter() - started
    latencies = sorted(latency for client in clients for latency in client.latencies)
    return {
        "requests_per_second": round(len(latencies) / elapsed, 1),
        "p50_ms": round(1000 * latencies[len(latencies) // 2], 3),
        "p99_ms": round(1000 * latencies[int(len(latencies) * 0.99)], 3),
        "bytes": sum(client.received for client in clients) / max(len(latencies), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--paths", type=Path, required=True)
    parser.add_argument("--key", required=True)
    args = parser.parse_args()
    requests = [
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {args.key}\r\n\r\n".encode()
        for path in args.paths.read_text().splitlines()
    ]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(load(args.port, requests, connections=args.connections, seconds=args.seconds))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
