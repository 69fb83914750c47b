import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from purgatory.domain.model import CLOSED, HALF_OPENED, OPENED
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from telemetry import CircuitOpen, DependencyError, Telemetry, TimedOut, Unreachable, ids
from telemetry.breaker import FAILURES_TO_OPEN, OPEN_SECONDS, STATES, Breakers
from telemetry.client import ATTEMPTS, retry_after
from telemetry.metrics import Metrics
from tests.unit.services.helpers import Browser, MakeTelemetry

UPSTREAM = {"UPSTREAM_PAYMENTS": "http://payments:1"}
Answer = Callable[[httpx.Request], httpx.Response]


def payments(telemetry: Telemetry, answer: Answer) -> httpx.AsyncClient:
    return telemetry.client("payments", inner=httpx.MockTransport(answer))


def state(telemetry: Telemetry) -> float | None:
    return telemetry.metrics.registry.get_sample_value("circuit_breaker_state", {"dependency": "payments"})


@contextmanager
def serving_nothing() -> Iterator[int]:
    """A port that takes connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


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


@pytest.fixture
def let_time_pass(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Lets the time be over for which a circuit stays open."""

    def let_pass() -> None:
        later = time.time() + OPEN_SECONDS + 0.1
        monkeypatch.setattr(time, "time", lambda: later)

    return let_pass


class Circuit:
    """The circuit of payments, without a client."""

    def __init__(self, let_time_pass: Callable[[], None]) -> None:
        self.metrics = Metrics("shop")
        self.breakers = Breakers(self.metrics)
        self.let_time_pass = let_time_pass

    @property
    def state(self) -> float | None:
        return self.metrics.registry.get_sample_value("circuit_breaker_state", {"dependency": "payments"})

    async def ask(self, error: BaseException | None = None, after: asyncio.Event | None = None) -> None:
        """A call that raises ``error``, which it does at ``after``."""
        with self.breakers.guard("payments"):
            if after is not None:
                await after.wait()
            if error is not None:
                raise error

    async def fails(self, error: BaseException) -> float | None:
        """The state after a call that raises ``error``."""
        with pytest.raises(type(error)):
            await self.ask(error)
        return self.state

    async def opens(self) -> None:
        """Failures in a row."""
        for _ in range(FAILURES_TO_OPEN):
            await self.fails(Unreachable("payments", "refused"))

    async def half_opens(self) -> None:
        """Opens, and the time is over."""
        await self.opens()
        self.let_time_pass()


@pytest.fixture
def circuit(let_time_pass: Callable[[], None]) -> Circuit:
    """A circuit that is closed."""
    return Circuit(let_time_pass)


def test_an_open_breaker_tries_again_and_closes(circuit: Circuit) -> None:
    async def ask() -> None:
        await circuit.opens()
        await circuit.fails(CircuitOpen("payments", "open"))
        circuit.let_time_pass()
        for _ in range(2):
            await circuit.ask()

    asyncio.run(ask())


def test_a_call_that_is_cancelled_tells_the_breaker_nothing(circuit: Circuit) -> None:
    async def ask() -> list[float | None]:
        late = TimedOut("payments", "no answer")
        for _ in range(FAILURES_TO_OPEN - 1):
            await circuit.fails(late)
        # Whoever left before the time was up does not make good the failures before.
        found = [await circuit.fails(asyncio.CancelledError()), await circuit.fails(late)]
        circuit.let_time_pass()
        return [*found, await circuit.fails(asyncio.CancelledError()), await circuit.fails(late)]

    assert asyncio.run(ask()) == [STATES[name] for name in (CLOSED, OPENED, HALF_OPENED, OPENED)]


def test_an_open_circuit_is_shown_as_half_open_once_its_time_is_over_without_a_call(circuit: Circuit) -> None:
    async def ask() -> list[float | None]:
        await circuit.opens()
        states = [circuit.state]
        circuit.let_time_pass()
        return [*states, circuit.state]

    assert asyncio.run(ask()) == [STATES[OPENED], STATES[HALF_OPENED]]


