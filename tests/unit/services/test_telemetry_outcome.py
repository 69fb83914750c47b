"""What came of a request is what is counted, traced and logged, also where the response breaks off."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import telemetry as library
from lookout.render import ROOT
from telemetry import Telemetry, TimedOut, Unreachable, get_logger
from telemetry.logs import LEVELS
from tests.unit.services.helpers import Browser, LogLines, MakeTelemetry


async def breaking_off(_request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        raise RuntimeError("broke off")

    return StreamingResponse(parts())


async def endless(_request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        while True:
            yield b"more"
            await asyncio.sleep(0.001)

    return StreamingResponse(parts())


async def reading(request: Request) -> Response:
    await request.body()
    return PlainTextResponse("read")


async def fine_but_then(_request: Request) -> Response:
    async def task() -> None:
        raise RuntimeError("in the background")

    return PlainTextResponse("fine", background=BackgroundTask(task))


async def refused(_request: Request) -> Response:
    raise HTTPException(418, "a teapot")


def app(telemetry: Telemetry) -> ASGIApp:
    handlers = (breaking_off, endless, reading, fine_but_then, refused)
    return telemetry.app([Route(f"/{handler.__name__}", handler, methods=["GET", "POST"]) for handler in handlers])


def counted(telemetry: Telemetry, route: str) -> dict[str, float]:
    """Requests of a route by status."""
    found: dict[str, float] = {}
    for metric in telemetry.metrics.registry.collect():
        for sample in metric.samples:
            if sample.name == "http_requests_total" and sample.labels["route"] == route:
                found[sample.labels["status"]] = sample.value
    return found


async def until_gone(application: ASGIApp, path: str, after: int = 3, method: str = "GET") -> list[Message]:
    """A client that goes away after so many messages of the response; a body that it announced never comes."""
    sent: list[Message] = []
    gone = asyncio.Event()
    if after == 0:
        gone.set()

    async def receive() -> Message:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)
        if len(sent) >= after:
            gone.set()

    await application(request_scope(path, method), receive, send)
    return sent


def request_scope(path: str, method: str = "GET") -> Scope:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "method": method,
        "path": path,
        "query_string": b"",
        "headers": [],
    }


def access(lines: list[dict[str, Any]]) -> dict[str, Any]:
    (line,) = [line for line in lines if line["logger"] == "telemetry.access" and line["message"] == "request"]
    return line


def test_a_response_that_breaks_off_is_a_500_although_it_began_as_a_200(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    asyncio.run(until_gone(app(telemetry), "/breaking_off", after=100))
    telemetry.tracing.provider.force_flush()
    assert counted(telemetry, "/breaking_off") == {"500": 1}
    line = access(log_lines())
    assert (line["level"], line["status"], line["status_sent"]) == ("error", 500, 200)
    assert line["error_type"] == "RuntimeError"
    assert spans.get_finished_spans()[0].status.status_code is StatusCode.ERROR


async def breaking_off_behind(_request: Request) -> Response:
    async def parts() -> AsyncIterator[bytes]:
        yield b"one"
        raise TimedOut("payments", "ReadTimeout")

    return StreamingResponse(parts())


async def plainly_breaking_off_behind(scope: Scope, receive: Receive, send: Send) -> None:
    await (await breaking_off_behind(Request(scope)))(scope, receive, send)


def applications() -> dict[str, ASGIApp]:
    """The same application in the three ways that the guide has."""
    api = FastAPI()
    api.get("/")(breaking_off_behind)
    routes = [Route("/", breaking_off_behind)]
    return {"FastAPI": api, "Starlette": Starlette(routes=routes), "plain": plainly_breaking_off_behind}


@pytest.mark.parametrize("kind", ["FastAPI", "Starlette", "plain"])
def test_a_dependency_that_breaks_off_is_no_unhandled_exception_of_any_application(
    make_telemetry: MakeTelemetry, log_lines: LogLines, kind: str
) -> None:
    telemetry = make_telemetry()
    asyncio.run(until_gone(telemetry.instrument(applications()[kind]), "/", after=100))
    assert counted(telemetry, "unmatched" if kind == "plain" else "/") == {"504": 1}
    failed, line = log_lines()
    assert (failed["message"], failed["dependency"], "exception" in failed) == ("dependency failed", "payments", False)
    assert (line["level"], line["status"], line["status_sent"]) == ("error", 504, 200)
    assert line["error_type"] == "dependency_timeout"


def test_a_dependency_that_failed_is_answered_for_an_application_that_has_no_answer(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    async def pay(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise Unreachable("payments", "refused")

    telemetry = make_telemetry()
    answer = Browser(telemetry.instrument(pay)).get("/")
    assert (answer.status_code, answer.headers["x-failed-dependency"]) == (502, "payments")
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("dependency_unreachable", "payments failed")
    assert counted(telemetry, "unmatched") == {"502": 1}
    assert [line["message"] for line in log_lines()] == ["dependency failed", "request"]


def test_a_stream_whose_client_went_away_is_a_499_and_no_error(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    asyncio.run(until_gone(app(telemetry), "/endless"))
    telemetry.tracing.provider.force_flush()
    assert counted(telemetry, "/endless") == {"499": 1}
    lines = log_lines()
    assert [line["level"] for line in lines] == ["info"]
    assert (access(lines)["status"], access(lines)["status_sent"]) == (499, 200)
    assert spans.get_finished_spans()[0].status.status_code is StatusCode.UNSET


def test_a_client_that_went_away_while_it_sent_its_body_is_a_499(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    asyncio.run(until_gone(app(telemetry), "/reading", after=0, method="POST"))
    statuses = counted(telemetry, "/reading")
    assert [line["level"] for line in log_lines() if line["message"] == "request"] == ["info"]
    assert statuses == {"499": 1}


def test_a_request_that_the_server_gives_up_is_lost_and_an_error(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()

    async def give_up() -> None:
        async def never() -> Message:
            await asyncio.sleep(60)
            raise AssertionError

        async def send(_message: Message) -> None:
            return None

        async def ask() -> None:
            await app(telemetry)(request_scope("/endless"), never, send)

        task = asyncio.create_task(ask())
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())
    assert counted(telemetry, "/endless") == {"500": 1}
    assert (access(log_lines())["level"], telemetry.metrics.registry.get_sample_value("http_requests_in_flight")) == (
        "error",
        0,
    )


def test_an_answer_that_was_sent_stays_a_success_when_work_after_it_fails(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    assert Browser(app(telemetry)).get("/fine_but_then").text == "fine"
    telemetry.tracing.provider.force_flush()
    assert counted(telemetry, "/fine_but_then") == {"200": 1}
    assert [line["message"] for line in log_lines() if line["level"] == "error"] == ["unhandled exception", "request"]
    assert spans.get_finished_spans()[0].status.status_code is StatusCode.ERROR


def test_an_application_that_ends_without_an_answer_has_failed(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    async def silent(_scope: Scope, _receive: Receive, _send: Send) -> None:
        return None

    telemetry = make_telemetry()
    asyncio.run(until_gone(telemetry.instrument(silent), "/"))
    assert counted(telemetry, "unmatched") == {"500": 1}
    assert access(log_lines())["error_type"] == "incomplete_response"


def test_the_error_of_a_client_is_no_error_of_the_service(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    Browser(app(telemetry)).get("/refused")
    telemetry.tracing.provider.force_flush()
    assert [line["level"] for line in log_lines()] == ["info"]
    assert spans.get_finished_spans()[0].status.status_code is StatusCode.UNSET


def test_the_user_is_in_every_line_from_then_on_also_from_a_thread(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    def sync_handler(_request: Request) -> Response:
        get_logger("shop").info("before")
        library.bind_user("user-7")
        get_logger("shop").info("after")
        return PlainTextResponse("ok")

    telemetry = make_telemetry()
    browser = Browser(telemetry.app([Route("/", sync_handler), Route("/x", reading)]))
    browser.get("/")
    browser.get("/x")
    users = {(line["message"], line.get("route")): line.get("user_id") for line in log_lines()}
    assert users == {
        ("before", None): None,
        ("after", None): "user-7",
        ("request", "/"): "user-7",
        ("request", "/x"): None,
    }


def test_a_user_named_by_an_address_is_masked(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    async def handler(_request: Request) -> Response:
        library.bind_user("jane@example.org")
        return PlainTextResponse("ok")

    Browser(make_telemetry().app([Route("/", handler)])).get("/")
    assert access(log_lines())["user_id"] == "***@***"


def test_an_id_that_looks_like_a_secret_is_not_accepted(make_telemetry: MakeTelemetry) -> None:
    secret = "ghp_0123456789abcdefABCDEF"
    answer = Browser(app(make_telemetry())).get("/reading", headers={"x-request-id": secret})
    assert answer.headers["x-request-id"] != secret


def test_an_id_that_the_application_sets_itself_is_sent_once(make_telemetry: MakeTelemetry) -> None:
    async def handler(_request: Request) -> Response:
        return PlainTextResponse("ok", headers={"x-request-id": "its-own-id"})

    answer = Browser(make_telemetry().app([Route("/", handler)])).get("/", headers={"x-request-id": "request-1"})
    assert answer.headers.get_list("x-request-id") == ["request-1"]


def test_the_state_of_the_callers_tracers_goes_on_also_from_several_headers(make_telemetry: MakeTelemetry) -> None:
    from telemetry import tracing

    async def handler(_request: Request) -> Response:
        return PlainTextResponse(tracing.inject()["tracestate"])

    http = Browser(make_telemetry().app([Route("/", handler)]))
    trace = ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
    answer = http.get("/", headers=[trace, ("tracestate", "a=1"), ("tracestate", "b=2")])
    assert answer.text == "a=1,b=2"


@pytest.mark.parametrize("traceparent", ["", "00-0-0-0", "x" * 300, "00-" + "0" * 32 + "-b7ad6b7169203331-01"])
def test_a_malformed_trace_begins_a_new_one(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, traceparent: str
) -> None:
    telemetry = make_telemetry()
    Browser(app(telemetry)).get("/reading", headers={"traceparent": traceparent})
    telemetry.tracing.provider.force_flush()
    (span,) = spans.get_finished_spans()
    assert span.parent is None


def test_every_level_is_shown_from_the_start(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    value = telemetry.metrics.registry.get_sample_value
    assert [value("log_messages_total", {"level": level}) for level in LEVELS] == [0, 0, 0]


def test_every_field_of_a_failed_request_is_in_the_documentation(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    asyncio.run(until_gone(app(make_telemetry()), "/breaking_off", after=100))
    page = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    fields = {field for line in log_lines() for field in line}
    assert {"exception", "status_sent", "error_type"} <= fields
    assert [field for field in fields if f"`{field}`" not in page] == []
