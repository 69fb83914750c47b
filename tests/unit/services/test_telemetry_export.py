"""The queue of spans: what is kept goes out first, is dropped last, and does not stay behind at shutdown."""

import asyncio
import threading
import time
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

from telemetry import Settings, Telemetry
from telemetry.export import BATCH, FLUSH_SECONDS, KEEP, SpanQueue
from tests.unit.services.helpers import Browser, MakeTelemetry


class Collector(SpanExporter):
    """Takes spans, or refuses them; may hang."""

    def __init__(self) -> None:
        self.taken: list[ReadableSpan] = []
        self.asked = threading.Event()
        self.refuses = False
        self.hangs = threading.Event()
        self.hangs.set()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.hangs.wait(10)
        if self.refuses:
            return SpanExportResult.FAILURE
        self.taken += spans
        return SpanExportResult.SUCCESS

    def names(self) -> list[str]:
        return [span.name for span in self.taken]


class Rig:
    """A queue of four spans that keeps what failed."""

    def __init__(self, limit: int = 4) -> None:
        self.collector = Collector()
        self.dropped: list[tuple[bool, int]] = []
        self.queue = SpanQueue(
            self.collector,
            lambda _trace, failed, seconds: failed or seconds > 60,
            lambda kept, count: self.dropped.append((kept, count)),
            limit,
        )
        # The thread would empty the queue in the middle of a test.
        self.queue._thread = threading.current_thread()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(self.queue)
        self.tracer = provider.get_tracer("test")

    def span(self, name: str, failed: bool = False) -> None:
        """One trace of one span."""
        with self.tracer.start_as_current_span(name) as span:
            if failed:
                span.set_status(StatusCode.ERROR)


def test_a_full_queue_drops_the_oldest_of_what_nobody_keeps() -> None:
    rig = Rig()
    rig.span("failed", failed=True)
    for number in range(6):
        rig.span(f"fine-{number}")
    rig.queue.force_flush()
    assert rig.collector.names() == ["failed", "fine-3", "fine-4", "fine-5"]
    assert rig.dropped == [(False, 1)] * 3


def test_a_queue_full_of_kept_spans_takes_no_other_and_drops_its_oldest_for_a_kept_one() -> None:
    rig = Rig()
    for number in range(4):
        rig.span(f"failed-{number}", failed=True)
    rig.span("fine")
    rig.span("failed-4", failed=True)
    rig.queue.force_flush()
    assert rig.collector.names() == ["failed-1", "failed-2", "failed-3", "failed-4"]
    assert rig.dropped == [(False, 1), (True, 1)]


def test_the_spans_of_a_trace_move_with_it_when_it_turns_out_to_be_kept() -> None:
    rig = Rig()
    with rig.tracer.start_as_current_span("request") as request:
        rig.span("query")
        request.set_status(StatusCode.ERROR)
    for number in range(6):
        rig.span(f"fine-{number}")
    rig.queue.force_flush()
    assert rig.collector.names()[:2] == ["query", "request"]


def test_spans_that_the_collector_refused_are_sent_again_before_newer_ones_and_kept_ones_first() -> None:
    rig = Rig()
    rig.collector.refuses = True
    with rig.tracer.start_as_current_span("request") as request:
        rig.span("query")
        request.set_status(StatusCode.ERROR)
    rig.span("fine")
    assert not rig.queue.force_flush()
    rig.collector.refuses = False
    rig.span("later", failed=True)
    assert rig.queue.force_flush()
    assert rig.collector.names() == ["query", "request", "later", "fine"]
    assert rig.dropped == []


def test_of_spans_that_the_collector_refused_those_are_dropped_for_which_there_is_no_room() -> None:
    rig = Rig()
    rig.collector.refuses = True
    rig.collector.hangs.clear()
    for name in ("fine", "other"):
        rig.span(name)
    rig.span("failed", failed=True)
    exporting = threading.Thread(target=rig.queue.force_flush)
    exporting.start()
    assert rig.collector.asked.wait(10)
    for number in range(2):
        rig.span(f"failed-{number}", failed=True)
    rig.collector.hangs.set()
    exporting.join(10)
    assert rig.dropped == [(False, 1)]
    rig.collector.refuses = False
    assert rig.queue.force_flush()
    assert rig.collector.names() == ["failed", "failed-0", "failed-1", "fine"]


@pytest.mark.parametrize("failed", [True, False])
def test_the_first_span_of_a_kept_trace_has_the_mark_whatever_made_it(failed: bool) -> None:
    rig = Rig()
    rig.span("job", failed)
    rig.queue.force_flush()
    assert (KEEP in (rig.collector.taken[0].attributes or {})) is failed


def test_work_in_the_background_is_kept_in_the_share_too() -> None:
    collector = Collector()
    telemetry = Telemetry(Settings(service="shop", keep_ratio=1.0), collector)
    with telemetry.tracing.tracer.start_as_current_span("job"):
        pass
    telemetry.tracing.shutdown()
    assert (collector.taken[0].attributes or {})[KEEP] is True


def test_shutdown_sends_what_is_queued() -> None:
    collector = Collector()
    telemetry = Telemetry(Settings(service="shop"), collector)

    async def serve() -> None:
        async with telemetry.running():
            for _ in range(1500):
                with telemetry.tracing.tracer.start_as_current_span("work"):
                    pass

    asyncio.run(serve())
    assert len(collector.taken) == 1500
    assert telemetry.metrics.registry.get_sample_value("spans_dropped_total", {"kept": "false"}) == 0


def test_shutdown_does_not_wait_for_a_collector_that_refuses() -> None:
    rig = Rig()
    rig.collector.refuses = True
    rig.span("failed", failed=True)
    start = time.monotonic()
    rig.queue.shutdown()
    assert time.monotonic() - start < FLUSH_SECONDS
    assert rig.dropped == [(True, 1)]


def test_shutdown_does_not_wait_for_a_collector_that_hangs() -> None:
    collector = Collector()
    collector.hangs.clear()
    telemetry = Telemetry(Settings(service="shop"), collector)
    for _ in range(BATCH):
        telemetry.tracing.tracer.start_span("work").end()
    assert collector.asked.wait(5)
    start = time.monotonic()
    telemetry.tracing.shutdown()
    assert time.monotonic() - start < FLUSH_SECONDS + 1
    collector.hangs.set()


def test_a_collector_that_hangs_does_not_hold_up_requests() -> None:
    collector = Collector()
    collector.hangs.clear()
    telemetry = Telemetry(Settings(service="shop"), collector)
    http = Browser(telemetry.app([]))
    start = time.monotonic()
    for _ in range(100):
        http.get("/")
    assert time.monotonic() - start < 9
    collector.hangs.set()
    telemetry.tracing.shutdown()
    assert len(collector.taken) == 100


def test_the_length_of_the_queue_is_a_setting(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry(OTEL_BSP_MAX_QUEUE_SIZE="10")
    with telemetry.tracing.tracer.start_as_current_span("request"):
        for _ in range(20):
            with telemetry.tracing.tracer.start_as_current_span("query"):
                pass
    value = telemetry.metrics.registry.get_sample_value
    lost = [value("spans_dropped_total", {"kept": kept}) for kept in ("true", "false")]
    assert sum(number or 0 for number in lost) >= 1
