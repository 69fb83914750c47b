import asyncio
from collections.abc import Callable

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from telemetry import CircuitOpen, Telemetry, TimedOut, Unreachable, ids
from telemetry.breaker import FAILURES_TO_OPEN, STATES, Breakers
from telemetry.metrics import Metrics
from tests.unit.services.helpers import MakeTelemetry

UPSTREAM = {"UPSTREAM_PAYMENTS": "http://payments:1"}
Answer = Callable[[httpx.Request], httpx.Response]


def payments(telemetry: Telemetry, answer: Answer) -> httpx.AsyncClient:
    return telemetry.client("payments", inner=httpx.MockTransport(answer))


def state(telemetry: Telemetry) -> float | None:
    return telemetry.metrics.registry.get_sample_value("circuit_breaker_state", {"dependency": "payments"})


def refuse(_request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("refused")


def test_trace_and_ids_go_downstream_and_the_call_is_a_client_span(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter
) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200)

    async def ask() -> None:
        ids.bind(ids.Ids("request-1", "journey-1"))
        await payments(telemetry, answer).get("/pay")

    asyncio.run(ask())
    telemetry.tracing.provider.force_flush()
    (span,) = spans.get_finished_spans()
    assert seen[0].headers["x-request-id"] == "request-1"
    assert seen[0].headers["x-correlation-id"] == "journey-1"
    traceparent = f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-"
    assert seen[0].headers["traceparent"].startswith(traceparent)
    assert span.name == "GET payments"


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(httpx.ConnectError("refused"), Unreachable), (httpx.ReadTimeout("slow"), TimedOut)],
)
def test_errors_of_the_connection_name_the_dependency(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, raised: Exception, expected: type[Exception]
) -> None:
    telemetry = make_telemetry(**UPSTREAM)

    def answer(_request: httpx.Request) -> httpx.Response:
        raise raised

    with pytest.raises(expected, match="payments"):
        asyncio.run(payments(telemetry, answer).get("/"))
    telemetry.tracing.provider.force_flush()
    assert spans.get_finished_spans()[0].status.status_code is StatusCode.ERROR


def test_the_breaker_opens_after_failures_in_a_row_and_shows_it(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    client = payments(telemetry, refuse)
    assert state(telemetry) == STATES["closed"]

    async def ask() -> None:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(Unreachable):
                await client.get("/")
        with pytest.raises(CircuitOpen):
            await client.get("/")

    asyncio.run(ask())
    assert state(telemetry) == STATES["opened"]


def test_answers_of_5xx_count_as_failures_but_are_returned(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    client = payments(telemetry, lambda _request: httpx.Response(500, text="broken"))

    async def ask() -> None:
        for _ in range(FAILURES_TO_OPEN):
            assert (await client.get("/")).text == "broken"
        with pytest.raises(CircuitOpen):
            await client.get("/")

    asyncio.run(ask())


def test_answers_of_4xx_are_no_failures_of_the_dependency(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    client = payments(telemetry, lambda _request: httpx.Response(429))

    async def ask() -> None:
        for _ in range(3 * FAILURES_TO_OPEN):
            assert (await client.get("/")).status_code == 429

    asyncio.run(ask())
    assert state(telemetry) == STATES["closed"]


def test_an_open_breaker_tries_again_and_closes() -> None:
    breakers = Breakers(Metrics("shop"), open_seconds=0.05)

    async def ask() -> None:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(Unreachable):
                async with breakers.guard("payments"):
                    raise Unreachable("payments", "refused")
        with pytest.raises(CircuitOpen):
            async with breakers.guard("payments"):
                pass
        await asyncio.sleep(0.06)
        for _ in range(2):
            async with breakers.guard("payments"):
                pass

    asyncio.run(ask())
