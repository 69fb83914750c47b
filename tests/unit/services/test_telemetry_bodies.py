"""Bodies of answers: one that breaks off or hangs is a failure of the dependency, one that is left early is none."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from purgatory.domain.model import CLOSED, OPENED

from telemetry import CircuitOpen, DependencyError, TimedOut, Unreachable
from telemetry.breaker import FAILURES_TO_OPEN, STATES
from tests.unit.services.helpers import MakeTelemetry
from tests.unit.services.upstream import UPSTREAM, Answer, payments, refuse, state

BREAKS = pytest.mark.parametrize(
    ("raised", "expected"),
    [(httpx.RemoteProtocolError("incomplete"), Unreachable), (httpx.ReadTimeout("slow"), TimedOut)],
)
"""What is raised by a body → what its reader sees."""


@BREAKS
@pytest.mark.parametrize("status", [200, 500])
def test_a_body_that_breaks_off_names_the_dependency(
    make_telemetry: MakeTelemetry, raised: Exception, expected: type[Exception], status: int
) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"part"
        raise raised

    client = payments(make_telemetry(**UPSTREAM), lambda _request: httpx.Response(status, content=parts()))
    read: list[bytes] = []

    async def ask() -> None:
        async with client.stream("GET", "/") as answer:
            read.extend([part async for part in answer.aiter_bytes()])

    with pytest.raises(expected, match="payments"):
        asyncio.run(ask())
    with pytest.raises(expected, match="payments"):
        asyncio.run(client.get("/"))


def streaming(*ends: Exception | None) -> Answer:
    """Answers with a part, then ends as told, in turn, or hangs where nothing more is told."""
    left = iter(ends)

    def answer(_request: httpx.Request) -> httpx.Response:
        async def parts() -> AsyncIterator[bytes]:
            yield b"part"
            try:
                end = next(left)
            except StopIteration:
                await asyncio.Event().wait()
            if end is not None:
                raise end

        return httpx.Response(200, content=parts())

    return answer


@BREAKS
def test_bodies_that_break_off_open_the_circuit_and_their_spans_failed(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, raised: Exception, expected: type[DependencyError]
) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    client = payments(telemetry, streaming(*[raised] * (FAILURES_TO_OPEN + 1)))

    async def ask() -> None:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(expected):
                await client.get("/")
        with pytest.raises(CircuitOpen):
            await client.get("/")

    asyncio.run(ask())
    telemetry.tracing.provider.force_flush()
    *found, _refused = spans.get_finished_spans()
    assert len(found) == FAILURES_TO_OPEN
    assert {span.status.status_code for span in found} == {StatusCode.ERROR}
    assert {(span.attributes or {})["error.type"] for span in found} == {expected.code}


def test_a_whole_body_makes_good_the_failures_before(make_telemetry: MakeTelemetry) -> None:
    telemetry, broken = make_telemetry(**UPSTREAM), httpx.ReadTimeout("slow")
    most = [broken] * (FAILURES_TO_OPEN - 1)
    client = payments(telemetry, streaming(*most, None, *most))

    async def ask() -> None:
        for _ in range(2 * FAILURES_TO_OPEN - 1):
            with suppress(TimedOut):
                await client.get("/")

    asyncio.run(ask())
    assert state(telemetry) == STATES[CLOSED]


def test_a_failure_whose_body_breaks_off_too_is_one_failure(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(**UPSTREAM)

    async def parts() -> AsyncIterator[bytes]:
        yield b"part"
        raise httpx.ReadTimeout("slow")

    client = payments(telemetry, lambda _request: httpx.Response(500, content=parts()))

    async def ask() -> None:
        for _ in range(FAILURES_TO_OPEN - 1):
            with pytest.raises(TimedOut):
                await client.get("/")

    asyncio.run(ask())
    assert state(telemetry) == STATES[CLOSED]


def test_a_span_lasts_until_the_body_is_read_or_closed(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter
) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    client = payments(telemetry, streaming(None))
    ended: list[int] = []

    def look() -> None:
        telemetry.tracing.provider.force_flush()
        ended.append(len(spans.get_finished_spans()))

    async def ask() -> None:
        async with client.stream("GET", "/") as answer:
            look()
            await answer.aread()
            look()
        async with client.stream("GET", "/") as answer:
            await anext(answer.aiter_raw())
            look()
        look()

    asyncio.run(ask())
    assert ended == [0, 1, 1, 2]
    assert {span.status.status_code for span in spans.get_finished_spans()} == {StatusCode.UNSET}


def test_a_body_that_its_reader_closes_early_is_no_failure(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    client = payments(telemetry, streaming())

    async def ask() -> None:
        for _ in range(2 * FAILURES_TO_OPEN):
            async with client.stream("GET", "/") as answer:
                assert await anext(answer.aiter_raw()) == b"part"

    asyncio.run(ask())
    assert state(telemetry) == STATES[CLOSED]


def test_a_client_that_leaves_while_a_body_hangs_tells_the_breaker_nothing(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter
) -> None:
    telemetry, late = make_telemetry(**UPSTREAM), httpx.ReadTimeout("slow")
    hangs, fails = payments(telemetry, streaming()), payments(telemetry, streaming(*[late] * FAILURES_TO_OPEN))

    async def ask() -> list[float | None]:
        found = []
        for count in (FAILURES_TO_OPEN - 1, 1):
            for _ in range(count):
                with pytest.raises(TimedOut):
                    await fails.get("/")
            found.append(state(telemetry))
            leaving = asyncio.create_task(hangs.get("/"))
            await asyncio.sleep(0.01)
            leaving.cancel()
            await asyncio.wait([leaving])
        return found

    assert asyncio.run(ask()) == [STATES[CLOSED], STATES[OPENED]]
    telemetry.tracing.provider.force_flush()
    left = [span for span in spans.get_finished_spans() if span.status.status_code is StatusCode.UNSET]
    assert len(left) == 1


def test_a_stream_closes_a_half_open_circuit_when_it_begins_and_keeps_nobody_waiting(
    make_telemetry: MakeTelemetry, let_time_pass: Callable[[], None]
) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    fails, streams = payments(telemetry, refuse), payments(telemetry, streaming())

    async def ask() -> None:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(Unreachable):
                await fails.post("/")
        let_time_pass()
        async with streams.stream("GET", "/") as answer:
            assert await anext(answer.aiter_raw()) == b"part"
            assert state(telemetry) == STATES[CLOSED]
            assert (await payments(telemetry, lambda _request: httpx.Response(200)).get("/")).status_code == 200

    asyncio.run(ask())
