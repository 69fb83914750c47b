"""Traces: every span is exported, and those that the service wants kept are marked (design decision 20)."""

from collections.abc import Mapping

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from telemetry.settings import Settings

KEEP = "lookout.keep"
SAMPLER = "lookout.sampler"
"""Tells the collector that the share of traces to keep was already drawn here, and must not be drawn twice."""
EXPORT_TIMEOUT_SECONDS = 2
_PROPAGATOR = TraceContextTextMapPropagator()
_RANDOM_BITS = 64


class Tracing:
    """Tracer of one service, with its exporter where an endpoint is configured."""

    def __init__(self, settings: Settings, exporter: SpanExporter | None = None) -> None:
        resource = Resource.create(
            {"service.name": settings.service, "service.version": settings.version, SAMPLER: "service"}
        )
        self.provider = TracerProvider(ALWAYS_ON, resource, shutdown_on_exit=False)
        exporter = exporter or _exporter(settings)
        if exporter is not None:
            self.provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=1000))
        self.tracer = self.provider.get_tracer("lookout")
        self._kept_below = round(settings.keep_ratio * 2**_RANDOM_BITS)
        self._slow = settings.keep_slower_than

    def keep(self, trace_id: int, failed: bool, seconds: float) -> bool:
        """Whether a trace is kept: its id falls in the ratio, or the request failed or was slow.

        The ratio looks at the id alone, so every service that a trace passes decides the same.
        """
        return failed or seconds >= self._slow or trace_id & (2**_RANDOM_BITS - 1) < self._kept_below

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
