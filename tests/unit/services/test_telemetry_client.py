"""The client of a dependency: what it sends, what it counts as a failure, what it tries again."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from purgatory.domain.model import CLOSED, OPENED
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry import CircuitOpen, DependencyError, TimedOut, Unreachable, ids
from telemetry.breaker import FAILURES_TO_OPEN, STATES
from telemetry.client import ATTEMPTS, retry_after
from tests.unit.services.helpers import Browser, MakeTelemetry
from tests.unit.services.upstream import UPSTREAM, Answer, payments, refuse, state


@contextmanager
def serving_nothing() -> Iterator[int]:
    """A port that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


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
    assert state(telemetry) == STATES[CLOSED]

    async def ask() -> None:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(Unreachable):
                await client.get("/")
        with pytest.raises(CircuitOpen):
            await client.get("/")

    asyncio.run(ask())
    assert state(telemetry) == STATES[OPENED]


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
    assert state(telemetry) == STATES[CLOSED]


def test_a_request_that_cannot_be_sent_is_no_failure_of_the_dependency(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter
) -> None:
    telemetry = make_telemetry(**UPSTREAM)

    async def ask() -> None:
        with serving_nothing() as port:
            client = telemetry.client("payments", at=f"http://127.0.0.1:{port}")
            for _ in range(2 * FAILURES_TO_OPEN):
                with pytest.raises(httpx.LocalProtocolError, match="header value"):
                    await client.get("/", headers={"authorization": "Bearer x\n"})
            with pytest.raises(UnicodeEncodeError):
                await client.get("/", headers={"authorization": "Bearer é"})

    asyncio.run(ask())
    assert state(telemetry) == STATES[CLOSED]
    telemetry.tracing.provider.force_flush()
    found = spans.get_finished_spans()
    assert len(found) == 2 * FAILURES_TO_OPEN
    assert {(span.attributes or {})["error.type"] for span in found} == {"LocalProtocolError"}


def flaky(*answers: httpx.Response | Exception) -> tuple[Answer, list[httpx.Request]]:
    """Answers in turn, the last one for ever; and what was asked."""
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        found = answers[min(len(asked), len(answers)) - 1]
        if isinstance(found, Exception):
            raise found
        return found

    return answer, asked


@pytest.mark.parametrize("first", [httpx.ConnectError("refused"), httpx.ReadError("reset")])
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_a_request_that_may_come_twice_is_sent_again_when_the_error_passes(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, first: Exception, method: str
) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    answer, asked = flaky(first, httpx.Response(200))
    assert asyncio.run(payments(telemetry, answer).request(method, "/", json={"a": 1})).status_code == 200
    telemetry.tracing.provider.force_flush()
    first_span, second_span = spans.get_finished_spans()
    assert [request.content for request in asked] == [b'{"a":1}'] * 2
    assert (first_span.attributes or {}).get("http.request.resend_count") is None
    assert (second_span.attributes or {})["http.request.resend_count"] == 1


@pytest.mark.parametrize(
    ("method", "first"),
    [
        ("POST", httpx.ConnectError("refused")),
        ("PATCH", httpx.Response(503)),
        ("GET", httpx.ReadTimeout("slow")),
        ("GET", httpx.Response(500)),
        ("GET", httpx.Response(429)),
        ("GET", httpx.Response(502)),
        ("GET", httpx.Response(503)),
        ("GET", httpx.Response(504)),
        ("GET", httpx.Response(503, headers={"retry-after": "7"})),
    ],
)
def test_what_must_not_or_need_not_come_twice_is_sent_once(
    make_telemetry: MakeTelemetry, method: str, first: httpx.Response | Exception
) -> None:
    answer, asked = flaky(first, httpx.Response(200))

    async def ask() -> int:
        try:
            return (await payments(make_telemetry(**UPSTREAM), answer).request(method, "/")).status_code
        except DependencyError:
            return 0

    expected = first.status_code if isinstance(first, httpx.Response) else 0
    assert asyncio.run(ask()) == expected
    assert len(asked) == 1


def test_a_body_that_cannot_be_read_again_is_sent_once(make_telemetry: MakeTelemetry) -> None:
    answer, asked = flaky(httpx.ConnectError("refused"))

    async def parts() -> AsyncIterator[bytes]:
        yield b"part"

    with pytest.raises(Unreachable):
        asyncio.run(payments(make_telemetry(**UPSTREAM), answer).put("/", content=parts()))
    assert len(asked) == 1


def test_the_last_error_is_raised_when_it_does_not_pass(make_telemetry: MakeTelemetry) -> None:
    answer, asked = flaky(httpx.ConnectError("refused"), httpx.ConnectError("refused"), httpx.ConnectError("the last"))
    with pytest.raises(Unreachable, match="the last"):
        asyncio.run(payments(make_telemetry(**UPSTREAM), answer).get("/"))
    assert len(asked) == ATTEMPTS


def test_the_breaker_sees_what_came_of_it_and_lets_nothing_through_once_open(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    answer, asked = flaky(httpx.ConnectError("refused"))
    client = payments(telemetry, answer)

    async def ask() -> None:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(Unreachable):
                await client.get("/")
        with pytest.raises(CircuitOpen):
            await client.get("/")

    asyncio.run(ask())
    assert len(asked) == FAILURES_TO_OPEN * ATTEMPTS


@pytest.mark.parametrize(
    "answer",
    [httpx.Response(502), httpx.Response(504), httpx.Response(503, headers={"x-failed-dependency": "bank"})],
)
def test_the_failure_of_somebody_behind_it_does_not_open_the_circuit_of_a_service_that_answers(
    make_telemetry: MakeTelemetry, answer: httpx.Response
) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    client = payments(telemetry, lambda _request: answer)

    async def ask() -> None:
        for _ in range(2 * FAILURES_TO_OPEN):
            assert (await client.post("/")).status_code == answer.status_code

    asyncio.run(ask())
    assert state(telemetry) == STATES[CLOSED]


def test_a_service_says_which_dependency_failed_it(make_telemetry: MakeTelemetry) -> None:
    async def pay(_request: Request) -> Response:
        raise Unreachable("bank", "refused")

    answer = Browser(make_telemetry().app([Route("/", pay)])).get("/")
    assert (answer.status_code, answer.headers["x-failed-dependency"]) == (502, "bank")


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("2", 2),
        ("0.5", 0.5),
        ("-1", 0),
        ("nan", 7),
        ("inf", 7),
        ("-inf", 7),
        ("", 7),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 7),
    ],
)
def test_a_time_to_wait_is_finite_and_not_negative(told: str, seconds: float) -> None:
    assert retry_after(httpx.Headers({"retry-after": told}), 7) == seconds
    assert retry_after(httpx.Headers(), 7) == 7


def test_calls_carry_the_ids_in_their_spans(make_telemetry: MakeTelemetry, spans: InMemorySpanExporter) -> None:
    telemetry = make_telemetry(REDIS_URL="redis://127.0.0.1:1/0")

    async def ask() -> None:
        ids.bind(ids.Ids("request-1", "journey-1"))
        with pytest.raises(Unreachable):
            await telemetry.redis().call("GET", "key")

    asyncio.run(ask())
    telemetry.tracing.provider.force_flush()
    (span,) = spans.get_finished_spans()
    assert span.attributes is not None
    assert span.attributes["lookout.request_id"] == "request-1"
    assert span.attributes["lookout.correlation_id"] == "journey-1"
    assert span.attributes["error.type"] == "dependency_unreachable"
