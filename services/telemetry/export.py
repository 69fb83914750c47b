"""The queue between ended spans and the exporter. When it is full, spans of traces that nobody keeps go first."""

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.trace import StatusCode

KEEP = "lookout.keep"
MAX_QUEUE = 2048
BATCH = 512
DELAY_SECONDS = 1.0
FLUSH_SECONDS = 2.0

Keep = Callable[[int, bool, float], bool]
Dropped = Callable[[bool, int], None]


class SpanQueue(SpanProcessor):
    """Exports ended spans from a thread, in batches, those of kept traces first.

    ``keep`` decides of a trace id, whether the span failed, and its seconds. The first span of a trace in this process
    gets the mark KEEP, whatever made it: a request, a job, work in the background. ``dropped`` is told whether spans
    that could not be sent were to be kept, and how many they were.

    A batch that the collector did not take is tried again, as far as there is room: it may be starting anew, and a
    trace that nobody keeps here may be kept by a service before this one.
    """

    def __init__(self, exporter: SpanExporter, keep: Keep, dropped: Dropped, max_queue: int = MAX_QUEUE) -> None:
        self._exporter = exporter
        self._keep = keep
        self._dropped = dropped
        self._waiting = _Waiting(max_queue)
        self._lock = threading.Lock()
        self._exporting = threading.Lock()
        self._wake = threading.Event()
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        forget = weakref.WeakMethod(self._after_fork)
        os.register_at_fork(after_in_child=lambda: (method := forget()) and method())

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:  # noqa: ARG002
        if _is_first(span) and self._keep(_trace_id(span), False, 0.0):
            span.set_attribute(KEEP, True)

    def on_end(self, span: ReadableSpan) -> None:
        if self._closed.is_set():
            return
        kept = self._is_kept(span)
        if kept and _is_first(span) and not _has_mark(span):
            span = _marked(span)
        with self._lock:
            lost = self._waiting.put(span, kept)
            size = self._waiting.size
        if lost is not None:
            self._dropped(*lost)
        if self._thread is None:
            self._start()
        if size >= BATCH:
            self._wake.set()

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Export what is queued, at once; False where it was not taken, or the time was up."""
        return self._drain(time.monotonic() + timeout_millis / 1000) and self._waiting.size == 0

    def shutdown(self) -> None:
        """Export what is queued; no export begins after FLUSH_SECONDS. What is left is counted as dropped."""
        self._closed.set()
        self._wake.set()
        self._drain(time.monotonic() + FLUSH_SECONDS)
        with self._lock:
            left = self._waiting.clear()
        for kept, count in left:
            self._dropped(kept, count)
        self._exporter.shutdown()

    def _is_kept(self, span: ReadableSpan) -> bool:
        failed = span.status.status_code is StatusCode.ERROR
        return _has_mark(span) or self._keep(_trace_id(span), failed, _seconds(span))

    def _drain(self, deadline: float) -> bool:
        """Export batch after batch until nothing is queued or the time is up; False where one was not taken."""
        if not self._exporting.acquire(timeout=max(deadline - time.monotonic(), 0)):
            return False
        try:
            while time.monotonic() < deadline:
                with self._lock:
                    batch = self._waiting.take(BATCH)
                if not batch:
                    return True
                if not self._export(batch):
                    return False
            return True
        finally:
            self._exporting.release()

    def _export(self, batch: list[ReadableSpan]) -> bool:
        try:
            taken = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception:
            # An exporter that raises has not taken the batch; it says why itself, and the thread must go on.
            taken = False
        if not taken:
            kept = {_trace_id(span) for span in batch if self._is_kept(span)}
            with self._lock:
                lost = self._waiting.put_back(batch, kept)
            for was_kept, count in lost:
                self._dropped(was_kept, count)
        return taken

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="span-export", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while not self._closed.is_set():
            self._wake.wait(DELAY_SECONDS)
            self._wake.clear()
            if not self._drain(time.monotonic() + DELAY_SECONDS):
                self._closed.wait(DELAY_SECONDS)

    def _after_fork(self) -> None:
        """A child has none of the threads, and locks as they were; what was queued is the parent's to send."""
        self._lock, self._exporting, self._wake = threading.Lock(), threading.Lock(), threading.Event()
        self._waiting.clear()
        self._thread = None


class _Waiting:
    """Spans by trace, oldest first, in two classes: of traces to keep, and of all others."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[int, list[ReadableSpan]] = {}
        self._rest: dict[int, list[ReadableSpan]] = {}
        self.size = 0

    def put(self, span: ReadableSpan, kept: bool) -> tuple[bool, int] | None:
        """Queue a span; returns whether kept spans, and how many, had to go for it."""
        trace_id = _trace_id(span)
        if kept and trace_id in self._rest:
            # The trace turned out to be one to keep: what is queued of it moves with it.
            self._kept.setdefault(trace_id, []).extend(self._rest.pop(trace_id))
        kept = kept or trace_id in self._kept
        lost = None
        if self.size >= self._limit:
            if not kept and not self._rest:
                return False, 1
            victims = self._rest or self._kept
            gone = victims.pop(next(iter(victims)))
            self.size -= len(gone)
            lost = victims is self._kept, len(gone)
        (self._kept if kept else self._rest).setdefault(trace_id, []).append(span)
        self.size += 1
        return lost

    def take(self, count: int) -> list[ReadableSpan]:
        """Remove whole traces, kept ones first, until there are ``count`` spans or none is left."""
        batch: list[ReadableSpan] = []
        for groups in (self._kept, self._rest):
            while groups and len(batch) < count:
                batch += groups.pop(next(iter(groups)))
        self.size -= len(batch)
        return batch

    def put_back(self, batch: list[ReadableSpan], kept: set[int]) -> list[tuple[bool, int]]:
        """Queue spans again, before all others of their class; returns how many of which class found no room."""
        kept = kept | self._kept.keys()
        lost: list[tuple[bool, int]] = []
        for is_kept in (True, False):
            spans = [span for span in batch if (_trace_id(span) in kept) is is_kept]
            fit = spans[: max(self._limit - self.size, 0)]
            later = self._kept if is_kept else self._rest
            groups: dict[int, list[ReadableSpan]] = {}
            for span in (*fit, *_flat(later.values())):
                groups.setdefault(_trace_id(span), []).append(span)
            if is_kept:
                self._kept = groups
            else:
                self._rest = groups
            self.size += len(fit)
            if len(fit) < len(spans):
                lost.append((is_kept, len(spans) - len(fit)))
        return lost

    def clear(self) -> list[tuple[bool, int]]:
        """Forget everything; returns how many spans of which class that were."""
        left = [(kept, len(_flat(groups.values()))) for kept, groups in ((True, self._kept), (False, self._rest))]
        self._kept, self._rest, self.size = {}, {}, 0
        return [(kept, count) for kept, count in left if count]


def _flat(groups: Iterable[list[ReadableSpan]]) -> list[ReadableSpan]:
    return [span for group in groups for span in group]


def _trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    trace_id: int = span.context.trace_id
    return trace_id


def _is_first(span: ReadableSpan) -> bool:
    return span.parent is None or span.parent.is_remote


def _has_mark(span: ReadableSpan) -> bool:
    return span.attributes is not None and KEEP in span.attributes


def _seconds(span: ReadableSpan) -> float:
    return ((span.end_time or 0) - (span.start_time or 0)) / 1e9


def _marked(span: ReadableSpan) -> ReadableSpan:
    """An ended span cannot be written to: the same span with the mark."""
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes={**(span.attributes or {}), KEEP: True},
        events=span.events,
        links=span.links,
        kind=span.kind,
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
