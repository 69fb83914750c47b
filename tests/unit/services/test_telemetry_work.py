"""Background work is observed as a request is."""

import asyncio
import threading
import time

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from lookout.verify.polling import NotYet, poll_until
from telemetry import Telemetry, ids, tracing
from telemetry.work import LATE_SECONDS, STATUSES, Work, carried
from tests.unit.services.helpers import LogLines, MakeTelemetry


def span(telemetry: Telemetry, spans: InMemorySpanExporter) -> ReadableSpan:
    """The one span of a job."""
    telemetry.tracing.provider.force_flush()
    (found,) = [one for one in spans.get_finished_spans() if one.name.startswith("job ")]
    return found


def exposed(telemetry: Telemetry) -> str:
    body, _ = telemetry.metrics.expose("application/openmetrics-text; version=1.0.0")
    return body.decode()


def test_all_series_are_there_before_the_first_job(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    Work(telemetry, ["mail"], ["welcome"])
    value = telemetry.metrics.registry.get_sample_value
    assert [value("worker_jobs_total", {"queue": "mail", "status": status}) for status in STATUSES] == [0] * len(
        STATUSES
    )
    assert value("active_jobs", {"kind": "welcome"}) == 0
    assert value("queue_wait_seconds_count", {"queue": "mail"}) == 0


def test_a_job_continues_the_trace_and_the_ids_that_it_carries(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    work = Work(telemetry, ["mail"], ["welcome"])
    with (
        ids.bound(ids.Ids("request-1", "journey-1")),
        telemetry.tracing.tracer.start_as_current_span("POST") as request,
    ):
        headers = carried()
    with work.job("mail", "welcome", "job-1", headers, time.time() - 2):
        assert ids.current() == ids.Ids("request-1", "journey-1")
        assert telemetry.metrics.registry.get_sample_value("active_jobs", {"kind": "welcome"}) == 1
    assert ids.current() is None
    found = span(telemetry, spans)
    assert found.parent is not None
    assert found.parent.span_id == request.get_span_context().span_id
    assert found.attributes is not None
    assert found.attributes["messaging.message.id"] == "job-1"
    (line,) = log_lines()
    assert (line["job"], line["request_id"], line["correlation_id"]) == ("job-1", "request-1", "journey-1")
    assert line["trace_id"] == f"{found.context.trace_id:032x}"
    assert 2 <= line["wait_seconds"] < 3


@pytest.mark.parametrize(
    ("status", "level", "kept"),
    [
        ("succeeded", "info", False),
        ("cancelled", "info", False),
        ("duplicate", "warning", False),
        ("returned", "warning", False),
        ("failed", "warning", True),
        ("retried", "warning", True),
        ("dead", "error", True),
    ],
)
def test_a_job_that_came_to_no_good_keeps_its_trace_and_has_an_exemplar(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, log_lines: LogLines, status: str, level: str, kept: bool
) -> None:
    telemetry = make_telemetry(OTEL_TRACES_SAMPLER_ARG="0")
    work = Work(telemetry, ["mail"], ["welcome"])
    with work.job("mail", "welcome", "job-1", {}, time.time()) as running:
        running.end(status, "why")
    found = span(telemetry, spans)
    assert (found.attributes or {}).get(tracing.KEEP, False) is kept
    assert (not found.status.is_ok) is kept
    assert ("# {trace_id=" in exposed(telemetry)) is kept
    (line,) = log_lines()
    assert (line["level"], line["status"], line["reason"]) == (level, status, "why")
    value = telemetry.metrics.registry.get_sample_value
    assert value("worker_jobs_total", {"queue": "mail", "status": status}) == 1


def test_a_slow_job_keeps_its_trace(make_telemetry: MakeTelemetry, spans: InMemorySpanExporter) -> None:
    telemetry = make_telemetry(OTEL_TRACES_SAMPLER_ARG="0", TRACE_KEEP_SLOWER_THAN_SECONDS="0.01")
    with Work(telemetry, ["mail"], ["welcome"]).job("mail", "welcome", "job-1", {}, time.time()):
        time.sleep(0.02)
    found = span(telemetry, spans)
    assert (found.attributes or {})[tracing.KEEP] is True
    assert found.status.is_ok


def marked(telemetry: Telemetry, spans: InMemorySpanExporter) -> ReadableSpan:
    """The small span that says that a job is slow; raises NotYet while there is none."""
    telemetry.tracing.provider.force_flush()
    for one in spans.get_finished_spans():
        if one.name == "slow":
            return one
    raise NotYet(f"{len(spans.get_finished_spans())} spans, and none is called slow")


def test_a_slow_job_is_marked_while_it_still_runs(make_telemetry: MakeTelemetry, spans: InMemorySpanExporter) -> None:
    telemetry = make_telemetry(OTEL_TRACES_SAMPLER_ARG="0", TRACE_KEEP_SLOWER_THAN_SECONDS="0.05")
    with Work(telemetry, ["mail"], ["welcome"]).job("mail", "welcome", "job-1", {}, time.time()):
        ahead = poll_until(lambda: marked(telemetry, spans), "the mark of the job", within=10, every=0.01)
    assert ahead.parent == span(telemetry, spans).context


def test_an_event_loop_marks_its_slow_jobs_without_a_thread_for_each(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = make_telemetry(OTEL_TRACES_SAMPLER_ARG="0", TRACE_KEEP_SLOWER_THAN_SECONDS="0.05")
    work = Work(telemetry, ["mail"], ["welcome"])

    async def be_slow() -> ReadableSpan:
        with work.job("mail", "welcome", "job-1", {}, time.time()):
            return await asyncio.to_thread(
                poll_until, lambda: marked(telemetry, spans), "the mark of the job", within=10, every=0.01
            )

    monkeypatch.delattr("telemetry.work.Timer")
    assert asyncio.run(be_slow()).parent == span(telemetry, spans).context


def test_a_job_whose_timer_does_not_start_has_failed_and_is_told(
    make_telemetry: MakeTelemetry, log_lines: LogLines, monkeypatch: pytest.MonkeyPatch
) -> None:
    telemetry = make_telemetry()

    def start(_timer: threading.Timer) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("telemetry.work.Timer.start", start)
    work = Work(telemetry, ["mail"], ["welcome"])
    with pytest.raises(RuntimeError, match="new thread"), work.job("mail", "welcome", "job-1", {}, time.time()):
        pytest.fail("it was begun")
    assert [line["status"] for line in log_lines()] == ["failed"]
    value = telemetry.metrics.registry.get_sample_value
    assert value("worker_jobs_total", {"queue": "mail", "status": "failed"}) == 1


@pytest.mark.parametrize(("ratio", "waited", "has"), [("0", 0, True), ("0", LATE_SECONDS, False), ("1", 60, True)])
def test_a_late_job_that_fails_has_an_exemplar_only_where_its_trace_was_drawn(
    make_telemetry: MakeTelemetry, ratio: str, waited: float, has: bool
) -> None:
    telemetry = make_telemetry(OTEL_TRACES_SAMPLER_ARG=ratio)
    work = Work(telemetry, ["mail"], ["welcome"])
    with work.job("mail", "welcome", "job-1", {}, time.time() - waited) as running:
        running.end("failed")
    assert ("# {trace_id=" in exposed(telemetry)) is has


def test_an_exception_fails_the_job_and_goes_on(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    work = Work(telemetry, ["mail"], ["welcome"])
    with pytest.raises(ZeroDivisionError), work.job("mail", "welcome", "job-1", {}, time.time()):
        raise ZeroDivisionError("no")
    assert (span(telemetry, spans).attributes or {})["error.type"] == "job_failed"
    (line,) = log_lines()
    assert (line["level"], line["status"], line["reason"]) == ("error", "failed", "ZeroDivisionError: no")
    assert "exception" in line


def test_only_the_first_delivery_has_waited(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    work = Work(telemetry, ["mail"], ["welcome"])
    for delivery in (1, 2):
        with work.job("mail", "welcome", "job-1", {}, time.time(), delivery):
            pass
    assert telemetry.metrics.registry.get_sample_value("queue_wait_seconds_count", {"queue": "mail"}) == 1


def test_an_end_that_is_none_is_an_error(make_telemetry: MakeTelemetry) -> None:
    work = Work(make_telemetry(), ["mail"], ["welcome"])
    with pytest.raises(ValueError, match="lost is none of"), work.job("mail", "welcome", "job-1", {}, 0.0) as running:
        running.end("lost")


def test_the_depth_is_asked_before_a_scrape(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()

    async def depth() -> int:
        return 7

    Work(telemetry, ["mail"], ["welcome"]).measure("mail", depth)
    asyncio.run(telemetry.measure())
    assert telemetry.metrics.registry.get_sample_value("queue_depth", {"queue": "mail"}) == 7
