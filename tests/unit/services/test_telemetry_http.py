import asyncio
import json
import re

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from telemetry import Settings, Telemetry, web
from tests.unit.services.helpers import ENVIRONMENT, Browser, LogLines, MakeTelemetry

OPENMETRICS = {"accept": "application/openmetrics-text; version=1.0.0"}
TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


async def item(request: Request) -> Response:
    return PlainTextResponse(request.path_params["item"])


async def broken(_request: Request) -> Response:
    raise RuntimeError("it broke")


async def slow(_request: Request) -> Response:
    await asyncio.sleep(0.5)
    return PlainTextResponse("slow")


def client(telemetry: Telemetry) -> Browser:
    return Browser(telemetry.app([Route("/items/{item}", item), Route("/broken", broken), Route("/slow", slow)]))


def series(telemetry: Telemetry, name: str) -> dict[str, float]:
    """Samples of a metric by their labels, as the exposition shows them."""
    text = telemetry.metrics.expose("")[0].decode()
    return {m[1]: float(m[2]) for m in re.finditer(rf"^{name}{{(.*)}} (\S+)$", text, re.MULTILINE)}


def exemplars(telemetry: Telemetry) -> list[str]:
    """Trace ids of the exemplars of the request duration."""
    text = telemetry.metrics.expose(OPENMETRICS["accept"])[0].decode()
    return re.findall(r'http_request_duration_seconds_bucket.* # {trace_id="(\w+)"}', text)


