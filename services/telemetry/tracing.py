"""Traces: every span is exported, and those that the service wants kept are marked; exemplars point at those only."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import SpanKind
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry import ids
from telemetry.errors import DependencyError
from telemetry.export import KEEP, MAX_QUEUE, SpanQueue
from telemetry.settings import VERSION, Settings

__all__ = ["KEEP", "SAMPLER", "Tracing", "extract", "fail", "inject"]

SAMPLER = "lookout.sampler"
"""Tells the collector that the share of traces to keep was already drawn here, and must not be drawn twice."""
EXPORT_TIMEOUT_SECONDS = 2
_PROPAGATOR = TraceContextTextMapPropagator()
_RANDOM_BITS = 64

Dropped = Callable[[bool, int], None]


class Tracing:
    """Tracer of one service, with its exporter where an endpoint is configured."""

    def __init__(
        self, settings: Settings, exporter: SpanExporter | None = None, dropped: Dropped = lambda _kept, _count: None
    ) -> None:
        named = {"service.name": settings.service, VERSION: settings.version, SAMPLER: "service"}
        resource = Resource.create({**settings.resource, **named})
        self.provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        self._kept_below = round(settings.keep_ratio * 2**_RANDOM_BITS)
        self.slow_after = settings.keep_slower_than
        exporter = exporter or _exporter(settings)
        self._exports = exporter is not None
        if exporter is not None:
            limit = settings.whole_number("OTEL_BSP_MAX_QUEUE_SIZE", str(MAX_QUEUE), minimum=1)
            self.provider.add_span_processor(SpanQueue(exporter, self.keep, dropped, limit))
        self.tracer = self.provider.get_tracer("lookout")

    def keep(self, trace_id: int, failed: bool, seconds: float) -> bool:
        """Whether a trace is kept: its id falls in the ratio, or the request failed or was slow.

        The ratio looks at the id alone, so every service that a trace passes decides the same. Nothing is kept where
        spans are not sent anywhere: an exemplar would point to a trace that nobody has.
        """
        drawn = trace_id & (2**_RANDOM_BITS - 1) < self._kept_below
        return self._exports and (failed or seconds >= self.slow_after or drawn)

    def mark_slow(self, span: trace.Span) -> None:
        """Has the trace of a request that still runs kept: called once it has run for ``slow_after`` seconds.

        The collector decides a few seconds after the first span of a trace has come. The span of a request that
        takes longer than that comes too late to be asked for its mark, so a small one is sent ahead of it.
        """
        context = trace.set_span_in_context(span)
        self.tracer.start_span("slow", context, attributes={KEEP: True}).end()

    @contextmanager
    def client_span(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[trace.Span]:
        """A span around a call of a dependency, with the ids of the work at hand; a DependencyError marks it failed."""
        with self.lasting_client_span(name, attributes) as span:
            yield span
        span.end()

    @contextmanager
    def lasting_client_span(self, name: str, attributes: Mapping[str, str | int]) -> Iterator[trace.Span]:
        """Like ``client_span``, of a call that goes on after the block, and whose span is ended by who ends the call.

        It ends with the block where that raises.
        """
        with self.tracer.start_as_current_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={**attributes, **ids.attributes()},
            record_exception=False,
            set_status_on_exception=False,
            end_on_exit=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                if isinstance(error, DependencyError):
                    fail(span, error.code)
                span.end()
                raise

    def shutdown(self) -> None:
        """Send what is left; blocks for at most the export timeout and a little."""
        self.provider.shutdown()


def extract(headers: Mapping[str, str]) -> otel_context.Context:
    """Trace context from W3C headers."""
    return _PROPAGATOR.extract(headers)


def inject(headers: dict[str, str] | None = None) -> dict[str, str]:
    """W3C headers of the current span, added to ``headers``."""
    carrier: dict[str, str] = {} if headers is None else headers
    _PROPAGATOR.inject(carrier)
    return carrier


def fail(span: trace.Span, reason: str) -> None:
    """Mark ``span`` as failed."""
    span.set_status(trace.Status(trace.StatusCode.ERROR, reason))
    span.set_attribute("error.type", reason)


def _exporter(settings: Settings) -> SpanExporter | None:
    if settings.otlp_endpoint is None:
        return None
    # Imported here: 10 MiB that a process without an exporter does not need.
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_SECONDS)
