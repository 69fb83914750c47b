"""A dependency that a test answers for: payments, and the client of it."""

from collections.abc import Callable

import httpx

from telemetry import Telemetry

UPSTREAM = {"UPSTREAM_PAYMENTS": "http://payments:1"}
Answer = Callable[[httpx.Request], httpx.Response]


def payments(telemetry: Telemetry, answer: Answer) -> httpx.AsyncClient:
    return telemetry.client("payments", inner=httpx.MockTransport(answer))


def state(telemetry: Telemetry) -> float | None:
    return telemetry.metrics.registry.get_sample_value("circuit_breaker_state", {"dependency": "payments"})


def refuse(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")
