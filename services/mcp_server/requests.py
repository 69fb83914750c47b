"""Counts requests to the server, by JSON-RPC method."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from telemetry import Telemetry

METHODS = frozenset(
    {
        "initialize",
        "notifications/cancelled",
        "notifications/initialized",
        "ping",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "server/discover",
        "subscriptions/listen",
        "tools/call",
        "tools/list",
    }
)
OTHER = "other"
PATH, LIST_PATH, CALL_PATH = "/mcp", "/tools", "/tools/{tool}"
"""Where the protocol is spoken, and where its two most common methods are plain JSON."""
SUCCESS, ERROR = "success", "error"


class Outcome:
    """What became of a request; it counts as a success unless it is marked."""

    status = SUCCESS

    def fail(self) -> None:
        """The request was answered with an error, or its tool was."""
        self.status = ERROR


class Requests:
    """mcp_requests_total{method, endpoint, status} and mcp_request_duration_seconds."""

    def __init__(self, telemetry: Telemetry) -> None:
        metrics = telemetry.metrics
        self._requests = metrics.counter(
            "mcp_requests_total", "JSON-RPC requests and notifications.", ["method", "endpoint", "status"]
        )
        self._seconds = metrics.histogram("mcp_request_duration_seconds", "Duration of requests.")
        known = [
            *((method, PATH) for method in (*METHODS, OTHER)),
            ("tools/list", LIST_PATH),
            ("tools/call", CALL_PATH),
        ]
        for method, endpoint in known:
            for status in (SUCCESS, ERROR):
                self._requests.labels(method, endpoint, status)

    @contextmanager
    def observe(self, method: str, endpoint: str) -> Iterator[Outcome]:
        """Count what happens inside; a method that nobody knows is ``other``."""
        start = time.perf_counter()
        outcome = Outcome()
        try:
            yield outcome
        except BaseException:
            outcome.fail()
            raise
        finally:
            self._requests.labels(method if method in METHODS else OTHER, endpoint, outcome.status).inc()
            self._seconds.observe(time.perf_counter() - start)
