"""Background work, observed as a request is: a span, metrics and one log line for each job.

A job carries the headers of what queued it, so that both are in one trace and under the same ids::

    work = Work(telemetry, queues=["mail"], kinds=["welcome"])

    job = {"id": "…", "headers": carried(), "queued_at": time.time()}           # where it is queued

    with work.job("mail", "welcome", job["id"], job["headers"], job["queued_at"]) as running:    # where it is done
        if not await deliver(job):
            running.end("failed", "no such address")

    work.measure("mail", depth)         # an async function: how many jobs wait

Any queue will do. Metrics: queue_depth{queue}, queue_wait_seconds{queue}, active_jobs{kind} and
worker_jobs_total{queue, status}; the status is one of STATUSES. A job that failed or was slow has its trace kept, and
exemplars, as a request does. One that waited for LATE_SECONDS tells it too late for the collector: it has exemplars
only where its trace was drawn.
"""

import asyncio
import time
from asyncio import TimerHandle
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from threading import Timer
from typing import TYPE_CHECKING

from opentelemetry.trace import Span, SpanKind

from telemetry import ids, tracing
from telemetry.logs import get_logger

if TYPE_CHECKING:
    from telemetry.app import Telemetry

STATUSES = ("succeeded", "failed", "cancelled", "dead", "retried", "returned", "duplicate")
"""How a delivery ends. The first four are ends of the job, each counted once. After ``retried`` (it broke) and
``returned`` (its worker shut down) it is delivered again; a ``duplicate`` was done although it had ended before."""
BROKEN = frozenset({"failed", "retried", "dead"})
LATE_SECONDS = 1.0
"""The collector decides about a trace a few seconds after its first span: what begins sooner than this after it was
queued tells in time that it failed or became slow."""
Depth = Callable[[], Awaitable[int]]
log = get_logger("telemetry.work")


def carried() -> dict[str, str]:
    """Headers to store with a job: trace and ids of the running request or job."""
    return tracing.inject(ids.headers())


class Running:
    """The job at hand: succeeded unless told otherwise."""

    def __init__(self) -> None:
        self.status = "succeeded"
        self.reason: str | None = None

    def end(self, status: str, reason: str | None = None) -> None:
        """How the job ended, one of STATUSES, and why."""
        if status not in STATUSES:
            raise ValueError(f"{status} is none of {', '.join(STATUSES)}")
        self.status, self.reason = status, reason


class Work:
    """Observes the jobs of one service; ``queues`` and ``kinds`` are all values that its labels take."""

    def __init__(self, telemetry: "Telemetry", queues: Iterable[str], kinds: Iterable[str]) -> None:
        self._tracing = telemetry.tracing
        metrics = telemetry.metrics
        self._depth = metrics.gauge("queue_depth", "Jobs that wait.", ["queue"])
        self._wait = metrics.histogram("queue_wait_seconds", "Time that jobs waited, by queue.", ["queue"])
        self._active = metrics.gauge("active_jobs", "Jobs being done.", ["kind"])
        self._jobs = metrics.counter("worker_jobs_total", "Deliveries of jobs by how they ended.", ["queue", "status"])
        for kind in kinds:
            self._active.labels(kind)
        for queue in queues:
            self._wait.labels(queue)
            for status in STATUSES:
                self._jobs.labels(queue, status)
        self._telemetry = telemetry

    def measure(self, queue: str, depth: Depth) -> None:
        """Set queue_depth of ``queue`` before each scrape."""

        async def measure() -> None:
            self._depth.labels(queue).set(await depth())

        self._telemetry.before_scrape(measure)

    @contextmanager
    def job(
        self, queue: str, kind: str, job: str, headers: Mapping[str, str], queued_at: float, delivery: int = 1
    ) -> Iterator[Running]:
        """Observe one delivery of a job, whose ``queued_at`` is in Unix seconds.

        An exception ends it as failed, is logged, and goes on to the caller.
        """
        wait = max(time.time() - queued_at, 0.0)
        start = time.perf_counter()
        running = Running()
        bound = ids.accept(headers.get(ids.REQUEST_HEADER), headers.get(ids.CORRELATION_HEADER))
        error: BaseException | None = None
        with (
            ids.bound(bound),
            self._tracing.tracer.start_as_current_span(
                f"job {kind}",
                context=tracing.extract(headers),
                kind=SpanKind.CONSUMER,
                attributes={
                    "messaging.system": "lookout",
                    "messaging.operation.type": "process",
                    "messaging.destination.name": queue,
                    "messaging.message.id": job,
                    "lookout.request_id": bound.request,
                    "lookout.correlation_id": bound.correlation,
                },
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
            self._active.labels(kind).track_inprogress(),
        ):
            slow: TimerHandle | Timer | None = None
            try:
                slow = self._slow(span)
                yield running
            except Exception as failure:
                running.end("failed", f"{type(failure).__name__}: {failure}")
                error = failure
                raise
            except BaseException:
                running.end("returned", "its worker was stopped")
                raise
            finally:
                if slow is not None:
                    slow.cancel()
                seconds = time.perf_counter() - start
                broken = running.status in BROKEN
                trace_id = span.get_span_context().trace_id
                keep = self._tracing.keep(trace_id, broken, seconds)
                if keep:
                    span.set_attribute(tracing.KEEP, True)
                if broken:
                    tracing.fail(span, f"job_{running.status}")
                certain = keep and (wait < LATE_SECONDS or self._tracing.keep(trace_id, False, 0.0))
                exemplar = {"trace_id": f"{trace_id:032x}"} if certain else None
                self._jobs.labels(queue, running.status).inc(1, exemplar)
                if delivery == 1:
                    self._wait.labels(queue).observe(wait, exemplar)
                _write(running, error, queue=queue, kind=kind, job=job, delivery=delivery, wait=wait, seconds=seconds)

    def _slow(self, span: Span) -> TimerHandle | Timer:
        """Has the job marked as slow once it is: by the event loop, or by a thread where the worker has no loop."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            timer = Timer(self._tracing.slow_after, self._tracing.mark_slow, [span])
            timer.daemon = True
            timer.start()
            return timer
        return loop.call_later(self._tracing.slow_after, self._tracing.mark_slow, span)


def _write(
    running: Running,
    error: BaseException | None,
    *,
    queue: str,
    kind: str,
    job: str,
    delivery: int,
    wait: float,
    seconds: float,
) -> None:
    """One line: an error for work that is lost, a warning for work that did not come to a good end."""
    if running.status == "dead" or error is not None:
        write = log.error
    elif running.status in ("succeeded", "cancelled"):
        write = log.info
    else:
        write = log.warning
    fields = {} if running.reason is None else {"reason": running.reason}
    if error is not None:
        fields["exc_info"] = error  # type: ignore[assignment]
    write(
        "job",
        job=job,
        queue=queue,
        kind=kind,
        status=running.status,
        delivery=delivery,
        wait_seconds=round(wait, 6),
        duration_seconds=round(seconds, 6),
        **fields,
    )
