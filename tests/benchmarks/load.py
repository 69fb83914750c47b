"""Requests at a steady rate against a real process of the library: nothing that was counted or failed may be lost.

Run as a module it is that process: an application of two routes, one of which fails. ``measure`` starts it, sends it
requests from here, and is the collector of its traces as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx
import uvloop
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

ROOT = Path(__file__).parents[2]
RATE = 2000
SECONDS = 60.0
CONNECTIONS = 50
FAIL_EVERY = 100
START_SECONDS = 20.0


class Sink:
    """A collector: takes OTLP over HTTP and keeps the bodies; they are read when all is over."""

    def __init__(self) -> None:
        self._bodies: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection of the exporter."""
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
                self._bodies.append(await reader.readexactly(int(length[1]) if length else 0))
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    def spans(self) -> Iterator[tuple[str, bool]]:
        """Trace id of each span that came, and whether it failed."""
        for body in self._bodies:
            for found in ExportTraceServiceRequest.FromString(body).resource_spans:
                for scope in found.scope_spans:
                    for span in scope.spans:
                        yield span.trace_id.hex(), span.status.code == span.status.STATUS_CODE_ERROR


@dataclass
class Sent:
    """What the client knows: answers by status, trace ids of failures, seconds from when each request was due."""

    statuses: Counter[int] = field(default_factory=Counter)
    failures: set[str] = field(default_factory=set)
    seconds: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One request at a time, with as little of the machine's time as can be: the server needs the rest."""

    def __init__(self) -> None:
        self._buffer = b""
        self._status: asyncio.Future[int] | None = None
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is no subclass of it

    def connection_lost(self, exc: Exception | None) -> None:
        if self._status is not None and not self._status.done():
            self._status.set_exception(exc or ConnectionResetError("the server closed the connection"))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if end and length is not None and len(body) == int(length[1]) and self._status is not None:
            self._buffer = b""
            self._status.set_result(int(head[9:12]))

    async def get(self, path: str, traceparent: str) -> int:
        """The status of the answer."""
        self._status = asyncio.get_running_loop().create_future()
        assert self._transport is not None
        self._transport.write(f"GET {path} HTTP/1.1\r\nhost: shop\r\ntraceparent: {traceparent}\r\n\r\n".encode())
        return await self._status

    def close(self) -> None:
        """Close it."""
        assert self._transport is not None
        self._transport.close()


async def client(port: int, rate: int, seconds: float) -> Sent:
    """Send ``rate`` requests a second, each when it is due, whether or not the one before was answered in time."""
    sent = Sent()
    start = time.perf_counter() + 0.1
    await asyncio.gather(*(_connection(port, rate, seconds, start, number, sent) for number in range(CONNECTIONS)))
    return sent


async def _connection(port: int, rate: int, seconds: float, start: float, number: int, sent: Sent) -> None:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    for index in range(number, int(rate * seconds), CONNECTIONS):
        due = start + index / rate
        if (wait := due - time.perf_counter()) > 0:
            await asyncio.sleep(wait)
        fails = index % FAIL_EVERY == 0
        path, trace_id = ("/failures" if fails else f"/items/{index}"), f"{random.getrandbits(128):032x}"
        status = await connection.get(path, f"00-{trace_id}-00000000000000{number + 1:02x}-01")
        sent.seconds.append(time.perf_counter() - due)
        sent.statuses[status] += 1
        if status >= 500:
            sent.failures.add(trace_id)
    connection.close()


@contextlib.contextmanager
def server(folder: Path, collector: int) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """The process of the library; its lines go to a file."""
    port = _free_port()
    environ = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": f"{ROOT}:{ROOT / 'services'}",
        "OTEL_SERVICE_NAME": "load",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector}",
        "PORT": str(port),
    }
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.load"], cwd=folder, env=environ, stdout=output, stderr=output
        )
        try:
            yield port, process
        finally:
            process.kill()
            process.wait()


async def run(rate: int, seconds: float) -> dict[str, Any]:
    """One run: what was sent, what the server counted, logged and traced, and what of it is missing."""
    sink = Sink()
    listening = await asyncio.start_server(sink.serve, "127.0.0.1", 0, limit=2**24)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with server(folder, listening.sockets[0].getsockname()[1]) as (port, process):
            await _until_live(port, process, folder / "output")
            before = await _metrics(port)
            start = time.perf_counter()
            sent = await client(port, rate, seconds)
            took = time.perf_counter() - start
            metrics = await _metrics(port)
            process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(process.wait, START_SECONDS)
        logged = Counter(_statuses_of(folder / "output"))
    listening.close()
    counted = {
        int(status): int(float(value))
        for status, value in re.findall(r'^http_requests_total{.*status="(\d+)"} (\S+)$', metrics, re.MULTILINE)
    }
    spans = list(sink.spans())
    total = sum(sent.statuses.values())
    sent.seconds.sort()
    return {
        "requests": total,
        "requests_per_second": round(total / took, 1),
        "failures": len(sent.failures),
        "lost_increments": sum(abs(counted.get(s, 0) - sent.statuses[s]) for s in {*counted, *sent.statuses}),
        "lost_access_lines": sum(abs(logged[s] - sent.statuses[s]) for s in {*logged, *sent.statuses}),
        "lost_error_traces": len(sent.failures - {trace for trace, failed in spans if failed}),
        "lost_spans": total - len(spans),
        "p50_ms": round(sent.seconds[len(sent.seconds) // 2] * 1000, 2),
        "p99_ms": round(sent.seconds[len(sent.seconds) * 99 // 100] * 1000, 2),
        "server_us_per_request": round((_cpu_seconds(metrics) - _cpu_seconds(before)) / total * 1e6, 1),
    }


def measure() -> Iterator[dict[str, Any]]:
    """RATE requests a second for SECONDS."""
    yield uvloop.run(run(RATE, SECONDS))


async def _metrics(port: int) -> str:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        return (await http.get("/metrics")).text


def _cpu_seconds(metrics: str) -> float:
    found = re.search(r"^process_cpu_seconds_total{.*} (\S+)$", metrics, re.MULTILINE)
    assert found is not None
    return float(found[1])


def _statuses_of(output: Path) -> Iterator[int]:
    with output.open(encoding="utf-8") as lines:
        for line in lines:
            found = json.loads(line)
            if found["logger"] == "telemetry.access" and found["message"] == "request":
                yield found["status"]


async def _until_live(port: int, process: subprocess.Popen[bytes], output: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        while True:
            ended = process.poll() is not None or time.monotonic() > deadline
            assert not ended, output.read_text(encoding="utf-8")
            try:
                (await http.get("/live")).raise_for_status()
                return
            except httpx.TransportError:
                await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def serve() -> None:
    """The process that is measured."""
    from starlette.requests import Request
    from starlette.responses import PlainTextResponse, Response
    from starlette.routing import Route

    import telemetry

    async def item(request: Request) -> Response:
        return PlainTextResponse(request.path_params["item"])

    async def fail(_request: Request) -> Response:
        raise RuntimeError("it failed")

    telemetry.run(lambda t: t.app([Route("/items/{item}", item), Route("/failures", fail)]))


if __name__ == "__main__":
    serve()
