import asyncio
from typing import Any

from automation_services.worker import Worker
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from automation_services.jobs import Queue
from telemetry import Telemetry, ids
from tests.unit.services.helpers import LogLines, MakeTelemetry


class MemoryStore:
    """Stands for Redis: one list, and values by key."""

    def __init__(self) -> None:
        self.waiting: list[str] = []
        self.values: dict[str, str] = {}

    async def call(self, command: str, *arguments: Any) -> Any:
        if command == "LPUSH":
            self.waiting.append(arguments[1])
        elif command == "SET":
            self.values[arguments[0]] = arguments[1]
        return self.values.get(arguments[0])

    async def call_quietly(self, command: str, *_arguments: Any) -> Any:
        if command == "LLEN":
            return len(self.waiting)
        if not self.waiting:
            raise asyncio.CancelledError
        return ["queue", self.waiting.pop(0)]


def work_off(telemetry: Telemetry, jobs: list[tuple[str, str, str]], cancelled: int | None = None) -> list[str]:
    """Queue the jobs under one span and ids each, work until the queue is empty; the states in the end."""

    async def run() -> list[str]:
        queue = Queue(MemoryStore())  # type: ignore[arg-type]
        worker = Worker(telemetry, queue)
        made = []
        for number, job in enumerate(jobs):
            bound = ids.bound(ids.Ids(f"request-{number}", "journey-1"))
            with bound, telemetry.tracing.tracer.start_as_current_span("POST /jobs"):
                made.append(await queue.put(*job))
        if cancelled is not None:
            await queue.set_state(made[cancelled].id, "cancelled")
        await asyncio.gather(worker.run(), return_exceptions=True)
        assert ids.current() is None
        return [(await queue.state(job.id) or {})["state"] for job in made]

    return asyncio.run(run())


def test_a_job_is_done_in_the_trace_and_under_the_ids_of_its_request(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()
    assert work_off(telemetry, [("file", "a.txt", "text"), ("workflow", "summary", "One.")]) == ["succeeded"] * 2
    telemetry.tracing.provider.force_flush()
    requests = [span.context.trace_id for span in spans.get_finished_spans() if span.name == "POST /jobs"]
    jobs = [span.context.trace_id for span in spans.get_finished_spans() if span.name.startswith("job")]
    assert jobs == requests
    assert [line["request_id"] for line in log_lines()] == ["request-0", "request-1"]


def test_a_bad_job_fails_and_the_next_is_done(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    assert work_off(telemetry, [("file", "a.json", "{"), ("file", "b.json", "[]")]) == ["failed", "succeeded"]
    value = telemetry.metrics.registry.get_sample_value
    assert value("worker_jobs_total", {"queue": "jobs", "status": "failed"}) == 1
    assert value("files_processed_total", {"kind": "json", "status": "failure"}) == 1
    assert value("files_processed_total", {"kind": "json", "status": "success"}) == 1
    assert value("queue_wait_seconds_count", {"queue": "jobs"}) == 2


def test_a_cancelled_job_is_not_done(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    assert work_off(telemetry, [("file", "a.txt", "text")], cancelled=0) == ["cancelled"]
    value = telemetry.metrics.registry.get_sample_value
    assert value("worker_jobs_total", {"queue": "jobs", "status": "cancelled"}) == 1
    assert value("files_processed_total", {"kind": "text", "status": "success"}) == 0