@pytest.mark.parametrize(("error", "then"), [(None, CLOSED), (Unreachable("payments", "refused"), OPENED)])
def test_one_call_tries_a_half_open_circuit_and_decides_about_it(
    circuit: Circuit, error: Exception | None, then: str
) -> None:
    async def ask() -> tuple[float | None, list[BaseException | None], float | None]:
        answer = asyncio.Event()
        await circuit.half_opens()
        calls = [asyncio.create_task(circuit.ask(error, answer)) for _ in range(50)]
        await asyncio.sleep(0)
        during = circuit.state
        answer.set()
        return during, await asyncio.gather(*calls, return_exceptions=True), circuit.state

    during, ended, after = asyncio.run(ask())
    assert (during, after) == (STATES[HALF_OPENED], STATES[then])
    assert ended[0] is error
    assert {type(one) for one in ended[1:]} == {CircuitOpen}


def test_where_the_call_that_tries_is_cancelled_another_one_may(circuit: Circuit) -> None:
    async def ask() -> float | None:
        await circuit.half_opens()
        trying = asyncio.create_task(circuit.ask(after=asyncio.Event()))
        await asyncio.sleep(0)
        await circuit.fails(CircuitOpen("payments", "half open"))
        trying.cancel()
        await asyncio.wait([trying])
        assert circuit.state == STATES[HALF_OPENED]
        await circuit.ask()
        return circuit.state

    assert asyncio.run(ask()) == STATES[CLOSED]


@pytest.mark.parametrize("error", [None, Unreachable("payments", "refused")])
def test_a_call_from_before_the_circuit_opened_does_not_decide_about_it(
    circuit: Circuit, error: Exception | None
) -> None:
    async def ask() -> float | None:
        answer = asyncio.Event()
        old = asyncio.create_task(circuit.ask(error, answer))
        await asyncio.sleep(0)
        await circuit.half_opens()
        trying = asyncio.create_task(circuit.ask(after=asyncio.Event()))
        await asyncio.sleep(0)
        answer.set()
        await asyncio.gather(old, return_exceptions=True)
        found = circuit.state
        trying.cancel()
        await asyncio.wait([trying])
        return found

    assert asyncio.run(ask()) == STATES[HALF_OPENED]


def test_a_request_that_cannot_be_sent_tells_the_breaker_nothing(
    make_telemetry: MakeTelemetry, let_time_pass: Callable[[], None]
) -> None:
    telemetry = make_telemetry(**UPSTREAM)
    failing, unsendable = Unreachable("payments", "refused"), httpx.LocalProtocolError("header value")
    answers: list[Exception] = []

    def answer(_request: httpx.Request) -> httpx.Response:
        raise answers.pop(0)

    client = payments(telemetry, answer)

    async def ask(*errors: Exception) -> None:
        for error in errors:
            answers.append(httpx.ConnectError("refused") if error is failing else error)
            with pytest.raises(type(error)):
                await client.post("/")

    async def all_of_it() -> None:
        await ask(*[failing] * (FAILURES_TO_OPEN - 1), unsendable, failing)
        assert state(telemetry) == STATES[OPENED]
        let_time_pass()
        await ask(unsendable)
        assert state(telemetry) == STATES[HALF_OPENED]
        await ask(failing)
        assert state(telemetry) == STATES[OPENED]

    asyncio.run(all_of_it())


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


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(httpx.RemoteProtocolError("incomplete"), Unreachable), (httpx.ReadTimeout("slow"), TimedOut)],
)
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


@pytest.mark.parametrize(
    ("raised", "expected"),
    [(httpx.RemoteProtocolError("incomplete"), Unreachable), (httpx.ReadTimeout("slow"), TimedOut)],
)
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