def test_random_paths_and_methods_make_two_series(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    http = client(telemetry)
    for number in range(50):
        http.get(f"/items/{number}")
        http.get(f"/nothing/{number}?q={number}")
        http.request(f"ODD{number}", f"/{number}")
    found = series(telemetry, "http_requests_total")
    assert found == {
        'method="GET",route="/items/{item}",service="shop",status="200"': 50,
        'method="GET",route="unmatched",service="shop",status="404"': 50,
        'method="other",route="unmatched",service="shop",status="404"': 50,
    }


def test_a_known_route_with_a_wrong_method_keeps_its_route(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    assert client(telemetry).post("/items/1").status_code == 405
    assert list(series(telemetry, "http_requests_total")) == [
        'method="POST",route="/items/{item}",service="shop",status="405"'
    ]


def test_endpoints_of_the_stack_are_neither_counted_nor_traced_nor_logged(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    http = client(telemetry)
    for path in ("/live", "/live/metrics", "/health", "/metrics"):
        assert http.get(path).status_code == 200
    telemetry.tracing.provider.force_flush()
    assert series(telemetry, "http_requests_total") == {}
    assert spans.get_finished_spans() == ()
    assert log_lines() == []


def test_the_liveness_metric_is_one_sample_in_the_text_format(make_telemetry: MakeTelemetry) -> None:
    answer = client(make_telemetry()).get("/live/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert [line for line in answer.text.splitlines() if line[0] != "#"] == ['service_live{service="shop"} 1']


def test_every_sample_carries_the_service(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    http = client(telemetry)
    http.get("/items/1")
    samples = [line for line in http.get("/metrics").text.splitlines() if not line.startswith("#")]
    assert samples
    assert [line for line in samples if 'service="shop"' not in line] == []


def test_openmetrics_is_served_where_it_is_asked_for(make_telemetry: MakeTelemetry) -> None:
    http = client(make_telemetry())
    answer = http.get("/metrics", headers=OPENMETRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert http.get("/metrics", headers={"accept": "text/plain"}).headers["content-type"].startswith("text/plain")


def test_the_bounds_hold_every_threshold_of_the_alerts(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    client(telemetry).get("/items/1")
    bounds = re.findall(r'le="([^"]+)"', "\n".join(series(telemetry, "http_request_duration_seconds_bucket")))
    wanted = ["0.1", "0.25", "0.5", "1.0", "2.0", "2.5", "5.0", "10.0", "30.0", "60.0", "120.0"]
    assert [bound for bound in wanted if bound not in bounds] == []


@pytest.mark.parametrize("given", ["abcdefgh", "a" * 128, "0.9_-Az12"])
def test_well_formed_ids_are_accepted_and_returned(make_telemetry: MakeTelemetry, given: str) -> None:
    answer = client(make_telemetry()).get("/items/1", headers={"x-request-id": given, "x-correlation-id": given})
    assert answer.headers["x-request-id"] == given
    assert answer.headers["x-correlation-id"] == given


@pytest.mark.parametrize("given", ["short", "a" * 129, "has space", "new\tline", "a;drop", ""])
def test_malformed_ids_are_replaced(make_telemetry: MakeTelemetry, given: str) -> None:
    answer = client(make_telemetry()).get("/items/1", headers={"x-request-id": given, "x-correlation-id": given})
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"])
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-correlation-id"])


def test_errors_carry_the_ids_too(make_telemetry: MakeTelemetry) -> None:
    answer = client(make_telemetry()).get("/broken", headers={"x-request-id": "request-1"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == "request-1"
    assert answer.json()["error"]["request_id"] == "request-1"


def test_the_trace_of_the_caller_goes_on(make_telemetry: MakeTelemetry, spans: InMemorySpanExporter) -> None:
    telemetry = make_telemetry()
    client(telemetry).get("/items/1", headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    telemetry.tracing.provider.force_flush()
    (span,) = spans.get_finished_spans()
    assert span.name == "GET /items/{item}"
    assert format(span.context.trace_id, "032x") == TRACE
    assert span.parent is not None
    assert format(span.parent.span_id, "016x") == PARENT
    assert span.attributes is not None
    assert span.attributes["http.route"] == "/items/{item}"
    assert span.attributes["http.response.status_code"] == 200


def test_exemplars_point_only_at_kept_traces(make_telemetry: MakeTelemetry, spans: InMemorySpanExporter) -> None:
    telemetry = make_telemetry(OTEL_TRACES_SAMPLER_ARG="0", TRACE_KEEP_SLOWER_THAN_SECONDS="0.5")
    http = client(telemetry)
    for path in ("/items/1", "/broken", "/slow"):
        http.get(path)
    telemetry.tracing.provider.force_flush()
    kept = {span.name: (span.attributes or {}).get("lookout.keep", False) for span in spans.get_finished_spans()}
    assert kept == {"GET /items/{item}": False, "GET /broken": True, "GET /slow": True, "slow": True}
    ids = {format(s.context.trace_id, "032x") for s in spans.get_finished_spans() if kept[s.name]}
    assert set(exemplars(telemetry)) == ids


def test_a_process_that_sends_no_spans_attaches_no_exemplars() -> None:
    telemetry = Telemetry(Settings.load({**ENVIRONMENT, "OTEL_TRACES_SAMPLER_ARG": "1"}))
    http = client(telemetry)
    for path in ("/items/1", "/broken"):
        http.get(path)
    assert exemplars(telemetry) == []


def test_a_slow_request_is_marked_while_it_still_runs(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter
) -> None:
    telemetry = make_telemetry(OTEL_TRACES_SAMPLER_ARG="0", TRACE_KEEP_SLOWER_THAN_SECONDS="0.2")
    http = client(telemetry)
    http.get("/items/1")
    http.get("/slow")
    telemetry.tracing.provider.force_flush()
    found = {span.name: span for span in spans.get_finished_spans()}
    assert set(found) == {"GET /items/{item}", "slow", "GET /slow"}
    ahead, request = found["slow"], found["GET /slow"]
    assert ahead.parent == request.context
    assert ahead.end_time is not None
    assert request.end_time is not None
    assert request.end_time - ahead.end_time > 100_000_000


def test_the_ratio_looks_at_the_trace_id_alone(make_telemetry: MakeTelemetry) -> None:
    keep = make_telemetry(OTEL_TRACES_SAMPLER_ARG="0.5").tracing.keep
    below, above = 2**63 - 1, 2**63
    assert keep(below, failed=False, seconds=0)
    assert not keep(above, failed=False, seconds=0)
    assert keep(1 << 100 | below, failed=False, seconds=0)
    assert keep(above, failed=True, seconds=0)
    assert keep(above, failed=False, seconds=1.0)


def test_an_access_line_has_every_field(make_telemetry: MakeTelemetry, log_lines: LogLines) -> None:
    ids = {"x-request-id": "request-1", "x-correlation-id": "journey-1"}
    client(make_telemetry()).get("/items/1", headers={"traceparent": f"00-{TRACE}-{PARENT}-01", **ids})
    (line,) = log_lines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", line.pop("timestamp"))
    assert re.fullmatch("[0-9a-f]{16}", line.pop("span_id"))
    assert 0 < line.pop("duration_seconds") < 5
    assert line == {
        "level": "info",
        "service": "shop",
        "logger": "telemetry.access",
        "message": "request",
        "trace_id": TRACE,
        "request_id": "request-1",
        "correlation_id": "journey-1",
        "method": "GET",
        "route": "/items/{item}",
        "status": 200,
    }


async def take(request: Request) -> Response:
    return JSONResponse(await web.read_json(request))


@pytest.mark.parametrize(
    "body",
    [
        rb'{"a": "x\u0000"}',
        rb'{"a": [{"b": ["\ud800"]}]}',
        rb'{"\udfff": 1}',
        b'{"a": "\xed\xa0\x80"}',
        '{"a": "\\u0000"}'.encode("utf-16"),
    ],
)
def test_a_body_with_text_that_cannot_be_stored_is_refused(make_telemetry: MakeTelemetry, body: bytes) -> None:
    answer = Browser(make_telemetry().app([Route("/take", take, methods=["POST"])])).post("/take", content=body)
    assert answer.status_code == 400
    assert "NUL" in answer.json()["error"]["message"]


@pytest.mark.parametrize("text", ["\\u0000 and \\ud800", "日本語 ü", "\U0001f600", "tab\tand line\n"])
def test_a_body_with_any_other_text_is_taken(make_telemetry: MakeTelemetry, text: str) -> None:
    http = Browser(make_telemetry().app([Route("/take", take, methods=["POST"])]))
    assert http.post("/take", content=json.dumps({"a": [text]})).json() == {"a": [text]}
    assert http.post("/take", content=json.dumps({"a": [text]}, ensure_ascii=False)).json() == {"a": [text]}


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("007", 7), ("200", 200)])
def test_a_whole_number_within_its_bounds_is_taken(text: str, number: int) -> None:
    assert web.whole_number(text, "limit", 1, 200) == number


@pytest.mark.parametrize("text", ["", "0", "201", "-1", "1.5", "٣", "²", "0000000000000000000201", "9" * 5000])
def test_any_other_number_of_a_query_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(HTTPException, match="limit must be a whole number from 1 to 200"):
        web.whole_number(text, "limit", 1, 200)


def test_an_exception_is_one_structured_line_and_the_access_line_is_an_error(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    client(telemetry).get("/broken")
    exception, access = log_lines()
    assert exception["message"] == "unhandled exception"
    assert exception["exception"][0]["exc_type"] == "RuntimeError"
    assert exception["exception"][0]["exc_value"] == "it broke"
    assert exception["trace_id"] == access["trace_id"]
    assert (access["level"], access["status"]) == ("error", 500)
    assert series(telemetry, "log_messages_total")['level="error",service="shop"'] == 2
