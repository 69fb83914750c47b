"""Takes jobs from the queue, one at a time, and does them in the trace of the request that queued them."""

import time
from collections.abc import Callable
from typing import Any

from opentelemetry.trace import SpanKind

from automation_services.jobs import QUEUE, Job, Queue
from automation_services.work import FILE_KINDS, KINDS, WORKFLOWS, WorkFailed, file_kind, process_file
from telemetry import DependencyError, Telemetry, faults, get_logger, ids, tracing

log = get_logger("automation_services.worker")
QUEUE_STALL = faults.hook("queue_stall")


class Worker:
    """Runs until shutdown; a job whose input is bad has failed, the worker goes on."""

    def __init__(self, telemetry: Telemetry, queue: Queue) -> None:
        self._queue = queue
        self._tracer = telemetry.tracing.tracer
        metrics = telemetry.metrics
        self._depth = metrics.gauge("queue_depth", "Jobs that wait.", ["queue"])
        self._wait = metrics.histogram("queue_wait_seconds", "Time that jobs waited.", ["queue"])
        self._active = metrics.gauge("active_jobs", "Jobs being done.", ["kind"])
        self._jobs = metrics.counter("worker_jobs_total", "Jobs done.", ["queue", "status"])
        self._files = metrics.counter("files_processed_total", "Files processed.", ["kind", "status"])
        self._file_seconds = metrics.histogram("file_processing_duration_seconds", "Duration of file processing.")
        self._runs = metrics.counter("workflow_runs_total", "Workflows run.", ["workflow", "status"])
        self._run_seconds = metrics.histogram("workflow_run_duration_seconds", "Duration of workflows.")
        for kind in KINDS:
            self._active.labels(kind)
        for status in ("succeeded", "failed", "cancelled"):
            self._jobs.labels(QUEUE, status)
        for status in ("success", "failure"):
            for file in FILE_KINDS:
                self._files.labels(file, status)
            for workflow in WORKFLOWS:
                self._runs.labels(workflow, status)
        telemetry.before_scrape(self._measure)

    async def run(self) -> None:
        """Work off the queue; a Redis that is away ends this, and the caller starts it again."""
        while True:
            await QUEUE_STALL.wait()
            job = await self._queue.take()
            if job is not None:
                headers = job.headers
                bound = ids.accept(headers.get(ids.REQUEST_HEADER), headers.get(ids.CORRELATION_HEADER))
                with ids.bound(bound):
                    await self._do(job)

    def run_file(self, name: str, content: str) -> dict[str, Any]:
        """Process a file. Raises WorkFailed."""
        return self._counted(
            lambda: process_file(name, content),
            lambda status: self._files.labels(file_kind(name), status).inc(),
            self._file_seconds.observe,
        )

    def run_workflow(self, name: str, content: str) -> dict[str, Any]:
        """Run a workflow. Raises WorkFailed."""
        return self._counted(
            lambda: WORKFLOWS[name](content),
            lambda status: self._runs.labels(name, status).inc(),
            self._run_seconds.observe,
        )

    async def _do(self, job: Job) -> None:
        self._wait.labels(QUEUE).observe(max(time.time() - job.queued_at, 0))
        start = time.perf_counter()
        with (
            self._tracer.start_as_current_span(
                f"job {job.kind}", context=tracing.extract(job.headers), kind=SpanKind.CONSUMER
            ) as span,
            self._active.labels(job.kind).track_inprogress(),
        ):
            status = "cancelled" if await self._cancelled(job) else await self._finish(job)
            if status == "failed":
                tracing.fail(span, "work_failed")
            self._jobs.labels(QUEUE, status).inc()
            log.info("job", job=job.id, kind=job.kind, status=status, duration_seconds=time.perf_counter() - start)

    async def _cancelled(self, job: Job) -> bool:
        try:
            state = await self._queue.state(job.id)
        except DependencyError as error:
            # The job is out of the queue: doing one that was cancelled is better than losing one that was not.
            log.error("state of a job is not readable", job=job.id, error=str(error))
            return False
        return state is not None and state["state"] == "cancelled"

    async def _finish(self, job: Job) -> str:
        run = self.run_file if job.kind == "file" else self.run_workflow
        try:
            state, result = "succeeded", run(job.name, job.content)
        except WorkFailed as error:
            log.warning("job failed", job=job.id, kind=job.kind, reason=str(error))
            state, result = "failed", {"reason": str(error)}
        try:
            await self._queue.set_state(job.id, state, result)
        except DependencyError as error:
            log.error("result of a job is lost", job=job.id, error=str(error))
        return state

    def _counted(
        self,
        work: Callable[[], dict[str, Any]],
        count: Callable[[str], None],
        observe: Callable[[float], None],
    ) -> dict[str, Any]:
        start = time.perf_counter()
        status = "failure"
        try:
            result = work()
            status = "success"
            return result
        finally:
            count(status)
            observe(time.perf_counter() - start)

    async def _measure(self) -> None:
        self._depth.labels(QUEUE).set(await self._queue.depth())
