"""The controller over a queue in memory: what it does with jobs, and with what goes wrong."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from automation_services import controller as module
from automation_services.controller import MAX_DELIVERIES, Controller, Handler
from automation_services.jobs import KINDS, MAX_RESULT, SLOTS, Job
from automation_services.work import WorkFailed
from telemetry import Telemetry, Unreachable, ids
from tests.unit.services.helpers import LogLines, MakeTelemetry
from tests.unit.services.memory_queue import MemoryQueue

Scenario = Callable[[Controller, MemoryQueue], Awaitable[Any]]


async def answer(job: Job) -> Any:
    """A handler: the content says what happens."""
    if job.content == "bad":
        raise WorkFailed("bad input", line=3)
    if job.content == "broken":
        raise RuntimeError("a bug")
    if job.content == "away":
        raise Unreachable("chat", "refused")
    return job.content.upper()


def work(
    telemetry: Telemetry,
    scenario: Scenario,
    handler: Handler = answer,
    drain_seconds: float = 4.0,
    queue: MemoryQueue | None = None,
) -> MemoryQueue:
    """Run the controller while the scenario lasts, then shut it down; the queue as it is then."""
    jobs = queue or MemoryQueue()

    async def run() -> None:
        controller = Controller(telemetry, jobs, dict.fromkeys(KINDS, handler), drain_seconds)
        task = asyncio.create_task(controller.run())
        try:
            async with asyncio.timeout(20):
                await scenario(controller, jobs)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    asyncio.run(run())
    return jobs


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)


def test_a_job_is_done_in_the_trace_and_under_the_ids_of_its_request(
    make_telemetry: MakeTelemetry, spans: InMemorySpanExporter, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()

    async def scenario(controller: Controller, _queue: MemoryQueue) -> None:
        for number in range(2):
            bound = ids.bound(ids.Ids(f"request-{number}", "journey-1"))
            with bound, telemetry.tracing.tracer.start_as_current_span("POST /jobs"):
                job, new = await controller.submit("file", "a.txt", "text")
            assert new
            assert (await controller.wait(job, 5) or {})["result"] == "TEXT"

    work(telemetry, scenario)
    telemetry.tracing.provider.force_flush()
    found = spans.get_finished_spans()
    requests = {span.context.span_id: span.context.trace_id for span in found if span.name == "POST /jobs"}
    jobs = [span for span in found if span.name == "job file"]
    assert [requests[span.parent.span_id] for span in jobs if span.parent] == [s.context.trace_id for s in jobs]
    assert len(jobs) == 2
    lines = [line for line in log_lines() if line["message"] == "job"]
    assert [(line["request_id"], line["correlation_id"]) for line in lines] == [
        ("request-0", "journey-1"),
        ("request-1", "journey-1"),
    ]
    assert {line["trace_id"] for line in lines} == {f"{trace:032x}" for trace in requests.values()}


def test_a_bad_job_fails_and_the_next_is_done(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()

    async def scenario(controller: Controller, _queue: MemoryQueue) -> None:
        made = [(await controller.submit("file", "a", content))[0] for content in ("bad", "good")]
        bad, good = [await controller.wait(job, 5) or {} for job in made]
        assert bad["state"] == "failed"
        assert bad["result"] == {"reason": "bad input", "line": 3}
        assert good["state"] == "succeeded"

    work(telemetry, scenario)
    value = telemetry.metrics.registry.get_sample_value
    assert value("worker_jobs_total", {"queue": "files", "status": "failed"}) == 1
    assert value("worker_jobs_total", {"queue": "files", "status": "succeeded"}) == 1
    assert value("queue_wait_seconds_count", {"queue": "files"}) == 2


def test_a_result_that_is_too_long_fails_its_job_and_a_long_reason_is_cut(make_telemetry: MakeTelemetry) -> None:
    async def handler(job: Job) -> str:
        if job.content == "bad":
            raise WorkFailed("x" * MAX_RESULT)
        return "\u00a0" * (MAX_RESULT // 2)

    async def scenario(controller: Controller, _queue: MemoryQueue) -> None:
        for content, reason in (("good", f"the result is longer than {MAX_RESULT} bytes"), ("bad", "x" * 500)):
            job, _ = await controller.submit("file", "a.txt", content)
            state = await controller.wait(job, 5)
            assert state == {"id": job, "state": "failed", "result": {"reason": reason}}

    work(make_telemetry(), scenario, handler)


def test_a_cancelled_job_is_not_done(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    done: list[str] = []

    async def handler(job: Job) -> None:
        done.append(job.id)

    async def scenario(controller: Controller, queue: MemoryQueue) -> None:
        queue.waiting["files"] = []
        job, _ = await controller.submit("file", "a", "text")
        await queue.cancel(job)
        await until(lambda: not queue.waiting["files"] and not queue.pending)

    work(telemetry, scenario, handler)
    assert done == []
    value = telemetry.metrics.registry.get_sample_value
    assert value("worker_jobs_total", {"queue": "files", "status": "cancelled"}) == 1


def test_a_job_with_a_known_id_is_queued_once(make_telemetry: MakeTelemetry) -> None:
    async def scenario(controller: Controller, queue: MemoryQueue) -> None:
        first = await controller.submit("file", "a", "text", "order-0001")
        assert first == ("order-0001", True)
        assert await controller.submit("file", "a", "other", "order-0001") == ("order-0001", False)
        assert (await controller.wait("order-0001", 5) or {})["result"] == "TEXT"
        assert len(queue.states) == 1

    work(make_telemetry(), scenario)


def test_a_job_that_breaks_is_delivered_again_and_given_up_in_the_end(
    make_telemetry: MakeTelemetry, log_lines: LogLines
) -> None:
    telemetry = make_telemetry()

    async def scenario(controller: Controller, queue: MemoryQueue) -> None:
        job, _ = await controller.submit("digest", "team", "broken")
        while queue.states[job]["state"] == "queued":
            await until(lambda: job in queue.pending or queue.states[job]["state"] != "queued")
            await asyncio.sleep(0.01)
            if job in queue.pending:
                queue.let_go(queue.pending[job])
        assert queue.states[job]["state"] == "dead"

    work(telemetry, scenario)
    value = telemetry.metrics.registry.get_sample_value
    assert value("worker_jobs_total", {"queue": "digests", "status": "retried"}) == MAX_DELIVERIES
    assert value("worker_jobs_total", {"queue": "digests", "status": "dead"}) == 1
    assert value("queue_wait_seconds_count", {"queue": "digests"}) == 1
    lines = [line for line in log_lines() if line["message"] == "job"]
    assert [line["level"] for line in lines] == ["warning"] * MAX_DELIVERIES + ["error"]


def test_a_job_whose_dependency_is_away_waits_for_it_and_is_given_up_after_a_long_time(
    make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(controller: Controller, queue: MemoryQueue) -> None:
        job, _ = await controller.submit("digest", "team", "away")
        await until(lambda: len(queue.handed_back) > MAX_DELIVERIES)
        assert queue.states[job]["state"] == "queued"
        assert set(queue.handed_back) == {False}
        monkeypatch.setattr(module, "GIVE_UP_SECONDS", 0.0)
        await until(lambda: queue.states[job]["state"] == "dead")

    work(make_telemetry(), scenario)


def test_a_job_under_way_is_finished_at_shutdown_and_no_other_is_begun(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()
    begun: list[str] = []

    async def handler(job: Job) -> None:
        begun.append(job.id)
        await asyncio.sleep(0.2)

    async def scenario(controller: Controller, _queue: MemoryQueue) -> None:
        for _ in range(5):
            await controller.submit("upgrade", "go.mod", "")
        await until(lambda: bool(begun))

    queue = work(telemetry, scenario, handler)
    assert [queue.states[job]["state"] for job in begun] == ["succeeded"]
    left = [job for job, _ in queue.waiting["upgrades"]]
    assert len(left) == 4
    assert not queue.pending


def test_a_job_that_takes_too_long_at_shutdown_is_handed_back(make_telemetry: MakeTelemetry) -> None:
    telemetry = make_telemetry()

    async def handler(_job: Job) -> None:
        await asyncio.sleep(30)

    async def scenario(controller: Controller, queue: MemoryQueue) -> None:
        await controller.submit("file", "a", "")
        await until(lambda: bool(queue.pending))

    queue = work(telemetry, scenario, handler, drain_seconds=0.05)
    assert [count for _, count in queue.waiting["files"]] == [1]
    value = telemetry.metrics.registry.get_sample_value
    assert value("worker_jobs_total", {"queue": "files", "status": "returned"}) == 1


def test_jobs_outlast_a_queue_that_is_away(make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0.01)
    telemetry = make_telemetry()
    queue = MemoryQueue()

    async def handler(_job: Job) -> str:
        queue.away = True
        return "done"

    async def scenario(controller: Controller, queue: MemoryQueue) -> None:
        job, _ = await controller.submit("proof", "tautology", "a")
        await until(lambda: queue.away)
        await asyncio.sleep(0.05)
        assert queue.states[job]["state"] == "queued"
        queue.away = False
        await until(lambda: queue.states[job]["state"] == "succeeded")

    work(telemetry, scenario, handler, queue=queue)
    value = telemetry.metrics.registry.get_sample_value
    assert value("worker_jobs_total", {"queue": "proofs", "status": "succeeded"}) == 1


def test_no_more_jobs_are_done_at_a_time_than_there_are_slots(make_telemetry: MakeTelemetry) -> None:
    running, most = {"now": 0}, [0]
    lock = threading.Lock()

    async def handler(_job: Job) -> None:
        with lock:
            running["now"] += 1
            most[0] = max(most[0], running["now"])
        await asyncio.sleep(0.01)
        running["now"] -= 1

    async def scenario(controller: Controller, _queue: MemoryQueue) -> None:
        jobs = [(await controller.submit("file", "a", ""))[0] for _ in range(10)]
        for job in jobs:
            await controller.wait(job, 5)

    work(make_telemetry(), scenario, handler)
    assert most == [SLOTS["files"]]


def test_a_long_job_is_spoken_for(make_telemetry: MakeTelemetry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BEAT_SECONDS", 0.02)

    async def handler(_job: Job) -> None:
        await asyncio.sleep(0.2)

    async def scenario(controller: Controller, queue: MemoryQueue) -> None:
        job, _ = await controller.submit("file", "a", "")
        await controller.wait(job, 5)
        assert len([one for one in queue.beats if one == job]) >= 2

    work(make_telemetry(), scenario, handler)
