"""A telemetry object for tests: real in everything but the exporter, which keeps spans in memory."""

import json
import time
from collections.abc import Callable, Iterator

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lookout import machine
from telemetry import Settings, Telemetry
from telemetry.breaker import OPEN_SECONDS
from tests.unit.services.helpers import ENVIRONMENT, LogLines, MakeTelemetry
from tests.unit.services.redis_server import RedisServer


@pytest.fixture
def spans() -> InMemorySpanExporter:
    """Spans that were exported."""
    return InMemorySpanExporter()


@pytest.fixture
def make_telemetry(spans: InMemorySpanExporter) -> MakeTelemetry:
    """Makes a telemetry object from the environment of a service and more variables."""

    def make(**environ: str) -> Telemetry:
        return Telemetry(Settings.load({**ENVIRONMENT, **environ}), spans)

    return make


@pytest.fixture
def log_lines(capsys: pytest.CaptureFixture[str]) -> LogLines:
    """Reads the log lines written so far, each as an object; fails where a line is not JSON."""
    return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A running Redis, in a container."""
    machine.ensure(print)
    server = RedisServer()
    try:
        server.run()
        yield server
    finally:
        server.remove()


@pytest.fixture
def let_time_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the time be over for which a circuit stays open."""

    def let_pass() -> None:
        later = time.time() + OPEN_SECONDS + 0.1
        monkeypatch.setattr(time, "time", lambda: later)

    return let_pass
